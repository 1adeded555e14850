//! Answers of providers that must not be trusted.

use super::*;
use crate::support::Signed;

fn ada_at_google() -> Value {
    json!({ "sub": "7", "email": "ada@gmail.com", "email_verified": true })
}

/// Asserts that nobody gets in by this answer.
async fn is_refused(world: &World, what: &str) {
    let browser = world.browser();
    let learned = world.logs_in(&browser, "google").await;
    assert_eq!(learned, "failed&reason=refused", "{what}");
    assert!(!browser.is_logged_in().await, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_id_token_lets_nobody_in() {
    let world = World::start().await;
    let provider = &world.provider;
    provider.identifies(ada_at_google());
    for signed in [Signed::Foreign, Signed::None, Signed::Hs256] {
        provider.signs(signed);
        is_refused(&world, &format!("{signed:?}")).await;
    }
    provider.signs(Signed::Own);
    for header in [
        json!({ "kid": "other" }),
        json!({ "alg": "RS256" }),
        json!({ "alg": "none" }),
        json!({ "alg": "HS256" }),
        json!({ "crit": ["exp"] }),
        json!({ "jwk": { "kty": "oct" }, "kid": "other" }),
    ] {
        provider.header(header.clone());
        is_refused(&world, &header.to_string()).await;
    }
    provider.header(json!({}));
    let now = jiff::Timestamp::now().as_second();
    for claims in [
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
    ] {
        provider.claims(claims.clone());
        is_refused(&world, &claims.to_string()).await;
    }
    assert!(documents_of(&world.backend, "account").await.is_empty());
    provider.claims(json!({}));
    assert_eq!(world.logs_in(&world.browser(), "google").await, "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn user_info_about_another_person_lets_nobody_in() {
    let world = World::start().await;
    world.provider.identifies(ada_at_google());
    // So the address is asked for.
    world.provider.claims(json!({ "email": null }));
    for info in [
        json!({ "sub": "8" }),
        json!({ "sub": null }),
        json!({ "sub": 7 }),
    ] {
        world.provider.user_info(info.clone());
        is_refused(&world, &info.to_string()).await;
    }
    world.provider.user_info(json!({}));
    assert_eq!(world.logs_in(&world.browser(), "google").await, "done");
}

/// One party for each of these, and a world that knows all of them as `p0`, `p1` and so on.
async fn parties<T>(cases: &[T], prepare: impl Fn(&Provider, &T)) -> (World, Vec<Provider>) {
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
    let cases = [
        json!([]),
        json!([{ "kty": "RSA", "kid": "own", "n": "A".repeat(100_000), "e": "AQAB" }]),
        json!([{ "kty": "oct", "kid": "own", "k": "AAAA" }]),
        json!(["x"]),
        json!([{ "kty": "EC", "crv": "P-256", "kid": "own", "x": "AA", "y": "AA" }]),
        json!([{ "kty": "x".repeat(300 * 1024) }]),
    ];
    let publishes = |party: &Provider, keys: &Value| party.publishes(keys.clone());
    let (world, parties) = parties(&cases, publishes).await;
    for (at, party) in parties.iter().enumerate() {
        let browser = world.browser();
        let start = format!("/oauth/p{at}/start");
        let back = party.sends_back(&browser.visit(&start).await.unwrap());
        let to = browser.visit(&back).await.unwrap();
        assert_eq!(to, "/account/login?login=failed&reason=refused", "{at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_names_the_issuer_that_was_asked() {
    let world = World::start().await;
    world.provider.identifies(ada_at_google());
    for issuer in ["", "&iss=https%3A%2F%2Faccounts.google.com", "&iss="] {
        let browser = world.browser();
        let back = world.begins(&browser, "google").await;
        let (without, _) = back.split_once("&iss=").unwrap();
        let to = browser.visit(&format!("{without}{issuer}")).await.unwrap();
        assert!(to.ends_with("login=failed&reason=refused"), "{to}");
    }
    assert_eq!(world.provider.redeemed(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_without_discovery_may_name_its_issuer_and_no_other() {
    let world = World::start().await;
    world.provider.identifies(ada_at_google());
    for (name, expected) in [("github", "login=done"), ("facebook", "login=code")] {
        for issuer in [
            "https%3A%2F%2Faccounts.google.com",
            "https%3A%2F%2Fgithub.com",
            "",
        ] {
            let browser = world.browser();
            let back = world.begins(&browser, name).await;
            let (without, _) = back.split_once("&iss=").unwrap();
            let page = format!("{without}&iss={issuer}");
            let to = browser.visit(&page).await.unwrap();
            assert!(
                to.ends_with("login=failed&reason=refused"),
                "{issuer}: {to}"
            );
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
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_another_issuer_or_of_private_servers_sends_nobody_anywhere() {
    let cases = [
        json!({ "issuer": "https://accounts.google.com" }),
        json!({ "issuer": null }),
        json!({ "token_endpoint": "https://10.0.0.1/token" }),
        json!({ "jwks_uri": "http://169.254.169.254/latest" }),
        json!({ "userinfo_endpoint": "https://[::ffff:10.0.0.1]/userinfo" }),
        json!({ "authorization_endpoint": "javascript:alert(1)" }),
        json!({ "authorization_endpoint": "http://192.0.2.1/authorize" }),
        json!({ "token_endpoint": "file:///etc/passwd" }),
        Value::Null,
    ];
    let describes = |party: &Provider, metadata: &Value| {
        if metadata.is_null() {
            party.redirects();
        } else {
            party.describes(metadata.clone());
        }
    };
    let (world, parties) = parties(&cases, describes).await;
    assert_eq!(parties.len(), cases.len());
    for (at, case) in cases.iter().enumerate() {
        let start = format!("/oauth/p{at}/start");
        let to = world.browser().visit(&start).await.unwrap();
        assert_eq!(to, "/account/login?login=failed&reason=refused", "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_in_a_private_network_is_not_asked_unless_the_operator_allows_it() {
    let provider = Provider::start().await;
    let port = provider.url.rsplit_once(':').unwrap().1.to_owned();
    let hosts = [
        "127.0.0.1",
        "localhost",
        "[::ffff:127.0.0.1]",
        "10.0.0.1",
        "169.254.169.254",
    ];
    let named = hosts
        .iter()
        .enumerate()
        .map(|(at, host)| entry(&format!("p{at}"), "oidc", &format!("https://{host}:{port}")));
    let world = World::with(provider.clone(), named.collect(), &["192.0.2.0/24"]).await;
    for (at, host) in hosts.iter().enumerate() {
        let start = format!("/oauth/p{at}/start?return_to=/a");
        let to = world.browser().visit(&start).await.unwrap();
        assert_eq!(to, "/a?login=failed&reason=unavailable", "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_stops_no_other_way_to_log_in() {
    let provider = Provider::start().await;
    // Nobody listens there.
    let away = entry("google", "google", "http://127.0.0.1:1");
    let world = World::with(provider, vec![away], &["127.0.0.0/8"]).await;
    let ada = world.ada().await;
    let began = std::time::Instant::now();
    let to = world.browser().visit("/oauth/google/start").await.unwrap();
    assert_eq!(to, "/account/login?login=failed&reason=unavailable");
    assert!(began.elapsed().as_secs() < 6);
    ada.log_in(ADA).await;
}
