//! Usage that costs something.

use local::Local;
use serde_json::{Value, json};
use workers::{Difference, DifferenceKind};

use super::{CREATE_PLAN, PLANS, at_stripe, metered, stripe, usage};
use crate::{
    billing::{create_plan, root},
    payments::{attach, change, control, pending, stripe as post},
    stripe::account,
    support::{Browser, ada_in_acme, bad_input, create_project, eventually, input, start, text},
};

const BILLING: &str = "{
    billing {
        plan { id } upcomingInvoice { total { amount } }
        invoices { total { amount } status }
    }
}";
const PREVIEW: &str = "
    query($input: ChangeSubscriptionInput!) {
        billing { previewChange(input: $input) { dueNow { amount } next { amount } } }
    }";

/// A plan that costs nine euros a month, and so many cents for ten projects.
fn priced(name: &str, cents: i64) -> Value {
    let mut plan = metered();
    plan["name"] = name.into();
    plan["unitPrices"] = json!([{
        "meter": "projects_created", "units": 10,
        "amount": { "amount": cents, "currency": "EUR" },
    }]);
    plan
}

/// Creates a plan; returns the input that chooses it, once Stripe knows its prices.
async fn offered(root: &Browser, ada: &Browser, plan: Value) -> Value {
    let name = plan["name"].clone();
    let id = create_plan(root, plan).await;
    let plans = ada.data("{ plans { id name prices { id } } }", ()).await;
    let plans = plans["plans"].as_array().unwrap().clone();
    let plan = plans.iter().find(|plan| plan["id"] == *id).unwrap();
    assert_eq!(plan["name"], name);
    let choice = json!({ "plan": id, "price": plan["prices"][0]["id"] });
    eventually("prices that Stripe knows", || async {
        let preview = ada.gql(PREVIEW, input(choice.clone())).await;
        preview["errors"].is_null()
    })
    .await;
    choice
}

async fn upcoming(ada: &Browser) -> Value {
    let billing = ada.data(BILLING, ()).await;
    billing["billing"]["upcomingInvoice"]["total"]["amount"].clone()
}

/// The subscription at Stripe.
async fn subscription(backend: &Local) -> Value {
    let all = stripe(backend, "v1/subscriptions").await;
    all["data"][0].clone()
}

/// What ten projects cost by the items of the subscription; null for nothing.
async fn price_at_stripe(backend: &Local) -> Value {
    let subscription = subscription(backend).await;
    let items = subscription["items"]["data"].as_array().unwrap().clone();
    let mut usage = items
        .iter()
        .filter(|item| !item["price"]["recurring"]["meter"].is_null());
    let price = usage
        .next()
        .map(|item| item["price"]["unit_amount_decimal"].clone());
    assert!(usage.next().is_none(), "usage is paid for twice: {items:?}");
    price.unwrap_or_default()
}

/// Compares billings with Stripe.
async fn reconcile(backend: &Local, is_dry_run: bool) -> (Vec<Difference>, u64) {
    account::reconcile(backend, is_dry_run).await.unwrap()
}

