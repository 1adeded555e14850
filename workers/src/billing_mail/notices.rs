//! What the owners of a tenant learn, and when: a function of what was recorded.

use std::time::Duration;

use events_schema::{
    Area as _, Commit, GRACE, Name, TenantKey, Time,
    billing::{Area, Event, Paid, PaidStatus},
    email::{self, BillingNotice, Template},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long before the end of a trial its owners are reminded. A shorter trial ends as expected.
const REMINDED_BEFORE: Duration = DAY.saturating_mul(3);

/// A notice, and when it is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Due {
    notice: BillingNotice,
    /// `None` for at once.
    pub(super) not_before: Option<Time>,
}

impl Due {
    pub(super) fn template(&self, tenant: TenantKey, tenant_name: &Name) -> Template {
        Template::Billing {
            tenant,
            tenant_name: tenant_name.clone(),
            notice: self.notice,
        }
    }

    /// Returns what one occasion has in common, however often it is recorded.
    pub(super) fn occasion(&self, tenant: TenantKey) -> [Vec<u8>; 3] {
        let (kind, time) = match self.notice {
            BillingNotice::PaymentFailed { since } => ("payment_failed", since),
            BillingNotice::TrialEnds { at } => ("trial_ends", at),
            BillingNotice::Restricted { since } => ("restricted", since),
        };
        let (kind, tenant) = (kind.as_bytes(), tenant.0.bytes());
        [
            kind.to_vec(),
            tenant.to_vec(),
            time.0.to_be_bytes().to_vec(),
        ]
    }
}

/// Returns the notices that follow from a commit.
pub(super) fn notices(commit: &Commit<Area>) -> Vec<Due> {
    let events = commit.events.iter();
    let due = events.flat_map(|event| of_event(event, commit.time));
    // A mail that waits longer would leave the log before it is sent.
    let kept = email::Area::RETENTION.unwrap_or(Duration::MAX);
    let is_kept = |due: &Due| {
        due.not_before
            .is_none_or(|at| at.since(commit.time) + DAY < kept)
    };
    due.filter(is_kept).collect()
}

fn of_event(event: &Event, now: Time) -> Vec<Due> {
    match event {
        Event::TrialStarted { until, .. } => {
            let reminder = trial_ends(*until, now);
            reminder.into_iter().chain([restricted(*until)]).collect()
        }
        Event::Cancelled { at } => vec![restricted(*at)],
        Event::SubscriptionRecorded {
            subscription,
            past_due_since,
            ..
        } => of_subscription(subscription, *past_due_since, now),
        Event::Changed { .. }
        | Event::Resumed
        | Event::Overridden(_)
        | Event::OverrideEnded
        | Event::Granted(_)
        | Event::GrantEnded
        | Event::ChangeRequested { .. }
        | Event::CancelRequested { .. }
        | Event::EndRequested { .. }
        | Event::ResumeRequested { .. }
        | Event::CustomerExpected { .. }
        | Event::CustomerRecorded { .. }
        | Event::CustomerForgotten { .. }
        | Event::ActionRequired { .. }
        | Event::ChangeFailed { .. }
        | Event::SeatsChanged { .. } => Vec::new(),
    }
}

fn of_subscription(paid: &Paid, past_due_since: Option<Time>, now: Time) -> Vec<Due> {
    let is_trial = paid.status == PaidStatus::Trialing;
    let trial_end = paid
        .trial_end
        .filter(|_| is_trial && paid.cancel_at.is_none());
    let failed = past_due_since.map(|since| Due {
        notice: BillingNotice::PaymentFailed { since },
        not_before: None,
    });
    let ends = [past_due_since.map(|since| since + GRACE), paid.cancel_at];
    let restricted = ends.into_iter().flatten().map(restricted);
    let reminder = trial_end.and_then(|end| trial_ends(end, now));
    failed
        .into_iter()
        .chain(reminder)
        .chain(restricted)
        .collect()
}

fn trial_ends(at: Time, now: Time) -> Option<Due> {
    let before = i64::try_from(REMINDED_BEFORE.as_millis()).ok()?;
    let not_before = Time(at.0.saturating_sub(before));
    (now < not_before).then_some(Due {
        notice: BillingNotice::TrialEnds { at },
        not_before: Some(not_before),
    })
}

/// Most tenants have the default plan then. The effect that sends the mail looks at the standing.
const fn restricted(since: Time) -> Due {
    Due {
        notice: BillingNotice::Restricted { since },
        not_before: Some(since),
    }
}

#[cfg(test)]
mod tests;
