use std::collections::BTreeMap;

use events_schema::{Feature, Id, Limit, PlanId, Reason, webhook};

use super::*;
use crate::domain::testing::{Given, given};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// A free plan and one with a price.
const FREE: PlanVersion = version(1, 1);
const TEAM: PlanVersion = version(2, 1);
const MONTHLY: PriceId = PriceId(Id::from_bytes([3; 16]));
const YEARLY: PriceId = PriceId(Id::from_bytes([4; 16]));

const fn version(plan: u8, number: u32) -> PlanVersion {
    PlanVersion {
        plan: PlanId(Id::from_bytes([plan; 16])),
        number,
    }
}
fn change(plan: PlanVersion, price: Option<PriceId>, trial_days: u16) -> Command {
    Command::Change {
        plan,
        price,
        trial_days,
    }
}
fn try_team() -> Command {
    change(TEAM, Some(MONTHLY), 14)
}
fn changed(plan: PlanVersion, price: Option<PriceId>) -> Event {
    Event::Changed { plan, price }
}
fn trial_started(until_days: i64) -> Event {
    Event::TrialStarted {
        plan: TEAM,
        price: MONTHLY,
        until: Time(until_days * DAY_MS),
    }
}
fn cancelled(at: i64) -> Event {
    Event::Cancelled { at: Time(at) }
}
/// A tenant that tries a plan for 14 days.
fn trial() -> Given<Billing> {
    given([trial_started(14)])
}
fn reason() -> Reason {
    Reason::parse("A friend").unwrap()
}
fn exceptions(limits: impl IntoIterator<Item = Option<u64>>, until: Option<i64>) -> Override {
    let named = Limit::all().iter().copied().zip(limits);
    Override {
        features: BTreeMap::from([(webhook::FEATURE, true), (Feature::all()[0], false)]),
        limits: named.collect(),
        until: until.map(Time),
        reason: reason(),
    }
}
fn grant(until: Option<i64>) -> Grant {
    Grant {
        plan: TEAM,
        until: until.map(Time),
        reason: reason(),
    }
}

#[test]
fn a_free_plan_is_chosen_at_once() {
    for billing in [given([]), trial(), given([changed(version(5, 1), None)])] {
        let when = billing.when(change(FREE, None, 0));
        when.then([changed(FREE, None)]);
    }
}

#[test]
fn the_present_plan_is_not_chosen_again() {
    let free = given::<Billing>([changed(FREE, None)]);
    free.when(change(FREE, None, 0)).changes_nothing();
    trial().when(try_team()).changes_nothing();
    let second = version(1, 2);
    let newer = free.when(change(second, None, 0));
    newer.then([changed(second, None)]);
}

#[test]
fn a_plan_that_costs_money_begins_with_a_trial() {
    let when = given::<Billing>([changed(FREE, None)]).when(try_team());
    when.at(DAY_MS).then([trial_started(15)]);
}

#[test]
fn a_plan_that_costs_money_and_has_no_trial_is_refused_by_name() {
    let when = given::<Billing>([]).when(change(TEAM, Some(MONTHLY), 0));
    when.rejects(Rejection::PaymentsNotSetUp);
    assert_eq!(
        Rejection::PaymentsNotSetUp.to_rejection().code,
        "payments_not_set_up"
    );
}

#[test]
fn a_plan_is_tried_once() {
    let given_up = trial().and([changed(FREE, None)]);
    for (billing, now) in [(given_up, DAY_MS), (trial(), 14 * DAY_MS)] {
        for command in [try_team(), change(version(2, 2), Some(YEARLY), 30)] {
            let when = billing.when(command).at(now);
            when.rejects(Rejection::PaymentsNotSetUp);
        }
        let other = version(6, 1);
        let until = Time(now + DAY_MS);
        let expected = Event::TrialStarted {
            plan: other,
            price: YEARLY,
            until,
        };
        let when = billing.when(change(other, Some(YEARLY), 1)).at(now);
        when.then([expected]);
    }
}

#[test]
fn a_trial_goes_on_with_another_price_or_version_of_the_plan() {
    let second = version(2, 2);
    let when = trial().when(change(second, Some(YEARLY), 14)).at(DAY_MS);
    when.then([changed(second, Some(YEARLY))]);
    let after = trial().and([changed(second, Some(YEARLY))]);
    let over = after.when(try_team()).at(14 * DAY_MS);
    over.rejects(Rejection::PaymentsNotSetUp);
}

#[test]
fn a_trial_has_at_most_730_days() {
    let long = |days| given::<Billing>([]).when(change(TEAM, Some(MONTHLY), days));
    long(730).then([trial_started(730)]);
    long(731).rejects(Rejection::TrialTooLong);
}

