//! What is read of answers, with examples in the form of Stripe's documentation.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::stripe::{
    Card, Customer, Discount, Invoice, InvoiceStatus, PaymentStatus, Preview, Price, SetupIntent,
    SetupIntentStatus, Subscription, SubscriptionStatus, Timestamp,
};

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn price() -> Value {
    json!({
        "id": "price_1", "object": "price", "active": true, "currency": "kwd",
        "livemode": false, "lookup_key": "ub_1", "metadata": {}, "product": "ub_1",
        "recurring": { "interval": "month", "interval_count": 1, "usage_type": "licensed" },
        "type": "recurring", "unit_amount": 9_007_199_254_740_991_i64,
        "unit_amount_decimal": "9007199254740991"
    })
}

fn subscription(status: &str) -> Value {
    json!({
        "id": "sub_1", "object": "subscription", "customer": "cus_1", "status": status,
        "cancel_at": null, "cancel_at_period_end": false, "ended_at": null,
        "latest_invoice": "in_1", "livemode": false,
        "items": { "object": "list", "has_more": false, "data": [{
            "id": "si_1", "object": "subscription_item", "quantity": 3, "price": price(),
            "current_period_end": 1_795_000_000, "current_period_start": 1_792_000_000
        }] },
        "metadata": { "ub_request": "07070707070707070707070707070707", "else": "x" },
        "pending_update": null, "trial_end": null, "discounts": ["di_1"]
    })
}

#[test]
fn large_amounts_and_unusual_currencies_survive() {
    let price: Price = read(price());
    assert_eq!(price.unit_amount, Some(9_007_199_254_740_991));
    assert_eq!(price.currency, "kwd");
}

#[test]
fn a_subscription_shows_its_item_and_who_asked_for_it() {
    let found: Subscription = read(subscription("trialing"));
    let request = events_schema::Id::from_bytes([7; 16]);
    assert!(found.was_requested_by(request));
    assert!(!found.was_requested_by(events_schema::Id::from_bytes([8; 16])));
    assert_eq!(found.status, SubscriptionStatus::Trialing);
    let item = found.item().unwrap();
    assert_eq!((item.id.as_str(), item.quantity), ("si_1", Some(3)));
    assert_eq!(item.current_period_end, Timestamp(1_795_000_000));
    assert!(!found.has_pending_update());
}

#[test]
fn the_item_of_a_plan_is_found_wherever_those_for_usage_stand() {
    let mut usage = price();
    usage["id"] = json!("price_usage");
    usage["recurring"]["meter"] = json!("mtr_1");
    let metered = json!({
        "id": "si_usage", "object": "subscription_item", "price": usage,
        "current_period_end": 1_795_000_000, "current_period_start": 1_792_000_000
    });
    for at in [0, 1] {
        let mut found = subscription("active");
        let items = found["items"]["data"].as_array_mut().unwrap();
        items.insert(at, metered.clone());
        let found: Subscription = read(found);
        assert_eq!(found.item().unwrap().id.as_str(), "si_1", "{at}");
        let usage: Vec<&str> = found.usage_items().map(|item| item.id.as_str()).collect();
        assert_eq!(usage, ["si_usage"], "{at}");
    }
    let mut only_usage = subscription("active");
    only_usage["items"]["data"] = json!([metered]);
    assert_eq!(read::<Subscription>(only_usage).item(), None);
}

#[test]
fn a_discount_shows_what_it_takes_off() {
    let discount: Discount = read(json!({
        "id": "di_1", "object": "discount", "end": 1_795_000_000, "promotion_code": "promo_1",
        "source": { "type": "coupon", "coupon": {
            "id": "co_1", "object": "coupon", "name": "Summer", "percent_off": 12.5,
            "amount_off": null, "currency": null, "duration": "repeating"
        } }
    }));
    let coupon = discount.coupon().unwrap();
    assert_eq!((coupon.percent_off, coupon.amount_off), (Some(12.5), None));
    assert_eq!(discount.end, Some(Timestamp(1_795_000_000)));
}

