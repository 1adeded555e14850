//! Logging in by the issuer of an organization.

use super::*;
use crate::support::{eventually, input, provider, text};

const CREATE: &str = "
    mutation($input: CreateConnectionInput!) { sso { create(input: $input) { id } } }";
const ADD: &str = "
    mutation($input: ConnectionDomainInput!) { sso { addDomain(input: $input) { name value } } }";
const VERIFY: &str = "
    mutation($input: ConnectionDomainInput!) { sso { verifyDomain(input: $input) { status } } }";
const STATUS: &str = "{ sso { domains { status } } }";

/// Makes a tenant whose issuer names the addresses of `corp.example`. Its owner has no passkey, so
/// the password suffices.
async fn brings_an_issuer(world: &World) {
    let owner = Browser::signed_up(&world.backend, "carl@example.com").await;
    owner.create_tenant("acme").await;
    let owner = owner.in_tenant("acme");
    let connection = json!({
        "name": "Acme", "issuer": world.provider.url, "clientId": provider::CLIENT,
        "clientSecret": provider::CLIENT_SECRET, "role": "GUEST",
    });
    let created = owner.data(CREATE, input(connection)).await;
    let domain = input(json!({
        "id": text(&created, "/sso/create/id"), "domain": "corp.example",
    }));
    let added = owner.data(ADD, &domain).await;
    let record = &added["sso"]["addDomain"];
    world
        .dns
        .publishes(&text(record, "/name"), &text(record, "/value"));
    owner.data(VERIFY, &domain).await;
    eventually("the domain", || async {
        owner.data(STATUS, ()).await["sso"][0]["domains"][0]["status"] == "VERIFIED"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/browser/run"]
async fn the_page_leads_a_person_to_the_issuer_of_their_organization() {
    let mut world = logged_out("/account/login").await;
    brings_an_issuer(&world).await;
    let person = json!({ "sub": "8", "email": "bob@corp.example" });
    world.provider.identifies(person);
    world.page.type_in("email", "bob@corp.example").await;
    world.page.shows("Log in with Acme").await;
    // Another address belongs to nobody's organization.
    world.page.type_in("email", ADA).await;
    let is_gone = "!document.body.innerText.includes('Log in with Acme')";
    world.page.until(is_gone).await;
    world.page.type_in("email", "bob@corp.example").await;
    world.page.press("Log in with Acme").await;
    let is_there = format!("location.href.startsWith({})", json!(world.provider.url));
    world.page.until(&is_there).await;
    let at = world.page.evaluate("location.href").await;
    let back = world.provider.sends_back(at.as_str().unwrap());
    let back = format!("{}{back}", world.url());
    world.page.go(&back).await;
    world.page.arrives_at("/account/security").await;
    // The issuer vouches for Bob in the tenant alone, and the page is about the account.
    world.page.shows("Where is the code to go?").await;
    world.page.type_in("email", "bob@corp.example").await;
    world.page.press("Continue").await;
    world.page.shows("A code was mailed").await;
    let code = world.mailed("bob@corp.example", 1).await;
    world.page.type_in("code", &code).await;
    world.page.press("Continue").await;
    world.page.shows("Your organization").await;
}
