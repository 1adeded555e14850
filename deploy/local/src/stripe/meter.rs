//! Meters: they count usage, which prices may be for.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    account::Account,
    customer,
    form::Form,
    item::Item,
    object::{self, Object, Page},
    period::{DAY, Period},
    price::MAX_AMOUNT,
    refusal::Refusal,
};

/// How long ago usage may be, in seconds.
const OLDEST: i64 = 35 * DAY;
/// How far in the future usage may be, in seconds, since clocks differ.
const NEWEST: i64 = 5 * 60;
/// How long the identifier of an event stays taken, in seconds.
const IDENTIFIED: i64 = DAY;
/// Maximum length of an identifier, in characters.
const IDENTIFIER_CHARS: usize = 100;

/// What is counted.
#[derive(Clone, Serialize)]
pub(super) struct Meter {
    id: String,
    created: i64,
    updated: i64,
    display_name: String,
    event_name: String,
    status: &'static str,
    #[serde(skip)]
    formula: &'static str,
    #[serde(skip)]
    customer_key: String,
    #[serde(skip)]
    value_key: String,
    #[serde(skip)]
    deactivated_at: Option<i64>,
}

/// Usage of a customer.
pub(super) struct MeterEvent {
    meter: String,
    customer: String,
    value: i64,
    identifier: String,
    timestamp: i64,
    received_at: i64,
}

impl Object for Meter {
    const NAME: &'static str = "billing.meter";

    fn id(&self) -> &str {
        &self.id
    }

    fn derived(&self) -> Value {
        json!({
            "customer_mapping": { "event_payload_key": self.customer_key, "type": "by_id" },
            "default_aggregation": { "formula": self.formula },
            "event_time_window": null,
            "status_transitions": { "deactivated_at": self.deactivated_at },
            "value_settings": { "event_payload_key": self.value_key },
        })
    }
}

/// Creates a meter.
///
/// # Errors
/// If a parameter is refused, or the name of its events is taken.
pub(super) fn create(account: &mut Account, mut form: Form) -> Result<Value, Refusal> {
    let (display_name, event_name) = (form.required("display_name")?, form.required("event_name")?);
    let mut aggregation = form.nested("default_aggregation");
    let formula = aggregation.choice("formula", &["count", "last", "sum"])?;
    aggregation.end()?;
    let mut mapping = form.nested("customer_mapping");
    mapping.choice("type", &["by_id"])?;
    let customer_key = mapping.text("event_payload_key")?;
    mapping.end()?;
    let mut settings = form.nested("value_settings");
    let value_key = settings.text("event_payload_key")?;
    settings.end()?;
    form.end()?;
    let is_taken = |meter: &Meter| meter.status == "active" && meter.event_name == event_name;
    if account.meters.values().any(is_taken) {
        let message = format!("An active meter has the event name {event_name} already.");
        return Err(Refusal::invalid(message).param("event_name"));
    }
    let meter = Meter {
        id: account.new_id("mtr"),
        created: account.now,
        updated: account.now,
        display_name,
        event_name,
        status: "active",
        formula: formula.ok_or_else(|| Refusal::required("default_aggregation[formula]"))?,
        customer_key: customer_key.unwrap_or_else(|| "stripe_customer_id".to_owned()),
        value_key: value_key.unwrap_or_else(|| "value".to_owned()),
        deactivated_at: None,
    };
    let shown = meter.shown();
    account.meters.insert(meter.id.clone(), meter);
    account.happened("billing.meter.created", shown.clone());
    Ok(shown)
}

/// Stops or resumes a meter.
///
/// # Errors
/// If it does not exist.
pub(super) fn set_active(account: &mut Account, id: &str, active: bool) -> Result<Value, Refusal> {
    let now = account.now;
    let meter = object::find_mut(&mut account.meters, id)?;
    meter.status = if active { "active" } else { "inactive" };
    meter.deactivated_at = (!active).then_some(now);
    meter.updated = now;
    Ok(meter.shown())
}

/// Returns a meter.
///
/// # Errors
/// If it does not exist.
pub(super) fn retrieve(account: &Account, id: &str) -> Result<Value, Refusal> {
    Ok(object::find(&account.meters, id)?.shown())
}

/// Lists meters.
///
/// # Errors
/// If a parameter is refused.
pub(super) fn list(account: &Account, mut form: Form) -> Result<Value, Refusal> {
    let page = Page::read(&mut form)?;
    let status = form.choice("status", &["active", "inactive"])?;
    form.end()?;
    let is_wanted = |meter: &Meter| status.is_none_or(|status| status == meter.status);
    page.of("/v1/billing/meters", &account.meters, is_wanted)
}

