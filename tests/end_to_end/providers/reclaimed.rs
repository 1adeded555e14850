//! An account of an earlier release whose address nobody has ever proved: who proves it gets the
//! account, and nobody else keeps anything of it.

use super::{linking::CONFIRM, *};
use crate::{revocation::soon, support::store_as_unproved};

fn eve_at_github(is_verified: bool) -> Value {
    json!({ "sub": "9", "email": ADA, "email_verified": is_verified })
}

#[tokio::test(flavor = "multi_thread")]
async fn who_proves_the_address_of_a_never_verified_account_gets_it_without_its_credentials() {
    let world = World::start().await;
    let eve = world.ada().await;
    world.provider.identifies(eve_at_github(true));
    assert_eq!(world.logs_in(&eve, "github").await, "linking");
    eve.data(CONFIRM, ()).await;
    store_as_unproved(&world.backend, ADA).await;
    assert!(eve.is_logged_in().await);
    assert_eq!(identities(&eve).await, ["github"]);

    let hd = "example.com";
    let at_google = json!({ "sub": "7", "email": ADA, "email_verified": true, "hd": hd });
    world.provider.identifies(at_google);
    let ada = world.browser();
    assert_eq!(world.logs_in(&ada, "google").await, "done");
    let profile = ada.data("{ profile { email verified } }", ()).await;
    let expected = json!({ "email": ADA, "verified": true });
    assert_eq!(profile["profile"], expected);
    assert_eq!(identities(&ada).await, ["google"]);
    let credentials = ada.data(CREDENTIALS, ()).await;
    assert_eq!(credentials["credentials"]["hasPassword"], false);
    assert_eq!(documents_of(&world.backend, "account").await.len(), 1);

    soon("the end of the session", || async {
        !eve.is_logged_in().await
    })
    .await;
    assert!(!succeeded(&world.browser().login(ADA, PASSWORD).await));
    world.provider.identifies(eve_at_github(false));
    assert_eq!(world.logs_in(&world.browser(), "github").await, "code");
}