#[test]
fn a_state_of_a_later_release_is_unknown() {
    let found: Subscription = read(subscription("hibernating"));
    assert_eq!(found.status, SubscriptionStatus::Unknown);
}

#[test]
fn a_change_that_waits_for_its_payment_is_seen() {
    let mut value = subscription("active");
    value["pending_update"] = json!({ "expires_at": 1_795_000_000, "subscription_items": [] });
    assert!(read::<Subscription>(value).has_pending_update());
}

#[test]
fn a_deleted_customer_is_read() {
    let found: Customer = read(json!({ "id": "cus_1", "object": "customer", "deleted": true }));
    assert!(found.deleted && found.default_card().is_none());
    let settings = json!({ "default_payment_method": "pm_1", "footer": null });
    let found: Customer = read(json!({
        "id": "cus_1", "metadata": {}, "invoice_settings": settings
    }));
    assert_eq!(found.default_card().unwrap().as_str(), "pm_1");
}

fn invoice(payments: Value) -> Invoice {
    read(json!({
        "id": "in_1", "object": "invoice", "number": "A-1", "customer": "cus_1",
        "status": "open", "currency": "jpy", "subtotal": 1000, "total": 1100,
        "amount_due": 1100, "created": 1_795_000_000,
        "total_taxes": [{ "amount": 80, "type": "tax_rate_details" }, { "amount": 20 }],
        "invoice_pdf": "https://pay.stripe.com/pdf", "hosted_invoice_url": null,
        "payments": payments
    }))
}

#[test]
fn an_invoice_shows_why_its_payment_has_failed() {
    let failed = invoice(json!({ "object": "list", "data": [
        { "id": "inpay_1", "is_default": false, "payment": { "type": "charge" } },
        { "id": "inpay_2", "is_default": true, "payment": {
            "type": "payment_intent", "payment_intent": {
                "id": "pi_1", "status": "requires_payment_method",
                "client_secret": "pi_1_secret_2",
                "last_payment_error": {
                    "code": "card_declined", "decline_code": "lost_card", "message": "No."
                }
            }
        } }
    ] }));
    assert_eq!(
        (failed.status, failed.tax()),
        (Some(InvoiceStatus::Open), 100)
    );
    let payment = failed.payment().unwrap();
    assert_eq!(payment.status, PaymentStatus::RequiresPaymentMethod);
    assert_eq!(
        payment.last_payment_error.as_ref().unwrap().code(),
        "lost_card"
    );
    let shown = format!("{failed:?}");
    assert!(
        !shown.contains("secret_2") && !shown.contains("https"),
        "{shown}"
    );
    assert!(invoice(Value::Null).payment().is_none());
}

#[test]
fn a_preview_has_no_number_and_no_state() {
    let found: Preview = read(json!({
        "id": "upcoming_in_1", "object": "invoice", "currency": "eur", "subtotal": -500,
        "total": -500, "amount_due": 0, "status": "draft", "number": null
    }));
    assert_eq!((found.total, found.amount_due), (-500, 0));
}

#[test]
fn cards_and_attempts_to_save_them_are_read() {
    let card: Card = read(json!({
        "id": "pm_1", "customer": "cus_1", "type": "card", "card": {
            "brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2034, "funding": "credit"
        }
    }));
    assert_eq!(card.card.unwrap().last4, "4242");
    let attempt: SetupIntent = read(json!({
        "id": "seti_1", "status": "succeeded", "customer": "cus_1", "payment_method": "pm_1",
        "client_secret": "seti_1_secret_2"
    }));
    assert_eq!(attempt.status, SetupIntentStatus::Succeeded);
    assert!(!format!("{attempt:?}").contains("secret_2"));
    assert_eq!(attempt.client_secret.unwrap().reveal(), "seti_1_secret_2");
}
