//! Stripe fails while tenants pay. Nothing is doubled or lost, and nothing else waits for it.

use std::time::{Duration, Instant};

use local::Local;
use serde_json::{Value, json};

use super::{
    BILLING, CHANGE, INVOICES, SETUP, attach, back, control, listed, pending, priced, root,
};
use crate::support::{Browser, create_project, eventually, input, list, start, succeeded};

/// How long a project may take while Stripe fails. A request that hangs would take ten seconds.
const PROJECT_WITHIN: Duration = Duration::from_secs(5);

/// Lets all requests to Stripe fail until [`back`].
async fn fail(backend: &Local, fault: &Value) {
    let mut fault = fault.clone();
    fault["next"] = 1_000_000.into();
    control(backend, "faults", fault).await;
}

/// Creates a project, which does not wait for Stripe.
async fn create_at_once(owner: &Browser, name: &str, fault: &Value) {
    let asked = Instant::now();
    create_project(owner, name).await;
    let taken = asked.elapsed();
    assert!(taken < PROJECT_WITHIN, "{taken:?} during {fault}");
}

/// A tenant saves a card and subscribes, and Stripe fails so at both.
async fn subscribe_during(backend: &Local, owner: &Browser, choice: &Value, fault: &Value) {
    fail(backend, fault).await;
    let (refused, ()) = tokio::join!(
        owner.gql(SETUP, ()),
        create_at_once(owner, "While a card is saved", fault)
    );
    let code = &refused["errors"][0]["extensions"]["code"];
    assert_eq!(code, "UNAVAILABLE", "{fault}: {refused}");
    back(backend).await;
    eventually("a customer", || async {
        succeeded(&owner.gql(SETUP, ()).await)
    })
    .await;
    attach(backend, owner, "pm_card_visa").await;

    forget_requests(backend).await;
    fail(backend, fault).await;
    owner.data(CHANGE, input(choice.clone())).await;
    create_at_once(owner, "While the plan is chosen", fault).await;
    eventually("an attempt to subscribe", || async {
        !seen(backend).await.is_empty()
    })
    .await;
    let billing = owner.data(BILLING, ()).await["billing"].clone();
    assert_eq!(billing["pendingChange"]["status"], "PENDING", "{fault}");
    back(backend).await;
    let billing = pending(owner, Value::Null).await;
    assert_eq!(billing["subscription"]["status"], "ACTIVE", "{fault}");
}

fn requests_url(backend: &Local) -> String {
    format!("{}/_test/requests", backend.stripe_url().unwrap())
}

async fn forget_requests(backend: &Local) {
    let forget = reqwest::Client::new().delete(requests_url(backend));
    forget.send().await.unwrap();
}

/// The requests that Stripe has seen.
async fn seen(backend: &Local) -> Vec<Value> {
    let seen = reqwest::get(requests_url(backend)).await.unwrap();
    seen.json().await.unwrap()
}

/// Asserts what Stripe has of a tenant at the end.
async fn assert_once(backend: &Local, owner: &Browser, fault: &Value) {
    let tenant = owner.data("{ tenant { id } }", ()).await["tenant"]["id"].clone();
    let customers = listed(backend, "customers?limit=100").await;
    let is_own = |customer: &&Value| customer["metadata"]["ub_tenant"] == tenant;
    let own: Vec<_> = customers.iter().filter(is_own).collect();
    let [customer] = own.as_slice() else {
        panic!("{fault}: {own:?}");
    };
    let all = format!(
        "subscriptions?status=all&customer={}",
        customer["id"].as_str().unwrap()
    );
    assert_eq!(listed(backend, &all).await.len(), 1, "{fault}");
    let invoices = owner.data(INVOICES, ()).await["billing"]["invoices"].clone();
    let [invoice] = list(&invoices).as_slice() else {
        panic!("{fault}: {invoices}");
    };
    let charged = (&invoice["status"], &invoice["total"]["amount"]);
    assert_eq!(charged, (&json!("PAID"), &json!(900)), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn however_stripe_fails_projects_are_created_and_a_tenant_subscribes_once() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    let root = root(&backend).await;
    ada.create_tenant("first").await;
    let team = priced(&root, &ada.in_tenant("first"), 900, "EUR").await;
    for (slug, fault) in [
        ("hang", json!({ "kind": "hang" })),
        ("error", json!({ "kind": "answer", "status": 500 })),
        (
            "limit",
            json!({ "kind": "answer", "status": 429, "retryAfter": 1 }),
        ),
        ("cut", json!({ "kind": "cut_after" })),
    ] {
        ada.create_tenant(slug).await;
        let owner = ada.in_tenant(slug);
        subscribe_during(&backend, &owner, &team, &fault).await;
        assert_once(&backend, &owner, &fault).await;
    }
}
