//! What a tenant pays by Stripe. Stripe decides it; here is what was last read there.

use std::ops::Not;

use serde::{Deserialize, Serialize};

use super::Event;
use crate::{
    CommandId, Name, PlanVersion, PriceId, PromotionCode, StripeCustomerId, StripeItemId,
    StripePriceId, StripeSubscriptionId, Time,
};

/// What a tenant pays, and what it has asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Payment {
    /// The tenant as Stripe knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<StripeCustomerId>,
    /// What the tenant pays for, or has paid for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<Paid>,
    /// What the tenant has asked for last, until Stripe confirms it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// When the tenant first needed a customer. That is not older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The seats that Stripe is to count, until it has confirmed them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seats: Option<Seats>,
}

impl Payment {
    /// Whether the tenant has never asked for anything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Applies an event about what the tenant asks Stripe for. Others change nothing here.
    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::ChangeRequested {
                request,
                at,
                wanted,
                trial_end,
            } => {
                let (wanted, trial_end) = (wanted.clone(), *trial_end);
                self.ask(*request, *at, Change::Subscribe { wanted, trial_end });
            }
            Event::CancelRequested { request, at } => self.ask(*request, *at, Change::Cancel),
            Event::ResumeRequested { request, at } => self.ask(*request, *at, Change::Resume),
            Event::EndRequested { request, at } => self.ask(*request, *at, Change::End),
            Event::CustomerExpected { at } => _ = self.since.get_or_insert(*at),
            Event::CustomerRecorded { customer } => self.customer = Some(customer.clone()),
            Event::CustomerForgotten { customer, at } => self.forget(customer, *at),
            Event::ActionRequired { request } => {
                self.settle(*request, PendingStatus::ActionRequired);
            }
            Event::ChangeFailed {
                request,
                code,
                message,
            } => {
                let (code, message) = (code.clone(), message.clone());
                self.settle(*request, PendingStatus::Failed { code, message });
            }
            Event::SeatsChanged {
                request,
                price,
                quantity,
            } => {
                self.seats = Some(Seats {
                    request: *request,
                    price: price.clone(),
                    quantity: *quantity,
                });
            }
            Event::Changed { .. }
            | Event::TrialStarted { .. }
            | Event::Cancelled { .. }
            | Event::Resumed
            | Event::Overridden(_)
            | Event::OverrideEnded
            | Event::Granted(_)
            | Event::GrantEnded
            | Event::SubscriptionRecorded { .. } => {}
        }
    }

    fn ask(&mut self, request: CommandId, at: Time, change: Change) {
        self.since.get_or_insert(at);
        self.pending = Some(Pending {
            request,
            at,
            change,
            status: PendingStatus::Pending,
        });
    }

    /// Forgets what this command has asked for.
    fn done(&mut self, request: Option<CommandId>) {
        let is_done = |pending: &mut Pending| Some(pending.request) == request;
        _ = self.pending.take_if(is_done);
    }

    /// Forgets a customer. The next one is not older than this.
    fn forget(&mut self, customer: &StripeCustomerId, at: Time) {
        if self.customer.take_if(|known| known == customer).is_some() {
            self.since = Some(at);
        }
    }

    /// Records what Stripe has. Seats that it has counted, or that belong to another price, are not
    /// awaited any more.
    pub(super) fn record(&mut self, paid: &Paid, request: Option<CommandId>) {
        self.subscription = Some(paid.clone());
        self.done(request);
        let is_settled = |seats: &mut Seats| {
            Some(seats.request) == request
                || seats.price != paid.price
                || paid.status == PaidStatus::Ended
        };
        _ = self.seats.take_if(is_settled);
    }

    /// Returns what the tenant has asked for, if it is this plan from the end of its period on.
    /// Stripe may have done so although the request is recorded as failed.
    pub(super) fn postponed(&self, plan: PlanVersion, price: PriceId) -> Option<&Wanted> {
        let wanted = self.wanted_later()?;
        ((wanted.plan, wanted.price) == (plan, price)).then_some(wanted)
    }

    /// Returns the plan that the tenant has asked for last, if it wants that from the end of its
    /// period on.
    pub fn wanted_later(&self) -> Option<&Wanted> {
        match &self.pending.as_ref()?.change {
            Change::Cancel | Change::Resume | Change::End => None,
            Change::Subscribe { wanted, .. } => {
                (wanted.at == ChangeTime::PeriodEnd).then_some(wanted)
            }
        }
    }

    fn settle(&mut self, request: CommandId, status: PendingStatus) {
        let pending = self.pending.as_mut();
        if let Some(pending) = pending.filter(|pending| pending.request == request) {
            pending.status = status;
        }
    }

    /// Whether Stripe decides which plan the tenant has, or will.
    pub fn is_paying(&self) -> bool {
        let asked = self.pending.as_ref();
        let awaits = asked.is_some_and(|pending| pending.status == PendingStatus::Pending);
        awaits || self.lasting().is_some()
    }

    /// Returns what the tenant pays for, unless it has ended.
    pub fn lasting(&self) -> Option<&Paid> {
        let paid = self.subscription.as_ref();
        paid.filter(|paid| paid.status != PaidStatus::Ended)
    }
}

