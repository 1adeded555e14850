//! How often a tenant is read at Stripe. If two read it at the same time, the later record is not the
//! older state.

use events_schema::{
    Commit,
    billing::{self, Event},
};
use serde_json::{Value, json};

use super::account::{Account, Tenant};
use crate::support::{eventually, operator, text};

/// The seats that the log has recorded of a tenant's subscription, in order.
async fn recorded(account: &Account, tenant: &Tenant) -> Vec<u64> {
    let events = operator(&account.backend).await.get_stream("EVENTS").await;
    let (events, key) = (events.unwrap(), tenant.key);
    let last = events.get_info().await.unwrap().state.last_sequence;
    let mut seats = Vec::new();
    for sequence in 1..=last {
        let message = events.get_raw_message(sequence).await.unwrap();
        if message.subject.as_str() != format!("evt.{key}.billing.{key}") {
            continue;
        }
        let commit: Commit<billing::Area> = serde_json::from_slice(&message.payload).unwrap();
        for event in commit.events {
            if let Event::SubscriptionRecorded { subscription, .. } = event {
                seats.push(subscription.quantity);
            }
        }
    }
    seats
}

/// How often a list of subscriptions was asked for.
async fn lists(account: &Account) -> usize {
    let seen = account.seen().await.into_iter();
    let is_list =
        |request: &Value| request["method"] == "GET" && request["path"] == "/v1/subscriptions";
    seen.filter(is_list).count()
}

/// Delivers the event that a subscription has begun.
async fn tell_begin(account: &Account) {
    let events = account.events().await;
    let is_begin = |event: &&Value| event["type"] == "customer.subscription.created";
    let begin = text(events.iter().find(is_begin).unwrap(), "/id");
    let deliver = json!({ "events": [begin] });
    account.control("deliver", deliver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_news_is_recorded_after_one_look_at_the_subscriptions() {
    let account = Account::open().await;
    account.control("delivery", json!({ "mode": "omit" })).await;
    let tenant = account.tenant("weavers").await;
    account.subscribe(&tenant, 3).await;
    tell_begin(&account).await;
    account.settle().await;
    assert_eq!(recorded(&account, &tenant).await, [3]);
    assert_eq!(lists(&account).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_was_overtaken_reads_again_before_it_records() {
    let account = Account::open().await;
    account.control("delivery", json!({ "mode": "omit" })).await;
    let tenant = account.tenant("weavers").await;
    let subscription = account.subscribe(&tenant, 3).await;
    let path = format!("subscriptions/{subscription}");
    let item = text(&account.get(&path).await, "/items/data/0/id");

    // The first one reads three seats, and gets the answer late.
    let hold = json!({ "method": "GET", "path": "/v1/subscriptions", "next": 1, "kind": "hold" });
    account.control("faults", hold).await;
    tell_begin(&account).await;
    eventually("the answer that is held", || async {
        lists(&account).await == 1
    })
    .await;
    let seats = [("items[0][id]", item.as_str()), ("items[0][quantity]", "9")];
    account.post(&path, &seats).await;
    // The second one records nine.
    let (differences, remaining) = account.reconcile(false).await;
    assert_eq!((differences.len(), remaining), (1, 0), "{differences:?}");

    account.release().await;
    account.settle().await;
    assert_eq!(recorded(&account, &tenant).await, [9], "seats, in order");
    let (differences, _) = account.reconcile(true).await;
    assert_eq!(differences, []);
    eventually("nine seats", || async {
        account.view(&tenant).await["payment"]["subscription"]["quantity"] == 9
    })
    .await;
}
