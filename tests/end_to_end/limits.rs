//! The limits of clients without an account: how often they may do something, and how they learn of
//! it.

use reqwest::{Response, header::HeaderMap};
use serde_json::{Value, json};

use crate::support::{Browser, LOGIN, OTHER_PASSWORD, code_of, credentials, start_with, succeeded};

/// A gateway that learns clients' addresses from the header `x-client`.
async fn start(limits: &[&str]) -> local::Local {
    start_with(&[&["--client-address-header", "x-client"], limits].concat()).await
}

fn client(backend: &local::Local, address: &str) -> Browser {
    Browser::new(backend).with_header("x-client", address)
}

async fn login(browser: &Browser, email: &str) -> (HeaderMap, Value) {
    let response: Response = browser
        .post(LOGIN, credentials(email, OTHER_PASSWORD))
        .await;
    (response.headers().clone(), response.json().await.unwrap())
}

fn number(headers: &HeaderMap, name: &str) -> u64 {
    headers[name].to_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_learns_from_headers_how_much_it_may_do() {
    let backend = start(&["--stranger-limit", "3/hour"]).await;
    let eve = client(&backend, "6.6.6.6");
    for remaining in [2, 1, 0] {
        let (headers, answer) = login(&eve, "nobody@example.com").await;
        assert_eq!(code_of(&answer), "UNAUTHENTICATED");
        assert_eq!(number(&headers, "ratelimit-limit"), 3);
        assert_eq!(number(&headers, "ratelimit-remaining"), remaining);
        assert_eq!(
            number(&headers, "ratelimit-reset"),
            (3 - remaining) * 20 * 60
        );
        assert!(headers.get("retry-after").is_none());
    }
    let (headers, answer) = login(&eve, "nobody@example.com").await;
    assert_eq!(code_of(&answer), "RATE_LIMITED");
    let seconds = answer["errors"][0]["extensions"]["retryAfter"].as_u64();
    assert_eq!(seconds, Some(number(&headers, "retry-after")));
    assert!(seconds.is_some_and(|seconds| (1_100..=1_200).contains(&seconds)));
    let (headers, _) = login(&client(&backend, "7.7.7.7"), "nobody@example.com").await;
    assert_eq!(number(&headers, "ratelimit-remaining"), 2, "another client");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_addresses_of_one_ipv6_network_are_one_client() {
    let backend = start(&["--stranger-limit", "1/hour"]).await;
    let ask = async |address: &str| {
        let (_, answer) = login(&client(&backend, address), "nobody@example.com").await;
        code_of(&answer).clone()
    };
    assert_eq!(ask("2001:db8::1").await, "UNAUTHENTICATED");
    assert_eq!(ask("2001:db8::ffff:2").await, "RATE_LIMITED");
    assert_eq!(ask("2001:db8:0:1::1").await, "UNAUTHENTICATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_flood_an_address_and_a_known_device_still_logs_in() {
    let backend = start(&["--address-limit", "5/hour"]).await;
    let ada = client(&backend, "7.7.7.7");
    ada.sign_up("ada@example.com").await;
    let mut refused = 0;
    for number in 0..6 {
        let eve = client(&backend, &format!("6.6.6.{number}"));
        let (_, answer) = login(&eve, "ada@example.com").await;
        refused += usize::from(code_of(&answer) == "RATE_LIMITED");
    }
    assert!(refused > 0);
    ada.log_in("ada@example.com").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_are_limited_per_client_and_per_domain() {
    let limits = [
        "--registration-limit",
        "2/hour",
        "--registration-domain-limit",
        "3/hour",
    ];
    let backend = start(&limits).await;
    let register = async |address: &str, email: &str| {
        let answer = client(&backend, address).register(email).await;
        (succeeded(&answer), code_of(&answer).clone())
    };
    let (accepted, refused) = ((true, Value::Null), (false, json!("RATE_LIMITED")));
    assert_eq!(register("6.6.6.6", "a@example.com").await, accepted);
    assert_eq!(register("6.6.6.6", "b@example.com").await, accepted);
    assert_eq!(register("6.6.6.6", "c@example.org").await, refused);
    assert_eq!(register("7.7.7.7", "c@example.com").await, accepted);
    assert_eq!(register("8.8.8.8", "d@example.com").await, refused);
    assert_eq!(register("8.8.8.8", "d@example.org").await, accepted);
}
