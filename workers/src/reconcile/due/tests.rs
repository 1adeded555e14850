//! What is recorded follows from what Stripe has now, whatever was recorded before.

use events_schema::{
    Id, Name, PlanId, StripeCustomerId, StripeItemId, StripePriceId, StripeSubscriptionId,
    billing::{ChangeTime, Event, Wanted},
    plan::{Interval, Per, Plan, Price, Version},
};
use serde_json::{Value, json};

use super::*;
use crate::domain::testing::given;

mod planned;

const NOW: Time = Time(1_800_000_000_000);
const SINCE: Time = Time(1_700_000_000_000);
const REQUEST: CommandId = CommandId(Id::from_bytes([9; 16]));
/// The end of a period before that of [`subscription`].
const BEFORE: Time = Time(1_792_000_000_000);
const OTHER: PlanVersion = PlanVersion {
    plan: PlanId(Id::from_bytes([4; 16])),
    number: 1,
};
const TEAM: PlanVersion = PlanVersion {
    plan: PlanId(Id::from_bytes([2; 16])),
    number: 1,
};

fn price() -> Price {
    Price {
        amount: serde_json::from_value(json!({ "amount": 900, "currency": "EUR" })).unwrap(),
        interval: Interval::Month,
        per: Per::Seat,
    }
}

/// A catalogue whose only plan costs `price_1`.
fn catalogue() -> plan::View {
    let team = Plan {
        name: Name::parse("Team").unwrap(),
        versions: vec![Version {
            prices: vec![price()],
            ..Version::default()
        }],
        archived: false,
        created_at: Time(0),
        updated_at: Time(0),
    };
    let at_stripe = StripePriceId::parse("price_1").unwrap();
    plan::View {
        plans: [(TEAM.plan, team)].into(),
        default: None,
        stripe_account: None,
        stripe_prices: [(TEAM.price_id(&price()), at_stripe)].into(),
    }
}

/// Stripe's answer for a subscription with one item.
fn subscription(id: &str, status: &str, price: &str) -> Value {
    json!({
        "id": id, "customer": "cus_1", "status": status, "trial_end": null, "cancel_at": null,
        "ended_at": (status == "canceled").then_some(1_790_000_000), "latest_invoice": null,
        "pending_update": null,
        "items": { "data": [{
            "id": "si_1", "quantity": 3, "current_period_end": 1_795_000_000,
            "price": { "id": price, "product": "ub_1", "currency": "eur", "unit_amount": 900 }
        }] }
    })
}

fn at_stripe(subscriptions: impl IntoIterator<Item = Value>) -> AtStripe {
    let subscriptions = subscriptions.into_iter();
    let subscriptions = subscriptions.map(|it| serde_json::from_value(it).unwrap());
    AtStripe {
        subscriptions: subscriptions.collect(),
        ..AtStripe::default()
    }
}

fn paid(id: &str, status: PaidStatus) -> Paid {
    let end = Time(1_790_000_000_000);
    Paid {
        id: StripeSubscriptionId::parse(id).unwrap(),
        item: StripeItemId::parse("si_1").unwrap(),
        status,
        price: StripePriceId::parse("price_1").unwrap(),
        quantity: 3,
        period_end: Time(1_795_000_000_000),
        trial_end: None,
        cancel_at: (status == PaidStatus::Ended).then_some(end),
    }
}

fn recorded(subscription: Paid) -> Event {
    Event::SubscriptionRecorded {
        plan: TEAM,
        price: TEAM.price_id(&price()),
        subscription,
        past_due_since: None,
        request: None,
    }
}

fn record(subscription: Paid) -> Command {
    Command::RecordSubscription {
        plan: TEAM,
        price: TEAM.price_id(&price()),
        subscription,
        past_due_since: None,
        request: None,
    }
}

fn wanted() -> Wanted {
    Wanted {
        plan: TEAM,
        price: TEAM.price_id(&price()),
        stripe_price: StripePriceId::parse("price_1").unwrap(),
        quantity: 3,
        name: Name::parse("Weavers").unwrap(),
        proration_date: None,
        at: ChangeTime::Now,
        once_paid: false,
        promotion_code: None,
    }
}

fn requested_as(wanted: Wanted) -> Event {
    Event::ChangeRequested {
        request: REQUEST,
        at: Time(0),
        wanted,
        trial_end: None,
    }
}

/// A tenant that wants to pay for the plan.
fn requested() -> Event {
    requested_as(wanted())
}

fn due_after(events: impl IntoIterator<Item = Event>, at_stripe: &AtStripe) -> Due {
    let billing = given::<Billing>(events);
    due(billing.state(), &catalogue(), at_stripe, NOW)
}

