//! Usage, which Stripe adds up until the invoice is due.

use events_schema::StripeCustomerId;
use serde::Deserialize;

use super::{IdempotencyKey, Stripe, StripeError, Timestamp, request::Request};

/// Usage of one customer.
#[derive(Clone, Debug)]
pub struct MeterEvent {
    /// The name of the meter in Stripe.
    pub meter: String,
    pub customer: StripeCustomerId,
    pub quantity: u64,
    /// Names the report. Stripe ignores a second one with the same name for at least 24 hours.
    pub identifier: String,
    pub at: Timestamp,
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
}

pub(super) fn create(key: IdempotencyKey, event: &MeterEvent) -> Request {
    Request::post("/billing/meter_events", key)
        .set("event_name", &event.meter)
        .set("identifier", &event.identifier)
        .set("payload[stripe_customer_id]", &event.customer)
        .set("payload[value]", event.quantity)
        .set("timestamp", event.at.0)
}
