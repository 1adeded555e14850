//! What a tenant asks for is done at Stripe, and recorded once.

use events_schema::{
    Claim, CommandId, Id, Name, PlanId, StripeCustomerId, StripeItemId, StripePriceId,
    StripeSubscriptionId,
    billing::{ChangeTime, Paid, PaidStatus, Wanted},
};

use super::*;
use crate::domain::testing::{COMMAND, Given, OWN, given};

mod lost;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const REQUEST: CommandId = CommandId(COMMAND);
const OTHER: CommandId = CommandId(Id::from_bytes([1; 16]));
const TEAM: PlanVersion = version(2);
const MONTHLY: PriceId = PriceId(Id::from_bytes([3; 16]));

const fn version(plan: u8) -> PlanVersion {
    PlanVersion {
        plan: PlanId(Id::from_bytes([plan; 16])),
        number: 1,
    }
}
fn wanted(plan: PlanVersion, quantity: u64) -> Wanted {
    Wanted {
        plan,
        price: MONTHLY,
        stripe_price: StripePriceId::parse("price_1").unwrap(),
        quantity,
        name: Name::parse("Weavers").unwrap(),
        proration_date: None,
        at: ChangeTime::Now,
        once_paid: false,
        promotion_code: None,
    }
}
fn subscribe(trial_days: u16) -> Command {
    let wanted = wanted(TEAM, 3);
    Command::Subscribe { wanted, trial_days }
}
fn requested(request: CommandId, trial_end: Option<i64>) -> Event {
    Event::ChangeRequested {
        request,
        at: Time(0),
        wanted: wanted(TEAM, 3),
        trial_end: trial_end.map(Time),
    }
}
fn paid(status: PaidStatus) -> Paid {
    Paid {
        id: StripeSubscriptionId::parse("sub_1").unwrap(),
        item: StripeItemId::parse("si_1").unwrap(),
        status,
        price: StripePriceId::parse("price_1").unwrap(),
        quantity: 3,
        period_end: Time(30 * DAY_MS),
        trial_end: None,
        cancel_at: None,
    }
}
fn record(subscription: Paid, request: Option<CommandId>) -> Command {
    Command::RecordSubscription {
        plan: TEAM,
        price: MONTHLY,
        subscription,
        past_due_since: None,
        request,
    }
}
fn recorded(subscription: Paid, since: Option<i64>, request: Option<CommandId>) -> Event {
    Event::SubscriptionRecorded {
        plan: TEAM,
        price: MONTHLY,
        subscription,
        past_due_since: since.map(Time),
        request,
    }
}
/// A tenant that pays for three seats.
fn paying() -> Given<Billing> {
    let active = paid(PaidStatus::Active);
    given([requested(OTHER, None), recorded(active, None, Some(OTHER))])
}
fn ending() -> Given<Billing> {
    paying().and([recorded(ends(), None, None)])
}
fn ends() -> Paid {
    Paid {
        cancel_at: Some(Time(30 * DAY_MS)),
        ..paid(PaidStatus::Active)
    }
}
fn cancel_requested() -> Event {
    let (request, at) = (REQUEST, Time(0));
    Event::CancelRequested { request, at }
}
fn resume_requested() -> Event {
    let (request, at) = (REQUEST, Time(0));
    Event::ResumeRequested { request, at }
}
fn failure(request: CommandId) -> Command {
    Command::RecordFailure {
        request,
        code: "lost_card".to_owned(),
        message: "No.".repeat(200),
    }
}
fn failed() -> Event {
    Event::ChangeFailed {
        request: REQUEST,
        code: "lost_card".to_owned(),
        message: "No.".repeat(100),
    }
}

#[test]
fn a_plan_is_paid_for_once_stripe_confirms_it() {
    let asked = given::<Billing>([requested(REQUEST, None)]);
    given::<Billing>([])
        .when(subscribe(0))
        .then([requested(REQUEST, None)]);
    assert_eq!(asked.state().chosen(), None);
    let active = paid(PaidStatus::Active);
    let done = asked.when(record(active.clone(), Some(REQUEST)));
    done.then([recorded(active.clone(), None, Some(REQUEST))]);
    let paying = asked.and([recorded(active, None, Some(REQUEST))]);
    assert_eq!(paying.state().chosen().unwrap().plan, TEAM);
    assert_eq!(paying.state().payment().pending, None);
}

