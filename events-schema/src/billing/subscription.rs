//! The plan that a tenant has chosen, and the one that comes after it.

use std::ops::Not;

use serde::{Deserialize, Serialize};

use super::{Paid, PaidStatus, View};
use crate::{PlanVersion, PriceId, Time};

/// The plan that a tenant has chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Subscription {
    pub plan: PlanVersion,
    /// `None` if the plan is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceId>,
    /// When the trial ends; `None` if it is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_end: Option<Time>,
    /// When the plan ends, since the tenant has given it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_at: Option<Time>,
    /// Since when a payment is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past_due_since: Option<Time>,
    /// The plan that the tenant has later, since it has chosen another one for the next period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextPlan>,
}

/// A plan that a tenant has from some time on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NextPlan {
    pub plan: PlanVersion,
    pub price: PriceId,
    /// When the period ends that is paid.
    pub at: Time,
    /// How many units of the present price are paid until then. `None` if an earlier release has
    /// recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid_quantity: Option<u64>,
    /// Whether the plan begins only when its first period is paid. Then the record of that payment
    /// begins it.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub once_paid: bool,
}

impl NextPlan {
    /// Whether the tenant has the plan at this time.
    fn has_come(&self, now: Time) -> bool {
        self.at <= now && !self.once_paid
    }

    /// Whether the tenant still waits for the plan after Stripe has this.
    fn comes_after(&self, paid: &Paid) -> bool {
        let is_unpaid = self.once_paid && paid.status == PaidStatus::PastDue;
        paid.period_end <= self.at || is_unpaid
    }
}

impl Subscription {
    /// Returns a plan for which Stripe gets no payment.
    pub(super) const fn unpaid(
        plan: PlanVersion,
        price: Option<PriceId>,
        trial_end: Option<Time>,
    ) -> Self {
        Self {
            plan,
            price,
            trial_end,
            cancel_at: None,
            past_due_since: None,
            next: None,
        }
    }

    /// Returns the plan that the tenant has at this time.
    pub fn plan_at(&self, now: Time) -> PlanVersion {
        self.next_at(now).map_or(self.plan, |next| next.plan)
    }

    /// Returns the price that the tenant has chosen for its plan at this time; `None` if that is
    /// free.
    pub fn price_at(&self, now: Time) -> Option<PriceId> {
        let next = self.next_at(now).map(|next| next.price);
        next.or(self.price)
    }

    /// Returns the plan that comes later than this time.
    pub fn coming_at(&self, now: Time) -> Option<&NextPlan> {
        self.next.as_ref().filter(|next| !next.has_come(now))
    }

    /// Returns the plan that has come by this time.
    fn next_at(&self, now: Time) -> Option<&NextPlan> {
        self.next.as_ref().filter(|next| next.has_come(now))
    }

    /// Returns the plan that begins with its first payment, if Stripe's period is that of this plan.
    pub fn awaiting_payment(&self, paid: &Paid) -> Option<&NextPlan> {
        let next = self.next.as_ref();
        next.filter(|next| next.once_paid && next.at < paid.period_end)
    }

    /// Whether the plan has ended: it was given up, or its trial is over.
    pub fn has_ended(&self, now: Time) -> bool {
        let mut ends = [self.trial_end, self.cancel_at].into_iter().flatten();
        ends.any(|end| end <= now)
    }
}

/// Returns the plan and price that a tenant has with what Stripe has now, and the plan that it has
/// later. For a plan of the next period, Stripe has the new price at once, and the present plan is
/// paid until the end of this one.
pub(super) fn paid_plan(
    billing: &View,
    (plan, price): (PlanVersion, PriceId),
    paid: &Paid,
) -> (PlanVersion, PriceId, Option<NextPlan>) {
    let now = (plan, price, None);
    let (Some(present), Some(before)) = (&billing.subscription, billing.payment.lasting()) else {
        return now;
    };
    let Some(present_price) = present.price else {
        return now;
    };
    if (present.plan, present_price) == (plan, price) || paid.status == PaidStatus::Ended {
        return now;
    }
    let known = present.next.clone();
    let known = known.filter(|next| (next.plan, next.price) == (plan, price));
    // While a plan comes, Stripe has its quantity, and not that of the present one.
    let paid_quantity = match &present.next {
        Some(other) if before.period_end <= other.at => other.paid_quantity,
        Some(_) | None => Some(before.quantity),
    };
    let postponed = billing.payment.postponed(plan, price);
    let asked = postponed.map(|wanted| NextPlan {
        plan,
        price,
        at: before.period_end,
        paid_quantity,
        once_paid: wanted.once_paid,
    });
    match known.or(asked).filter(|next| next.comes_after(paid)) {
        Some(next) => (present.plan, present_price, Some(next)),
        None => now,
    }
}
