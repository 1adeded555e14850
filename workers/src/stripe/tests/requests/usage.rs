//! Meters, prices for usage, and the items of subscriptions that pay for it.

use events_schema::task::TASKS_CREATED;
use stripe_billing::{
    billing_meter::{
        CreateBillingMeter, CreateBillingMeterCustomerMapping,
        CreateBillingMeterCustomerMappingType, CreateBillingMeterDefaultAggregation,
        CreateBillingMeterDefaultAggregationFormula, CreateBillingMeterValueSettings,
        ListBillingMeter, ReactivateBillingMeter,
    },
    billing_meter_event::CreateBillingMeterEvent,
    billing_meter_event_summary::ListIdBillingMeterEventSummary,
};
use stripe_product::price::CreatePriceRecurringUsageType;

use super::*;
use crate::stripe::{MeterEvent, StripeMeter, UsageChange, meters, usage_items};

#[test]
fn requests_about_meters_are_as_generated() {
    let ours = MeterEvent {
        meter: TASKS_CREATED,
        customer: customer(),
        quantity: 12,
        identifier: "t-tasks-99".to_owned(),
        at: Timestamp(NOW),
    };
    let payload = [("stripe_customer_id", "cus_1"), ("value", "12")];
    let payload = payload.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let theirs = CreateBillingMeterEvent::new("ub_tasks_created", HashMap::from(payload))
        .identifier("t-tasks-99")
        .timestamp(NOW);
    same(&meters::create(key(), &ours), &theirs);

    let theirs = ListBillingMeter::new();
    same(&meters::list_meters(), &theirs);

    let sum =
        CreateBillingMeterDefaultAggregation::new(CreateBillingMeterDefaultAggregationFormula::Sum);
    let by_id = CreateBillingMeterCustomerMapping::new(
        "stripe_customer_id",
        CreateBillingMeterCustomerMappingType::ById,
    );
    let theirs = CreateBillingMeter::new(sum, "tasks_created", "ub_tasks_created")
        .customer_mapping(by_id)
        .value_settings(CreateBillingMeterValueSettings::new("value"));
    same(&meters::create_meter(TASKS_CREATED), &theirs);

    let meter = serde_json::json!({
        "id": "mtr_1", "event_name": "ub_tasks_created", "status": "inactive", "updated": 7,
    });
    let meter: StripeMeter = serde_json::from_value(meter).unwrap();
    let theirs = ReactivateBillingMeter::new("mtr_1");
    same(&meters::reactivate(TASKS_CREATED, &meter), &theirs);
    let minute = NOW - NOW % 60;
    let theirs = ListIdBillingMeterEventSummary::new("mtr_1", "cus_1", minute + 60, minute);
    let ours = meters::list_usage(&meter, &customer(), Timestamp(NOW));
    same(&ours, &theirs);
}

#[test]
fn requests_for_prices_of_usage_are_as_generated() {
    let ours = NewPrice {
        product: StripeProductId::parse("ub_meter_tasks_created").unwrap(),
        lookup_key: "ub_1".to_owned(),
        currency: "eur".to_owned(),
        amount: UnitAmount::Metered {
            decimal: "0.05".to_owned(),
            meter: "mtr_1".to_owned(),
        },
        interval: Interval::Month,
    };
    let mut recurring = CreatePriceRecurring::new(CreatePriceRecurringInterval::Month);
    recurring.meter = Some("mtr_1".to_owned());
    recurring.usage_type = Some(CreatePriceRecurringUsageType::Metered);
    let theirs = CreatePrice::new(Currency::EUR)
        .lookup_key("ub_1")
        .product("ub_meter_tasks_created")
        .recurring(recurring)
        .unit_amount_decimal("0.05");
    same(&prices::create_price(key(), &ours), &theirs);
}

fn usage_price(id: &str) -> StripePriceId {
    StripePriceId::parse(id).unwrap()
}

