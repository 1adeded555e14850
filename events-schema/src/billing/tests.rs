use super::*;
use crate::{Id, view::testing::fold};

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
