//! An identity by a tenant's issuer is another one than that of the same person at the same issuer
//! for anybody else.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    sso::{BOB, LINK, World},
    support::{
        Browser, Gateway,
        provider::{CLIENT, CLIENT_SECRET},
    },
};

/// A gateway that knows the tenant's issuer as a provider of the deployment, too.
async fn with_provider(world: &World, folder: &TempDir) -> Gateway {
    let corp = json!({
        "name": "corp", "kind": "oidc", "issuer": world.issuer.url, "email": "authoritative",
        "client_id": CLIENT, "client_secret": CLIENT_SECRET,
    });
    let file = folder.path().join("providers.json");
    std::fs::write(&file, json!({ "providers": [corp] }).to_string()).unwrap();
    Gateway::start_at_own_url(&world.backend, |config| {
        let loopback = events_schema::IpNetwork::parse("127.0.0.0/8").unwrap();
        config.providers.providers_file = Some(file);
        config.providers.outbound_allow = vec![loopback];
    })
    .await
}

fn bob() -> Value {
    json!({ "sub": "8", "email": BOB, "email_verified": true })
}

/// Bob, who has linked his identity at the connection.
async fn linked_bob(world: &World, id: &str) -> Browser {
    let bob_himself = world.person(BOB).await;
    world.issuer.identifies(bob());
    assert_eq!(world.logs_in(&bob_himself, id).await, "linking");
    bob_himself.data(LINK, ()).await;
    bob_himself
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_of_a_connection_is_unknown_to_a_provider_with_the_same_issuer() {
    let world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = with_provider(&world, &folder).await;
    let (_ada, id) = world.verified().await;
    linked_bob(&world, &id).await;
    let thief = world.browser().at_gateway(&gateway);
    assert_eq!(world.logs_in(&thief, "corp").await, "linking");
    assert!(!thief.is_logged_in().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_of_a_provider_is_unknown_to_a_connection_with_the_same_issuer() {
    let world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = with_provider(&world, &folder).await;
    let (_ada, id) = world.verified().await;
    let bob_himself = world.browser().at_gateway(&gateway);
    world.issuer.identifies(bob());
    assert_eq!(world.logs_in(&bob_himself, "corp").await, "done");
    let thief = world.browser().at_gateway(&gateway);
    assert_eq!(world.logs_in(&thief, &id).await, "linking");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_of_a_connection_is_unknown_to_another_tenant_with_the_same_issuer() {
    let world = World::start().await;
    let (_ada, id) = world.verified().await;
    linked_bob(&world, &id).await;
    let (_eve, other) = world.owner("eve@example.com", "other").await;
    let thief = world.browser();
    assert_eq!(world.logs_in(&thief, &other).await, "code");
}
