use super::*;
use crate::{Id, Name, StripeItemId, StripeSubscriptionId, view::testing::fold};

const TEAM: PlanVersion = PlanVersion {
    plan: PlanId(Id::from_bytes([2; 16])),
    number: 1,
};
const FREE: PlanVersion = PlanVersion {
    plan: PlanId(Id::from_bytes([1; 16])),
    number: 1,
};
const PRICE: PriceId = PriceId(Id::from_bytes([3; 16]));

fn changed(plan: PlanVersion, price: Option<PriceId>) -> Event {
    Event::Changed { plan, price }
}
fn trial() -> Event {
    Event::TrialStarted {
        plan: TEAM,
        price: PRICE,
        until: Time(100),
    }
}
fn subscription(events: impl IntoIterator<Item = Event>) -> Subscription {
    let view: View = fold(events.into_iter().map(|event| (10, event))).unwrap();
    view.subscription.unwrap()
}

#[test]
fn a_trial_goes_on_with_another_version_or_price_of_the_same_plan() {
    let second = PlanVersion { number: 2, ..TEAM };
    let same = subscription([trial(), changed(second, Some(PRICE))]);
    assert_eq!((same.plan, same.trial_end), (second, Some(Time(100))));
    let other = subscription([trial(), changed(FREE, None)]);
    assert_eq!(
        (other.plan, other.trial_end, other.price),
        (FREE, None, None)
    );
}

#[test]
fn a_plan_that_has_become_free_does_not_end_with_its_trial() {
    let second = PlanVersion { number: 2, ..TEAM };
    let free = subscription([trial(), changed(second, None)]);
    assert!(!free.has_ended(Time(100)));
}

#[test]
fn a_tried_plan_is_remembered() {
    let view: View = fold([(10, trial()), (20, changed(FREE, None))]).unwrap();
    assert!(view.tried.contains(&TEAM.plan));
}

#[test]
fn a_plan_ends_when_it_was_given_up_unless_it_is_resumed_or_another_is_chosen() {
    let cancelled = Event::Cancelled { at: Time(50) };
    let ended = |last: Option<Event>| {
        let events = [trial(), cancelled.clone()].into_iter().chain(last);
        let subscription = subscription(events);
        [49, 50, 100].map(|now| subscription.has_ended(Time(now)))
    };
    assert_eq!(ended(None), [false, true, true]);
    assert_eq!(ended(Some(Event::Resumed)), [false, false, true]);
    assert_eq!(ended(Some(changed(FREE, None))), [false; 3]);
}

#[test]
fn exceptions_and_grants_replace_those_before() {
    let overridden = |text: &str| Override {
        features: BTreeMap::new(),
        limits: BTreeMap::new(),
        until: Some(Time(50)),
        reason: Reason::parse(text).unwrap(),
    };
    let granted = |plan| Grant {
        plan,
        until: None,
        reason: Reason::parse("A friend").unwrap(),
    };
    let events = [
        (10, Event::Overridden(overridden("First"))),
        (10, Event::Granted(granted(TEAM))),
        (20, Event::Overridden(overridden("Second"))),
        (20, Event::Granted(granted(FREE))),
    ];
    let view: View = fold(events.clone()).unwrap();
    assert_eq!(view.overrides, Some(overridden("Second")));
    assert_eq!(view.grant, Some(granted(FREE)));
    let ends = [(30, Event::OverrideEnded), (30, Event::GrantEnded)];
    let after = fold(events.into_iter().chain(ends));
    assert_eq!(after, Some(View::default()));
}

/// What Stripe has of a plan with this number, which costs so many units until a time.
fn recorded(number: u32, quantity: u64, status: PaidStatus, end: i64) -> Event {
    Event::SubscriptionRecorded {
        plan: PlanVersion { number, ..TEAM },
        price: PRICE,
        subscription: Paid {
            id: StripeSubscriptionId::parse("sub_1").unwrap(),
            item: StripeItemId::parse("si_1").unwrap(),
            status,
            price: StripePriceId::parse("price_1").unwrap(),
            quantity,
            period_end: Time(end),
            trial_end: None,
            cancel_at: None,
        },
        past_due_since: None,
        request: None,
    }
}

/// A plan is wanted for the next period, once that is paid.
fn wanted_later(number: u32) -> Event {
    Event::ChangeRequested {
        request: CommandId(Id::from_bytes([9; 16])),
        at: Time(10),
        wanted: Wanted {
            plan: PlanVersion { number, ..TEAM },
            price: PRICE,
            stripe_price: StripePriceId::parse("price_1").unwrap(),
            quantity: 1,
            name: Name::parse("Weavers").unwrap(),
            proration_date: None,
            at: ChangeTime::PeriodEnd,
            once_paid: true,
            promotion_code: None,
        },
        trial_end: None,
    }
}

#[test]
fn the_units_that_are_paid_are_those_of_the_period_in_which_a_plan_is_chosen() {
    let planned = [
        recorded(1, 2, PaidStatus::Active, 100),
        wanted_later(2),
        recorded(2, 3, PaidStatus::Active, 100),
    ];
    let paid = |events: Vec<Event>| subscription(events).next.unwrap().paid_quantity;
    assert_eq!(paid(planned.to_vec()), Some(2));
    let other_choice = [wanted_later(3), recorded(3, 4, PaidStatus::Active, 100)];
    assert_eq!(paid([&planned[..], &other_choice].concat()), Some(2));

    // Nobody has paid for the next period yet, and its units count.
    let unpaid = [
        recorded(2, 3, PaidStatus::PastDue, 200),
        wanted_later(3),
        recorded(3, 4, PaidStatus::Active, 200),
    ];
    assert_eq!(paid([&planned[..], &unpaid].concat()), Some(3));
}

#[test]
fn the_customer_after_a_deleted_one_is_not_older_than_that_was_known() {
    let customer = StripeCustomerId::parse("cus_1").unwrap();
    let events = [
        Event::CustomerExpected { at: Time(10) },
        Event::CustomerRecorded {
            customer: customer.clone(),
        },
        Event::CustomerForgotten {
            customer,
            at: Time(50),
        },
    ];
    let view: View = fold(events.into_iter().map(|event| (10, event))).unwrap();
    assert_eq!(
        (view.payment.customer, view.payment.since),
        (None, Some(Time(50)))
    );
}
