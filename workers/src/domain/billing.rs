//! The billing of a tenant: its plan, trials, exceptions and grants.
//!
//! The sender has read the catalogue, and the command carries what it says about the plan. Where
//! nobody can pay, a plan that costs money can only be tried.

mod payment;

use std::time::Duration;

use events_schema::{
    Claim, MAX_LIMIT, PlanVersion, PriceId, Reject, RejectionKind, Time,
    billing::{
        Area, Command, Event, Grant, MAX_TRIALS, Override, Subscription, View, apply,
        refusal::{CANCEL_FIRST, PAYMENT_MISSING, PAYMENTS_NOT_SET_UP, PLAN_COMING},
    },
    plan::MAX_TRIAL_DAYS,
};
use serde::Serialize;

use crate::aggregate::{Aggregate, Decision, Facts};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The billing of a tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Billing(View);

/// Why a command to a tenant's billing is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The plan costs money, cannot be tried (any more), and nobody can pay here.
    #[error("{PAYMENTS_NOT_SET_UP}")]
    PaymentsNotSetUp,
    /// Stripe decides which plan the tenant has, or will.
    #[error("{CANCEL_FIRST}")]
    CancelFirst,
    /// Another plan comes with the next period, and the present one is paid until then.
    #[error("{PLAN_COMING}")]
    PlanComing,
    /// Stripe has not answered a request whose result decides what another one means.
    #[error("Your plan is being changed. Wait until that is done, and try again.")]
    ChangePending,
    /// Stripe does not know the latest number of seats yet, and would charge nothing for it.
    #[error("Your seats are being counted. Try again in a minute.")]
    SeatsPending,
    /// A payment is missing, and Stripe would give back what was never paid.
    #[error("{PAYMENT_MISSING}")]
    PaymentMissing,
    /// Another tenant has the customer.
    #[error("This customer at Stripe belongs to another tenant.")]
    CustomerTaken,
    /// The trial is longer than [`MAX_TRIAL_DAYS`].
    #[error("A trial has at most {MAX_TRIAL_DAYS} days.")]
    TrialTooLong,
    /// The tenant has not chosen a plan, or the plan has ended.
    #[error("You have no plan of your own that could be cancelled.")]
    NothingToCancel,
    /// The tenant has not chosen a plan, or the plan has ended.
    #[error("Your plan has ended. Choose one again.")]
    NothingToResume,
    /// The end is not in the future.
    #[error("The end must be in the future.")]
    EndIsOver,
    /// A limit is larger than [`MAX_LIMIT`].
    #[error("A limit is at most {MAX_LIMIT}. Without a value, any number is allowed.")]
    LimitTooLarge,
}

impl Reject for Rejection {
    fn kind(&self) -> RejectionKind {
        match self {
            Self::PaymentsNotSetUp
            | Self::CancelFirst
            | Self::PlanComing
            | Self::ChangePending
            | Self::SeatsPending
            | Self::PaymentMissing
            | Self::CustomerTaken
            | Self::NothingToCancel
            | Self::NothingToResume => RejectionKind::Conflict,
            Self::TrialTooLong => RejectionKind::invalid("trial_days"),
            Self::EndIsOver => RejectionKind::invalid("until"),
            Self::LimitTooLarge => RejectionKind::invalid("limits"),
        }
    }
}

impl Aggregate for Billing {
    type Area = Area;
    type Rejection = Rejection;

    fn claims(&self, command: &Command, _: &Facts<Area>) -> Vec<Claim> {
        match command {
            Command::RecordCustomer { customer } | Command::ForgetCustomer { customer } => {
                vec![Claim::stripe_customer(customer)]
            }
            Command::Change { .. }
            | Command::Cancel
            | Command::Resume
            | Command::Override(_)
            | Command::EndOverride
            | Command::Grant(_)
            | Command::EndGrant
            | Command::Subscribe { .. }
            | Command::ExpectCustomer
            | Command::RecordSubscription { .. }
            | Command::RecordAction { .. }
            | Command::RecordFailure { .. }
            | Command::RequestAgain { .. }
            | Command::SetSeats { .. }
            | Command::End => Vec::new(),
        }
    }

