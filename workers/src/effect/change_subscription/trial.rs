//! What becomes of a trial. It is one of its plan, and does not carry over to another.

use events_schema::{PlanId, Time, plan};

use super::attempt::DAY;
use crate::{
    domain::billing::Billing,
    stripe::{Subscription, SubscriptionStatus, TrialChange},
};

/// Returns what becomes of the trial of a subscription that changes to a plan. `days` is the trial that
/// the tenant gets with that; `None` if it gets none.
pub(crate) fn trial_after(
    billing: &Billing,
    catalogue: &plan::View,
    present: &Subscription,
    (plan, days): (PlanId, Option<u16>),
    now: Time,
) -> TrialChange {
    let price = present.item().map(|item| &item.price.id);
    let tried = price.and_then(|price| billing.plan_of(price, catalogue));
    let is_same = tried.is_some_and(|(tried, _)| tried.plan == plan);
    if present.status != SubscriptionStatus::Trialing || is_same {
        return TrialChange::Keep;
    }
    days.map_or(TrialChange::End, |days| trial_of(days, now))
}

/// Returns the trial that begins now and lasts so many days.
pub(crate) fn trial_of(days: u16, now: Time) -> TrialChange {
    TrialChange::Until((now + DAY * u32::from(days)).into())
}