/// Counts usage.
///
/// # Errors
/// If a parameter is refused, or the identifier was used within a day.
pub(super) fn report(account: &mut Account, mut form: Form) -> Result<Value, Refusal> {
    let (name, identifier) = (form.required("event_name")?, form.text("identifier")?);
    let now = account.now;
    let timestamp = form.integer("timestamp")?.unwrap_or(now);
    let mut payload = form.nested("payload");
    let mut meters = account.meters.values();
    let meter = meters.find(|meter| meter.status == "active" && meter.event_name == name);
    let Some(meter) = meter.cloned() else {
        let message = format!("No active meter found for event name {name}.");
        return Err(Refusal::invalid(message).param("event_name"));
    };
    let customer = payload.required(&meter.customer_key)?;
    let range = 0..=MAX_AMOUNT;
    let value = payload.integer_in(&meter.value_key, range)?;
    let value = value.ok_or_else(|| Refusal::required(&payload.name(&meter.value_key)))?;
    payload.end()?;
    form.end()?;
    customer::named(account, &customer)?;
    if !(now - OLDEST..=now + NEWEST).contains(&timestamp) {
        return Err(Refusal::invalid("It must be within the last 35 days.").param("timestamp"));
    }
    let identifier = identifier.unwrap_or_else(|| account.new_id("identifier"));
    ensure_new(account, &identifier)?;
    account.meter_events.push(MeterEvent {
        meter: meter.id,
        customer: customer.clone(),
        value,
        identifier: identifier.clone(),
        timestamp,
        received_at: now,
    });
    let payload = BTreeMap::from([
        (meter.customer_key, customer),
        (meter.value_key, value.to_string()),
    ]);
    Ok(json!({
        "object": "billing.meter_event",
        "created": now,
        "event_name": name,
        "identifier": identifier,
        "livemode": false,
        "payload": payload,
        "timestamp": timestamp,
    }))
}

fn ensure_new(account: &Account, identifier: &str) -> Result<(), Refusal> {
    if identifier.chars().count() > IDENTIFIER_CHARS {
        return Err(Refusal::invalid("The identifier is too long.").param("identifier"));
    }
    let is_same = |event: &MeterEvent| {
        event.identifier == identifier && account.now - event.received_at < IDENTIFIED
    };
    if account.meter_events.iter().any(is_same) {
        let message = format!("An event already exists with identifier {identifier}.");
        return Err(Refusal::invalid(message).param("identifier"));
    }
    Ok(())
}

/// Returns the usage of an item within a period, and what it costs in minor units.
pub(super) fn usage_of(
    account: &Account,
    customer: &str,
    item: &Item,
    period: Period,
) -> (i64, i64) {
    let meter = item.price.recurring.as_ref();
    let meter = meter.and_then(|recurring| recurring.meter.as_deref());
    let meter = meter.and_then(|id| account.meters.get(id));
    let quantity = meter.map_or(0, |meter| aggregate(account, meter, customer, period));
    let amount = item.price.unit.times(quantity).min(MAX_AMOUNT.into());
    (quantity, i64::try_from(amount).unwrap_or(MAX_AMOUNT))
}

fn aggregate(account: &Account, meter: &Meter, customer: &str, period: Period) -> i64 {
    let is_counted = |event: &&MeterEvent| {
        let is_within = (period.start..period.end).contains(&event.timestamp);
        event.meter == meter.id && event.customer == customer && is_within
    };
    let events = account.meter_events.iter().filter(is_counted);
    let mut values = events.map(|event| event.value);
    match meter.formula {
        "count" => i64::try_from(values.count()).unwrap_or(MAX_AMOUNT),
        "last" => values.next_back().unwrap_or(0),
        _ => values.fold(0, i64::saturating_add),
    }
}

/// Returns the usage of a customer within a time.
///
/// # Errors
/// If a parameter is refused, or the meter does not exist.
pub(super) fn summaries(account: &Account, id: &str, mut form: Form) -> Result<Value, Refusal> {
    let meter = object::find(&account.meters, id)?;
    Page::read(&mut form)?;
    let customer = form.required("customer")?;
    customer::named(account, &customer)?;
    let start = form.integer("start_time")?;
    let start = start.ok_or_else(|| Refusal::required("start_time"))?;
    let end = form
        .integer("end_time")?
        .ok_or_else(|| Refusal::required("end_time"))?;
    form.end()?;
    if start % 60 != 0 || end % 60 != 0 || start >= end {
        return Err(Refusal::invalid("Both must be whole minutes, in order.").param("start_time"));
    }
    let value = aggregate(account, meter, &customer, Period { start, end });
    let summary = json!({
        "id": format!("mtrusg_{start}"),
        "object": "billing.meter_event_summary",
        "aggregated_value": value,
        "end_time": end,
        "livemode": false,
        "meter": id,
        "start_time": start,
    });
    let data = if value == 0 { vec![] } else { vec![summary] };
    let url = format!("/v1/billing/meters/{id}/event_summaries");
    Ok(object::list(&url, data, false))
}
