//! What the owners of a tenant learn, and when: a function of what was recorded.

use std::time::Duration;

use events_schema::{
    Area as _, Commit, GRACE, Name, TenantKey, Time,
    billing::{Area, Event, Paid, PaidStatus, View},
    email::{self, BillingNotice, Template},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long before the end of a trial its owners are reminded. A shorter trial ends as expected.
const REMINDED_BEFORE: Duration = DAY.saturating_mul(3);

/// A notice, and when it is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct DueNotice {
    notice: BillingNotice,
    /// `None` for at once.
    pub(super) not_before: Option<Time>,
}

impl DueNotice {
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
            BillingNotice::Ended { since } => ("ended", since),
        };
        let (kind, tenant) = (kind.as_bytes(), tenant.0.bytes());
        [
            kind.to_vec(),
            tenant.to_vec(),
            time.0.to_be_bytes().to_vec(),
        ]
    }
}

/// Returns the notices that follow from a commit and are not late at this time. `billing` is what
/// is known of the tenant now.
pub(super) fn notices(commit: &Commit<Area>, billing: Option<&View>, now: Time) -> Vec<DueNotice> {
    let events = commit.events.iter();
    let due = events.flat_map(|event| of_event(event, commit.time, billing));
    // A mail that waits longer would leave the log before it is sent.
    let kept = email::Area::RETENTION.unwrap_or(Duration::MAX);
    let is_kept = |due: &DueNotice| {
        due.not_before
            .is_none_or(|at| at.since(commit.time) + DAY < kept)
    };
    // A worker that begins to read the log tells nobody of the past.
    let is_late = |due: &DueNotice| due.not_before.unwrap_or(commit.time) + DAY < now;
    due.filter(|due| is_kept(due) && !is_late(due)).collect()
}

fn of_event(event: &Event, now: Time, billing: Option<&View>) -> Vec<DueNotice> {
    match event {
        Event::TrialStarted { until, .. } => {
            let reminder = trial_ends(*until, now);
            reminder.into_iter().chain(over(*until)).collect()
        }
        Event::Cancelled { at } => over(*at).into(),
        Event::Granted(grant) => grant.until.into_iter().flat_map(over).collect(),
        Event::GrantEnded => over(now).into(),
        Event::Resumed => {
            let chosen = billing.and_then(|billing| billing.subscription.as_ref());
            let end = chosen.and_then(|chosen| chosen.trial_end);
            let reminder = end.filter(|end| now < *end).map(reminder);
            reminder.into_iter().collect()
        }
        Event::SubscriptionRecorded {
            subscription,
            past_due_since,
            ..
        } => of_subscription(subscription, *past_due_since, now),
        Event::Changed { .. }
        | Event::Overridden(_)
        | Event::OverrideEnded
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

fn of_subscription(paid: &Paid, past_due_since: Option<Time>, now: Time) -> Vec<DueNotice> {
    let is_trial = paid.status == PaidStatus::Trialing;
    let trial_end = paid
        .trial_end
        .filter(|_| is_trial && paid.cancel_at.is_none());
    let failed = past_due_since.map(|since| DueNotice {
        notice: BillingNotice::PaymentFailed { since },
        not_before: None,
    });
    let ends = [past_due_since.map(|since| since + GRACE), paid.cancel_at];
    let restricted = ends.into_iter().flatten().map(restricted);
    let reminder = trial_end.and_then(|end| trial_ends(end, now));
    // Stripe may end it somewhat later than it was to end, and one mail is enough.
    let ended = paid
        .cancel_at
        .filter(|_| paid.status == PaidStatus::Ended)
        .map(|since| DueNotice {
            notice: BillingNotice::Ended { since },
            not_before: None,
        });
    failed
        .into_iter()
        .chain(reminder)
        .chain(restricted)
        .chain(ended)
        .collect()
}

/// Nobody is reminded of the end of a trial that is shorter than the time of the reminder.
fn trial_ends(at: Time, now: Time) -> Option<DueNotice> {
    let reminder = reminder(at);
    reminder
        .not_before
        .is_some_and(|not_before| now < not_before)
        .then_some(reminder)
}

/// Reminds of the end of a trial.
fn reminder(at: Time) -> DueNotice {
    let before = i64::try_from(REMINDED_BEFORE.as_millis()).unwrap_or(i64::MAX);
    DueNotice {
        notice: BillingNotice::TrialEnds { at },
        not_before: Some(Time(at.0.saturating_sub(before))),
    }
}

/// A plan is over: there is the default plan, or nothing can be created any more. The effect that
/// sends the mail looks at the standing, and sends one of them.
const fn over(since: Time) -> [DueNotice; 2] {
    let ended = DueNotice {
        notice: BillingNotice::Ended { since },
        not_before: Some(since),
    };
    [restricted(since), ended]
}

const fn restricted(since: Time) -> DueNotice {
    DueNotice {
        notice: BillingNotice::Restricted { since },
        not_before: Some(since),
    }
}

#[cfg(test)]
mod tests;