#[test]
fn a_tenant_tries_at_most_1000_plans() {
    let tried = |count: u16| {
        let trials = (0..count).map(|at| {
            let mut bytes = [7; 16];
            bytes[..2].copy_from_slice(&at.to_be_bytes());
            Event::TrialStarted {
                plan: PlanVersion {
                    plan: PlanId(Id::from_bytes(bytes)),
                    number: 1,
                },
                price: MONTHLY,
                until: Time(1),
            }
        });
        given::<Billing>(trials).when(try_team()).at(DAY_MS)
    };
    tried(999).then([trial_started(15)]);
    tried(1_000).rejects(Rejection::PaymentsNotSetUp);
}

#[test]
fn a_free_plan_ends_when_it_is_cancelled_and_a_trial_at_its_end() {
    let free = given::<Billing>([changed(FREE, None)]);
    free.when(Command::Cancel).at(5).then([cancelled(5)]);
    let trial = trial().when(Command::Cancel).at(5);
    trial.then([cancelled(14 * DAY_MS)]);
}

#[test]
fn a_plan_is_cancelled_once() {
    let cancelled = trial().and([cancelled(14 * DAY_MS)]);
    cancelled.when(Command::Cancel).changes_nothing();
}

#[test]
fn a_cancelled_plan_is_resumed_until_it_ends() {
    let cancelled = trial().and([cancelled(14 * DAY_MS)]);
    let resume = cancelled.when(Command::Resume).at(14 * DAY_MS - 1);
    resume.then([Event::Resumed]);
    let again = cancelled.when(try_team()).at(1);
    again.then([changed(TEAM, Some(MONTHLY))]);
    trial().when(Command::Resume).changes_nothing();
}

#[test]
fn a_plan_that_has_ended_is_neither_cancelled_nor_resumed() {
    let ended = given([changed(FREE, None), cancelled(5)]);
    for billing in [given([]), trial(), ended] {
        let late = 14 * DAY_MS;
        let cancel = billing.when(Command::Cancel).at(late);
        cancel.rejects(Rejection::NothingToCancel);
        let resume = billing.when(Command::Resume).at(late);
        resume.rejects(Rejection::NothingToResume);
    }
}

#[test]
fn exceptions_replace_those_before_and_end() {
    let first = exceptions([Some(5), None], Some(DAY_MS));
    let second = exceptions([Some(MAX_LIMIT)], None);
    let given = given::<Billing>([Event::Overridden(first.clone())]);
    given.when(Command::Override(first)).changes_nothing();
    let when = given.when(Command::Override(second.clone()));
    when.then([Event::Overridden(second)]);
    given
        .when(Command::EndOverride)
        .then([Event::OverrideEnded]);
    let none = given.and([Event::OverrideEnded]);
    none.when(Command::EndOverride).changes_nothing();
}

#[test]
fn exceptions_and_grants_end_in_the_future() {
    let overrides = || Command::Override(exceptions([], Some(DAY_MS)));
    let granted = || Command::Grant(grant(Some(DAY_MS)));
    for command in [overrides(), granted()] {
        let late = given::<Billing>([]).when(command).at(DAY_MS);
        late.rejects(Rejection::EndIsOver);
    }
    let in_time = given::<Billing>([]).when(granted()).at(DAY_MS - 1);
    in_time.then([Event::Granted(grant(Some(DAY_MS)))]);
}

#[test]
fn a_limit_of_an_exception_is_an_integer_that_every_reader_knows_exactly() {
    let larger = exceptions([None, Some(MAX_LIMIT + 1)], None);
    let when = given::<Billing>([]).when(Command::Override(larger));
    when.rejects(Rejection::LimitTooLarge);
}

#[test]
fn a_grant_replaces_the_one_before_and_is_taken_back() {
    let given = given::<Billing>([Event::Granted(grant(None))]);
    given.when(Command::Grant(grant(None))).changes_nothing();
    let shorter = || grant(Some(DAY_MS));
    let when = given.when(Command::Grant(shorter()));
    when.then([Event::Granted(shorter())]);
    given.when(Command::EndGrant).then([Event::GrantEnded]);
    let none = given.and([Event::GrantEnded]);
    none.when(Command::EndGrant).changes_nothing();
}

#[test]
fn a_tenant_chooses_its_own_plan_while_another_is_granted() {
    let granted = given::<Billing>([Event::Granted(grant(None))]);
    let when = granted.when(change(FREE, None, 0));
    when.then([changed(FREE, None)]);
}
