//! Does at Stripe what a tenant has asked for: to pay for a plan, to end that, or to go on.
//!
//! Each attempt first looks at what Stripe has, so a repetition finds what was done before, also
//! after Stripe has forgotten its keys.

mod attempt;
mod change;
mod recorded;
mod renewal;
mod trial;
mod usage;

use std::time::SystemTime;

use events_schema::{
    TenantKey,
    billing::{Command, Event, Pending, PendingStatus},
    plan,
};

use self::attempt::Attempt;
pub(crate) use self::{
    recorded::paid,
    renewal::{before_payment, is_being_paid},
    trial::{trial_after, trial_of},
    usage::{usage_changes, usage_changes_with},
};
use crate::{
    catalogue::LatestCatalogue,
    domain::billing::Billing,
    effect::{Effect, Failure, Lane, Setup, Undone, stripe_failure},
    stripe::{Stripe, Subscription, SubscriptionStatus},
};

/// Changes subscriptions.
pub struct ChangeSubscription {
    stripe: Stripe,
    catalogue: LatestCatalogue,
}

/// What a tenant has asked for, and what is known of it.
pub struct Task {
    pending: Pending,
    record: Billing,
}

impl Effect for ChangeSubscription {
    type Record = Billing;
    type Task = Task;
    const NAME: &'static str = "change_subscription";
    const UNDONE: Option<Undone> = None;

    fn new(setup: &Setup<'_>) -> anyhow::Result<Option<Self>> {
        Ok(setup.stripe.cloned().map(|stripe| Self {
            stripe,
            catalogue: LatestCatalogue::new(setup.log.clone()),
        }))
    }

    fn attempts(&self) -> i64 {
        stripe_failure::ATTEMPTS
    }

    /// A recorded customer is the first half of a change, and so is a subscription that is recorded
    /// before it is changed. After a customer is forgotten, the change begins again.
    fn is_requested_by(event: &Event) -> bool {
        match event {
            Event::ChangeRequested { .. }
            | Event::CancelRequested { .. }
            | Event::ResumeRequested { .. }
            | Event::EndRequested { .. }
            | Event::CustomerRecorded { .. }
            | Event::CustomerForgotten { .. }
            | Event::SubscriptionRecorded { request: None, .. } => true,
            Event::Changed { .. }
            | Event::TrialStarted { .. }
            | Event::Cancelled { .. }
            | Event::Resumed
            | Event::Overridden(_)
            | Event::OverrideEnded
            | Event::Granted(_)
            | Event::GrantEnded
            | Event::CustomerExpected { .. }
            | Event::SubscriptionRecorded {
                request: Some(_), ..
            }
            | Event::ActionRequired { .. }
            | Event::ChangeFailed { .. }
            | Event::SeatsChanged { .. } => false,
        }
    }

    fn pending(record: &Billing) -> Option<Task> {
        let pending = record.payment().pending.clone()?;
        (pending.status == PendingStatus::Pending).then(|| Task {
            pending,
            record: record.clone(),
        })
    }

    /// Somebody waits for it, and no tenant holds up another.
    fn lane(task: &Task) -> Lane {
        Lane {
            destination: task.pending.request.to_string(),
            is_urgent: true,
            not_before: None,
        }
    }

    async fn perform(&self, tenant: TenantKey, task: &Task) -> Result<Command, Failure> {
        let catalogue = self.catalogue.read().await?;
        attempt(self.stripe.clone(), catalogue.plans(), tenant, task).await
    }

    fn failed(task: &Task, reason: String) -> Command {
        task.failed("internal", reason)
    }
}

/// Attempts a task, with further keys while Stripe only repeats a failure. Each round looks first at
/// what there is.
async fn attempt(
    mut stripe: Stripe,
    catalogue: &plan::View,
    tenant: TenantKey,
    task: &Task,
) -> Result<Command, Failure> {
    loop {
        let attempt = Attempt {
            stripe: &stripe,
            catalogue,
            task,
            now: SystemTime::now().into(),
        };
        let done = attempt.perform(tenant).await;
        match stripe_failure::next_round(&stripe, &done) {
            Some(next) => stripe = next,
            None => return done,
        }
    }
}

/// Whether a subscription is paid for, or will be, or should have been.
pub(crate) const fn is_lasting(subscription: &Subscription) -> bool {
    match subscription.status {
        SubscriptionStatus::Trialing
        | SubscriptionStatus::Active
        | SubscriptionStatus::PastDue
        | SubscriptionStatus::Unpaid => true,
        SubscriptionStatus::Paused
        | SubscriptionStatus::Incomplete
        | SubscriptionStatus::IncompleteExpired
        | SubscriptionStatus::Canceled
        | SubscriptionStatus::Unknown => false,
    }
}

#[cfg(test)]
mod tests;
