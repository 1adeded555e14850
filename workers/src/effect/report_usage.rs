//! Tells Stripe what tenants have used, so that it is on their next invoice.
//!
//! A usage has one entry in the outbox, so one cut of it is reported at a time. Within a day, Stripe
//! recognizes a repetition by its identifier. After that, an attempt first asks Stripe what it knows
//! of the minute of the cut. A cut that can never be reported is recorded as such, and holds up no
//! later one.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use anyhow::anyhow;
use events_schema::{
    Meter, Time, UsageId,
    usage::{Command, Event},
};
use tokio::sync::Mutex;

use crate::{
    domain::usage::{Report, Usage},
    effect::{Effect, Failure, Lane, Setup, Undone, stripe_failure},
    stripe::{IdempotencyKey, MeterEvent, Stripe, StripeError, StripeMeter},
};

/// When Stripe may have forgotten an identifier: after a day, less what the clocks of workers and
/// an attempt may take.
const LATE: Duration = Duration::from_secs(23 * 60 * 60);
/// Stripe takes no older report.
const TOO_LATE: Duration = Duration::from_secs(35 * 24 * 60 * 60);

/// Reports usage.
pub struct ReportUsage {
    stripe: Stripe,
    /// Meters that Stripe has.
    known: Mutex<HashMap<Meter, StripeMeter>>,
}

/// A cut of which Stripe does not know.
pub struct Task {
    meter: Meter,
    report: Report,
}

impl Effect for ReportUsage {
    type Record = Usage;
    type Task = Task;
    const NAME: &'static str = "report_usage";
    const UNDONE: Option<Undone> = None;

    fn new(setup: &Setup<'_>) -> anyhow::Result<Option<Self>> {
        Ok(setup.stripe.cloned().map(Self::new_with))
    }

    fn attempts(&self) -> i64 {
        stripe_failure::ATTEMPTS
    }

    /// After a report, another one may wait.
    fn is_requested_by(event: &Event) -> bool {
        match event {
            Event::Cut { is_due, .. } => *is_due,
            Event::Reported { .. } | Event::ReportFailed { .. } => true,
        }
    }

    fn pending(record: &Usage) -> Option<Task> {
        let (meter, report) = record.to_report()?;
        let report = report.clone();
        Some(Task { meter, report })
    }

    /// Nobody waits for it, and no tenant holds up another.
    fn lane(task: &Task) -> Lane {
        Lane {
            destination: task.report.customer.to_string(),
            is_urgent: false,
            not_before: None,
        }
    }

    async fn perform(&self, id: UsageId, task: &Task) -> Result<Command, Failure> {
        let meter = self.meter(task.meter).await?;
        let done = Command::RecordReport { to: task.report.to };
        let age = Time::from(SystemTime::now()).since(task.report.at);
        if age >= LATE && self.is_known(&meter, task).await? {
            return Ok(done);
        }
        if age >= TOO_LATE {
            return Err(never(anyhow!("it is older than 35 days")));
        }
        let sent = self.send(id, task).await;
        if let Err(error @ StripeError::Refused { .. }) = &sent {
            self.refused(task, error).await?;
        }
        sent?;
        Ok(done)
    }

    fn failed(task: &Task, reason: String) -> Command {
        let to = task.report.to;
        tracing::error!(meter = %task.meter, to, reason, "Stripe is never told of a usage");
        Command::RecordFailure { to, reason }
    }
}

impl ReportUsage {
    fn new_with(stripe: Stripe) -> Self {
        Self {
            stripe,
            known: Mutex::default(),
        }
    }

    async fn meter(&self, meter: Meter) -> Result<StripeMeter, StripeError> {
        let mut known = self.known.lock().await;
        if let Some(found) = known.get(&meter) {
            return Ok(found.clone());
        }
        let found = self.stripe.meter(meter).await?;
        known.insert(meter, found.clone());
        Ok(found)
    }

    async fn send(&self, UsageId(id): UsageId, task: &Task) -> Result<(), StripeError> {
        let report = &task.report;
        let identifier = format!("ub_{id}_{}", report.to);
        let key = IdempotencyKey::new(id, &identifier);
        let event = MeterEvent {
            meter: task.meter,
            customer: report.customer.clone(),
            quantity: report.quantity,
            identifier,
            at: report.at.into(),
        };
        self.stripe.report_usage(key, &event).await
    }

    /// Finds out why a report was refused. Nothing can be reported of a customer that is deleted, or
    /// is another account's. Otherwise, somebody may have deactivated the meter.
    ///
    /// # Errors
    /// If the customer is gone, or Stripe does not tell it.
    async fn refused(&self, task: &Task, refusal: &StripeError) -> Result<(), Failure> {
        self.known.lock().await.remove(&task.meter);
        match self.stripe.customer(&task.report.customer).await {
            Ok(found) if !found.deleted => Ok(()),
            Ok(_) => Err(never(anyhow!("the customer is deleted: {refusal}"))),
            Err(error) if error.is_missing() => Err(never(error.into())),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether Stripe knows of a cut. No other one of the same usage is in its minute.
    async fn is_known(&self, meter: &StripeMeter, task: &Task) -> Result<bool, Failure> {
        let report = &task.report;
        let (customer, at) = (&report.customer, report.at.into());
        let known = self.stripe.usage_in_minute(meter, customer, at).await;
        if let Err(error @ StripeError::Refused { .. }) = &known {
            self.refused(task, error).await?;
        }
        let known = known?;
        if known == 0.0 {
            return Ok(false);
        }
        if known.to_string() == report.quantity.to_string() {
            return Ok(true);
        }
        let quantity = report.quantity;
        let unclear = "Stripe has another usage of this minute, so a person must look at it";
        Err(never(anyhow!("{unclear}: {known} instead of {quantity}")))
    }
}

/// A cut that no attempt can report.
const fn never(reason: anyhow::Error) -> Failure {
    Failure::Permanent(reason)
}

#[cfg(test)]
mod tests;
