//! Events that Stripe has not sent, or not now, or not to this account.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use local::stripe::WEBHOOK_SECRET;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{account::Account, status};
use crate::support::{Browser, close_stream, eventually, open_stream, operator, start, start_with};

const NEXT_SECRET: &str = "whsec_next_secret_of_this_test";
/// Stripe waits for an answer for ten seconds.
const REFUSED_WITHIN: Duration = Duration::from_secs(10);

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

/// The signature of version 1.
fn v1(secret: &str, time: i64, body: &str) -> String {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{time}.{body}").as_bytes());
    HEXLOWER.encode(&mac.finalize().into_bytes())
}

fn signed(secret: &str, time: i64, body: &str) -> String {
    format!("t={time},v1={}", v1(secret, time, body))
}

fn event(id: &str, customer: &str, is_live: bool) -> String {
    let object = json!({ "object": "subscription", "id": "sub_1", "customer": customer });
    let kind = "customer.subscription.updated";
    let data = json!({ "object": object });
    json!({ "id": id, "type": kind, "livemode": is_live, "data": data }).to_string()
}

async fn send(browser: &Browser, signature: &str, body: String) -> StatusCode {
    let request = browser.http().post(browser.url("/webhooks/stripe"));
    let request = request.header("stripe-signature", signature).body(body);
    request.send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_recent_events_that_stripe_has_signed_are_accepted() {
    let backend = start_with(&["--stripe-webhook-secrets", NEXT_SECRET]).await;
    let stripe = Browser::new(&backend);
    let body = event("evt_1", "cus_1", false);
    for secret in [WEBHOOK_SECRET, NEXT_SECRET] {
        let signature = signed(secret, now(), &body);
        assert_eq!(
            send(&stripe, &signature, body.clone()).await,
            StatusCode::OK
        );
    }
    let one_of_two = format!(
        "{},v1={}",
        signed("whsec_other", now(), &body),
        v1(WEBHOOK_SECRET, now(), &body)
    );
    assert_eq!(
        send(&stripe, &one_of_two, body.clone()).await,
        StatusCode::OK
    );
    let (old, future) = (now() - 310, now() + 310);
    let large = event("evt_1", &"x".repeat(256 * 1024), false);
    let other = event("evt_2", "cus_1", false);
    for (reason, signature, body) in [
        ("forged", signed("whsec_other", now(), &body), body.clone()),
        (
            "another body",
            signed(WEBHOOK_SECRET, now(), &other),
            body.clone(),
        ),
        ("old", signed(WEBHOOK_SECRET, old, &body), body.clone()),
        (
            "from the future",
            signed(WEBHOOK_SECRET, future, &body),
            body.clone(),
        ),
        ("without a signature", format!("t={}", now()), body.clone()),
        (
            "too large",
            signed(WEBHOOK_SECRET, now(), &large),
            large.clone(),
        ),
        (
            "no event",
            signed(WEBHOOK_SECRET, now(), "{}"),
            "{}".to_owned(),
        ),
    ] {
        let refused = send(&stripe, &signature, body).await;
        assert_eq!(refused, StatusCode::BAD_REQUEST, "{reason}");
    }
    let stream = operator(&backend).await.get_stream("STRIPE").await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 1, "the repeated event");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_stored_is_sent_again() {
    let backend = start().await;
    let stripe = Browser::new(&backend);
    let body = event("evt_1", "cus_1", false);
    let send = async || send(&stripe, &signed(WEBHOOK_SECRET, now(), &body), body.clone()).await;
    close_stream(&backend, "STRIPE").await;
    assert_eq!(send().await, StatusCode::SERVICE_UNAVAILABLE);
    open_stream(&backend, "STRIPE").await;
    assert_eq!(send().await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nats_is_away_an_event_is_refused_soon_and_accepted_later() {
    let mut backend = start().await;
    let stripe = Browser::new(&backend);
    let body = event("evt_1", "cus_1", false);
    let send = async || send(&stripe, &signed(WEBHOOK_SECRET, now(), &body), body.clone()).await;
    backend.servers.nats[0].stop().await.unwrap();
    let sent = Instant::now();
    assert_eq!(send().await, StatusCode::SERVICE_UNAVAILABLE);
    let taken = sent.elapsed();
    assert!(taken < REFUSED_WITHIN, "{taken:?}");
    backend.servers.nats[0].restart().await.unwrap();
    // The gateway connects again a moment later.
    eventually("the event to be accepted", || async {
        send().await == StatusCode::OK
    })
    .await;
    let stream = operator(&backend).await.get_stream("STRIPE").await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_the_other_mode_changes_nothing_and_asks_nothing() {
    let account = Account::open().await;
    account.control("delivery", json!({ "mode": "omit" })).await;
    let tenant = account.tenant("weavers").await;
    account.subscribe(&tenant, 3).await;
    let stripe = Browser::new(&account.backend);
    let before = account.requests().await;
    for (is_live, expected) in [(true, "none"), (false, "active")] {
        let body = event(&format!("evt_{is_live}"), &tenant.customer, is_live);
        let signature = signed(WEBHOOK_SECRET, now(), &body);
        assert_eq!(send(&stripe, &signature, body).await, StatusCode::OK);
        account.settle().await;
        assert_eq!(account.requests().await > before, !is_live);
        eventually(expected, || async {
            let view: Value = account.view(&tenant).await;
            status(&view) == expected
        })
        .await;
    }
}