    fn decide(&self, command: &Command, facts: &Facts<Area>) -> Result<Decision<Event>, Rejection> {
        let (now, id) = (facts.now, facts.command);
        let event = match command {
            Command::Change {
                plan,
                price,
                trial_days,
            } => self.change(*plan, *price, *trial_days, now)?,
            Command::Cancel => match self.0.payment.lasting() {
                Some(paid) => self.cancel_paid(paid, id, now)?,
                None => self.cancel(now)?,
            },
            Command::Resume => match self.0.payment.lasting() {
                Some(paid) => self.resume_paid(paid, id, now)?,
                None => self.resume(now)?,
            },
            Command::Override(overrides) => self.make_exceptions(overrides, now)?,
            Command::EndOverride => self.0.overrides.as_ref().map(|_| Event::OverrideEnded),
            Command::Grant(grant) => self.grant(grant, now)?,
            Command::EndGrant => self.0.grant.as_ref().map(|_| Event::GrantEnded),
            Command::Subscribe { wanted, trial_days } => {
                self.subscribe(wanted, *trial_days, id, now)?
            }
            Command::ExpectCustomer => self.expect_customer(now),
            Command::RecordCustomer { customer } => {
                let is_taken = facts.is_taken(&Claim::stripe_customer(customer));
                let recorded = (!is_taken).then(|| self.record_customer(customer));
                return recorded.ok_or(Rejection::CustomerTaken);
            }
            Command::ForgetCustomer { customer } => return Ok(self.forget_customer(customer, now)),
            Command::RecordSubscription {
                plan,
                price,
                subscription,
                past_due_since,
                request,
            } => {
                let chosen = (*plan, *price);
                self.record_subscription(chosen, subscription, *past_due_since, *request, now)
            }
            Command::RecordAction { request } => self.record_action(*request),
            Command::RecordFailure {
                request,
                code,
                message,
            } => self.record_failure(*request, code, message),
            Command::RequestAgain { request } => self.request_again(*request, now),
            Command::SetSeats { price, quantity } => self.set_seats(price, *quantity, id),
            Command::End => self.end_paid(id, now),
        };
        Ok(Decision::events(event.into_iter().collect()))
    }

    fn evolve(&mut self, event: &Event, _: Time) {
        apply(&mut self.0, event);
    }
}

impl Billing {
    /// Returns all that is known of the billing.
    pub const fn view(&self) -> &View {
        &self.0
    }

    /// Returns the plan that the tenant has chosen, as long as it lasts.
    fn subscription(&self, now: Time) -> Option<&Subscription> {
        let chosen = self.0.subscription.as_ref();
        chosen.filter(|chosen| !chosen.has_ended(now))
    }

    fn change(
        &self,
        plan: PlanVersion,
        price: Option<PriceId>,
        trial_days: u16,
        now: Time,
    ) -> Result<Option<Event>, Rejection> {
        if self.payment().is_paying() {
            return Err(Rejection::CancelFirst);
        }
        let current = self.subscription(now);
        let lasting = current.filter(|current| current.cancel_at.is_none());
        if lasting.is_some_and(|lasting| (lasting.plan, lasting.price) == (plan, price)) {
            return Ok(None);
        }
        let is_tried =
            |current: &Subscription| current.plan.plan == plan.plan && current.trial_end.is_some();
        match price {
            Some(price) if !current.is_some_and(is_tried) => {
                let until = self.trial_end(plan, trial_days, now)?;
                Ok(Some(Event::TrialStarted { plan, price, until }))
            }
            Some(_) | None => Ok(Some(Event::Changed { plan, price })),
        }
    }

    /// Returns when a trial that starts now ends.
    fn trial_end(&self, plan: PlanVersion, days: u16, now: Time) -> Result<Time, Rejection> {
        let tried = &self.0.tried;
        if days == 0 || tried.contains(&plan.plan) || tried.len() >= MAX_TRIALS {
            Err(Rejection::PaymentsNotSetUp)
        } else if days > MAX_TRIAL_DAYS {
            Err(Rejection::TrialTooLong)
        } else {
            Ok(now + DAY * u32::from(days))
        }
    }

    fn cancel(&self, now: Time) -> Result<Option<Event>, Rejection> {
        let subscription = self.subscription(now).ok_or(Rejection::NothingToCancel)?;
        let at = subscription.trial_end.unwrap_or(now);
        let is_new = subscription.cancel_at.is_none();
        Ok(is_new.then_some(Event::Cancelled { at }))
    }

    fn resume(&self, now: Time) -> Result<Option<Event>, Rejection> {
        let subscription = self.subscription(now).ok_or(Rejection::NothingToResume)?;
        // What was paid for has ended at Stripe, and does not begin again here.
        let was_paid = subscription.price.is_some() && subscription.trial_end.is_none();
        if was_paid {
            return Err(Rejection::NothingToResume);
        }
        Ok(subscription.cancel_at.map(|_| Event::Resumed))
    }

    fn make_exceptions(&self, overrides: &Override, now: Time) -> Result<Option<Event>, Rejection> {
        if !overrides.is_valid(now) {
            return Err(Rejection::EndIsOver);
        }
        let mut limits = overrides.limits.values().flatten();
        if limits.any(|most| *most > MAX_LIMIT) {
            return Err(Rejection::LimitTooLarge);
        }
        let is_new = self.0.overrides.as_ref() != Some(overrides);
        Ok(is_new.then(|| Event::Overridden(overrides.clone())))
    }

    fn grant(&self, grant: &Grant, now: Time) -> Result<Option<Event>, Rejection> {
        if !grant.is_valid(now) {
            return Err(Rejection::EndIsOver);
        }
        let is_new = self.0.grant.as_ref() != Some(grant);
        Ok(is_new.then(|| Event::Granted(grant.clone())))
    }
}

#[cfg(test)]
mod change_tests;
#[cfg(test)]
mod payment_tests;
#[cfg(test)]
mod tests;