#[test]
fn a_change_is_asked_for_once() {
    let asked = given::<Billing>([requested(OTHER, None)]);
    asked.when(subscribe(0)).changes_nothing();
    paying().when(subscribe(0)).changes_nothing();
    let failed = given::<Billing>([requested(REQUEST, None), failed()]);
    failed.when(subscribe(0)).then([requested(REQUEST, None)]);
    let wanted = wanted(version(5), 3);
    let other = Command::Subscribe {
        wanted: wanted.clone(),
        trial_days: 0,
    };
    for billing in [paying(), paying().and([requested(OTHER, None)])] {
        billing.when(other.clone()).then([Event::ChangeRequested {
            request: REQUEST,
            at: Time(0),
            wanted: wanted.clone(),
            trial_end: None,
        }]);
    }
    // Stripe may be making a subscription already, and would make a second one.
    asked.when(other).rejects(Rejection::ChangePending);
}

#[test]
fn a_tenant_pays_what_is_missing_before_it_chooses_another_plan() {
    let late = paying().and([recorded(paid(PaidStatus::PastDue), Some(0), None)]);
    for at in [ChangeTime::Now, ChangeTime::PeriodEnd] {
        let wanted = Wanted {
            at,
            ..wanted(version(5), 3)
        };
        let choose = Command::Subscribe {
            wanted,
            trial_days: 0,
        };
        late.when(choose).rejects(Rejection::PaymentMissing);
    }
    late.when(subscribe(0)).changes_nothing();
    late.when(Command::Cancel).then([cancel_requested()]);
}

#[test]
fn a_trial_at_stripe_is_given_once_and_only_at_the_begin() {
    let when = given::<Billing>([]).when(subscribe(14));
    when.then([requested(REQUEST, Some(14 * DAY_MS))]);
    let tried = Paid {
        trial_end: Some(Time(14 * DAY_MS)),
        ..paid(PaidStatus::Ended)
    };
    let after = given::<Billing>([recorded(tried, None, None)]);
    after.when(subscribe(14)).then([requested(REQUEST, None)]);
    let other = paying().and([recorded(paid(PaidStatus::Active), None, None)]);
    let wanted = wanted(version(5), 1);
    let change = Command::Subscribe {
        wanted: wanted.clone(),
        trial_days: 14,
    };
    other.when(change).then([Event::ChangeRequested {
        request: REQUEST,
        at: Time(0),
        wanted,
        trial_end: None,
    }]);
    let long = given::<Billing>([]).when(subscribe(731));
    long.rejects(Rejection::TrialTooLong);
}

#[test]
fn what_is_paid_for_is_cancelled_and_resumed_at_stripe() {
    paying().when(Command::Cancel).then([cancel_requested()]);
    paying().when(Command::Resume).changes_nothing();
    ending().when(Command::Cancel).changes_nothing();
    ending().when(Command::Resume).then([resume_requested()]);
    let cancelling = paying().and([cancel_requested()]);
    cancelling.when(Command::Cancel).changes_nothing();
    cancelling.when(Command::Resume).then([resume_requested()]);
}

#[test]
fn a_tenant_that_pays_cancels_before_it_chooses_a_free_plan() {
    let free = || Command::Change {
        plan: version(1),
        price: None,
        trial_days: 0,
    };
    for billing in [paying(), given([requested(REQUEST, None)])] {
        billing.when(free()).rejects(Rejection::CancelFirst);
    }
    let over = paying().and([recorded(paid(PaidStatus::Ended), None, None)]);
    let chosen = Event::Changed {
        plan: version(1),
        price: None,
    };
    over.when(free()).then([chosen]);
}

#[test]
fn what_stripe_has_is_recorded_once() {
    let active = || paid(PaidStatus::Active);
    paying().when(record(active(), None)).changes_nothing();
    paying()
        .when(record(active(), Some(OTHER)))
        .changes_nothing();
    let asked = paying().and([cancel_requested()]);
    let done = asked.when(record(active(), Some(REQUEST)));
    done.then([recorded(active(), None, Some(REQUEST))]);
    let more = Paid {
        quantity: 4,
        ..active()
    };
    let when = paying().when(record(more.clone(), None));
    when.then([recorded(more, None, None)]);
}

#[test]
fn a_missing_payment_counts_from_when_it_was_first_recorded() {
    let due = || paid(PaidStatus::PastDue);
    let when = paying().when(record(due(), None)).at(5);
    when.then([recorded(due(), Some(5), None)]);
    let since = paying().and([recorded(due(), Some(5), None)]);
    let later = Paid {
        period_end: Time(60 * DAY_MS),
        ..due()
    };
    let when = since.when(record(later.clone(), None)).at(9);
    when.then([recorded(later, Some(5), None)]);
    let made = since.when(record(paid(PaidStatus::Active), None));
    made.then([recorded(paid(PaidStatus::Active), None, None)]);
}

