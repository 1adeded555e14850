//! Subscriptions: how they begin, change and end, and what they cost.

use serde_json::{Value, json};

use super::running::{DAY, Running, id, text};

async fn item_of(stripe: &Running, subscription: &str) -> String {
    let found = stripe
        .read(&format!("/v1/subscriptions/{subscription}"))
        .await;
    id(&found["items"]["data"][0])
}

async fn invoice(stripe: &Running, subscription: &Value) -> Value {
    let id = text(&subscription["latest_invoice"]);
    stripe.read(&format!("/v1/invoices/{id}")).await
}

#[tokio::test]
async fn a_subscription_is_paid_at_once() {
    let stripe = Running::start().await;
    let customer = stripe.customer("pm_card_visa").await;
    let price = stripe.price("jpy", 500).await;
    let subscription = stripe
        .subscribe(&customer, &price, "&items[0][quantity]=3")
        .await;
    assert_eq!(subscription["status"], "active");
    let invoice = invoice(&stripe, &subscription).await;
    assert_eq!(
        (&invoice["total"], &invoice["status"]),
        (&json!(1_500), &json!("paid"))
    );
    assert_eq!(invoice["currency"], "jpy");
    assert_eq!(invoice["amount_remaining"], 0);
}

#[tokio::test]
async fn without_a_card_nothing_begins() {
    let stripe = Running::start().await;
    let customer = id(&stripe.ok("/v1/customers", "").await);
    let price = stripe.price("usd", 500).await;
    let form = format!("customer={customer}&items[0][price]={price}");
    let error = stripe.refused("/v1/subscriptions", &form).await;
    assert_eq!(error["code"], "resource_missing");
    let all = stripe.read("/v1/subscriptions?status=all").await;
    assert_eq!(all["data"], json!([]));
}

#[tokio::test]
async fn a_declined_first_payment_leaves_it_incomplete_or_nothing() {
    let stripe = Running::start().await;
    let customer = stripe.customer("pm_card_chargeCustomerFail").await;
    let price = stripe.price("usd", 500).await;
    let form =
        format!("customer={customer}&items[0][price]={price}&payment_behavior=error_if_incomplete");
    let (status, body) = stripe.post("/v1/subscriptions", &form).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (402, &"card_declined".into())
    );
    assert_eq!(stripe.read("/v1/invoices").await["data"], json!([]));

    let subscription = stripe.subscribe(&customer, &price, "").await;
    assert_eq!(subscription["status"], "incomplete");
    let expand = "expand[]=payments.data.payment.payment_intent";
    let path = format!("/v1/invoices/{}", text(&subscription["latest_invoice"]));
    let invoice = stripe.read(&format!("{path}?{expand}")).await;
    let intent = &invoice["payments"]["data"][0]["payment"]["payment_intent"];
    assert_eq!(
        intent["last_payment_error"]["decline_code"],
        "generic_decline"
    );
    // Another card completes it.
    let card = stripe.attach(&customer, "pm_card_visa").await;
    stripe
        .ok(&format!("{path}/pay"), &format!("payment_method={card}"))
        .await;
    let found = stripe
        .read(&format!("/v1/subscriptions/{}", id(&subscription)))
        .await;
    assert_eq!(found["status"], "active");
}

#[tokio::test]
async fn the_owner_of_a_card_confirms_a_payment() {
    let stripe = Running::start().await;
    let customer = id(&stripe.ok("/v1/customers", "").await);
    let card = stripe
        .attach(&customer, "pm_card_authenticationRequired")
        .await;
    let price = stripe.price("usd", 500).await;
    let further = format!(
        "&default_payment_method={card}\
         &expand[]=latest_invoice.payments.data.payment.payment_intent"
    );
    for (succeeds, status) in [(false, "incomplete"), (true, "active")] {
        let subscription = stripe.subscribe(&customer, &price, &further).await;
        assert_eq!(subscription["status"], "incomplete");
        let payments = &subscription["latest_invoice"]["payments"]["data"];
        let intent = &payments[0]["payment"]["payment_intent"];
        assert_eq!(intent["status"], "requires_action");
        let asked = json!({ "id": intent["id"], "succeeds": succeeds });
        let request = stripe.request(reqwest::Method::POST, "/_test/authenticate");
        let answer = request.json(&asked).send().await.unwrap();
        assert_eq!(answer.status() == 200, succeeds);
        let found = stripe
            .read(&format!("/v1/subscriptions/{}", id(&subscription)))
            .await;
        assert_eq!(found["status"], status);
    }
}

