//! Requests that async-stripe builds are accepted, and answers decode into its types. Both are
//! generated from Stripe's own description of its API.

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use stripe_billing::{
    billing_meter::{
        CreateBillingMeter, CreateBillingMeterDefaultAggregation,
        CreateBillingMeterDefaultAggregationFormula,
    },
    billing_meter_event::CreateBillingMeterEvent,
    billing_portal_session::CreateBillingPortalSession,
    invoice::{
        CreatePreviewInvoice, CreatePreviewInvoiceSubscriptionDetails,
        CreatePreviewInvoiceSubscriptionDetailsItems, ListInvoice, RetrieveInvoice,
    },
    subscription::{
        CancelSubscription, CreateSubscription, CreateSubscriptionItems, ListSubscription,
        RetrieveSubscription,
    },
};
use stripe_core::{
    customer::{CreateCustomer, DeleteCustomer, ListCustomer, RetrieveCustomer},
    event::{ListEvent, RetrieveEvent},
    payment_intent::RetrievePaymentIntent,
    setup_intent::{ConfirmSetupIntent, CreateSetupIntent},
};
use stripe_payment::payment_method::{
    AttachPaymentMethod, DetachPaymentMethod, ListPaymentMethod, ListPaymentMethodType,
};
use stripe_product::{
    price::{CreatePrice, CreatePriceRecurring, CreatePriceRecurringInterval, ListPrice},
    product::CreateProduct,
};
use stripe_shared::{
    Coupon, InvoiceStatus, PromotionCode, SetupIntentStatus, Subscription, SubscriptionStatus,
};
use stripe_types::Currency;

use super::running::{Running, id, text};

async fn decoded<T: DeserializeOwned>(stripe: &Running, path: &str) -> T {
    let body = stripe.read(path).await;
    serde_json::from_value(body.clone()).unwrap_or_else(|error| panic!("{error}: {body:#}"))
}

#[tokio::test]
async fn customers_are_as_generated() {
    let stripe = Running::start().await;
    let metadata = HashMap::from([("ub_tenant".to_owned(), "t1".to_owned())]);
    let create = CreateCustomer::new()
        .email("ada@example.com")
        .metadata(metadata);
    let created = stripe.send(&create).await;
    assert_eq!(created.email.as_deref(), Some("ada@example.com"));
    let listed = stripe.send(&ListCustomer::new().limit(3)).await;
    assert_eq!(listed.data[0].id, created.id);
    let deleted = stripe.send(&DeleteCustomer::new(created.id.clone())).await;
    assert_eq!(deleted.id, created.id);
    stripe.send(&RetrieveCustomer::new(created.id)).await;
    assert!(stripe.send(&ListCustomer::new()).await.data.is_empty());
}

#[tokio::test]
async fn products_and_prices_are_as_generated() {
    let stripe = Running::start().await;
    let product = stripe.send(&CreateProduct::new("Loom").id("ub_1")).await;
    assert_eq!(product.id.as_str(), "ub_1");
    let create = CreatePrice::new(Currency::EUR)
        .product("ub_1")
        .lookup_key("ub_1_2_eur_month")
        .recurring(CreatePriceRecurring::new(
            CreatePriceRecurringInterval::Month,
        ))
        .unit_amount(9_007_199_254_740_991_i64);
    let price = stripe.send(&create).await;
    let list = ListPrice::new().lookup_keys(["ub_1_2_eur_month".to_owned()]);
    let found = stripe.send(&list).await;
    assert_eq!(found.data[0].id, price.id);
    assert_eq!(found.data[0].unit_amount, Some(9_007_199_254_740_991));
    let other = ListPrice::new().lookup_keys(["other".to_owned()]);
    assert!(stripe.send(&other).await.data.is_empty());
}

#[tokio::test]
async fn cards_and_setup_intents_are_as_generated() {
    let stripe = Running::start().await;
    let customer = stripe.send(&CreateCustomer::new()).await.id.to_string();
    let intent = stripe
        .send(&CreateSetupIntent::new().customer(customer.clone()))
        .await;
    assert_eq!(intent.status, SetupIntentStatus::RequiresPaymentMethod);
    let confirm = ConfirmSetupIntent::new(intent.id).payment_method("pm_card_visa");
    let intent = stripe.send(&confirm).await;
    assert_eq!(intent.status, SetupIntentStatus::Succeeded);

    let list = ListPaymentMethod::new()
        .customer(customer.clone())
        .type_(ListPaymentMethodType::Card);
    let cards = stripe.send(&list).await.data;
    let card = cards[0].card.as_ref().unwrap();
    assert_eq!((card.brand.as_str(), card.last4.as_str()), ("visa", "4242"));
    let attach = AttachPaymentMethod::new("pm_card_mastercard").customer(customer);
    let second = stripe.send(&attach).await;
    assert_eq!(stripe.send(&list).await.data.len(), 2);
    stripe.send(&DetachPaymentMethod::new(second.id)).await;
    assert_eq!(stripe.send(&list).await.data.len(), 1);
}