#[test]
fn the_latest_subscription_that_lasts_counts_and_else_the_latest_that_has_lasted() {
    for (subscriptions, expected) in [
        (
            vec![
                ("sub_3", "canceled"),
                ("sub_2", "active"),
                ("sub_1", "past_due"),
            ],
            paid("sub_2", PaidStatus::Active),
        ),
        (
            vec![
                ("sub_3", "incomplete_expired"),
                ("sub_2", "canceled"),
                ("sub_1", "canceled"),
            ],
            paid("sub_2", PaidStatus::Ended),
        ),
    ] {
        let subscriptions = subscriptions.into_iter();
        let found = subscriptions.map(|(id, status)| subscription(id, status, "price_1"));
        let found = at_stripe(found);
        for before in [
            vec![],
            vec![recorded(paid("sub_1", PaidStatus::Active))],
            vec![recorded(paid("sub_2", PaidStatus::Trialing))],
        ] {
            let due = due_after(before, &found);
            assert_eq!(due, Due::Record(record(expected.clone())));
        }
        assert_eq!(due_after([recorded(expected)], &found), Due::Nothing);
    }
}

#[test]
fn a_subscription_that_was_never_paid_changes_nothing() {
    for status in ["incomplete", "incomplete_expired"] {
        let found = at_stripe([subscription("sub_1", status, "price_1")]);
        assert_eq!(due_after([], &found), Due::Nothing, "{status}");
    }
}

#[test]
fn an_ended_subscription_does_not_take_the_plan_that_was_chosen_afterwards() {
    let found = at_stripe([subscription("sub_1", "canceled", "price_1")]);
    let free = Event::Changed {
        plan: TEAM,
        price: None,
    };
    let ended = recorded(paid("sub_1", PaidStatus::Ended));
    assert_eq!(due_after([ended, free], &found), Due::Nothing);
}

#[test]
fn a_subscription_that_never_began_does_not_take_the_plan_that_was_chosen() {
    let free = Event::Changed {
        plan: TEAM,
        price: None,
    };
    let found = at_stripe([subscription("sub_1", "canceled", "price_1")]);
    assert_eq!(due_after([free], &found), Due::Nothing);
}

#[test]
fn a_change_that_the_effect_has_in_hand_is_left_to_it() {
    let active = recorded(paid("sub_1", PaidStatus::Active));
    let resume = Event::ResumeRequested {
        request: REQUEST,
        at: NOW,
    };
    let found = at_stripe([subscription("sub_1", "active", "price_1")]);
    assert_eq!(due_after([active, resume], &found), Due::Nothing);
}

#[test]
fn a_missing_payment_is_recorded_since_stripe_has_asked_for_it() {
    let late = AtStripe {
        past_due_since: Some(SINCE),
        ..at_stripe([subscription("sub_1", "past_due", "price_1")])
    };
    let due = due_after([recorded(paid("sub_1", PaidStatus::Active))], &late);
    let Due::Record(Command::RecordSubscription { past_due_since, .. }) = due else {
        panic!("{due:?}");
    };
    assert_eq!(past_due_since, Some(SINCE));
}

#[test]
fn the_log_wins_for_the_plan_if_a_price_belongs_to_none() {
    let found = at_stripe([subscription("sub_1", "active", "price_other")]);
    let other = Paid {
        price: StripePriceId::parse("price_other").unwrap(),
        ..paid("sub_1", PaidStatus::Active)
    };
    let before = recorded(paid("sub_1", PaidStatus::Active));
    assert_eq!(due_after([before], &found), Due::Record(record(other)));
    assert_eq!(
        due_after([], &found),
        Due::Nothing,
        "a subscription to something else"
    );
}

#[test]
fn a_subscription_that_does_not_exist_any_more_has_ended() {
    let gone = AtStripe {
        is_gone: true,
        ..at_stripe([])
    };
    let ended = Paid {
        cancel_at: Some(NOW),
        ..paid("sub_1", PaidStatus::Ended)
    };
    let before = recorded(paid("sub_1", PaidStatus::Active));
    assert_eq!(
        due_after([before.clone()], &gone),
        Due::Record(record(ended.clone()))
    );
    assert_eq!(due_after([before, recorded(ended)], &gone), Due::Nothing);
}

#[test]
fn a_deleted_customer_is_forgotten_after_the_end_of_its_subscription_is_recorded() {
    let customer = StripeCustomerId::parse("cus_1").unwrap();
    let known = Event::CustomerRecorded {
        customer: customer.clone(),
    };
    let deleted = AtStripe {
        is_deleted: true,
        ..at_stripe([subscription("sub_1", "canceled", "price_1")])
    };
    let active = recorded(paid("sub_1", PaidStatus::Active));
    let ended = paid("sub_1", PaidStatus::Ended);
    let due = due_after([known.clone(), active.clone()], &deleted);
    assert_eq!(due, Due::Record(record(ended.clone())));
    let forget = Command::ForgetCustomer { customer };
    let due = due_after([known, active, recorded(ended)], &deleted);
    assert_eq!(due, Due::Record(forget));
}