/// A subscription at Stripe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Paid {
    pub id: StripeSubscriptionId,
    pub item: StripeItemId,
    pub status: PaidStatus,
    pub price: StripePriceId,
    pub quantity: u64,
    /// When the next payment is due.
    pub period_end: Time,
    /// When the trial ends, if Stripe gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_end: Option<Time>,
    /// When it ends or has ended, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_at: Option<Time>,
}

impl Paid {
    /// Returns the end of the trial or of the paid period. What follows is not known yet.
    pub fn known_until(&self) -> Time {
        let trial_end = self.trial_end;
        let trial_end = trial_end.filter(|_| self.status == PaidStatus::Trialing);
        trial_end.unwrap_or(self.period_end)
    }
}

/// How a subscription stands at Stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum PaidStatus {
    /// The tenant need not pay yet.
    Trialing,
    /// Everything is paid.
    Active,
    /// A payment is missing.
    PastDue,
    /// It is over.
    Ended,
}

/// A plan that a tenant wants to pay for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Wanted {
    pub plan: PlanVersion,
    pub price: PriceId,
    /// The same price at Stripe, as the catalogue shows it.
    pub stripe_price: StripePriceId,
    /// How many units: the seats in use, or one.
    pub quantity: u64,
    /// The tenant's name, which a new customer gets. Stripe shows it on invoices.
    pub name: Name,
    /// The time from which the difference to the plan before counts, as a preview has shown it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proration_date: Option<Time>,
    /// When the tenant gets the plan.
    #[serde(default)]
    pub at: ChangeTime,
    /// Whether a plan for the next period begins only when that is paid, since it costs as much as
    /// the present one, or more.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub once_paid: bool,
    /// A code that makes it cheaper. Stripe knows what it is worth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion_code: Option<PromotionCode>,
}

/// When a tenant that pays gets another plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum ChangeTime {
    /// When Stripe has confirmed it. The difference for the rest of the period is paid at once.
    #[default]
    Now,
    /// With the next period, or when that is paid. Until then the tenant keeps the plan that it has
    /// paid for.
    PeriodEnd,
}

/// The seats in use, for a price per seat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Seats {
    /// The command that has set them.
    pub request: CommandId,
    pub price: StripePriceId,
    pub quantity: u64,
}

/// What a tenant has asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Pending {
    /// The command that asked for it.
    pub request: CommandId,
    pub at: Time,
    pub change: Change,
    pub status: PendingStatus,
}

/// A change at Stripe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Change {
    /// Pay for another plan, price or quantity.
    Subscribe {
        wanted: Wanted,
        /// When the trial ends, if the tenant gets one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trial_end: Option<Time>,
    },
    /// End with the period.
    Cancel,
    /// Do not end after all.
    Resume,
    /// End at once.
    End,
}

/// How a change at Stripe stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum PendingStatus {
    /// Stripe has not confirmed it yet.
    Pending,
    /// The owner of the card must confirm the payment.
    ActionRequired,
    /// It was not done.
    Failed {
        /// Stripe's code, such as `insufficient_funds`.
        code: String,
        /// A sentence for the person who asked.
        message: String,
    },
}