fn create(customer: &str, price: &str) -> CreateSubscription {
    let mut item = CreateSubscriptionItems::new();
    item.price = Some(price.to_owned());
    item.quantity = Some(3);
    CreateSubscription::new().customer(customer).items([item])
}

#[tokio::test]
async fn subscriptions_are_as_generated() {
    let stripe = Running::start().await;
    let customer = stripe.customer("pm_card_visa").await;
    let price = stripe.price("jpy", 500).await;
    let created = stripe.send(&create(&customer, &price)).await;
    assert_eq!(created.status, SubscriptionStatus::Active);
    assert_eq!(created.items.data[0].quantity, Some(3));
    let list = ListSubscription::new().customer(customer.clone());
    assert_eq!(stripe.send(&list).await.data[0].id, created.id);
    let expanded = RetrieveSubscription::new(created.id.clone()).expand([
        "latest_invoice.payments.data.payment.payment_intent".to_owned(),
        "customer".to_owned(),
        "items.data.price.product".to_owned(),
    ]);
    let found = stripe.send(&expanded).await;
    let invoice = found.latest_invoice.as_ref().unwrap().as_object().unwrap();
    assert_eq!(invoice.payments.as_ref().unwrap().data.len(), 1);
    assert!(found.customer.as_object().is_some());
    let canceled = stripe.send(&CancelSubscription::new(created.id)).await;
    assert_eq!(canceled.status, SubscriptionStatus::Canceled);
    assert!(stripe.send(&list).await.data.is_empty());
}

#[tokio::test]
async fn a_pending_change_and_a_trial_are_as_generated() {
    let stripe = Running::start().await;
    let customer = stripe.customer("pm_card_chargeCustomerFail").await;
    let (price, other) = (
        stripe.price("usd", 500).await,
        stripe.price("usd", 900).await,
    );
    let trial = stripe
        .subscribe(&customer, &price, "&trial_period_days=7")
        .await;
    let path = format!("/v1/subscriptions/{}", id(&trial));
    let found: Subscription = decoded(&stripe, &path).await;
    assert_eq!(found.status, SubscriptionStatus::Trialing);
    let item = &found.items.data[0].id;
    let change = format!(
        "items[0][id]={item}&items[0][price]={other}&trial_end=now\
         &payment_behavior=pending_if_incomplete&proration_behavior=always_invoice"
    );
    stripe.ok(&path, &change).await;
    let found: Subscription = decoded(&stripe, &path).await;
    let pending = found.pending_update.unwrap();
    let items = pending.subscription_items.unwrap();
    assert_eq!(items[0].price.id.as_str(), other);
}

#[tokio::test]
async fn invoices_and_payments_are_as_generated() {
    let stripe = Running::start().await;
    let customer = stripe.customer("pm_card_visa").await;
    let price = stripe.price("kwd", 1_250).await;
    stripe.send(&create(&customer, &price)).await;
    let list = ListInvoice::new().customer(customer.clone());
    let invoices = stripe.send(&list).await.data;
    assert_eq!(invoices[0].status, Some(InvoiceStatus::Paid));
    assert_eq!(invoices[0].total, 3_750);
    let id = invoices[0].id.clone().unwrap();
    let payments = "payments.data.payment.payment_intent".to_owned();
    let retrieve = RetrieveInvoice::new(id).expand([payments, "confirmation_secret".to_owned()]);
    let invoice = stripe.send(&retrieve).await;
    let payment = invoice.payments.as_ref().unwrap().data[0].payment.clone();
    let intent = payment.payment_intent.unwrap().id().clone();
    let intent = stripe.send(&RetrievePaymentIntent::new(intent)).await;
    assert_eq!(intent.amount_received, 3_750);
    let secret = invoice.confirmation_secret.unwrap().client_secret;
    assert_eq!(intent.client_secret, Some(secret));
    for link in [invoice.hosted_invoice_url, invoice.invoice_pdf] {
        let link = link.unwrap();
        let page = reqwest::get(link).await.unwrap();
        assert!(page.status().is_success());
    }
}