#[tokio::test]
async fn an_upgrade_costs_the_rest_of_the_period_as_previewed() {
    let stripe = Running::start().await;
    let customer = stripe.customer("pm_card_visa").await;
    let (small, large) = (
        stripe.price("usd", 1_000).await,
        stripe.price("usd", 3_000).await,
    );
    let subscription = stripe.subscribe(&customer, &small, "").await;
    let (found, item) = (
        id(&subscription),
        item_of(&stripe, &id(&subscription)).await,
    );
    let period = &subscription["items"]["data"][0];
    let start = period["current_period_start"].as_i64().unwrap();
    let half = i64::midpoint(start, period["current_period_end"].as_i64().unwrap());
    stripe.control("clock", json!({ "to": half })).await;

    let change = format!("[items][0][id]={item}&subscription_details[items][0][price]={large}");
    let form = format!(
        "customer={customer}&subscription={found}&subscription_details{change}\
         &subscription_details[proration_behavior]=always_invoice\
         &subscription_details[proration_date]={half}"
    );
    let preview = stripe.ok("/v1/invoices/create_preview", &form).await;
    assert_eq!(preview["total"], 1_000);
    assert_eq!(preview["lines"]["data"][0]["amount"], -500);

    let form = format!(
        "items[0][id]={item}&items[0][price]={large}&proration_behavior=always_invoice\
         &proration_date={half}&payment_behavior=pending_if_incomplete"
    );
    let changed = stripe
        .ok(&format!("/v1/subscriptions/{found}"), &form)
        .await;
    assert_eq!(changed["items"]["data"][0]["price"]["id"], large.as_str());
    let invoice = invoice(&stripe, &changed).await;
    assert_eq!(invoice["total"], preview["total"]);
    assert_eq!(invoice["status"], "paid");
    assert_eq!(invoice["billing_reason"], "subscription_update");
}

#[tokio::test]
async fn a_downgrade_without_proration_costs_less_with_the_next_period() {
    let stripe = Running::start().await;
    let customer = stripe.customer("pm_card_visa").await;
    let (small, large) = (
        stripe.price("usd", 1_000).await,
        stripe.price("usd", 3_000).await,
    );
    let subscription = stripe.subscribe(&customer, &large, "").await;
    let (found, item) = (
        id(&subscription),
        item_of(&stripe, &id(&subscription)).await,
    );
    let form = format!("items[0][id]={item}&items[0][price]={small}&proration_behavior=none");
    let changed = stripe
        .ok(&format!("/v1/subscriptions/{found}"), &form)
        .await;
    assert_eq!(changed["latest_invoice"], subscription["latest_invoice"]);
    stripe.pass_days(32).await;
    let found = stripe.read(&format!("/v1/subscriptions/{found}")).await;
    assert_eq!(invoice(&stripe, &found).await["total"], 1_000);
}

#[tokio::test]
async fn a_credit_is_used_by_the_next_invoices() {
    let stripe = Running::start().await;
    let customer = stripe.customer("pm_card_visa").await;
    let (small, large) = (
        stripe.price("usd", 1_000).await,
        stripe.price("usd", 3_000).await,
    );
    let subscription = stripe.subscribe(&customer, &large, "").await;
    let (found, item) = (
        id(&subscription),
        item_of(&stripe, &id(&subscription)).await,
    );
    let at = &subscription["items"]["data"][0]["current_period_start"];
    let form = format!(
        "items[0][id]={item}&items[0][price]={small}&proration_behavior=always_invoice\
         &proration_date={at}"
    );
    stripe
        .ok(&format!("/v1/subscriptions/{found}"), &form)
        .await;
    let path = format!("/v1/customers/{customer}");
    assert_eq!(stripe.read(&path).await["balance"], -2_000);
    stripe.pass_days(32).await;
    assert_eq!(stripe.read(&path).await["balance"], -1_000);
    let found = stripe.read(&format!("/v1/subscriptions/{found}")).await;
    let invoice = invoice(&stripe, &found).await;
    assert_eq!(
        (&invoice["total"], &invoice["amount_due"]),
        (&json!(1_000), &json!(0))
    );
}

#[tokio::test]
async fn a_new_interval_begins_at_once() {
    let stripe = Running::start().await;
    let customer = stripe.customer("pm_card_visa").await;
    let month = stripe.price("usd", 1_000).await;
    let year = stripe.price_per("usd", 10_000, "year").await;
    let subscription = stripe.subscribe(&customer, &month, "").await;
    let (found, item) = (
        id(&subscription),
        item_of(&stripe, &id(&subscription)).await,
    );
    let now = stripe.now().await;
    let form = format!("items[0][id]={item}&items[0][price]={year}&proration_date={now}");
    let changed = stripe
        .ok(&format!("/v1/subscriptions/{found}"), &form)
        .await;
    let end = changed["items"]["data"][0]["current_period_end"]
        .as_i64()
        .unwrap();
    assert!(end - now > 364 * DAY);
    let total = invoice(&stripe, &changed).await["total"].as_i64().unwrap();
    assert!((9_000..9_100).contains(&total), "{total}");
}

