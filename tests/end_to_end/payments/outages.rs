//! Answers that are lost after Stripe has acted, and a key that Stripe does not accept any more.

use local::Local;
use mongodb::{
    Client,
    bson::{DateTime, Document, doc},
};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    BILLING, CHANGE, INVOICES, SETUP, attach, control, listed, pending, priced, privacy,
    process::Variables, root,
};
use crate::{
    cargo_dev::Dev,
    secrets::Seen,
    support::{
        CREATE_PROJECT, PLATFORM, ada_in_acme, add_second_factor, await_administration, eventually,
        input, list, start, succeeded,
    },
};

/// Lets Stripe act on the next request to a path, whose answer is lost.
async fn lose_answer(backend: &Local, kind: &str, path: &str) {
    let fault = json!({ "kind": kind, "next": 1, "method": "POST", "path": path });
    control(backend, "faults", fault).await;
}

/// A tenant saves a card, subscribes and upgrades, and the answer to each first request is lost.
async fn nothing_is_doubled_if_answers_are_lost(kind: &str) {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let small = priced(&root, &ada, 900, "EUR").await;
    let large = priced(&root, &ada, 2_000, "EUR").await;
    lose_answer(&backend, kind, "/v1/customers").await;
    eventually("a customer", || async {
        succeeded(&ada.gql(SETUP, ()).await)
    })
    .await;
    attach(&backend, &ada, "pm_card_visa").await;
    lose_answer(&backend, kind, "/v1/subscriptions").await;
    ada.data(CHANGE, input(small)).await;
    pending(&ada, Value::Null).await;
    lose_answer(&backend, kind, "/v1/subscriptions/").await;
    ada.data(CHANGE, input(large)).await;
    let billing = pending(&ada, Value::Null).await;
    assert_eq!(billing["plan"]["name"], "Team 2000 EUR", "{billing}");

    let url = format!("{}/_test/requests", backend.stripe_url().unwrap());
    let seen = reqwest::get(url).await.unwrap().json::<Vec<Value>>().await;
    let lost = seen.unwrap();
    let lost = lost.iter().filter(|request| request["status"].is_null());
    assert_eq!(lost.count(), 3, "answers that were lost");
    assert_eq!(listed(&backend, "customers").await.len(), 1);
    assert_eq!(listed(&backend, "subscriptions?status=all").await.len(), 1);
    let invoices = ada.data(INVOICES, ()).await;
    let invoices = list(&invoices["billing"]["invoices"]);
    let totals: Vec<_> = invoices
        .iter()
        .map(|invoice| {
            (
                &invoice["status"],
                invoice["total"]["amount"].as_i64().unwrap(),
            )
        })
        .collect();
    let [(upgraded, difference), (begun, first)] = totals[..] else {
        panic!("{totals:?}");
    };
    assert!(upgraded == "PAID" && begun == "PAID", "{totals:?}");
    assert!(
        first == 900 && (1_090..=1_100).contains(&difference),
        "{totals:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_after_stripe_has_acted_doubles_nothing() {
    nothing_is_doubled_if_answers_are_lost("cut_after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_hangs_after_stripe_has_acted_doubles_nothing() {
    nothing_is_doubled_if_answers_are_lost("hang_after").await;
}

/// Waits until the change is parked for a minute, and lets it be attempted now, as time would.
async fn attempt_now(backend: &Variables) {
    let client = Client::with_uri_str(&backend.mongo().mongo_url).await;
    let platform = client.unwrap().database(PLATFORM);
    let outbox = platform.collection::<Document>("outbox");
    eventually("the change to be parked", || async {
        let now = DateTime::now();
        let later = DateTime::from_millis(now.timestamp_millis() + 20_000);
        let parked = doc! { "due_at": { "$gt": later }, "claimed_until": { "$exists": false } };
        let due = doc! { "$set": { "due_at": now } };
        let made_due = outbox.update_many(parked, due).await.unwrap();
        made_due.modified_count == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_key_is_revoked_changes_wait_operators_are_told_and_workers_are_ready() {
    const ADA: &str = "ada@example.com";
    let folder = tempfile::tempdir().unwrap();
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let dev = Dev::start_logging(&data, &log, &[]).await;
    let stripe = Variables::of(&data);
    let ada = dev.browser();
    ada.sign_up(ADA).await;
    add_second_factor(&ada).await;
    stripe.make_platform_admin(ADA).await;
    await_administration(&ada).await;
    ada.create_tenant("acme").await;
    let ada = ada.in_tenant("acme");
    let mut seen = Seen::default();
    let team = privacy::priced(&mut seen, &ada, 900).await;
    privacy::save(&mut seen, &stripe, &ada, "pm_card_visa").await;

    let revoked = json!({ "kind": "answer", "status": 401, "next": 1_000_000 });
    stripe.control(Method::POST, "faults", &revoked).await;
    ada.data(CHANGE, input(team)).await;
    let metric = |metrics: &str| {
        let mut lines = metrics.lines();
        lines.any(|line| {
            line.starts_with("ub_stripe_duration_seconds_count") && line.contains("result=\"key\"")
        })
    };
    let metrics = format!("{}/metrics", dev.monitor_url);
    eventually("the figure of the alarm", || async {
        metric(&dev.get(&metrics).await.text().await.unwrap())
    })
    .await;
    let billing = ada.data(BILLING, ()).await["billing"].clone();
    assert_eq!(billing["pendingChange"]["status"], "PENDING", "{billing}");
    dev.get(&format!("{}/readyz", dev.monitor_url)).await;
    ada.data(CREATE_PROJECT, input(json!({ "name": "Fly" })))
        .await;
    let is_told = |line: &str| line.contains("ERROR") && line.contains("accept UB_STRIPE_KEY");
    eventually("an error that names the setting", || async {
        let logged = std::fs::read_to_string(&log).unwrap();
        logged.lines().any(is_told)
    })
    .await;

    stripe.control(Method::DELETE, "faults", &Value::Null).await;
    attempt_now(&stripe).await;
    let billing = pending(&ada, Value::Null).await;
    assert_eq!(billing["subscription"]["status"], "ACTIVE", "{billing}");
}
