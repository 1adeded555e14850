//! A full replay of the log sends Stripe nothing.

use local::Local;
use serde_json::Value;

use super::{
    attach, change, pending, root,
    seats::{per_seat, seats},
};
use crate::{
    mail::{outbox, replay},
    support::{INVITE, ada_in_acme, eventually, invite, start, text},
};

/// The requests that change something at Stripe, in order.
async fn changes(backend: &Local) -> Vec<String> {
    let url = format!("{}/_test/requests", backend.stripe_url().unwrap());
    let seen = reqwest::get(url).await.unwrap();
    let seen: Vec<Value> = seen.json().await.unwrap();
    // A preview changes nothing.
    let is_change = |request: &&Value| {
        request["method"] != "GET" && request["path"] != "/v1/invoices/create_preview"
    };
    let changes = seen.iter().filter(is_change);
    changes
        .map(|request| format!("{} {}", text(request, "/method"), text(request, "/path")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_replay_of_the_log_sends_stripe_nothing() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let small = per_seat(&root, &ada, 500).await;
    let large = per_seat(&root, &ada, 1_000).await;
    attach(&backend, &ada, "pm_card_visa").await;
    for choice in [small, large] {
        change(&ada, choice).await;
        pending(&ada, Value::Null).await;
    }
    ada.data(INVITE, invite("bob@example.com", "GUEST")).await;
    seats(&backend, &ada, 2).await;
    let nothing_is_due = || async { outbox(&backend).await.is_empty() };
    eventually("an empty outbox", nothing_is_due).await;

    let before = changes(&backend).await;
    let replayed = replay(&backend).await;
    for expected in [
        "effects_record_prices",
        "effects_change_subscription",
        "effects_follow_seats",
    ] {
        let is_replayed = replayed.iter().any(|name| name == expected);
        assert!(is_replayed, "{expected}: {replayed:?}");
    }
    eventually("an empty outbox", nothing_is_due).await;
    // A later change is sent behind the whole replay.
    ada.data(INVITE, invite("eve@example.com", "GUEST")).await;
    seats(&backend, &ada, 3).await;
    let after = changes(&backend).await;
    let [rest @ .., last] = after.as_slice() else {
        panic!("no request");
    };
    assert_eq!(rest, before);
    assert!(last.starts_with("POST /v1/subscriptions/"), "{last}");
}