#[tokio::test]
async fn a_change_waits_for_its_payment() {
    let stripe = Running::start().await;
    let customer = stripe.customer("pm_card_visa").await;
    let failing = stripe.attach(&customer, "pm_card_chargeCustomerFail").await;
    let (small, large) = (
        stripe.price("usd", 1_000).await,
        stripe.price("usd", 3_000).await,
    );
    let subscription = stripe.subscribe(&customer, &small, "").await;
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    let item = item_of(&stripe, &id(&subscription)).await;
    stripe
        .ok(&path, &format!("default_payment_method={failing}"))
        .await;
    let form = format!(
        "items[0][id]={item}&items[0][price]={large}&proration_behavior=always_invoice\
         &payment_behavior=pending_if_incomplete"
    );
    let error = stripe
        .refused(&path, &format!("{form}&metadata[a]=1"))
        .await;
    assert_eq!(error["param"], "metadata");
    for is_paid in [false, true] {
        let changed = stripe.ok(&path, &form).await;
        assert_eq!(changed["status"], "active");
        assert_eq!(changed["items"]["data"][0]["price"]["id"], small.as_str());
        assert!(changed["pending_update"].is_object());
        let invoice = format!("/v1/invoices/{}", text(&changed["latest_invoice"]));
        let price = if is_paid {
            let card = stripe.attach(&customer, "pm_card_visa").await;
            stripe
                .ok(&format!("{invoice}/pay"), &format!("payment_method={card}"))
                .await;
            &large
        } else {
            stripe.pass_days(1).await;
            assert_eq!(stripe.read(&invoice).await["status"], "void");
            &small
        };
        let found = stripe.read(&path).await;
        assert!(found["pending_update"].is_null());
        assert_eq!(found["items"]["data"][0]["price"]["id"], price.as_str());
    }
}

#[tokio::test]
async fn taxes_need_a_place_and_add_to_the_total() {
    let stripe = Running::start().await;
    let customer = stripe.customer("pm_card_visa").await;
    let price = stripe.price("usd", 1_000).await;
    let form = format!("customer={customer}&items[0][price]={price}&automatic_tax[enabled]=true");
    let error = stripe.refused("/v1/subscriptions", &form).await;
    assert_eq!(error["code"], "customer_tax_location_invalid");
    let path = format!("/v1/customers/{customer}");
    stripe
        .ok(&path, "address[country]=DE&address[postal_code]=10115")
        .await;
    let subscription = stripe.ok("/v1/subscriptions", &form).await;
    let invoice = invoice(&stripe, &subscription).await;
    let amounts = ["subtotal", "total_excluding_tax", "total"].map(|name| invoice[name].clone());
    assert_eq!(amounts, [1_000, 1_000, 1_200]);
    assert_eq!(invoice["total_taxes"][0]["amount"], 200);
}

#[tokio::test]
async fn an_ended_subscription_cannot_be_changed() {
    let stripe = Running::start().await;
    let customer = stripe.customer("pm_card_visa").await;
    let price = stripe.price("usd", 1_000).await;
    let path = format!(
        "/v1/subscriptions/{}",
        id(&stripe.subscribe(&customer, &price, "").await)
    );
    let (status, canceled) = stripe.delete(&path).await;
    assert_eq!((status, &canceled["status"]), (200, &"canceled".into()));
    assert_eq!(stripe.delete(&path).await.0, 404);
    assert_eq!(stripe.post(&path, "metadata[a]=1").await.0, 404);
    assert_eq!(stripe.read(&path).await["status"], "canceled");
}

#[tokio::test]
async fn a_subscription_that_ends_has_no_upcoming_invoice() {
    let stripe = Running::start().await;
    let customer = stripe.customer("pm_card_visa").await;
    let price = stripe.price("usd", 500).await;
    let subscription = id(&stripe.subscribe(&customer, &price, "").await);
    let (preview, form) = (
        "/v1/invoices/create_preview",
        format!("subscription={subscription}"),
    );
    assert_eq!(stripe.ok(preview, &form).await["total"], 500);
    let path = format!("/v1/subscriptions/{subscription}");
    stripe.ok(&path, "cancel_at_period_end=true").await;
    let error = stripe.refused(preview, &form).await;
    assert_eq!(error["code"], "invoice_upcoming_none");
    stripe.delete(&path).await;
    let error = stripe.refused(preview, &form).await;
    assert_eq!(error["code"], "invoice_upcoming_none");
}
