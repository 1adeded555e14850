//! The domains whose addresses a connection may name.

use std::time::Duration;

use events_schema::{
    Command, CommandId, ConnectionId, DomainName, EmailAddress, TenantId, TenantKey, Time,
    connection::{self, Finding},
};

use super::*;
use crate::support::send_command_of_worker;

const REMOVE: &str = "
    mutation($input: ConnectionDomainInput!) {
        sso { removeDomain(input: $input) { success } }
    }";
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_proves_no_address_of_a_domain_that_is_not_verified() {
    let world = World::start().await;
    let (ada, id) = world.owner(ADA, "acme").await;
    ada.data(ADD, of(&id, "corp.example")).await;
    let unproved = verify(&ada, &id, "corp.example").await;
    assert_eq!(unproved["lastCheck"], "MISSING", "{unproved}");
    for email in [BOB, "victim@example.com"] {
        let browser = world.browser();
        assert_eq!(world.tries(&browser, email, &id).await, "code", "{email}");
        assert_eq!(browser.code(PROFILE, ()).await, "UNAUTHENTICATED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_tenants_that_verify_one_domain_at_once_one_gets_it() {
    let world = World::start().await;
    let (ada, bob) = join!(
        world.owner(ADA, "acme"),
        world.owner("bob@example.com", "other")
    );
    let name = "shared.example";
    world.publish(&ada.0, &ada.1, name).await;
    world.publish(&bob.0, &bob.1, name).await;
    let (first, second) = join!(verify(&ada.0, &ada.1, name), verify(&bob.0, &bob.1, name));
    let mut found = [&first, &second].map(|one| (text(one, "/status"), text(one, "/lastCheck")));
    found.sort();
    let expected = [("UNVERIFIED", "TAKEN"), ("VERIFIED", "FOUND")];
    assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_is_removed_proves_nothing_and_is_free_for_another_tenant() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    ada.data(REMOVE, of(&id, "corp.example")).await;
    let browser = world.browser();
    assert_eq!(world.tries(&browser, BOB, &id).await, "code");
    let (other, other_id) = world.owner("eve@example.com", "other").await;
    world.publish(&other, &other_id, "corp.example").await;
    let domain = verify(&other, &other_id, "corp.example").await;
    assert_eq!(domain["status"], "VERIFIED", "{domain}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_that_does_not_answer_is_told_as_such() {
    let world = World::start().await;
    let (ada, id) = world.owner(ADA, "acme").await;
    world.publish(&ada, &id, "corp.example").await;
    world.dns.falls_silent();
    let domain = verify(&ada, &id, "corp.example").await;
    assert_eq!(domain["lastCheck"], "UNAVAILABLE", "{domain}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owners_learn_that_a_record_is_missing_and_that_the_domain_is_lost() {
    let world = World::start().await;
    let (ada, id) = world.owner(ADA, "acme").await;
    let record = world.publish(&ada, &id, "corp.example").await;
    verify(&ada, &id, "corp.example").await;
    world.dns.withdraws(&text(&record, "/name"));
    ada.data(VERIFY, of(&id, "corp.example")).await;
    let is_missing = async || domain(&ada).await["lastCheck"] == "MISSING";
    eventually("the check", is_missing).await;
    let shown = domain(&ada).await;
    assert_eq!(shown["status"], "VERIFIED", "it counts on");
    let until = text(&shown, "/verifiedUntil");
    let warning = ada.mail(ADA, "was not found", 1).await;
    let day = until[8..10].trim_start_matches('0');
    let date = format!("missing until {day} ");
    let words = text(&warning, "/text");
    let words: Vec<_> = words.split_whitespace().collect();
    assert!(words.join(" ").contains(&date), "{date}: {warning}");

    let tenant = ada.data(ME, ()).await;
    let tenant = TenantKey::parse(&text(&tenant, "/me/tenant/id")).unwrap();
    let check = connection::Command::RecordCheck {
        connection: ConnectionId::parse(&id).unwrap(),
        domain: DomainName::parse("corp.example").unwrap(),
        challenge: text(&record, "/value"),
        finding: Finding::Missing,
        owners: vec![EmailAddress::parse(ADA).unwrap()],
    };
    let later = Time::from(std::time::SystemTime::now() + WEEK);
    let id = CommandId(event_store::random_id().unwrap());
    let command = Command::by_system(id, TenantId::Platform, tenant, later, check);
    send_command_of_worker::<connection::Area>(&world.backend, command).await;
    let is_lost = async || domain(&ada).await["status"] == "UNVERIFIED";
    eventually("the loss", is_lost).await;
    ada.mail(ADA, "has been missing for a week", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_in_a_private_network_is_refused() {
    let world = World::start().await;
    let (ada, _) = world.owner(ADA, "acme").await;
    for issuer in [
        "https://10.0.0.1",
        "https://169.254.169.254",
        "https://[::ffff:10.0.0.1]",
        "http://8.8.8.8",
    ] {
        let error = ada.error(CREATE, connection(issuer)).await;
        let expected = json!({ "code": "BAD_USER_INPUT", "field": "issuer" });
        assert_eq!(error, expected, "{issuer}");
    }
}