/// One change of each kind.
fn changes() -> Vec<UsageChange> {
    let item = |id: &str| StripeItemId::parse(id).unwrap();
    vec![
        UsageChange::Add(usage_price("price_u")),
        UsageChange::Replace(item("si_2"), usage_price("price_v")),
        UsageChange::Remove(item("si_3")),
    ]
}

fn their_item(id: Option<&str>, price: Option<&str>) -> UpdateSubscriptionItems {
    let mut item = UpdateSubscriptionItems::new();
    item.id = id.map(str::to_owned);
    item.price = price.map(str::to_owned);
    item
}

/// The same changes.
fn their_changes() -> Vec<UpdateSubscriptionItems> {
    let mut removed = their_item(Some("si_3"), None);
    removed.deleted = Some(true);
    vec![
        their_item(None, Some("price_u")),
        their_item(Some("si_2"), Some("price_v")),
        removed,
    ]
}

#[test]
fn changes_of_the_items_for_usage_are_as_generated() {
    let theirs = UpdateSubscription::new("sub_1")
        .items(their_changes())
        .proration_behavior(UpdateSubscriptionProrationBehavior::CreateProrations);
    let ours = usage_items::change(key(), &subscription(), &changes());
    same(&ours, &theirs);
}

#[test]
fn changes_of_a_plan_with_usage_are_as_generated() {
    let ours = Change {
        item: item(),
        price: price(),
        quantity: 3,
        usage: changes(),
        proration: Proration::None,
        trial: TrialChange::Keep,
        payment: OpenPayment::Decline,
        discount: None,
    };
    let mut plan = their_item(Some("si_1"), Some("price_1"));
    plan.quantity = Some(3);
    let items: Vec<_> = std::iter::once(plan).chain(their_changes()).collect();
    let theirs = UpdateSubscription::new("sub_1")
        .items(items)
        .payment_behavior(UpdateSubscriptionPaymentBehavior::ErrorIfIncomplete)
        .proration_behavior(UpdateSubscriptionProrationBehavior::None);
    let ours = subscriptions::update(key(), &subscription(), &ours, StripeTax::None);
    same(&ours, &theirs);
}

#[test]
fn a_new_subscription_has_an_item_for_each_price_of_usage() {
    let ours = NewSubscription {
        usage: ["price_u", "price_v"].map(usage_price).into(),
        ..new_subscription(Trial::None, None)
    };
    let item = |id: &str| {
        let mut item = CreateSubscriptionItems::new();
        item.price = Some(id.to_owned());
        item
    };
    let mut plan = item("price_1");
    plan.quantity = Some(3);
    let theirs = their_subscription().items([plan, item("price_u"), item("price_v")]);
    same(
        &subscriptions::create(key(), &ours, StripeTax::None),
        &theirs,
    );
}

#[test]
fn previews_of_changes_with_usage_are_as_generated() {
    let change = PreviewedChange {
        customer: None,
        subscription: Some((subscription(), item())),
        price: price(),
        quantity: 3,
        usage: changes(),
        trial: TrialChange::Keep,
        promotion_code: None,
        proration_date: Timestamp(NOW),
    };
    let item = |id: Option<&str>, price: Option<&str>| {
        let mut item = CreatePreviewInvoiceSubscriptionDetailsItems::new();
        item.id = id.map(str::to_owned);
        item.price = price.map(str::to_owned);
        item
    };
    let mut removed = item(Some("si_3"), None);
    removed.deleted = Some(true);
    let mut details = previewed(Some("si_1"));
    details.items.as_mut().unwrap().extend([
        item(None, Some("price_u")),
        item(Some("si_2"), Some("price_v")),
        removed,
    ]);
    let theirs = CreatePreviewInvoice::new()
        .subscription("sub_1")
        .subscription_details(details)
        .preview_mode(CreatePreviewInvoicePreviewMode::Recurring);
    same(&invoices::preview_next(&change, StripeTax::None), &theirs);
}