#[tokio::test]
async fn previews_are_as_generated() {
    let stripe = Running::start().await;
    let price = stripe.price("usd", 500).await;
    let mut item = CreatePreviewInvoiceSubscriptionDetailsItems::new();
    item.price = Some(price);
    let mut details = CreatePreviewInvoiceSubscriptionDetails::new();
    details.items = Some(vec![item]);
    let preview = CreatePreviewInvoice::new().subscription_details(details);
    let invoice = stripe.send(&preview).await;
    assert_eq!(
        (invoice.total, invoice.status),
        (500, Some(InvoiceStatus::Draft))
    );
    assert!(stripe.send(&ListInvoice::new()).await.data.is_empty());
}

#[tokio::test]
async fn meters_and_their_events_are_as_generated() {
    let stripe = Running::start().await;
    let customer = stripe.send(&CreateCustomer::new()).await.id.to_string();
    let sum = CreateBillingMeterDefaultAggregationFormula::Sum;
    let aggregation = CreateBillingMeterDefaultAggregation::new(sum);
    let meter = CreateBillingMeter::new(aggregation, "Tasks", "tasks");
    let meter = stripe.send(&meter).await;
    let payload = [("stripe_customer_id", customer.as_str()), ("value", "12")];
    let payload = payload.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let event = CreateBillingMeterEvent::new("tasks", HashMap::from(payload)).identifier("t-1");
    assert_eq!(stripe.send(&event).await.identifier, "t-1");
    let start = stripe.now().await / 60 * 60;
    let path = format!(
        "/v1/billing/meters/{}/event_summaries?customer={customer}&start_time={start}&end_time={}",
        meter.id,
        start + 120
    );
    let found: stripe_types::List<stripe_billing::BillingMeterEventSummary> =
        decoded(&stripe, &path).await;
    assert!((found.data[0].aggregated_value - 12.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn portal_sessions_are_as_generated() {
    let stripe = Running::start().await;
    let customer = stripe.send(&CreateCustomer::new()).await.id.to_string();
    let create = CreateBillingPortalSession::new()
        .customer(customer)
        .return_url("https://app.example/t/acme?a=b");
    let session = stripe.send(&create).await;
    let page = reqwest::get(session.url).await.unwrap();
    assert!(page.status().is_success());
}

#[tokio::test]
async fn every_event_is_as_generated() {
    let stripe = Running::start().await;
    let customer = stripe.customer("pm_card_visa").await;
    let price = stripe.price("usd", 500).await;
    let subscription = stripe
        .subscribe(&customer, &price, "&trial_period_days=7")
        .await;
    stripe.pass_days(40).await;
    stripe
        .delete(&format!("/v1/subscriptions/{}", id(&subscription)))
        .await;
    stripe.delete(&format!("/v1/customers/{customer}")).await;
    let events = stripe.send(&ListEvent::new().limit(100)).await.data;
    assert!(events.len() > 15, "{} events", events.len());
    for event in events {
        let kind = event.type_.as_str().to_owned();
        assert!(
            !matches!(event.type_, stripe_shared::EventType::Unknown(_)),
            "{kind}"
        );
        let found = stripe.send(&RetrieveEvent::new(event.id.as_str())).await;
        assert_eq!(found.type_.as_str(), kind);
    }
}

#[tokio::test]
async fn coupons_and_promotion_codes_are_as_generated() {
    let stripe = Running::start().await;
    let coupon = stripe
        .ok("/v1/coupons", "percent_off=25&duration=once")
        .await;
    let path = format!("/v1/coupons/{}", id(&coupon));
    let _: Coupon = decoded(&stripe, &path).await;
    let form = format!(
        "code=SPRING&promotion[type]=coupon&promotion[coupon]={}",
        id(&coupon)
    );
    let code = id(&stripe.ok("/v1/promotion_codes", &form).await);
    let _: PromotionCode = decoded(&stripe, &format!("/v1/promotion_codes/{code}")).await;
    let found = stripe
        .read("/v1/promotion_codes?code=spring&active=true")
        .await;
    assert_eq!(id(&found["data"][0]), code);

    let customer = stripe.customer("pm_card_visa").await;
    let price = stripe.price("usd", 1_000).await;
    let further = format!("&discounts[0][promotion_code]={code}&expand[]=latest_invoice");
    let subscription = stripe.subscribe(&customer, &price, &further).await;
    assert_eq!(subscription["latest_invoice"]["total"], 750);
    let path = format!(
        "/v1/invoices/{}",
        text(&subscription["latest_invoice"]["id"])
    );
    let _: stripe_shared::Invoice = decoded(&stripe, &path).await;
}