#[test]
fn a_change_that_is_not_done_after_an_hour_is_requested_again() {
    let asked_at = |ms: i64| {
        let at = Time(ms);
        let request = REQUEST;
        [
            recorded(paid("sub_1", PaidStatus::Active)),
            Event::CancelRequested { request, at },
        ]
    };
    let active = at_stripe([subscription("sub_1", "active", "price_1")]);
    let hour = 60 * 60 * 1000;
    let again = Command::RequestAgain { request: REQUEST };
    let late = due_after(asked_at(NOW.0 - hour), &active);
    assert_eq!(late, Due::Record(again));
    let recent = due_after(asked_at(NOW.0 - hour + 1), &active);
    assert_eq!(recent, Due::Nothing);
}

#[test]
fn a_change_that_its_owner_has_confirmed_is_done_and_one_that_has_expired_is_refused() {
    let waits = || [requested(), Event::ActionRequired { request: REQUEST }];
    let open = at_stripe([subscription("sub_1", "incomplete", "price_1")]);
    assert_eq!(due_after(waits(), &open), Due::Nothing);
    let confirmed = at_stripe([subscription("sub_1", "active", "price_1")]);
    let due = due_after(waits(), &confirmed);
    let Due::Record(Command::RecordSubscription { request, .. }) = due else {
        panic!("{due:?}");
    };
    assert_eq!(request, Some(REQUEST));
    let expired = at_stripe([subscription("sub_1", "incomplete_expired", "price_1")]);
    let due = due_after(waits(), &expired);
    assert!(
        matches!(
            &due,
            Due::Record(Command::RecordFailure {
                request: REQUEST,
                ..
            })
        ),
        "{due:?}"
    );
}

#[test]
fn a_state_that_this_release_does_not_know_is_for_a_person() {
    let mut odd = subscription("sub_1", "active", "price_1");
    odd["items"]["data"] = json!([]);
    let before = recorded(paid("sub_1", PaidStatus::Active));
    assert!(matches!(
        due_after([before], &at_stripe([odd])),
        Due::Unclear(_)
    ));
}

#[test]
fn a_plan_that_was_given_up_goes_on_once_its_change_is_confirmed() {
    let waits = || [requested(), Event::ActionRequired { request: REQUEST }];
    let mut ending = subscription("sub_1", "active", "price_1");
    ending["cancel_at"] = json!(1_795_000_000);
    let known = Paid {
        cancel_at: Some(Time(1_795_000_000_000)),
        ..paid("sub_1", PaidStatus::Active)
    };
    let events = || waits().into_iter().chain([recorded(known.clone())]);
    let again = Command::RequestAgain { request: REQUEST };
    let due = due_after(events(), &at_stripe([ending.clone()]));
    assert_eq!(due, Due::Record(again));
    ending["pending_update"] = json!({ "subscription_items": [] });
    let due = due_after(events(), &at_stripe([ending]));
    assert_eq!(due, Due::Nothing, "the owner has not confirmed it");
}

#[test]
fn subscriptions_to_plans_beside_the_one_that_counts_are_duplicates() {
    let duplicates = |before: Vec<Event>, subscriptions: &[(&str, &str, &str)]| {
        let billing = given::<Billing>(before);
        let subscriptions = subscriptions.iter();
        let found = subscriptions.map(|(id, status, price)| subscription(id, status, price));
        let at_stripe = at_stripe(found);
        let catalogue = catalogue();
        let found = at_stripe.duplicates(billing.state(), &catalogue);
        found.map(|it| it.id.to_string()).collect::<Vec<_>>()
    };
    let (plan, other) = ("price_1", "price_other");
    let both = [("sub_2", "active", plan), ("sub_1", "past_due", plan)];
    assert_eq!(duplicates(vec![], &both), ["sub_1"]);
    let known = vec![recorded(paid("sub_1", PaidStatus::Active))];
    assert_eq!(duplicates(known, &both), ["sub_1"]);
    for one in [
        [("sub_2", "active", plan), ("sub_1", "canceled", plan)],
        [("sub_2", "active", other), ("sub_1", "active", plan)],
        [("sub_2", "incomplete", plan), ("sub_1", "active", plan)],
    ] {
        assert!(duplicates(vec![], &one).is_empty(), "{one:?}");
    }
}

#[test]
fn a_request_is_lost_after_an_hour_also_before_there_is_a_customer() {
    let billing = given::<Billing>([requested()]);
    let again = Command::RequestAgain { request: REQUEST };
    let hour = 60 * 60 * 1000;
    let due = |now| lost(billing.state().payment(), Time(now));
    assert_eq!(due(hour), Some(Due::Record(again)));
    assert_eq!(due(hour - 1), None);
    assert_eq!(lost(&Payment::default(), NOW), None);
}
