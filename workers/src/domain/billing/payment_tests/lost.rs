//! Requests that were lost, customers that were deleted, and plans that have ended.

use super::*;

#[test]
fn an_end_that_is_known_does_not_take_the_plan_that_was_chosen_since() {
    let ended = || paid(PaidStatus::Ended);
    let free = Event::Changed {
        plan: version(7),
        price: None,
    };
    let chosen = paying().and([recorded(ended(), None, None), free]);
    chosen.when(record(ended(), None)).changes_nothing();
}

#[test]
fn what_is_not_done_within_a_minute_is_asked_for_again() {
    // Stripe knows the request by its id, and does not do it twice.
    let again = Event::ChangeRequested {
        request: OTHER,
        at: Time(60_000),
        wanted: wanted(TEAM, 3),
        trial_end: None,
    };
    let at = Time(60_000);
    let (request, other) = (REQUEST, OTHER);
    let cancel = Event::CancelRequested {
        request: other,
        at: Time(0),
    };
    let resume = Event::ResumeRequested {
        request: other,
        at: Time(0),
    };
    let ending = || ending().and([resume.clone()]);
    for (billing, command, event) in [
        (given([requested(other, None)]), subscribe(0), again.clone()),
        (paying().and([requested(other, None)]), subscribe(0), again),
        (
            paying().and([cancel]),
            Command::Cancel,
            Event::CancelRequested { request, at },
        ),
        (
            ending(),
            Command::Resume,
            Event::ResumeRequested { request, at },
        ),
    ] {
        billing.when(command.clone()).at(59_999).changes_nothing();
        billing.when(command).at(60_000).then([event]);
    }
}

#[test]
fn an_ended_plan_is_not_resumed_whatever_end_stripe_tells() {
    let ended = |end: Option<i64>| Paid {
        cancel_at: end.map(Time),
        ..paid(PaidStatus::Ended)
    };
    for end in [None, Some(30 * DAY_MS), Some(5)] {
        let when = paying().when(record(ended(end), None)).at(5);
        when.then([recorded(ended(Some(5)), None, None)]);
    }
    let over = paying().and([recorded(ended(Some(5)), None, None)]);
    over.when(record(ended(Some(30 * DAY_MS)), None))
        .at(9)
        .changes_nothing();
    // An earlier release has recorded ends that had not come.
    for end in [None, Some(30 * DAY_MS)] {
        let over = paying().and([recorded(ended(end), None, None)]);
        let when = over.when(Command::Resume).at(5);
        when.rejects(Rejection::NothingToResume);
    }
}

#[test]
fn a_deleted_customer_is_forgotten() {
    let customer = || StripeCustomerId::parse("cus_1").unwrap();
    let recorded = given::<Billing>([Event::CustomerRecorded {
        customer: customer(),
    }]);
    let forget = || Command::ForgetCustomer {
        customer: customer(),
    };
    let forgotten = || Event::CustomerForgotten {
        customer: customer(),
        at: Time(5),
    };
    recorded.when(forget()).at(5).decides(Decision {
        release: vec![Claim::stripe_customer(&customer())],
        ..Decision::events(vec![forgotten()])
    });
    let after = recorded.and([forgotten()]);
    let payment = after.state().payment();
    assert_eq!((&payment.customer, payment.since), (&None, Some(Time(5))));
    after.when(forget()).changes_nothing();
    let other = given::<Billing>([Event::CustomerRecorded {
        customer: StripeCustomerId::parse("cus_2").unwrap(),
    }]);
    other.when(forget()).changes_nothing();
}

#[test]
fn a_request_that_stripe_has_not_confirmed_is_made_again() {
    let again = |request| Command::RequestAgain { request };
    let change: fn(i64) -> Event = |ms| Event::ChangeRequested {
        request: REQUEST,
        at: Time(ms),
        wanted: wanted(TEAM, 3),
        trial_end: Some(Time(ms + DAY_MS)),
    };
    let cancel: fn(i64) -> Event = |ms| Event::CancelRequested {
        request: REQUEST,
        at: Time(ms),
    };
    let resume: fn(i64) -> Event = |ms| Event::ResumeRequested {
        request: REQUEST,
        at: Time(ms),
    };
    for asked_at in [change, cancel, resume] {
        let waits = paying().and([asked_at(0)]);
        waits.when(again(REQUEST)).at(7).then([asked_at(7)]);
        // A change that its owner has confirmed may need a further step.
        let confirmed = waits
            .clone()
            .and([Event::ActionRequired { request: REQUEST }]);
        confirmed.when(again(REQUEST)).at(7).then([asked_at(7)]);
        waits.when(again(OTHER)).changes_nothing();
        let failed = waits.and([failed()]);
        failed.when(again(REQUEST)).changes_nothing();
    }
    paying().when(again(OTHER)).changes_nothing();
}

#[test]
fn what_a_deleted_customer_has_paid_for_has_ended() {
    let customer = || StripeCustomerId::parse("cus_1").unwrap();
    let known = Event::CustomerRecorded {
        customer: customer(),
    };
    let forget = Command::ForgetCustomer {
        customer: customer(),
    };
    let ended = Paid {
        cancel_at: Some(Time(5)),
        ..paid(PaidStatus::Ended)
    };
    let forgotten = Event::CustomerForgotten {
        customer: customer(),
        at: Time(5),
    };
    let when = paying().and([known]).when(forget).at(5);
    when.then([recorded(ended, None, None), forgotten]);
}

#[test]
fn a_first_request_is_repeated_although_the_seats_have_changed() {
    let asked = given::<Billing>([requested(OTHER, None)]);
    let more = Command::Subscribe {
        wanted: wanted(TEAM, 9),
        trial_days: 0,
    };
    asked.when(more.clone()).at(59_999).changes_nothing();
    asked.when(more).at(60_000).then([Event::ChangeRequested {
        request: OTHER,
        at: Time(60_000),
        wanted: wanted(TEAM, 3),
        trial_end: None,
    }]);
}
