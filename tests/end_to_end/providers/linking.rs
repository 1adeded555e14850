//! Linking identities to accounts that exist: never by an address alone.

use futures_util::future::join;

use super::*;
use crate::{
    revocation::soon,
    secrets::{Seen, check_streams},
    step_up::STEP_UP,
    support::{LOGIN, credentials, eventually, list, operator},
};

pub const CONFIRM: &str = "mutation { credential { confirmLink { success } } }";
const START_LINK: &str = r#"mutation { credential { startLink(provider: "google") } }"#;
const UNLINK: &str = "mutation($id: ID!) { credential { unlink(id: $id) { success } } }";
const REVOKE_ALL: &str = "mutation { account { revokeAllSessions { success } } }";
pub const REMOVE_PASSWORD: &str = "mutation { credential { removePassword { success } } }";
pub const SET_PASSWORD: &str = r#"
    mutation { credential { setPassword(password: "correct horse battery staple") { success } } }"#;

/// What the page of the settings learns of a link that cannot go on.
const ENDED: &str = "/settings?login=failed&reason=ended";

fn ada_at_google() -> Value {
    let hd = "example.com";
    json!({ "sub": "7", "email": ADA, "email_verified": true, "hd": hd })
}

/// Begins to link an identity from the settings; returns the path at the gateway.
pub async fn ticket(world: &World, browser: &Browser) -> String {
    let answer = browser.data(START_LINK, ()).await;
    let url = text(&answer, "/credential/startLink");
    let path = url.strip_prefix(&world.gateway.url()).unwrap();
    format!("{path}&return_to=/settings")
}

