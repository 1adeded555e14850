use events_schema::{
    Actor, AreaName, CommandId, Id, PlanId, PlanVersion, PriceId, Reason, StripeItemId,
    StripePriceId, StripeSubscriptionId, TenantId,
    billing::{Grant, apply},
};

use super::*;

const ACME: TenantKey = TenantKey(Id::from_bytes([1; 16]));
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const TEAM: PlanVersion = PlanVersion {
    plan: PlanId(Id::from_bytes([2; 16])),
    number: 1,
};

/// What follows from an event at time zero, at once.
fn after(event: Event) -> Vec<DueNotice> {
    handled(event, None, 0)
}

/// What follows from an event at time zero that is handled so many days later.
fn handled(event: Event, billing: Option<&View>, days: i64) -> Vec<DueNotice> {
    let commit = Commit {
        tenant: TenantId::Tenant(ACME),
        area: AreaName::Billing,
        id: ACME,
        revision: 1,
        command: CommandId(ACME.0),
        actor: Actor::System,
        time: Time(0),
        origin: None,
        events: vec![event],
    };
    notices(&commit, billing, Time(days * DAY_MS))
}
fn recorded(status: PaidStatus, end_days: Option<i64>, past_due_days: Option<i64>) -> Event {
    let end = end_days.map(|days| Time(days * DAY_MS));
    let is_trial = status == PaidStatus::Trialing;
    Event::SubscriptionRecorded {
        plan: TEAM,
        price: PriceId(ACME.0),
        subscription: Paid {
            id: StripeSubscriptionId::parse("sub_1").unwrap(),
            item: StripeItemId::parse("si_1").unwrap(),
            status,
            price: StripePriceId::parse("price_1").unwrap(),
            quantity: 1,
            period_end: Time(0),
            trial_end: end.filter(|_| is_trial),
            cancel_at: end.filter(|_| !is_trial),
        },
        past_due_since: past_due_days.map(|days| Time(days * DAY_MS)),
        request: None,
    }
}
fn trial(days: i64) -> Event {
    Event::TrialStarted {
        plan: TEAM,
        price: PriceId(ACME.0),
        until: Time(days * DAY_MS),
    }
}
fn due(notice: BillingNotice, days: Option<i64>) -> DueNotice {
    DueNotice {
        notice,
        not_before: days.map(|days| Time(days * DAY_MS)),
    }
}
fn ends(days: i64) -> BillingNotice {
    let at = Time(days * DAY_MS);
    BillingNotice::TrialEnds { at }
}
fn stops(days: i64) -> BillingNotice {
    let since = Time(days * DAY_MS);
    BillingNotice::Restricted { since }
}
fn has_ended(days: i64) -> BillingNotice {
    let since = Time(days * DAY_MS);
    BillingNotice::Ended { since }
}
/// What is told when a plan is over: one of them will be true.
fn over(days: i64) -> [DueNotice; 2] {
    [stops(days), has_ended(days)].map(|notice| due(notice, Some(days)))
}

#[test]
fn owners_are_reminded_three_days_before_a_trial_ends() {
    let [stops, ended] = over(14);
    assert_eq!(after(trial(14)), [due(ends(14), Some(11)), stops, ended]);
    let of_stripe = recorded(PaidStatus::Trialing, Some(14), None);
    assert_eq!(after(of_stripe), [due(ends(14), Some(11))]);
}

#[test]
fn nobody_is_reminded_of_the_end_of_a_short_trial_or_of_one_years_ahead() {
    for days in [1, 3] {
        assert_eq!(after(trial(days)), over(days));
    }
    assert_eq!(after(trial(730)), []);
}

#[test]
fn owners_learn_of_a_missing_payment_at_once_and_of_the_restriction_after_14_days() {
    let since = Time(-DAY_MS);
    let failed = BillingNotice::PaymentFailed { since };
    let expected = [due(failed, None), due(stops(13), Some(13))];
    assert_eq!(
        after(recorded(PaidStatus::PastDue, None, Some(-1))),
        expected
    );
    assert_eq!(after(recorded(PaidStatus::Active, None, None)), []);
}

#[test]
fn one_failure_is_one_occasion_however_often_it_is_recorded() {
    let occasion = |days| after(recorded(PaidStatus::PastDue, None, Some(days)))[0].occasion(ACME);
    assert_eq!(occasion(-1), occasion(-1));
    assert_ne!(occasion(-1), occasion(-2));
}

#[test]
fn the_end_of_a_plan_is_told_when_it_has_come() {
    let cancelled = Event::Cancelled {
        at: Time(5 * DAY_MS),
    };
    assert_eq!(after(cancelled), over(5));
    let ends = recorded(PaidStatus::Active, Some(30), None);
    assert_eq!(after(ends), [due(stops(30), Some(30))]);
    let ended = recorded(PaidStatus::Ended, Some(0), None);
    assert_eq!(after(ended), [over(0)[0], due(has_ended(0), None)]);
}

#[test]
fn a_worker_that_begins_to_read_the_log_tells_nobody_of_the_past() {
    let failed = || recorded(PaidStatus::PastDue, None, Some(0));
    let restricted = due(stops(14), Some(14));
    assert_eq!(handled(failed(), None, 1).len(), 2);
    assert_eq!(handled(failed(), None, 2), [restricted]);
    assert_eq!(handled(failed(), None, 15), [restricted]);
    assert_eq!(handled(failed(), None, 16), []);
}

#[test]
fn the_end_of_a_grant_may_take_the_plan_of_a_tenant() {
    let granted = |until: Option<i64>| {
        Event::Granted(Grant {
            plan: TEAM,
            until: until.map(|days| Time(days * DAY_MS)),
            reason: Reason::parse("A school").unwrap(),
        })
    };
    assert_eq!(after(granted(Some(7))), over(7));
    assert_eq!(after(granted(None)), []);
    assert_eq!(after(Event::GrantEnded), over(0));
}

#[test]
fn owners_are_reminded_of_the_end_of_a_trial_that_goes_on_after_all() {
    let billing = |days| {
        let mut billing = View::default();
        apply(&mut billing, &trial(days));
        billing
    };
    let resumed = |days| handled(Event::Resumed, Some(&billing(days)), 0);
    assert_eq!(resumed(14), [due(ends(14), Some(11))]);
    assert_eq!(resumed(2), [due(ends(2), Some(-1))]);
    assert_eq!(handled(Event::Resumed, None, 0), []);
}
