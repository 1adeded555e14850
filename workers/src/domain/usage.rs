//! Usage: parts of the log are counted once, and reported once.
//!
//! Two workers may count at the same time, and a killed one may have counted before. A cut counts
//! only if it begins where the last one has ended, so of all of them one is stored.

use events_schema::{
    Meter, Reject, RejectionKind, StripeCustomerId, TenantId, Time, UsageId,
    usage::{Area, Command, Event, Payer, Position},
};
use serde::Serialize;

use crate::aggregate::{Aggregate, Decision, Facts};

/// Cuts of which Stripe may not know yet: those of three weeks, if one is made each hour. After
/// that, counting waits, and the next cut is longer.
const MAX_UNREPORTED: usize = 500;
/// Longest reason of a failure that is kept, in characters.
const MAX_REASON: usize = 500;

/// The usage of a tenant that one meter counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// `None` if nothing was counted yet.
    counted: Option<(Meter, Position)>,
    /// What Stripe is to know of, the oldest first.
    unreported: Vec<Report>,
}

/// A cut of which Stripe is to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where the cut ends.
    pub to: u64,
    pub quantity: u64,
    pub customer: StripeCustomerId,
    /// When it was counted.
    pub at: Time,
}

/// Why a command to a usage is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// Another worker has counted this part of the log.
    #[error("Counting stands elsewhere.")]
    CountedAlready,
    /// A cut ends before it begins.
    #[error("A part of the log ends after its beginning.")]
    EndsTooEarly,
    /// The id belongs to another tenant or meter.
    #[error("This is the usage of another tenant or meter.")]
    NotOwn,
    /// There are [`MAX_UNREPORTED`] cuts of which Stripe does not know.
    #[error("Stripe has to know of the usage before.")]
    TooManyUnreported,
}

impl Reject for Rejection {
    fn kind(&self) -> RejectionKind {
        match self {
            Self::CountedAlready => RejectionKind::Conflict,
            Self::EndsTooEarly => RejectionKind::invalid("to"),
            Self::NotOwn => RejectionKind::invalid("meter"),
            Self::TooManyUnreported => RejectionKind::Limit,
        }
    }
}

impl Aggregate for Usage {
    type Area = Area;
    type Rejection = Rejection;

    fn decide(&self, command: &Command, facts: &Facts<Area>) -> Result<Decision<Event>, Rejection> {
        let event = match command {
            Command::Cut {
                meter,
                from,
                to,
                quantity,
                payer,
            } => {
                ensure_own(*meter, facts)?;
                let position = Position {
                    to: *to,
                    at: facts.now,
                    payer: payer.clone(),
                };
                self.cut(*meter, *from, *quantity, position)?
            }
            Command::RecordReport { to } => self.record(*to),
            Command::RecordFailure { to, reason } => self.record_failure(*to, reason),
        };
        Ok(Decision::events(event.into_iter().collect()))
    }

    fn evolve(&mut self, event: &Event, at: Time) {
        match event {
            Event::Cut {
                meter,
                quantity,
                is_due,
                position,
                ..
            } => {
                let payer = position.payer.as_ref().filter(|_| *is_due);
                self.unreported.extend(payer.map(|payer| Report {
                    to: position.to,
                    quantity: *quantity,
                    customer: payer.customer.clone(),
                    at,
                }));
                self.counted = Some((*meter, position.clone()));
            }
            Event::Reported { to, .. } | Event::ReportFailed { to, .. } => {
                self.unreported.retain(|report| report.to != *to);
            }
        }
    }
}

impl Usage {
    /// Returns the oldest cut of which Stripe is to know, and its meter.
    pub fn to_report(&self) -> Option<(Meter, &Report)> {
        let (meter, _) = self.counted.as_ref()?;
        Some((*meter, self.unreported.first()?))
    }

    fn position(&self) -> Option<&Position> {
        self.counted.as_ref().map(|(_, position)| position)
    }

    fn cut(
        &self,
        meter: Meter,
        from: u64,
        quantity: u64,
        position: Position,
    ) -> Result<Option<Event>, Rejection> {
        let before = self.position();
        if from != before.map_or(0, |before| before.to) {
            return Err(Rejection::CountedAlready);
        }
        if position.to < from {
            return Err(Rejection::EndsTooEarly);
        }
        let is_due = quantity > 0 && self.is_paid_by(position.payer.as_ref());
        if is_due && self.unreported.len() >= MAX_UNREPORTED {
            return Err(Rejection::TooManyUnreported);
        }
        let is_same = before
            .is_some_and(|before| (before.to, &before.payer) == (position.to, &position.payer));
        Ok((!is_same).then_some(Event::Cut {
            meter,
            from,
            quantity,
            is_due,
            position,
        }))
    }

    /// Whether this customer has paid since the cut before. Nobody pays for a part in which their
    /// plan has begun or ended.
    fn is_paid_by(&self, payer: Option<&Payer>) -> bool {
        let before = self.position().and_then(|before| before.payer.as_ref());
        let customer = |payer: &Payer| payer.customer.clone();
        payer.is_some() && payer.map(customer) == before.map(customer)
    }

    fn record(&self, to: u64) -> Option<Event> {
        let position = self.position()?.clone();
        self.is_open(to).then_some(Event::Reported { to, position })
    }

    fn record_failure(&self, to: u64, reason: &str) -> Option<Event> {
        let position = self.position()?.clone();
        self.is_open(to).then(|| Event::ReportFailed {
            to,
            reason: reason.chars().take(MAX_REASON).collect(),
            position,
        })
    }

    /// Whether Stripe is to know of the cut that ends here.
    fn is_open(&self, to: u64) -> bool {
        self.unreported.iter().any(|report| report.to == to)
    }
}

fn ensure_own(meter: Meter, facts: &Facts<Area>) -> Result<(), Rejection> {
    match facts.tenant {
        TenantId::Tenant(tenant) if UsageId::of(tenant, meter) == facts.id => Ok(()),
        TenantId::Tenant(_) | TenantId::Platform => Err(Rejection::NotOwn),
    }
}

#[cfg(test)]
mod tests;
