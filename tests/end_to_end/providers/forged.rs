//! Answers of providers that must not be trusted. In each case, the address is that of somebody who
//! has an account.

use super::{hosts, *};
use crate::support::Signed;

const VICTIM: &str = "ada@gmail.com";

pub fn ada_at_google() -> Value {
    json!({ "sub": "7", "email": VICTIM, "email_verified": true })
}

/// The owner of the address that all answers name.
pub struct Victim(Browser);

impl Victim {
    pub async fn of(world: &World) -> Self {
        let ada = world.browser();
        ada.sign_up(VICTIM).await;
        Self(ada)
    }

    /// Asserts that nobody has got into the account.
    pub async fn is_safe(&self, what: &str) {
        assert!(identities(&self.0).await.is_empty(), "{what}");
        let shown = self.0.data(PROOFS, ()).await;
        assert_eq!(shown["sessions"].as_array().unwrap().len(), 1, "{what}");
    }
}

/// Asserts that nobody gets in by this answer.
async fn is_refused(world: &World, victim: &Victim, what: &str) {
    let browser = world.browser();
    let learned = world.logs_in(&browser, "google").await;
    assert_eq!(learned, "failed&reason=refused", "{what}");
    assert!(!browser.is_logged_in().await, "{what}");
    victim.is_safe(what).await;
}

const SIGNATURES: [Signed; 3] = [Signed::Foreign, Signed::None, Signed::Hs256];

fn headers() -> Vec<Value> {
    vec![
        json!({ "kid": "other" }),
        json!({ "alg": "RS256" }),
        json!({ "alg": "none" }),
        json!({ "alg": "HS256" }),
        json!({ "crit": ["exp"] }),
        json!({ "jwk": { "kty": "oct" }, "kid": "other" }),
    ]
}

fn claims() -> Vec<Value> {
    let now = jiff::Timestamp::now().as_second();
    vec![
        json!({ "iss": "https://accounts.google.com" }),
        json!({ "iss": null }),
        json!({ "aud": "them" }),
        json!({ "aud": ["us", "them"] }),
        json!({ "aud": null }),
        json!({ "azp": "them" }),
        json!({ "nonce": "other" }),
        json!({ "nonce": null }),
        json!({ "exp": now - 120 }),
        json!({ "exp": null }),
        json!({ "iat": now + 600 }),
        json!({ "iat": now - 3_600 }),
        json!({ "iat": null }),
        json!({ "at_hash": "AAAAAAAAAAAAAAAAAAAAAA" }),
        json!({ "sub": "" }),
        json!({ "sub": null }),
        json!({ "sub": "7".repeat(300) }),
    ]
}

fn user_infos() -> Vec<Value> {
    vec![
        json!({ "sub": "8" }),
        json!({ "sub": null }),
        json!({ "sub": 7 }),
    ]
}

/// Sets of keys; `own` is the one that has signed.
fn key_sets() -> Vec<Value> {
    vec![
        json!([]),
        json!([{ "kty": "RSA", "kid": "own", "n": "A".repeat(100_000), "e": "AQAB" }]),
        json!([{ "kty": "oct", "kid": "own", "k": "AAAA" }]),
        json!(["x"]),
        json!([{ "kty": "EC", "crv": "P-256", "kid": "own", "x": "AA", "y": "AA" }]),
        json!([{ "kty": "x".repeat(300 * 1024) }, "own"]),
        json!(["own", { "kty": "x".repeat(300 * 1024) }]),
    ]
}

const ISSUERS: [&str; 3] = ["", "&iss=https%3A%2F%2Faccounts.google.com", "&iss="];
/// Of providers without discovery.
const FIXED_ISSUERS: [&str; 3] = [
    "https%3A%2F%2Faccounts.google.com",
    "https%3A%2F%2Fgithub.com",
    "",
];
const WITHOUT_DISCOVERY: [(&str, &str); 2] =
    [("github", "login=linking"), ("facebook", "login=code")];

