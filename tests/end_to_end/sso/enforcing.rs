//! A tenant that demands its own issuer.

use super::*;
use crate::{
    second_factor::LOG_IN,
    services::create,
    support::{CREATE_TOKEN, Device, PERMISSIONS, add_passkey, bad_input, by_passkey, succeeded},
};

const REMOVE: &str = "
    mutation($input: ConnectionDomainInput!) {
        sso { removeDomain(input: $input) { success } }
    }";

fn enforce(id: &str, enforced: bool) -> Value {
    input(json!({ "id": id, "enforced": enforced }))
}

/// Demands the connection, in a session that has begun by it; returns its browser.
async fn enforced(world: &World, id: &str) -> Browser {
    let ada = world.browser();
    ada.log_in(ADA).await;
    world.links(&ada, ADA, id).await;
    let by_issuer = world.comes(ADA, id).await;
    by_issuer.data(ENFORCE, enforce(id, true)).await;
    by_issuer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_may_demand_its_issuer_once_an_administrator_has_come_by_it() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let start_url = format!("{}/oauth/{id}/start", world.url);
    let demanded = json!({ "code": "SSO_REQUIRED", "startUrl": start_url });
    assert_eq!(ada.error(ENFORCE, enforce(&id, true)).await, demanded);

    let by_issuer = enforced(&world, &id).await;
    assert_eq!(ada.error(PERMISSIONS, ()).await, demanded);
    ada.data(PROFILE, ()).await;
    by_issuer.data(PERMISSIONS, ()).await;

    by_issuer.data(ENFORCE, enforce(&id, false)).await;
    ada.data(PERMISSIONS, ()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_everybody_needs_cannot_be_changed_to_what_nobody_has() {
    let world = World::start().await;
    let (_ada, id) = world.verified().await;
    let ada = enforced(&world, &id).await;
    let other_issuer = Provider::start().await;
    for change in [
        json!({ "id": id, "issuer": other_issuer.url, "clientSecret": CLIENT_SECRET }),
        json!({ "id": id, "clientId": "another" }),
    ] {
        assert_eq!(ada.code(UPDATE, input(change)).await, "CONFLICT");
    }
    assert_eq!(ada.code(REMOVE, of(&id, "corp.example")).await, "CONFLICT");
    let change = json!({ "id": id, "name": "Corp", "clientSecret": CLIENT_SECRET });
    let changed = ada.data(UPDATE, input(change)).await;
    assert_eq!(changed["sso"]["update"]["name"], "Corp");
    world.comes(ADA, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_demands_an_issuer_that_the_same_request_has_brought() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    world.links(&ada, ADA, &id).await;
    let by_issuer = world.comes(ADA, &id).await;
    let document = "
        mutation($update: UpdateConnectionInput!, $enforce: EnforceConnectionInput!) {
            sso { update(input: $update) { name } enforce(input: $enforce) { enforced } }
        }";
    let update = json!({ "id": id, "clientId": "another" });
    let enforce = json!({ "id": id, "enforced": true });
    let variables = json!({ "update": update, "enforce": enforce });
    assert_eq!(by_issuer.code(document, variables).await, "CONFLICT");
    // Everybody still gets in by what they have.
    ada.data(PERMISSIONS, ()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_without_passkeys_demands_no_issuer() {
    let world = World::start_at("127.0.0.1").await;
    let (ada, id) = world.verified().await;
    world.links(&ada, ADA, &id).await;
    let by_issuer = world.comes(ADA, &id).await;
    let refused = by_issuer.error(ENFORCE, enforce(&id, true)).await;
    assert_eq!(refused["code"], "BAD_USER_INPUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_may_use_a_passkey_instead_and_others_may_not() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let bob = world.person(BOB).await;
    ada.add_member(&bob, BOB, "ADMIN").await;
    enforced(&world, &id).await;
    let devices = [Device::new(), Device::new()];
    let mut devices = devices.map(|device| device.at(&world.url));
    for (browser, device) in [&ada, &bob].into_iter().zip(&mut devices) {
        add_passkey(browser, device, "Phone").await;
    }
    for (device, expected) in devices.iter_mut().zip([true, false]) {
        let browser = world.browser().in_tenant("acme");
        let proof = by_passkey(&browser, device).await;
        browser.data(LOG_IN, proof).await;
        let answer = browser.gql(PERMISSIONS, ()).await;
        assert_eq!(succeeded(&answer), expected, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_go_on_when_a_tenant_demands_its_issuer() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let (own, _) = ada.create_machine(&world.backend, &["read_project"]).await;
    let service = create(&ada, "Robot", "GUEST").await;
    let token = json!({ "name": "Key", "scopes": ["read_project"], "service": service });
    let token = ada.data(CREATE_TOKEN, input(token)).await;
    let token = text(&token, "/accessToken/create/token");
    let of_service = Browser::machine(&world.backend, &token);
    enforced(&world, &id).await;
    for machine in [own, of_service] {
        machine.at_url(&world.url).data(PERMISSIONS, ()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_issuer_needs_its_own_secret() {
    let world = World::start().await;
    let (ada, id) = world.owner(ADA, "acme").await;
    let other = Provider::start().await;
    let change = json!({ "id": id, "issuer": other.url });
    let refused = ada.error(UPDATE, input(change.clone())).await;
    assert_eq!(refused, bad_input("clientSecret"));
    let mut change = change;
    change["clientSecret"] = json!(CLIENT_SECRET);
    change["role"] = json!("MEMBER");
    let changed = ada.data(UPDATE, input(change)).await;
    assert_eq!(changed["sso"]["update"]["role"], "MEMBER");
}
