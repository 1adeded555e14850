//! Passwords of people who also log in by other parties.

use super::{
    linking::{REMOVE_PASSWORD, SET_PASSWORD, ticket},
    *,
};
use crate::{passwords::packed_hashes, revocation::soon, step_up::STEP_UP, support::list};

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_password_ends_the_sessions_that_it_has_begun_at_every_gateway() {
    let world = World::start().await;
    let person = json!({ "sub": "7", "email": "ada@gmail.com", "email_verified": true });
    world.provider.identifies(person);
    let ada = world.browser();
    world.logs_in(&ada, "google").await;
    ada.data(SET_PASSWORD, ()).await;
    let (thief, second_gateway) = (
        world.browser(),
        Gateway::start(&world.backend, |_| {}).await,
    );
    thief.log_in("ada@gmail.com").await;
    let elsewhere = thief.at_gateway(&second_gateway);
    assert!(elsewhere.is_logged_in().await);
    ada.data(REMOVE_PASSWORD, ()).await;
    assert!(!thief.is_logged_in().await);
    soon("the end elsewhere", || async {
        !elsewhere.is_logged_in().await
    })
    .await;
    let identity = json!([{ "kind": "IDENTITY", "provider": "google" }]);
    let shown = ada.data(PROOFS, ()).await;
    assert_eq!(list(&shown["sessions"]).len(), 1);
    assert_eq!(shown["sessions"][0]["authentication"]["proofs"], identity);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_removes_the_password_of_the_session_logs_in_again() {
    let world = World::start().await;
    let ada = world.ada().await;
    let person = json!({ "sub": "7", "email": "other@gmail.com", "email_verified": true });
    world.provider.identifies(person);
    let at_provider = ada.visit(&ticket(&world, &ada).await).await.unwrap();
    let back = world.provider.sends_back(&at_provider);
    ada.visit(&back).await.unwrap();
    let password = json!({ "service": "Password", "params": { "password": PASSWORD } });
    ada.data(STEP_UP, input(password)).await;
    ada.data(REMOVE_PASSWORD, ()).await;
    assert!(!ada.is_logged_in().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compromised_password_is_refused_as_the_first_one() {
    let world = World::start().await;
    let entries = vec![entry("google", "google", &world.provider.url)];
    let folder = tempfile::tempdir().unwrap();
    let packed = packed_hashes(&folder);
    let checking = gateway_with(
        &world.backend,
        &folder,
        entries,
        &["127.0.0.0/8"],
        |config| {
            config.pwned_passwords = Some(packed);
        },
    );
    let checking = checking.await;
    let person = json!({ "sub": "7", "email": "ada@gmail.com", "email_verified": true });
    world.provider.identifies(person);
    let ada = Browser::new(&world.backend).at_gateway(&checking);
    assert_eq!(world.logs_in(&ada, "google").await, "done");
    let answer = ada.gql(SET_PASSWORD, ()).await;
    let message = text(&answer, "/errors/0/message");
    assert!(message.contains("data leak"), "{answer}");
    assert_eq!(code_of(&answer), "BAD_USER_INPUT");
    let shown = ada.data(CREDENTIALS, ()).await;
    assert_eq!(shown["credentials"]["hasPassword"], false);
}
