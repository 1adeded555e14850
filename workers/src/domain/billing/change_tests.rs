//! Seats follow those in use, and a smaller plan comes with the next period.

use events_schema::{
    CommandId, Id, Name, PlanId, PriceId, StripeItemId, StripePriceId, StripeSubscriptionId,
    billing::{ChangeTime, NextPlan, Paid, PaidStatus, Seats, Wanted},
};

use super::*;
use crate::domain::testing::{COMMAND, Given, given};

const REQUEST: CommandId = CommandId(COMMAND);
const OTHER: CommandId = CommandId(Id::from_bytes([1; 16]));
const END: Time = Time(30 * 24 * 60 * 60 * 1000);
const NEXT_END: Time = Time(2 * END.0);

/// A plan with the price of the same number.
const fn plan(number: u8) -> PlanVersion {
    PlanVersion {
        plan: PlanId(Id::from_bytes([number; 16])),
        number: 1,
    }
}
const fn price(number: u8) -> PriceId {
    PriceId(Id::from_bytes([100 + number; 16]))
}
fn stripe_price(number: u8) -> StripePriceId {
    StripePriceId::parse(&format!("price_{number}")).unwrap()
}
fn wanted(number: u8, at: ChangeTime) -> Wanted {
    Wanted {
        plan: plan(number),
        price: price(number),
        stripe_price: stripe_price(number),
        quantity: 3,
        name: Name::parse("Weavers").unwrap(),
        proration_date: None,
        at,
        once_paid: false,
        promotion_code: None,
    }
}
fn subscribe(number: u8, at: ChangeTime) -> Command {
    Command::Subscribe {
        wanted: wanted(number, at),
        trial_days: 0,
    }
}
fn requested(request: CommandId, number: u8, at: ChangeTime) -> Event {
    Event::ChangeRequested {
        request,
        at: Time(0),
        wanted: wanted(number, at),
        trial_end: None,
    }
}
fn paid(number: u8, quantity: u64, period_end: Time) -> Paid {
    Paid {
        id: StripeSubscriptionId::parse("sub_1").unwrap(),
        item: StripeItemId::parse("si_1").unwrap(),
        status: PaidStatus::Active,
        price: stripe_price(number),
        quantity,
        period_end,
        trial_end: None,
        cancel_at: None,
    }
}
fn recorded(number: u8, subscription: Paid, request: Option<CommandId>) -> Event {
    Event::SubscriptionRecorded {
        plan: plan(number),
        price: price(number),
        subscription,
        past_due_since: None,
        request,
    }
}
fn record(number: u8, subscription: Paid, request: Option<CommandId>) -> Command {
    Command::RecordSubscription {
        plan: plan(number),
        price: price(number),
        subscription,
        past_due_since: None,
        request,
    }
}
/// A tenant that pays for three seats of plan 2.
fn paying() -> Given<Billing> {
    given([recorded(2, paid(2, 3, END), None)])
}
/// A tenant that has chosen the smaller plan 1 for the next period.
fn leaving() -> Given<Billing> {
    paying().and([
        requested(OTHER, 1, ChangeTime::PeriodEnd),
        recorded(1, paid(1, 3, END), Some(OTHER)),
    ])
}
/// A tenant that has chosen the larger plan 3 for the next period.
fn growing() -> Given<Billing> {
    let wanted = Wanted {
        once_paid: true,
        ..wanted(3, ChangeTime::PeriodEnd)
    };
    let asked = Event::ChangeRequested {
        request: OTHER,
        at: Time(0),
        wanted,
        trial_end: None,
    };
    paying().and([asked, recorded(3, paid(3, 3, END), Some(OTHER))])
}
/// The invoice of the next period is not paid.
fn unpaid(number: u8) -> Event {
    Event::SubscriptionRecorded {
        plan: plan(number),
        price: price(number),
        subscription: Paid {
            status: PaidStatus::PastDue,
            ..paid(number, 3, NEXT_END)
        },
        past_due_since: Some(END),
        request: None,
    }
}
fn plan_at(billing: &Given<Billing>, now: Time) -> PlanVersion {
    billing.state().chosen().unwrap().plan_at(now)
}
fn set_seats(number: u8, quantity: u64) -> Command {
    Command::SetSeats {
        price: stripe_price(number),
        quantity,
    }
}
fn seats_changed(request: CommandId, quantity: u64) -> Event {
    Event::SeatsChanged {
        request,
        price: stripe_price(2),
        quantity,
    }
}
fn awaited(billing: &Given<Billing>) -> Option<u64> {
    let seats: Option<Seats> = billing.state().payment().seats.clone();
    seats.map(|seats| seats.quantity)
}

