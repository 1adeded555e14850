//! Who lets an administrator of the platform in, as whom, and what shows that it is over.

use serde_json::Value;

use super::{
    ADA, GRANT, IMPERSONATE, REVOKE, ROOT, SESSIONS, SUPPORT, World, account_of, grant_support,
    impersonation, in_minutes,
};
use crate::support::{Browser, list, succeeded};

const REVOKE_ALL: &str = "mutation { account { revokeAllSessions { success } } }";

/// Why the administrator may not act as this person.
async fn refusal(world: &World, account: &str) -> Value {
    let variables = impersonation(account, &world.acme);
    let answer = world.root.gql(IMPERSONATE, variables).await;
    assert!(!succeeded(&answer), "{answer}");
    answer["errors"][0]["extensions"]["reason"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_acts_as_a_person_by_a_grant_of_their_own() {
    let world = World::start().await;
    world.ada.add_member(&world.root, ROOT, "OWNER").await;
    world.root.data(GRANT, in_minutes(60)).await;
    assert_eq!(refusal(&world, &world.ada_id).await, "own_grant");
    world.ada.data(REVOKE, ()).await;
    world.grant().await;
    world.impersonate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_of_a_tenant_lets_nobody_in_as_an_owner() {
    let world = World::start().await;
    let email = "bob@example.com";
    let bob = Browser::signed_up(&world.backend, email).await;
    let bob = bob.in_tenant("acme");
    world.ada.add_member(&bob, email, "ADMIN").await;
    grant_support(&bob).await;
    assert_eq!(refusal(&world, &world.ada_id).await, "beyond_grant");
    let as_bob = impersonation(&account_of(&bob).await, &world.acme);
    world.root.data(IMPERSONATE, as_bob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_revokes_all_sessions_ends_those_of_impersonators_for_the_tenant_too() {
    let world = World::start().await;
    world.grant().await;
    world.impersonate().await;
    world.ada.data(REVOKE_ALL, ()).await;
    assert!(world.is_stopped().await);
    world.ada.log_in(ADA).await;
    let support = world.ada.data(SUPPORT, ()).await;
    let shown = &support["support"]["impersonations"][0];
    assert!(shown["endedAt"].is_string(), "{support}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_an_impersonator_is_not_listed_once_the_grant_is_revoked() {
    let world = World::start().await;
    let count = async || {
        let sessions = world.ada.data(SESSIONS, ()).await;
        list(&sessions["sessions"]).len()
    };
    world.grant().await;
    world.impersonate().await;
    assert_eq!(count().await, 2);
    world.ada.data(REVOKE, ()).await;
    assert_eq!(count().await, 1);
}
