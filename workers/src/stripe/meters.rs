//! Usage, which Stripe adds up until the invoice is due.

use events_schema::{Meter, StripeCustomerId};
use serde::Deserialize;

use super::{IdempotencyKey, Listed, Pages, Stripe, StripeError, Timestamp, request::Request};

/// Seconds of the shortest time for which Stripe tells the usage.
const MINUTE: i64 = 60;
/// What a report names its customer and its quantity by.
const CUSTOMER_KEY: &str = "stripe_customer_id";
const QUANTITY_KEY: &str = "value";

/// Usage of one customer.
#[derive(Clone, Debug)]
pub struct MeterEvent {
    pub meter: Meter,
    pub customer: StripeCustomerId,
    pub quantity: u64,
    /// Names the report. Stripe ignores a second one with the same name for at least 24 hours.
    pub identifier: String,
    pub at: Timestamp,
}

/// A meter at Stripe.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StripeMeter {
    pub id: String,
    /// The name that reports have.
    pub event_name: String,
    status: MeterStatus,
    /// When it was deactivated last, or changed otherwise.
    updated: Timestamp,
}

/// Whether a meter takes reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum MeterStatus {
    Active,
    Inactive,
    /// One of a later release of Stripe.
    #[serde(other)]
    Unknown,
}

/// What a customer has used within some time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Summary {
    id: String,
    aggregated_value: f64,
}

impl StripeMeter {
    const fn is_active(&self) -> bool {
        match self.status {
            MeterStatus::Active => true,
            MeterStatus::Inactive | MeterStatus::Unknown => false,
        }
    }
}

impl Listed for StripeMeter {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Listed for Summary {
    fn id(&self) -> &str {
        &self.id
    }
}

#[derive(Deserialize)]
struct Accepted {}

impl Stripe {
    /// Reports usage.
    ///
    /// # Errors
    /// If Stripe does not confirm it.
    pub async fn report_usage(
        &self,
        key: IdempotencyKey,
        event: &MeterEvent,
    ) -> Result<(), StripeError> {
        let Accepted {} = self.send(create(key, event)).await?;
        Ok(())
    }

    /// Returns the meter at Stripe that adds up what this one counts. It is created if it does not
    /// exist, and made active if somebody has deactivated it: prices belong to it, so what another one
    /// adds up would not be on any invoice.
    ///
    /// # Errors
    /// If Stripe does not confirm it.
    pub async fn meter(&self, meter: Meter) -> Result<StripeMeter, StripeError> {
        let name = event_name(meter);
        let all = Pages::<StripeMeter>::new(self, list_meters()).all().await?;
        let mut own = all.into_iter().filter(|found| found.event_name == name);
        let latest = own.next();
        let active = latest
            .iter()
            .cloned()
            .chain(own)
            .find(StripeMeter::is_active);
        match (active, latest) {
            (Some(active), _) => Ok(active),
            (None, Some(inactive)) => {
                tracing::warn!(%meter, "a meter was deactivated at Stripe, and is made active again");
                self.send(reactivate(meter, &inactive)).await
            }
            (None, None) => self.send(create_meter(meter)).await,
        }
    }

    /// Returns what Stripe knows of the usage of a customer in the minute of this time.
    ///
    /// # Errors
    /// If Stripe does not tell it.
    pub async fn usage_in_minute(
        &self,
        meter: &StripeMeter,
        customer: &StripeCustomerId,
        at: Timestamp,
    ) -> Result<f64, StripeError> {
        let summaries = Pages::<Summary>::new(self, list_usage(meter, customer, at));
        let summaries = summaries.all().await?;
        Ok(summaries.iter().map(|it| it.aggregated_value).sum())
    }
}

/// Returns the name of a meter in Stripe. Others in the same account have other names.
fn event_name(meter: Meter) -> String {
    format!("ub_{meter}")
}

pub(super) fn create(key: IdempotencyKey, event: &MeterEvent) -> Request {
    Request::post("/billing/meter_events", key)
        .set("event_name", event_name(event.meter))
        .set("identifier", &event.identifier)
        .set(format!("payload[{CUSTOMER_KEY}]"), &event.customer)
        .set(format!("payload[{QUANTITY_KEY}]"), event.quantity)
        .set("timestamp", event.at.0)
}

pub(super) fn list_meters() -> Request {
    Request::get("/billing/meters")
}

/// A meter may be deactivated several times within a day, and each time needs a key of its own.
pub(super) fn reactivate(meter: Meter, inactive: &StripeMeter) -> Request {
    let step = format!("reactivate {}", inactive.updated.0);
    let path = format!("/billing/meters/{}/reactivate", inactive.id);
    Request::post(path, IdempotencyKey::of_meter(meter, &step))
}

pub(super) fn create_meter(meter: Meter) -> Request {
    Request::post("/billing/meters", IdempotencyKey::of_meter(meter, "meter"))
        .set("customer_mapping[event_payload_key]", CUSTOMER_KEY)
        .set("customer_mapping[type]", "by_id")
        .set("default_aggregation[formula]", "sum")
        .set("display_name", meter)
        .set("event_name", event_name(meter))
        .set("value_settings[event_payload_key]", QUANTITY_KEY)
}

pub(super) fn list_usage(
    meter: &StripeMeter,
    customer: &StripeCustomerId,
    Timestamp(at): Timestamp,
) -> Request {
    let begin = at - at.rem_euclid(MINUTE);
    Request::get(format!("/billing/meters/{}/event_summaries", meter.id))
        .set("customer", customer)
        .set("end_time", begin + MINUTE)
        .set("start_time", begin)
}