#[test]
fn the_last_number_of_seats_counts_and_a_repeated_one_changes_nothing() {
    paying()
        .when(set_seats(2, 4))
        .then([seats_changed(REQUEST, 4)]);
    paying().when(set_seats(2, 3)).changes_nothing();
    let four = paying().and([seats_changed(OTHER, 4)]);
    four.when(set_seats(2, 4)).changes_nothing();
    // Stripe may be counting four already.
    four.when(set_seats(2, 3)).then([seats_changed(REQUEST, 3)]);
}

#[test]
fn seats_of_a_price_that_the_tenant_does_not_pay_change_nothing() {
    paying().when(set_seats(1, 4)).changes_nothing();
    given::<Billing>([]).when(set_seats(2, 4)).changes_nothing();
}

#[test]
fn seats_are_awaited_until_stripe_has_counted_them_or_the_price_is_another_one() {
    let four = || paying().and([seats_changed(OTHER, 4)]);
    let counted = paid(2, 4, END);
    for (event, expected) in [
        (recorded(2, counted.clone(), Some(OTHER)), None),
        (recorded(2, counted.clone(), None), Some(4)),
        (recorded(1, paid(1, 4, END), None), None),
    ] {
        assert_eq!(awaited(&four().and([event.clone()])), expected, "{event:?}");
    }
    // The record of the effect also counts if a hook was faster.
    let known = four().and([recorded(2, counted.clone(), None)]);
    let record = known.when(record(2, counted.clone(), Some(OTHER)));
    record.then([recorded(2, counted, Some(OTHER))]);
}

#[test]
fn a_smaller_plan_comes_with_the_next_period_and_nothing_is_to_be_recorded_then() {
    let leaving = leaving();
    for (now, number) in [(Time(0), 2), (Time(END.0 - 1), 2), (END, 1), (NEXT_END, 1)] {
        assert_eq!(plan_at(&leaving, now), plan(number), "{now:?}");
    }
    let next = leaving.state().chosen().unwrap().next.clone();
    let expected = NextPlan {
        plan: plan(1),
        price: price(1),
        at: END,
        paid_quantity: Some(3),
        once_paid: false,
    };
    assert_eq!(next, Some(expected));
    // What Stripe has is known, whoever reads it.
    leaving
        .when(record(1, paid(1, 3, END), None))
        .changes_nothing();
}

#[test]
fn a_larger_plan_of_the_next_period_begins_when_that_is_paid() {
    let growing = growing();
    for now in [Time(0), END, NEXT_END] {
        assert_eq!(plan_at(&growing, now), plan(2), "{now:?}");
    }
    let late = growing.clone().and([unpaid(3)]);
    assert_eq!(plan_at(&late, END), plan(2));
    for billing in [growing, late] {
        let begun = billing.and([recorded(3, paid(3, 3, NEXT_END), None)]);
        assert_eq!(plan_at(&begun, END), plan(3));
        assert_eq!(begun.state().chosen().unwrap().next, None);
    }
}

#[test]
fn a_smaller_plan_of_the_next_period_begins_also_if_that_is_not_paid() {
    let late = leaving().and([unpaid(1)]);
    assert_eq!(plan_at(&late, END), plan(1));
}

#[test]
fn while_a_plan_waits_for_its_first_payment_no_other_is_chosen() {
    let late = growing().and([unpaid(3)]);
    for (number, at) in [
        (2, ChangeTime::PeriodEnd),
        (3, ChangeTime::PeriodEnd),
        (1, ChangeTime::Now),
    ] {
        let refused = late.when(subscribe(number, at)).at(END.0);
        refused.rejects(Rejection::PaymentMissing);
        let early = growing().when(subscribe(number, at));
        early.at(END.0).rejects(Rejection::ChangePending);
    }
    let cancel = late.when(Command::Cancel).at(END.0);
    cancel.then([Event::CancelRequested {
        request: REQUEST,
        at: END,
    }]);
    let before = growing().when(subscribe(2, ChangeTime::PeriodEnd));
    before.then([requested(REQUEST, 2, ChangeTime::PeriodEnd)]);
}

#[test]
fn a_hook_before_the_effect_does_not_bring_the_smaller_plan_at_once() {
    let asked = paying().and([requested(OTHER, 1, ChangeTime::PeriodEnd)]);
    let hook = asked.and([recorded(1, paid(1, 3, END), None)]);
    assert_eq!(plan_at(&hook, Time(0)), plan(2));
    assert_eq!(plan_at(&hook, END), plan(1));
}

