//! What others try with the log-in of somebody.

use futures_util::future::join_all;
use reqwest::header::SET_COOKIE;

use super::*;
use crate::{
    secrets::{Seen, check_streams},
    support::{VERIFY, operator, provider::ACCESS_TOKEN},
};

fn ada_at_google() -> Value {
    let hd = "example.com";
    json!({ "sub": "7", "email": ADA, "email_verified": true, "hd": hd })
}

async fn is_refused(browser: &Browser, page: &str) {
    let to = browser.visit(page).await.unwrap();
    let path = to.strip_suffix("login=failed&reason=ended");
    // The page that the log-in was begun for, if this browser has begun one.
    let pages = [Some("/account/login?"), Some("/projects?a=b&")];
    assert!(pages.contains(&path), "{page}: {to}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_copies_of_a_callback_lead_to_one_success() {
    let world = World::start().await;
    world.provider.identifies(ada_at_google());
    let browser = world.browser();
    let back = world.begins(&browser, "google").await;
    let copies = join_all((0..50).map(|_| browser.visit(&back))).await;
    let is_done = |to: &&Result<String, _>| to.as_ref().unwrap().ends_with("login=done");
    let count = copies.iter().filter(is_done).count();
    assert_eq!((count, world.provider.redeemed()), (1, 1));
    assert_eq!(documents_of(&world.backend, "account").await.len(), 1);
    is_refused(&browser, &back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_serves_the_browser_that_has_begun_and_the_provider_that_was_asked() {
    let world = World::start().await;
    world.provider.identifies(ada_at_google());
    let browser = world.browser();
    let back = world.begins(&browser, "google").await;
    is_refused(&world.browser(), &back).await;
    let eve = world.browser();
    world.begins(&eve, "google").await;
    is_refused(&eve, &back).await;
    let state = back
        .split("state=")
        .nth(1)
        .unwrap()
        .split('&')
        .next()
        .unwrap();
    is_refused(&browser, &back.replace(state, "")).await;
    is_refused(&browser, &back.replace(state, &"A".repeat(43))).await;
    is_refused(&browser, back.split("state=").next().unwrap()).await;
    is_refused(&browser, &back.replace("state=", "state=a&state=")).await;
    assert_eq!(world.provider.redeemed(), 0);
    // The browser has not lost its log-in.
    assert!(browser.visit(&back).await.unwrap().ends_with("login=done"));

    let back = world.begins(&browser, "google").await;
    is_refused(&browser, &back.replace("/google/", "/corp/")).await;
    let unknown = browser.visit(&back.replace("/google/", "/none/")).await;
    assert_eq!(unknown.unwrap_err().status(), 404);
    assert_eq!(world.provider.redeemed(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_of_another_log_in_is_worth_nothing() {
    let world = World::start().await;
    world.provider.identifies(ada_at_google());
    let (ada, eve) = (world.browser(), world.browser());
    let of_ada = world.begins(&ada, "google").await;
    let of_eve = world.begins(&eve, "google").await;
    let code = |back: &str| back.split(['=', '&']).nth(1).unwrap().to_owned();
    let injected = of_eve.replace(&code(&of_eve), &code(&of_ada));
    let to = eve.visit(&injected).await.unwrap();
    assert!(to.ends_with("login=failed&reason=refused"), "{to}");
    assert!(!eve.is_logged_in().await);
    assert_eq!(world.provider.redeemed(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_declines_comes_back_and_may_try_again() {
    let world = World::start().await;
    world.provider.identifies(ada_at_google());
    let browser = world.browser();
    let back = world.begins(&browser, "google").await;
    let code = back.split(['=', '&']).nth(1).unwrap();
    let declined = back.replace(&format!("code={code}"), "error=access_denied");
    let to = browser.visit(&declined).await.unwrap();
    assert!(to.ends_with("login=failed&reason=declined"), "{to}");
    assert_eq!(world.logs_in(&browser, "google").await, "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_returns_to_this_deployment_only() {
    let world = World::start().await;
    world.provider.identifies(ada_at_google());
    for (asked, expected) in [
        ("%2Fprojects%3Fa%3Db%23c", "/projects?a=b&login=done#c"),
        ("//evil.example", "/account/login?login=done"),
        ("%2F%5Cevil.example", "/account/login?login=done"),
        ("%5Cevil.example", "/account/login?login=done"),
        ("https%3A%2F%2Fevil.example", "/account/login?login=done"),
        ("javascript:alert(1)", "/account/login?login=done"),
        ("%2F.%2F%2Fevil.example", "/account/login?login=done"),
        ("%2Fa%2F..%2F%2Fevil.example", "/account/login?login=done"),
        ("%2F%252e%2F%2Fevil.example", "/account/login?login=done"),
        ("%2F%09%2Fevil.example", "/account/login?login=done"),
        ("%2F%0D%0ASet-Cookie:%20a", "/account/login?login=done"),
        ("", "/account/login?login=done"),
    ] {
        let browser = world.browser();
        let start = format!("/oauth/google/start?return_to={asked}");
        let at_provider = browser.visit(&start).await.unwrap();
        let back = world.provider.sends_back(&at_provider);
        assert_eq!(browser.visit(&back).await.unwrap(), expected, "{asked}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_comes_too_often_learns_it_on_a_page() {
    let world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    let entries = vec![entry("google", "google", &world.provider.url)];
    let allowed = ["127.0.0.0/8"];
    let gateway = gateway_with(&world.backend, &folder, entries, &allowed, |config| {
        config.limits.stranger_limit = "1/hour".parse().unwrap();
    });
    let gateway = gateway.await;
    let browser = Browser::new(&world.backend).at_gateway(&gateway);
    let start = "/oauth/google/start?return_to=/a";
    let at_provider = browser.visit(start).await.unwrap();
    let back = world.provider.sends_back(&at_provider);
    for page in [start, &back] {
        let to = browser.visit(page).await.unwrap();
        assert_eq!(to, "/a?login=failed&reason=rate_limited", "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_registered_an_address_before_its_owner_keeps_nothing() {
    let world = World::start().await;
    let eve = world.browser();
    eve.register(ADA).await;
    let code = code(&eve.mail(ADA, "code", 1).await);
    world.provider.identifies(ada_at_google());
    let ada = world.browser();
    assert_eq!(world.logs_in(&ada, "google").await, "done");
    // Even if the owner passes on the code.
    let verify = input(json!({ "email": ADA, "code": code }));
    assert_eq!(eve.error(VERIFY, verify).await["code"], "BAD_USER_INPUT");
    assert!(!succeeded(&eve.login(ADA, PASSWORD).await));
    let credentials = ada.data(CREDENTIALS, ()).await;
    assert_eq!(credentials["credentials"]["hasPassword"], false);
    assert_eq!(identities(&ada).await, ["google"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_begins_no_log_in_without_the_person() {
    let world = World::start().await;
    world.provider.identifies(ada_at_google());
    let ada = world.browser();
    world.logs_in(&ada, "google").await;
    let start = "/oauth/google/start?return_to=/a";
    let from = |site| ada.with_header("sec-fetch-site", site);
    let page = from("cross-site").visit(start).await.unwrap_err();
    assert_eq!(page.status(), 403);
    assert!(page.headers().get(SET_COOKIE).is_none());
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(page.headers()["x-frame-options"], "DENY");
    // A link to the page itself, which then comes from this site.
    assert!(page.text().await.unwrap().contains(r#"<a href="">"#));
    for site in ["same-origin", "same-site", "none"] {
        assert!(from(site).visit(start).await.is_ok(), "{site}");
    }
    let link = r#"mutation { credential { startLink(provider: "google") } }"#;
    let url = text(&ada.data(link, ()).await, "/credential/startLink");
    assert!(from("cross-site").visit(&url).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_that_nobody_ends_is_stored_nowhere() {
    let world = World::start().await;
    world.provider.identifies(ada_at_google());
    let browser = world.browser();
    for _ in 0..3 {
        world.begins(&browser, "google").await;
    }
    let nats = operator(&world.backend).await;
    let stored = async || {
        let mut stream = nats.get_stream("KV_FLOWS").await.unwrap();
        stream.info().await.unwrap().state.messages
    };
    assert_eq!(stored().await, 0);
    world.logs_in(&browser, "google").await;
    assert_eq!(stored().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_cookie_of_a_log_in_is_bound_to_the_host() {
    let world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    let entries = vec![entry("google", "google", &world.provider.url)];
    let file = folder.path().join("providers.json");
    std::fs::write(&file, json!({ "providers": entries }).to_string()).unwrap();
    let gateway = Gateway::start(&world.backend, |config| {
        config.posture.public_url = "https://localhost".to_owned();
        config.providers.providers_file = Some(file);
        config.providers.outbound_allow =
            vec![events_schema::IpNetwork::parse("127.0.0.0/8").unwrap()];
    })
    .await;
    let browser = Browser::new(&world.backend).at_gateway(&gateway);
    let start = browser.http().get(browser.url("/oauth/google/start"));
    let response = start.send().await.unwrap();
    let cookie = response.headers()[SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("__Host-flow="), "{cookie}");
    assert!(cookie.ends_with("; HttpOnly; SameSite=Lax; Path=/; Max-Age=600; Secure"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_stored_completes_a_log_in() {
    let world = World::start().await;
    world.provider.identifies(ada_at_google());
    let mut seen = Seen::default();
    for is_completed in [false, true] {
        let browser = world.browser();
        let start = browser.http().get(browser.url("/oauth/google/start"));
        let response = start.send().await.unwrap();
        let cookie = response.headers()[SET_COOKIE].to_str().unwrap();
        let token = cookie.split(['=', ';']).nth(1).unwrap();
        seen.secret("the token of the browser", token);
        let at_provider = response.headers()["location"].to_str().unwrap();
        let url = reqwest::Url::parse(at_provider).unwrap();
        for (name, value) in url.query_pairs() {
            if matches!(name.as_ref(), "state" | "nonce") {
                seen.secret(&name, &value);
            }
        }
        let back = world.provider.sends_back(at_provider);
        seen.secret("the code", back.split(['=', '&']).nth(1).unwrap());
        if is_completed {
            assert_eq!(
                browser.visit(&back).await.unwrap(),
                "/account/login?login=done"
            );
        }
    }
    seen.secret("the access token", ACCESS_TOKEN);
    seen.secret("the client secret", CLIENT_SECRET);
    let nats = operator(&world.backend).await;
    check_streams(&seen, &nats, &["EVENTS", "KV_FLOWS"]).await;
    let accounts = documents_of(&world.backend, "account").await;
    seen.check("an account", &json!(accounts).to_string());
}
