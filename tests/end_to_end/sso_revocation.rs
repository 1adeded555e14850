//! How soon a session by a connection ends at every gateway, and what ends it.

use reqwest::header::SET_COOKIE;
use serde_json::{Value, json};

use crate::{
    revocation::soon,
    sso::{ADA, BOB, DELETE, ENFORCE, LINK, World},
    support::{
        Browser, DELETE_ACME, EVENTS, LOGIN, PASSWORD, PERMISSIONS, Provider, Socket, code_of,
        credentials, input, list, provider::CLIENT_SECRET, succeeded, text,
    },
};

pub const CREDENTIALS: &str = "{ credentials { identities { id } } }";
pub const UNLINK: &str = "mutation($id: ID!) { credential { unlink(id: $id) { success } } }";
const UPDATE: &str = "
    mutation($input: UpdateConnectionInput!) {
        sso { update(input: $input) { id } }
    }";

/// Bob's first log-in by the connection.
async fn bob_by_connection(world: &World, id: &str) -> Browser {
    let bob = world.browser().in_tenant("acme");
    world.issuer.identifies(json!({ "sub": "8", "email": BOB }));
    assert_eq!(world.logs_in(&bob, id).await, "done");
    for gateway in gateways(world) {
        bob.at_url(&gateway).data(PERMISSIONS, ()).await;
    }
    bob
}

/// The gateway that the change goes to, and another one. Cookies belong to the name of the host.
fn gateways(world: &World) -> [String; 2] {
    let other = world.backend.url().replace("127.0.0.1", "localhost");
    [world.url.clone(), other]
}

/// Asserts that a session is not valid any more at any gateway.
async fn ends_everywhere(world: &World, session: &Browser, what: &str) {
    for gateway in gateways(world) {
        let session = session.at_url(&gateway);
        soon(what, || async {
            let answer = session.gql(PERMISSIONS, ()).await;
            code_of(&answer) == "UNAUTHENTICATED"
        })
        .await;
    }
}

/// The cookie of the session that an answer starts.
fn session_of(response: &reqwest::Response) -> String {
    let cookies = response.headers().get_all(SET_COOKIE).iter();
    let mut cookies = cookies.map(|cookie| cookie.to_str().unwrap());
    let session = cookies.find(|cookie| cookie.starts_with("session="));
    session.unwrap().split(';').next().unwrap().to_owned()
}

/// Subscribes to the events of acme, at the other gateway.
async fn subscribed(world: &World, session: &str) -> Socket {
    let headers = [("cookie", session), ("x-tenant", "acme")];
    let mut socket = Socket::open(&world.backend, &headers).await.unwrap();
    let variables = json!({ "after": null, "areas": null });
    socket.subscribe("1", EVENTS, variables).await;
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_everywhere_with_the_deletion_of_its_connection() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let bob = bob_by_connection(&world, &id).await;
    ada.data(DELETE, json!({ "id": id })).await;
    ends_everywhere(&world, &bob, "the end with the connection").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_everywhere_with_the_deletion_of_its_tenant() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let bob = bob_by_connection(&world, &id).await;
    ada.data(DELETE_ACME, ()).await;
    ends_everywhere(&world, &bob, "the end with the tenant").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_everywhere_when_its_identity_is_unlinked() {
    let world = World::start().await;
    let (_ada, id) = world.verified().await;
    let owner = world.person(BOB).await;
    world.issuer.identifies(json!({ "sub": "8", "email": BOB }));
    assert_eq!(world.logs_in(&owner, &id).await, "linking");
    owner.data(LINK, ()).await;
    let bob = bob_by_connection(&world, &id).await;
    let identity = owner.data(CREDENTIALS, ()).await;
    let identity = text(&identity, "/credentials/identities/0/id");
    owner.data(UNLINK, json!({ "id": identity })).await;
    ends_everywhere(&world, &bob, "the end with the identity").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_ended_with_its_connection_is_not_listed() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let owner = world.person(BOB).await;
    world.issuer.identifies(json!({ "sub": "8", "email": BOB }));
    assert_eq!(world.logs_in(&owner, &id).await, "linking");
    owner.data(LINK, ()).await;
    bob_by_connection(&world, &id).await;
    let listed = async || {
        let sessions = owner.data("{ sessions { current } }", ()).await;
        list(&sessions["sessions"]).len()
    };
    assert_eq!(listed().await, 2);
    ada.data(DELETE, json!({ "id": id })).await;
    assert_eq!(listed().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_everywhere_with_what_its_connection_trusted() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let bob = bob_by_connection(&world, &id).await;
    let update = async |mut changes: Value| {
        changes["id"] = json!(id);
        ada.data(UPDATE, input(changes)).await;
    };
    update(json!({ "name": "Acme Inc.", "role": "MEMBER" })).await;
    assert!(succeeded(&bob.gql(PERMISSIONS, ()).await));
    update(json!({ "trustsTwoFactors": true })).await;
    ends_everywhere(&world, &bob, "the end with the trust").await;

    let again = bob_by_connection(&world, &id).await;
    let other = Provider::start().await;
    let issuer = json!({ "issuer": other.url, "clientSecret": CLIENT_SECRET });
    update(issuer).await;
    ends_everywhere(&world, &again, "the end with the issuer").await;
    ends_everywhere(&world, &bob, "no return of the first session").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_that_waits_ends_with_what_its_connection_trusted() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let bob = world.browser().in_tenant("acme");
    world
        .issuer
        .identifies(json!({ "sub": "8", "email": "x@other.example" }));
    // The address is not the connection's, so the identity waits for a code by mail.
    assert_eq!(world.logs_in(&bob, &id).await, "code");
    let update = input(json!({ "id": id, "trustsTwoFactors": true }));
    ada.data(UPDATE, update).await;
    let mail = bob.mail("x@other.example", "in which you asked for it", 1);
    let code = crate::support::code(&mail.await);
    let params = json!({ "email": "x@other.example", "code": code });
    let by_code = input(json!({ "service": "EmailCode", "params": params }));
    assert_eq!(bob.code(LOGIN, by_code).await, "UNAUTHENTICATED");
    assert!(!bob.is_logged_in().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_ends_with_the_connection_of_its_session() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    world.issuer.identifies(json!({ "sub": "8", "email": BOB }));
    let bob = world.browser();
    let start = bob.visit(&format!("/oauth/{id}/start")).await.unwrap();
    let back = bob.url(&world.issuer.sends_back(&start));
    let session = session_of(&bob.http().get(back).send().await.unwrap());
    let mut socket = subscribed(&world, &session).await;
    ada.data(DELETE, json!({ "id": id })).await;
    assert_eq!(socket.refusal().await, "UNAUTHENTICATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_ends_when_its_tenant_begins_to_demand_the_connection() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let carl = world.person("carl@example.com").await;
    ada.add_member(&carl, "carl@example.com", "DEVELOPER").await;
    let by_password = carl
        .post(LOGIN, credentials("carl@example.com", PASSWORD))
        .await;
    let mut socket = subscribed(&world, &session_of(&by_password)).await;

    world.issuer.identifies(json!({ "sub": "7", "email": ADA }));
    assert_eq!(world.logs_in(&ada, &id).await, "linking");
    ada.data(LINK, ()).await;
    let by_issuer = world.browser().in_tenant("acme");
    assert_eq!(world.logs_in(&by_issuer, &id).await, "done");
    let enforce = input(json!({ "id": id, "enforced": true }));
    by_issuer.data(ENFORCE, enforce).await;
    assert_eq!(socket.refusal().await, "SSO_REQUIRED");
}