async fn reason(browser: &Browser, document: &str, variables: Value) -> String {
    let answer = browser.gql(document, variables).await;
    text(&answer, "/errors/0/extensions/reason")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_links_nothing_until_its_owner_has_logged_in_as_before() {
    let world = World::start().await;
    let ada = world.ada().await;
    for (name, person) in [
        ("google", ada_at_google()),
        (
            "github",
            json!({ "sub": "8", "email": ADA, "email_verified": true }),
        ),
        ("corp", json!({ "sub": "9", "email": "ADA@example.com" })),
    ] {
        world.provider.identifies(person);
        let browser = world.browser();
        assert_eq!(world.logs_in(&browser, name).await, "linking", "{name}");
        assert!(!browser.is_logged_in().await);
        assert_eq!(browser.code(CONFIRM, ()).await, "UNAUTHENTICATED");
        let shown = browser.data(CHALLENGE, ()).await;
        assert_eq!(
            shown["loginChallenge"]["methods"],
            json!(["Password", "EmailCode"])
        );
        assert_eq!(shown["loginChallenge"]["linking"]["name"], name);
    }
    assert!(identities(&ada).await.is_empty());

    world.provider.identifies(ada_at_google());
    let browser = world.browser();
    world.logs_in(&browser, "google").await;
    let answer = browser.gql(LOGIN, credentials(ADA, PASSWORD)).await;
    assert!(succeeded(&answer), "{answer}");
    assert!(identities(&browser).await.is_empty());
    browser.data(CONFIRM, ()).await;
    assert_eq!(identities(&ada).await, ["google"]);
    assert_eq!(browser.error(CONFIRM, ()).await["code"], "BAD_USER_INPUT");
    ada.mail(ADA, "by google", 1).await;
    let elsewhere = world.browser();
    assert_eq!(world.logs_in(&elsewhere, "google").await, "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_waits_is_linked_to_the_account_of_its_address_only() {
    let world = World::start().await;
    world.ada().await;
    world.provider.identifies(ada_at_google());
    let eve = world.browser();
    assert_eq!(world.logs_in(&eve, "google").await, "linking");
    eve.sign_up("eve@example.com").await;
    assert_eq!(eve.error(CONFIRM, ()).await["code"], "BAD_USER_INPUT");
    assert!(identities(&eve).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unproved_address_of_an_account_logs_in_by_a_code_and_links_nothing() {
    let world = World::start().await;
    let ada = world.ada().await;
    let person = json!({ "sub": "7", "email": ADA, "email_verified": true });
    world.provider.identifies(person);
    let browser = world.browser();
    assert_eq!(world.logs_in(&browser, "facebook").await, "code");
    let shown = browser.data(CHALLENGE, ()).await;
    assert_eq!(shown["loginChallenge"]["methods"], json!(["EmailCode"]));
    let code = mailed(&browser, ADA, 1).await;
    let answer = browser.data(LOG_IN, by_code(ADA, &code)).await;
    assert_eq!(answer["account"]["login"]["user"]["email"], ADA);
    assert!(identities(&ada).await.is_empty());
    let shown = browser.data(CHALLENGE, ()).await;
    assert_eq!(shown["loginChallenge"]["linking"]["name"], "facebook");
    browser.data(CONFIRM, ()).await;
    assert_eq!(identities(&ada).await, ["facebook"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_linked_from_the_settings_by_a_ticket_of_the_session() {
    let world = World::start().await;
    let ada = world.ada().await;
    let person = json!({ "sub": "7", "email": "other@gmail.com", "email_verified": true });
    world.provider.identifies(person);
    let page = ticket(&world, &ada).await;
    for other in [world.browser(), {
        let eve = world.browser();
        eve.sign_up("eve@example.com").await;
        eve
    }] {
        assert_eq!(other.visit(&page).await.unwrap(), ENDED);
    }
    let to = ada.visit(&page).await.unwrap();
    assert_eq!(to, ENDED, "a wrong session has used the ticket up");

    let page = ticket(&world, &ada).await;
    let at_provider = ada.visit(&page).await.unwrap();
    assert_eq!(ada.visit(&page).await.unwrap(), ENDED);
    let back = world.provider.sends_back(&at_provider);
    assert_eq!(ada.visit(&back).await.unwrap(), "/settings?login=linked");
    assert_eq!(identities(&ada).await, ["google"]);

    let bob = world.browser();
    bob.sign_up("bob@example.com").await;
    let at_provider = bob.visit(&ticket(&world, &bob).await).await.unwrap();
    let to = bob
        .visit(&world.provider.sends_back(&at_provider))
        .await
        .unwrap();
    assert_eq!(to, "/settings?login=failed&reason=identity_taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_linked_in_the_session_that_has_begun_only() {
    let world = World::start().await;
    let ada = world.ada().await;
    let person = json!({ "sub": "7", "email": "other@gmail.com", "email_verified": true });
    world.provider.identifies(person);
    let at_provider = ada.visit(&ticket(&world, &ada).await).await.unwrap();
    let back = world.provider.sends_back(&at_provider);
    ada.log_in(ADA).await;
    assert_eq!(ada.visit(&back).await.unwrap(), ENDED);
    assert!(identities(&ada).await.is_empty());
    assert_eq!(world.provider.redeemed(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_way_to_log_in_stays() {
    let world = World::start().await;
    let person = json!({ "sub": "7", "email": "ada@gmail.com", "email_verified": true });
    world.provider.identifies(person);
    let ada = world.browser();
    world.logs_in(&ada, "google").await;
    let shown = ada.data(CREDENTIALS, ()).await;
    let google = json!({ "id": shown["credentials"]["identities"][0]["id"] });
    assert_eq!(reason(&ada, UNLINK, google.clone()).await, "last_log_in");
    ada.data(SET_PASSWORD, ()).await;
    // The session must outlive what it loses.
    let password = json!({ "service": "Password", "params": { "password": PASSWORD } });
    ada.data(STEP_UP, input(password)).await;

    let both = join(ada.gql(UNLINK, google), ada.gql(REMOVE_PASSWORD, json!({})));
    let (unlinked, removed) = both.await;
    assert_ne!(
        succeeded(&unlinked),
        succeeded(&removed),
        "{unlinked} {removed}"
    );
    let shown = ada.data(CREDENTIALS, ()).await;
    let left = &shown["credentials"];
    let has_identity = left["identities"].as_array().unwrap().len() == 1;
    assert_ne!(left["hasPassword"] == true, has_identity, "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlinked_identity_ends_the_sessions_and_log_ins_that_it_has_begun() {
    let world = World::start().await;
    let person = json!({ "sub": "7", "email": "ada@gmail.com", "email_verified": true });
    world.provider.identifies(person);
    let ada = world.browser();
    world.logs_in(&ada, "google").await;
    ada.data(SET_PASSWORD, ()).await;
    let phone = world.browser();
    assert_eq!(world.logs_in(&phone, "google").await, "done");
    let second_gateway = Gateway::start(&world.backend, |_| {}).await;
    let elsewhere = phone.at_gateway(&second_gateway);
    assert!(elsewhere.is_logged_in().await);
    let (_app, codes) = add_second_factor(&ada).await;
    let thief = world.browser();
    assert_eq!(world.logs_in(&thief, "google").await, "second_factor");
    let shown = ada.data(CREDENTIALS, ()).await;
    let google = json!({ "id": shown["credentials"]["identities"][0]["id"] });
    ada.data(UNLINK, google).await;
    assert!(!phone.is_logged_in().await);
    soon("the end elsewhere", || async {
        !elsewhere.is_logged_in().await
    })
    .await;
    let stolen = second("RecoveryCode", &codes[0]);
    assert_eq!(thief.code(LOG_IN, stolen).await, "UNAUTHENTICATED");
    // The app alone proves too little.
    let password = json!({ "service": "Password", "params": { "password": PASSWORD } });
    assert_eq!(ada.code(START_LINK, ()).await, "STEP_UP_REQUIRED");
    ada.data(STEP_UP, input(password)).await;
    ada.data(START_LINK, ()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_unlinks_the_identity_of_the_session_logs_in_again() {
    let world = World::start().await;
    let person = json!({ "sub": "7", "email": "ada@gmail.com", "email_verified": true });
    world.provider.identifies(person);
    let ada = world.browser();
    world.logs_in(&ada, "google").await;
    ada.data(SET_PASSWORD, ()).await;
    let shown = ada.data(CREDENTIALS, ()).await;
    let google = json!({ "id": shown["credentials"]["identities"][0]["id"] });
    ada.data(UNLINK, google).await;
    assert!(!ada.is_logged_in().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlinked_identity_does_not_wait_in_the_browser_that_has_opened_the_account() {
    let world = World::start().await;
    let person = json!({ "sub": "7", "email": ADA, "email_verified": true });
    world.provider.identifies(person);
    let ada = world.browser();
    assert_eq!(world.logs_in(&ada, "facebook").await, "code");
    let code = mailed(&ada, ADA, 1).await;
    ada.data(LOG_IN, by_code(ADA, &code)).await;
    ada.data(SET_PASSWORD, ()).await;
    let shown = ada.data(CREDENTIALS, ()).await;
    let facebook = json!({ "id": shown["credentials"]["identities"][0]["id"] });
    ada.data(UNLINK, facebook).await;
    assert_eq!(ada.error(CONFIRM, ()).await["code"], "BAD_USER_INPUT");
    assert!(identities(&ada).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_while_the_provider_takes_its_time_links_nothing() {
    let world = World::start().await;
    let ada = world.ada().await;
    let owner = world.browser();
    owner.log_in(ADA).await;
    let person = json!({ "sub": "7", "email": "other@gmail.com", "email_verified": true });
    world.provider.identifies(person);
    let at_provider = ada.visit(&ticket(&world, &ada).await).await.unwrap();
    let back = world.provider.sends_back(&at_provider);
    let held = world.provider.holds().await;
    let revoked = async {
        eventually("the code", || async { world.provider.redeemed() == 1 }).await;
        owner.data(REVOKE_ALL, ()).await;
        drop(held);
    };
    let (to, ()) = join(ada.visit(&back), revoked).await;
    assert_eq!(to.unwrap(), "/settings?login=failed&reason=session_ended");
    owner.log_in(ADA).await;
    assert!(identities(&owner).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_fresh_no_more_when_the_browser_comes_back_links_nothing() {
    let world = World::start().await;
    let ada = world.ada().await;
    let phone = world.browser();
    phone.log_in(ADA).await;
    let person = json!({ "sub": "7", "email": "other@gmail.com", "email_verified": true });
    world.provider.identifies(person);
    let at_provider = ada.visit(&ticket(&world, &ada).await).await.unwrap();
    add_second_factor(&phone).await;
    let back = world.provider.sends_back(&at_provider);
    let to = ada.visit(&back).await.unwrap();
    assert_eq!(to, "/settings?login=failed&reason=step_up_required");
    assert!(identities(&ada).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_confirms_after_a_log_in_by_the_party_from_before() {
    let world = World::start().await;
    let at_google = json!({ "sub": "7", "email": "ada@gmail.com", "email_verified": true });
    world.provider.identifies(at_google.clone());
    world.logs_in(&world.browser(), "google").await;
    let browser = world.browser();
    let at_github = json!({ "sub": "8", "email": "ada@gmail.com", "email_verified": true });
    world.provider.identifies(at_github);
    assert_eq!(world.logs_in(&browser, "github").await, "linking");
    let shown = browser.data("{ loginChallenge { providers { name } } }", ());
    let shown = shown.await;
    let providers = list(&shown["loginChallenge"]["providers"]);
    assert!(providers.contains(&json!({ "name": "google" })), "{shown}");

    world.provider.identifies(at_google);
    assert_eq!(world.logs_in(&browser, "google").await, "done");
    browser.data(CONFIRM, ()).await;
    assert_eq!(identities(&browser).await, ["google", "github"]);
    // The identity is held now, so it waits no more.
    assert_eq!(world.logs_in(&browser, "google").await, "done");
    let shown = browser.data(CHALLENGE, ()).await;
    assert!(shown["loginChallenge"].is_null(), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_to_another_account_drops_the_identity_that_waits() {
    let world = World::start().await;
    world.ada().await;
    world.provider.identifies(ada_at_google());
    let browser = world.browser();
    assert_eq!(world.logs_in(&browser, "google").await, "linking");
    let bob = json!({ "sub": "8", "email": "bob@gmail.com", "email_verified": true });
    world.provider.identifies(bob);
    assert_eq!(world.logs_in(&browser, "google").await, "done");
    let shown = browser.data(CHALLENGE, ()).await;
    assert!(shown["loginChallenge"].is_null(), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_at_a_party_is_stored_nowhere() {
    let world = World::start().await;
    let ada = world.ada().await;
    let person = json!({ "sub": "7", "email": "other@gmail.com", "email_verified": true });
    world.provider.identifies(person);
    let at_provider = ada.visit(&ticket(&world, &ada).await).await.unwrap();
    let back = world.provider.sends_back(&at_provider);
    assert_eq!(ada.visit(&back).await.unwrap(), "/settings?login=linked");
    let mut seen = Seen::default();
    seen.secret("the address", "other@gmail.com");
    let nats = operator(&world.backend).await;
    check_streams(&seen, &nats, &["EVENTS", "KV_FLOWS"]).await;
    let accounts = documents_of(&world.backend, "account").await;
    seen.check("an account", &json!(accounts).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_security_event_tells_of_links_that_have_changed() {
    let world = World::start().await;
    let ada = world.ada().await;
    let none = json!({ "id": "0".repeat(32) });
    ada.data(UNLINK, none.clone()).await;
    world.provider.identifies(ada_at_google());
    for _ in 0..2 {
        let at_provider = ada.visit(&ticket(&world, &ada).await).await.unwrap();
        let back = world.provider.sends_back(&at_provider);
        assert_eq!(ada.visit(&back).await.unwrap(), "/settings?login=linked");
    }
    let shown = ada.data(CREDENTIALS, ()).await;
    let google = json!({ "id": shown["credentials"]["identities"][0]["id"] });
    ada.data(UNLINK, google).await;
    let expected = ["identity_unlinked", "identity_linked", "login_succeeded"];
    eventually("the events of the account", || async {
        let shown = ada.data("{ accountActivity { nodes { event } } }", ());
        let shown = shown.await;
        let nodes = list(&shown["accountActivity"]["nodes"]).iter();
        let events: Vec<_> = nodes.map(|node| text(node, "/event")).collect();
        let is_told = events.first().is_some_and(|event| event == expected[0]);
        assert!(
            !is_told || events.starts_with(&expected.map(str::to_owned)),
            "{events:?}"
        );
        is_told
    })
    .await;
}