#[test]
fn sixty_hostile_cases_are_tried() {
    let tokens = SIGNATURES.len() + headers().len() + claims().len();
    let answers = tokens + user_infos().len() + key_sets().len() + ISSUERS.len();
    let fixed = FIXED_ISSUERS.len() * WITHOUT_DISCOVERY.len();
    let hosts = hosts::documents().len() + hosts::PRIVATE_HOSTS.len();
    let cases = answers + fixed + hosts;
    assert!(cases >= 60, "{cases}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_id_token_lets_nobody_in() {
    let world = World::start().await;
    let victim = Victim::of(&world).await;
    let provider = &world.provider;
    provider.identifies(ada_at_google());
    for signed in SIGNATURES {
        provider.signs(signed);
        is_refused(&world, &victim, &format!("{signed:?}")).await;
    }
    provider.signs(Signed::Own);
    for header in headers() {
        provider.header(header.clone());
        is_refused(&world, &victim, &header.to_string()).await;
    }
    provider.header(json!({}));
    for claims in claims() {
        provider.claims(claims.clone());
        is_refused(&world, &victim, &claims.to_string()).await;
    }
    assert_eq!(documents_of(&world.backend, "account").await.len(), 1);
    provider.claims(json!({}));
    assert_eq!(world.logs_in(&world.browser(), "google").await, "linking");
    victim.is_safe("an honest answer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn user_info_about_another_person_lets_nobody_in() {
    let world = World::start().await;
    let victim = Victim::of(&world).await;
    world.provider.identifies(ada_at_google());
    // So the address is asked for.
    world.provider.claims(json!({ "email": null }));
    for info in user_infos() {
        world.provider.user_info(info.clone());
        is_refused(&world, &victim, &info.to_string()).await;
    }
    world.provider.user_info(json!({}));
    assert_eq!(world.logs_in(&world.browser(), "google").await, "linking");
}

/// One party for each of these, and a world that knows all of them as `p0`, `p1` and so on.
pub async fn parties<T>(cases: &[T], prepare: impl Fn(&Provider, &T)) -> (World, Vec<Provider>) {
    let (mut parties, mut entries) = (Vec::new(), Vec::new());
    for (at, case) in cases.iter().enumerate() {
        let party = Provider::start().await;
        party.identifies(ada_at_google());
        prepare(&party, case);
        entries.push(entry(&format!("p{at}"), "google", &party.url));
        parties.push(party);
    }
    let world = World::with(Provider::start().await, entries, &["127.0.0.0/8"]).await;
    (world, parties)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_trusted_let_nobody_in() {
    let mut cases = key_sets();
    let hostile = cases.len();
    cases.push(json!([{ "kty": "x" }, "own"]));
    let publishes = |party: &Provider, keys: &Value| party.publishes(keys.clone());
    let (world, parties) = parties(&cases, publishes).await;
    let victim = Victim::of(&world).await;
    for (at, party) in parties.iter().enumerate() {
        let browser = world.browser();
        let start = format!("/oauth/p{at}/start");
        let back = party.sends_back(&browser.visit(&start).await.unwrap());
        let to = browser.visit(&back).await.unwrap();
        let expected = match at < hostile {
            true => "/account/login?login=failed&reason=refused",
            false => "/account/login?login=linking",
        };
        assert_eq!(to, expected, "{at}");
        victim.is_safe(&at.to_string()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_names_the_issuer_that_was_asked() {
    let world = World::start().await;
    let victim = Victim::of(&world).await;
    world.provider.identifies(ada_at_google());
    for issuer in ISSUERS {
        let browser = world.browser();
        let back = world.begins(&browser, "google").await;
        let (without, _) = back.split_once("&iss=").unwrap();
        let to = browser.visit(&format!("{without}{issuer}")).await.unwrap();
        assert!(to.ends_with("login=failed&reason=refused"), "{to}");
        victim.is_safe(issuer).await;
    }
    assert_eq!(world.provider.redeemed(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_without_discovery_may_name_its_issuer_and_no_other() {
    let world = World::start().await;
    let victim = Victim::of(&world).await;
    world.provider.identifies(ada_at_google());
    for (name, expected) in WITHOUT_DISCOVERY {
        for issuer in FIXED_ISSUERS {
            let browser = world.browser();
            let back = world.begins(&browser, name).await;
            let (without, _) = back.split_once("&iss=").unwrap();
            let page = format!("{without}&iss={issuer}");
            let to = browser.visit(&page).await.unwrap();
            assert!(
                to.ends_with("login=failed&reason=refused"),
                "{issuer}: {to}"
            );
            victim.is_safe(issuer).await;
        }
        let redeemed = world.provider.redeemed();
        let browser = world.browser();
        let back = world.begins(&browser, name).await;
        let (without, _) = back.split_once("&iss=").unwrap();
        let to = browser.visit(without).await.unwrap();
        assert!(to.ends_with(expected), "{to}");
        assert_eq!(world.provider.redeemed(), redeemed + 1);
        world
            .provider
            .identifies(json!({ "sub": "8", "email": "bob@example.com" }));
    }
    assert_eq!(world.provider.redeemed(), 2);
    victim.is_safe("honest answers").await;
}