/// Uses so many projects, once the plan counts, and waits until Stripe knows of them.
async fn use_projects(backend: &Local, ada: &Browser, count: usize) {
    eventually("the first count", || async {
        usage(ada).await != json!([])
    })
    .await;
    for number in 0..count {
        create_project(ada, &format!("Project {number}")).await;
    }
    eventually("the reports", || async {
        at_stripe(backend).await == count
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_on_the_upcoming_invoice_and_paid_with_the_period() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    // Before the plan, it costs nothing.
    create_project(&ada, "Before").await;
    let team = offered(&root, &ada, priced("Team", 25)).await;
    let plans = ada.data(PLANS, ()).await["plans"].clone();
    let expected = json!([{ "units": 10, "amount": { "amount": 25, "currency": "EUR" } }]);
    assert_eq!(plans[0]["meters"][0]["prices"], expected);
    attach(&backend, &ada, "pm_card_visa").await;
    let preview = ada.data(PREVIEW, input(team.clone())).await;
    let costs = json!({ "dueNow": { "amount": 900 }, "next": { "amount": 900 } });
    assert_eq!(preview["billing"]["previewChange"], costs);
    change(&ada, team).await;
    pending(&ada, Value::Null).await;
    assert_eq!(price_at_stripe(&backend).await, "2.5");
    assert_eq!(upcoming(&ada).await, 900);
    use_projects(&backend, &ada, 3).await;
    // Seven and a half cents are eight.
    assert_eq!(upcoming(&ada).await, 908);
    let month = json!({ "advance": 32 * 24 * 60 * 60 });
    control(&backend, "clock", month).await;
    let billing = ada.data(BILLING, ()).await["billing"].clone();
    let invoice = json!({ "total": { "amount": 908 }, "status": "PAID" });
    assert_eq!(billing["invoices"][0], invoice);
    assert_eq!(upcoming(&ada).await, 900);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_plan_has_its_own_price_for_usage_or_none() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let small = offered(&root, &ada, priced("Small", 25)).await;
    let large = offered(&root, &ada, priced("Large", 7)).await;
    let mut flat = metered();
    flat["name"] = "Flat".into();
    let flat = offered(&root, &ada, flat).await;
    attach(&backend, &ada, "pm_card_visa").await;
    for (choice, expected) in [
        (&small, json!("2.5")),
        (&large, json!("0.7")),
        (&flat, Value::Null),
        (&small, json!("2.5")),
    ] {
        ada.data(PREVIEW, input(choice.clone())).await;
        change(&ada, choice.clone()).await;
        pending(&ada, Value::Null).await;
        let plan = ada.data(BILLING, ()).await["billing"]["plan"]["id"].clone();
        assert_eq!(plan, choice["plan"]);
        assert_eq!(price_at_stripe(&backend).await, expected);
    }
}

/// Lets a tenant choose a plan, and waits until that has become of its change.
async fn choose(ada: &Browser, choice: &Value, at: &str, status: Value) {
    let mut choice = choice.clone();
    choice["at"] = at.into();
    change(ada, choice).await;
    pending(ada, status).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_before_a_change_costs_what_the_plan_said_that_the_tenant_had() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let team = offered(&root, &ada, priced("Team", 25)).await;
    let mut flat = metered();
    flat["name"] = "Flat".into();
    let flat = offered(&root, &ada, flat).await;
    attach(&backend, &ada, "pm_card_visa").await;
    choose(&ada, &team, "NOW", Value::Null).await;
    use_projects(&backend, &ada, 3).await;
    control(&backend, "clock", json!({ "advance": 60 })).await;
    for (choice, total) in [(&flat, 908), (&team, 908)] {
        choose(&ada, choice, "NOW", Value::Null).await;
        assert_eq!(upcoming(&ada).await, total);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_costs_what_the_present_plan_says_until_a_planned_one_begins() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let team = offered(&root, &ada, priced("Team", 25)).await;
    let large = offered(&root, &ada, priced("Large", 7_000)).await;
    attach(&backend, &ada, "pm_card_visa").await;
    choose(&ada, &team, "NOW", Value::Null).await;
    use_projects(&backend, &ada, 3).await;
    control(&backend, "clock", json!({ "advance": 60 })).await;
    choose(&ada, &large, "PERIOD_END", json!("PLANNED")).await;
    assert_eq!(upcoming(&ada).await, 908);
    assert_eq!(reconcile(&backend, false).await, (Vec::new(), 0));
    // What is planned can be withdrawn, and wipes out no usage.
    choose(&ada, &team, "PERIOD_END", Value::Null).await;
    assert_eq!(upcoming(&ada).await, 908);
    choose(&ada, &large, "PERIOD_END", json!("PLANNED")).await;
    assert_eq!(price_at_stripe(&backend).await, "2.5");

    let month = json!({ "advance": 32 * 24 * 60 * 60 });
    control(&backend, "clock", month).await;
    pending(&ada, Value::Null).await;
    eventually("the price of the plan that has begun", || async {
        price_at_stripe(&backend).await == "700"
    })
    .await;
    let billing = ada.data(BILLING, ()).await["billing"].clone();
    assert_eq!(billing["plan"]["id"], large["plan"]);
    let invoice = json!({ "total": { "amount": 908 }, "status": "PAID" });
    assert_eq!(billing["invoices"][0], invoice);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_pays_otherwise_for_usage_is_found_and_mended() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let team = offered(&root, &ada, priced("Team", 25)).await;
    attach(&backend, &ada, "pm_card_visa").await;
    change(&ada, team).await;
    pending(&ada, Value::Null).await;
    assert_eq!(reconcile(&backend, true).await, (Vec::new(), 0));
    // Without events, only a comparison finds it.
    control(&backend, "delivery", json!({ "mode": "omit" })).await;
    let subscription = subscription(&backend).await;
    let items = subscription["items"]["data"].as_array().unwrap();
    let metered = items
        .iter()
        .find(|item| !item["price"]["recurring"]["meter"].is_null());
    let removed = text(metered.unwrap(), "/id");
    let path = format!("/v1/subscriptions/{}", text(&subscription, "/id"));
    let remove = [
        ("items[0][id]", removed.as_str()),
        ("items[0][deleted]", "true"),
    ];
    post(&backend, &path, &remove).await;
    assert_eq!(price_at_stripe(&backend).await, Value::Null);
    for is_dry_run in [true, false] {
        let (differences, remaining) = reconcile(&backend, is_dry_run).await;
        let [difference] = differences.as_slice() else {
            panic!("{differences:?}");
        };
        assert!(matches!(
            difference.kind,
            DifferenceKind::UsagePrices { .. }
        ));
        assert_eq!(
            (difference.mended, remaining),
            (!is_dry_run, u64::from(is_dry_run))
        );
    }
    assert_eq!(price_at_stripe(&backend).await, "2.5");
    assert_eq!(reconcile(&backend, true).await, (Vec::new(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_for_usage_that_some_tenants_would_not_pay_is_refused() {
    let backend = start().await;
    let root = root(&backend).await;
    let mut in_dollars = priced("Team", 25);
    in_dollars["unitPrices"][0]["amount"]["currency"] = "USD".into();
    let mut odd = priced("Team", 25);
    odd["unitPrices"][0]["units"] = 12.into();
    for wrong in [in_dollars, odd] {
        let refused = root.error(CREATE_PLAN, input(wrong)).await;
        assert_eq!(refused, bad_input("unitPrices"));
    }
}
