//! What happens when time passes.

use serde_json::{Value, json};

use super::running::{Running, id, text};

async fn subscribed(stripe: &Running, card: &str, further: &str) -> (String, String) {
    let customer = stripe.customer(card).await;
    let price = stripe.price("usd", 1_000).await;
    let subscription = stripe.subscribe(&customer, &price, further).await;
    (customer, format!("/v1/subscriptions/{}", id(&subscription)))
}

async fn invoices(stripe: &Running) -> Vec<Value> {
    let list = stripe.read("/v1/invoices?limit=100").await;
    list["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn each_period_has_an_invoice() {
    let stripe = Running::start().await;
    subscribed(&stripe, "pm_card_visa", "").await;
    stripe.pass_days(95).await;
    let invoices = invoices(&stripe).await;
    assert_eq!(invoices.len(), 4);
    assert_eq!(invoices[0]["billing_reason"], "subscription_cycle");
    assert!(invoices.iter().all(|invoice| invoice["status"] == "paid"));
}

#[tokio::test]
async fn a_trial_is_announced_and_then_costs() {
    let stripe = Running::start().await;
    let (_, path) = subscribed(&stripe, "pm_card_visa", "&trial_period_days=14").await;
    assert_eq!(stripe.read(&path).await["status"], "trialing");
    assert_eq!(invoices(&stripe).await[0]["total"], 0);
    let announced = "customer.subscription.trial_will_end".to_owned();
    assert!(!stripe.events().await.contains(&announced));
    stripe.pass_days(12).await;
    assert!(stripe.events().await.contains(&announced));
    assert_eq!(stripe.read(&path).await["status"], "trialing");
    stripe.pass_days(3).await;
    assert_eq!(stripe.read(&path).await["status"], "active");
    assert_eq!(invoices(&stripe).await[0]["total"], 1_000);
}

#[tokio::test]
async fn a_trial_without_a_card_ends_as_it_was_asked_to() {
    let stripe = Running::start().await;
    let price = stripe.price("usd", 1_000).await;
    for (behavior, status) in [("cancel", "canceled"), ("create_invoice", "past_due")] {
        let customer = id(&stripe.ok("/v1/customers", "").await);
        let further = format!(
            "&trial_period_days=1&trial_settings[end_behavior][missing_payment_method]={behavior}"
        );
        let subscription = stripe.subscribe(&customer, &price, &further).await;
        stripe.pass_days(2).await;
        let found = stripe
            .read(&format!("/v1/subscriptions/{}", id(&subscription)))
            .await;
        assert_eq!(found["status"], status);
    }
}

#[tokio::test]
async fn a_failed_renewal_is_tried_again_and_then_ends_the_subscription() {
    let stripe = Running::start().await;
    let (customer, path) = subscribed(&stripe, "pm_card_visa", "").await;
    let card = stripe.attach(&customer, "pm_card_chargeCustomerFail").await;
    stripe
        .ok(&path, &format!("default_payment_method={card}"))
        .await;
    stripe.pass_days(32).await;
    assert_eq!(stripe.read(&path).await["status"], "past_due");
    stripe.pass_days(10).await;
    assert_eq!(invoices(&stripe).await[0]["attempt_count"], 3);
    stripe.pass_days(7).await;
    let found = stripe.read(&path).await;
    assert_eq!(found["status"], "canceled");
    assert_eq!(found["cancellation_details"]["reason"], "payment_failed");
    assert_eq!(invoices(&stripe).await[0]["status"], "void");
}

#[tokio::test]
async fn a_new_card_ends_the_dunning() {
    let stripe = Running::start().await;
    let (customer, path) = subscribed(&stripe, "pm_card_visa", "").await;
    let card = stripe.attach(&customer, "pm_card_chargeCustomerFail").await;
    stripe
        .ok(&path, &format!("default_payment_method={card}"))
        .await;
    stripe.pass_days(32).await;
    let card = stripe.attach(&customer, "pm_card_mastercard").await;
    stripe
        .ok(&path, &format!("default_payment_method={card}"))
        .await;
    stripe.pass_days(3).await;
    assert_eq!(stripe.read(&path).await["status"], "active");
}

#[tokio::test]
async fn a_subscription_ends_with_its_period_unless_it_is_resumed() {
    let stripe = Running::start().await;
    let (_, ends) = subscribed(&stripe, "pm_card_visa", "").await;
    let (_, resumed) = subscribed(&stripe, "pm_card_visa", "").await;
    for path in [&ends, &resumed] {
        let found = stripe.ok(path, "cancel_at_period_end=true").await;
        let end = &found["items"]["data"][0]["current_period_end"];
        assert_eq!(
            (&found["cancel_at"], &found["status"]),
            (end, &json!("active"))
        );
    }
    let found = stripe.ok(&resumed, "cancel_at_period_end=false").await;
    assert!(found["cancel_at"].is_null() && found["canceled_at"].is_null());
    stripe.pass_days(32).await;
    assert_eq!(stripe.read(&ends).await["status"], "canceled");
    assert_eq!(stripe.read(&resumed).await["status"], "active");
    // The end costs nothing more.
    assert_eq!(invoices(&stripe).await.len(), 3);
}

#[tokio::test]
async fn a_subscription_that_is_never_paid_expires_after_a_day() {
    let stripe = Running::start().await;
    let (_, path) = subscribed(&stripe, "pm_card_chargeCustomerFail", "").await;
    stripe.pass_days(1).await;
    assert_eq!(stripe.read(&path).await["status"], "incomplete_expired");
    assert_eq!(invoices(&stripe).await[0]["status"], "void");
}

#[tokio::test]
async fn time_does_not_go_back() {
    let stripe = Running::start().await;
    let request = stripe.request(reqwest::Method::POST, "/_test/clock");
    let answer = request
        .json(&json!({ "advance": -1 }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 400);
}

#[tokio::test]
async fn events_that_time_causes_name_no_request() {
    let stripe = Running::start().await;
    subscribed(&stripe, "pm_card_visa", "").await;
    let newest = |list: Value| list["data"][0].clone();
    let event = newest(stripe.read("/v1/events?type=invoice.paid").await);
    assert!(text(&event["request"]["id"]).starts_with("req_"));
    stripe.pass_days(32).await;
    let event = newest(stripe.read("/v1/events?type=invoice.paid").await);
    assert!(event["request"]["id"].is_null());
}