#[test]
fn the_next_period_ends_the_wait_for_the_smaller_plan() {
    let renewed = leaving().and([recorded(1, paid(1, 3, NEXT_END), None)]);
    let chosen = renewed.state().chosen().unwrap();
    assert_eq!((chosen.plan, chosen.next.as_ref()), (plan(1), None));
}

#[test]
fn a_price_that_was_changed_in_the_dashboard_counts_at_once() {
    let changed = paying().and([recorded(1, paid(1, 3, END), None)]);
    assert_eq!(plan_at(&changed, Time(0)), plan(1));
    let at_once = paying().and([
        requested(OTHER, 1, ChangeTime::Now),
        recorded(1, paid(1, 3, END), Some(OTHER)),
    ]);
    assert_eq!(plan_at(&at_once, Time(0)), plan(1));
}

#[test]
fn a_tenant_that_leaves_its_plan_stays_with_it_or_waits() {
    let (now, later) = (ChangeTime::Now, ChangeTime::PeriodEnd);
    leaving().when(subscribe(1, later)).changes_nothing();
    for number in [1, 2, 3] {
        let refused = leaving().when(subscribe(number, now));
        refused.rejects(Rejection::PlanComing);
    }
    for number in [2, 3] {
        let asked = leaving().when(subscribe(number, later));
        asked.then([requested(REQUEST, number, later)]);
    }
    let stays = leaving().and([
        requested(REQUEST, 2, later),
        recorded(2, paid(2, 3, END), Some(REQUEST)),
    ]);
    assert_eq!(plan_at(&stays, NEXT_END), plan(2));
    assert_eq!(stays.state().chosen().unwrap().next, None);
    let another = leaving().and([
        requested(REQUEST, 3, later),
        recorded(3, paid(3, 3, END), Some(REQUEST)),
    ]);
    assert_eq!(plan_at(&another, Time(0)), plan(2));
    assert_eq!(plan_at(&another, END), plan(3));
    // With the next period the plan can be changed at once again.
    let asked = leaving().when(subscribe(3, now)).at(END.0);
    asked.then([Event::ChangeRequested {
        request: REQUEST,
        at: END,
        wanted: wanted(3, now),
        trial_end: None,
    }]);
}

#[test]
fn a_plan_for_the_next_period_is_asked_for_alone_so_that_it_never_comes_at_once() {
    let (now, later) = (ChangeTime::Now, ChangeTime::PeriodEnd);
    let asked = paying().and([requested(OTHER, 3, later)]);
    for other in [
        Command::Resume,
        Command::Cancel,
        subscribe(3, now),
        subscribe(1, now),
        subscribe(1, later),
    ] {
        asked.when(other).rejects(Rejection::ChangePending);
    }
    asked.when(subscribe(3, later)).changes_nothing();
    let again = asked.when(subscribe(3, later)).at(60_000);
    again.then([Event::ChangeRequested {
        request: OTHER,
        at: Time(60_000),
        wanted: wanted(3, later),
        trial_end: None,
    }]);
}

#[test]
fn a_plan_for_the_next_period_does_not_come_at_once_if_stripe_has_it_and_the_request_failed() {
    let failed = Event::ChangeFailed {
        request: OTHER,
        code: "parameter_invalid".to_owned(),
        message: "No.".to_owned(),
    };
    let hook = paying().and([
        requested(OTHER, 3, ChangeTime::PeriodEnd),
        failed,
        recorded(3, paid(3, 3, END), None),
    ]);
    assert_eq!(plan_at(&hook, Time(0)), plan(2));
    assert_eq!(plan_at(&hook, END), plan(3));
}

#[test]
fn a_tenant_that_stays_with_its_plan_has_the_seats_that_are_paid_and_others_are_counted_then() {
    let later = ChangeTime::PeriodEnd;
    let choose = |number, quantity| Command::Subscribe {
        wanted: Wanted {
            quantity,
            ..wanted(number, later)
        },
        trial_days: 0,
    };
    let another = leaving().and([
        requested(REQUEST, 3, later),
        recorded(3, paid(3, 9, END), Some(REQUEST)),
    ]);
    for leaving in [leaving(), another] {
        let stays = leaving.when(choose(2, 9));
        stays.then([requested(REQUEST, 2, later)]);
    }
}

#[test]
fn seats_that_stripe_does_not_know_are_counted_before_a_plan_for_the_next_period_is_chosen() {
    let counting = paying().and([seats_changed(OTHER, 4)]);
    let later = counting.when(subscribe(1, ChangeTime::PeriodEnd));
    later.rejects(Rejection::SeatsPending);
    let now = ChangeTime::Now;
    let asked = counting.when(subscribe(3, now));
    asked.then([requested(REQUEST, 3, now)]);
}