#[test]
fn a_change_that_is_not_done_leaves_the_plan_as_it_was() {
    let asked = paying().and([requested(REQUEST, None)]);
    asked.when(failure(REQUEST)).then([failed()]);
    asked.when(failure(OTHER)).changes_nothing();
    let after = asked.clone().and([failed()]);
    after.when(failure(REQUEST)).changes_nothing();
    assert_eq!(after.state().chosen(), paying().state().chosen());
    let request = REQUEST;
    let action = asked.when(Command::RecordAction { request });
    action.then([Event::ActionRequired { request }]);
    let acting = asked.and([Event::ActionRequired { request }]);
    acting
        .when(Command::RecordAction { request })
        .changes_nothing();
}

#[test]
fn a_customer_belongs_to_one_tenant() {
    let customer = || StripeCustomerId::parse("cus_1").unwrap();
    let command = || Command::RecordCustomer {
        customer: customer(),
    };
    let event = Event::CustomerRecorded {
        customer: customer(),
    };
    let claim = Claim::stripe_customer(&customer());
    given::<Billing>([]).when(command()).decides(Decision {
        take: vec![claim],
        ..Decision::events(vec![event.clone()])
    });
    let taken = given::<Billing>([]).when(command());
    let taken = taken.while_held(claim, Id::from_bytes([1; 16]));
    taken.rejects(Rejection::CustomerTaken);
    let own = given::<Billing>([event])
        .when(command())
        .while_held(claim, OWN);
    own.changes_nothing();
}

#[test]
fn a_payment_that_its_owner_does_not_confirm_in_time_has_failed() {
    let action = Event::ActionRequired { request: REQUEST };
    let waits = given::<Billing>([requested(REQUEST, None), action]);
    waits.when(failure(REQUEST)).then([failed()]);
    waits.when(failure(OTHER)).changes_nothing();
    waits
        .and([failed()])
        .when(failure(REQUEST))
        .changes_nothing();
}

#[test]
fn a_payment_is_missing_since_the_time_that_stripe_tells() {
    let late = |since: Option<i64>| Command::RecordSubscription {
        plan: TEAM,
        price: MONTHLY,
        subscription: paid(PaidStatus::PastDue),
        past_due_since: since.map(Time),
        request: None,
    };
    let known = recorded(paid(PaidStatus::PastDue), Some(5), None);
    paying().when(late(Some(5))).at(9).then([known.clone()]);
    let later = recorded(paid(PaidStatus::PastDue), Some(9), None);
    paying().when(late(None)).at(9).then([later.clone()]);
    let known = paying().and([known]);
    known.when(late(Some(5))).changes_nothing();
    known.when(late(None)).at(9).changes_nothing();
    known.when(late(Some(9))).then([later]);
}

#[test]
fn each_plan_is_tried_once_also_one_after_the_other() {
    let tries = |plan: PlanVersion| Event::SubscriptionRecorded {
        plan,
        price: MONTHLY,
        subscription: Paid {
            trial_end: Some(Time(14 * DAY_MS)),
            ..paid(PaidStatus::Trialing)
        },
        past_due_since: None,
        request: None,
    };
    let choose = |plan: PlanVersion| Command::Subscribe {
        wanted: wanted(plan, 3),
        trial_days: 7,
    };
    let asked = |plan: PlanVersion, days: Option<i64>| Event::ChangeRequested {
        request: REQUEST,
        at: Time(0),
        wanted: wanted(plan, 3),
        trial_end: days.map(|days| Time(days * DAY_MS)),
    };
    let other = version(5);
    let trying = given::<Billing>([tries(TEAM)]);
    trying.when(choose(other)).then([asked(other, Some(7))]);
    let both = trying.and([tries(other)]);
    both.when(choose(TEAM)).then([asked(TEAM, None)]);
}

#[test]
fn a_deleted_tenant_that_pays_or_is_about_to_ends_that_once() {
    let (request, at) = (REQUEST, Time(0));
    let ends = || Event::EndRequested { request, at };
    let customer = StripeCustomerId::parse("cus_1").unwrap();
    let known = given([Event::CustomerRecorded { customer }]);
    for billing in [paying(), given([requested(OTHER, None)]), known] {
        billing.when(Command::End).then([ends()]);
        let ending = billing.and([ends()]);
        ending.when(Command::End).changes_nothing();
    }
    given::<Billing>([]).when(Command::End).changes_nothing();
}
