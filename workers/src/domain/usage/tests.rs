use events_schema::{TenantKey, project::PROJECTS_CREATED, task::TASKS_CREATED};

use super::*;
use crate::domain::testing::{Given, OWN, TENANT, When, given};

const MONTH: i64 = 30 * 24 * 60 * 60 * 1000;

fn payer(customer: &str) -> Option<Payer> {
    Some(Payer {
        customer: StripeCustomerId::parse(customer).unwrap(),
        period_end: Time(MONTH),
    })
}

fn own() -> UsageId {
    let TenantId::Tenant(tenant) = TENANT else {
        panic!("the tests have a tenant");
    };
    UsageId::of(tenant, TASKS_CREATED)
}

fn cut(from: u64, to: u64, quantity: u64, payer: Option<Payer>) -> Command {
    Command::Cut {
        meter: TASKS_CREATED,
        from,
        to,
        quantity,
        payer,
    }
}

fn position(to: u64, payer: Option<Payer>) -> Position {
    Position {
        to,
        at: Time(0),
        payer,
    }
}

fn counted(from: u64, to: u64, quantity: u64, payer: Option<Payer>, is_due: bool) -> Event {
    Event::Cut {
        meter: TASKS_CREATED,
        from,
        quantity,
        is_due,
        position: position(to, payer),
    }
}

fn when(usage: &Given<Usage>, command: Command) -> When<Usage> {
    usage.when(command).to(own())
}

/// Counted up to 9, for this payer.
fn up_to_9(payer: Option<Payer>) -> Given<Usage> {
    given([counted(0, 9, 3, payer, false)])
}

#[test]
fn a_cut_begins_where_the_last_one_has_ended() {
    let new = given([]);
    let first = counted(0, 9, 3, None, false);
    when(&new, cut(0, 9, 3, None)).then([first]);
    let next = counted(9, 12, 1, None, false);
    when(&up_to_9(None), cut(9, 12, 1, None)).then([next]);
    when(&new, cut(1, 9, 3, None)).rejects(Rejection::CountedAlready);
    for from in [0, 8, 10] {
        let elsewhere = when(&up_to_9(None), cut(from, 12, 1, None));
        elsewhere.rejects(Rejection::CountedAlready);
    }
}

#[test]
fn the_same_cut_of_two_workers_is_stored_once() {
    let again = when(&up_to_9(None), cut(0, 9, 3, None));
    again.rejects(Rejection::CountedAlready);
}

#[test]
fn a_cut_ends_after_its_beginning() {
    let backwards = when(&up_to_9(None), cut(9, 8, 0, None));
    backwards.rejects(Rejection::EndsTooEarly);
    when(&up_to_9(None), cut(9, 9, 0, None)).changes_nothing();
}

#[test]
fn a_new_payer_is_noted_although_nothing_was_used() {
    let noted = counted(9, 9, 0, payer("cus_1"), false);
    when(&up_to_9(None), cut(9, 9, 0, payer("cus_1"))).then([noted]);
    let gone = counted(9, 9, 0, None, false);
    when(&up_to_9(payer("cus_1")), cut(9, 9, 0, None)).then([gone]);
    let same = when(&up_to_9(payer("cus_1")), cut(9, 9, 0, payer("cus_1")));
    same.changes_nothing();
}

#[test]
fn only_who_has_paid_before_and_afterwards_pays_for_a_cut() {
    for (before, after, is_due) in [
        (None, None, false),
        (None, payer("cus_1"), false),
        (payer("cus_1"), None, false),
        (payer("cus_1"), payer("cus_2"), false),
        (payer("cus_1"), payer("cus_1"), true),
    ] {
        let expected = counted(9, 12, 4, after.clone(), is_due);
        when(&up_to_9(before), cut(9, 12, 4, after)).then([expected]);
    }
    let later = Payer {
        period_end: Time(2 * MONTH),
        ..payer("cus_1").unwrap()
    };
    let expected = counted(9, 12, 4, Some(later.clone()), true);
    when(&up_to_9(payer("cus_1")), cut(9, 12, 4, Some(later))).then([expected]);
    let nothing = counted(9, 12, 0, payer("cus_1"), false);
    when(&up_to_9(payer("cus_1")), cut(9, 12, 0, payer("cus_1"))).then([nothing]);
}

#[test]
fn cuts_are_reported_in_order_and_each_once() {
    let customer = payer("cus_1");
    let usage = up_to_9(customer.clone())
        .and_at(5, counted(9, 12, 4, customer.clone(), true))
        .and_at(6, counted(12, 15, 6, customer.clone(), true));
    let report = Report {
        to: 12,
        quantity: 4,
        customer: customer.clone().unwrap().customer,
        at: Time(5),
    };
    assert_eq!(usage.state().to_report(), Some((TASKS_CREATED, &report)));
    let reported = |to| Event::Reported {
        to,
        position: position(15, customer.clone()),
    };
    let record = Command::RecordReport { to: 12 };
    when(&usage, record.clone()).then([reported(12)]);
    let usage = usage.and([reported(12)]);
    when(&usage, record).changes_nothing();
    let (_, next) = usage.state().to_report().unwrap();
    assert_eq!((next.to, next.quantity), (15, 6));
    assert_eq!(usage.and([reported(15)]).state().to_report(), None);
}

#[test]
fn a_cut_of_which_stripe_is_never_told_holds_up_no_later_one() {
    let customer = payer("cus_1");
    let usage = up_to_9(customer.clone())
        .and([counted(9, 12, 4, customer.clone(), true)])
        .and([counted(12, 15, 6, customer.clone(), true)]);
    let failed = |reason: &str| Event::ReportFailed {
        to: 12,
        reason: reason.to_owned(),
        position: position(15, customer.clone()),
    };
    let record = |reason: &str| Command::RecordFailure {
        to: 12,
        reason: reason.to_owned(),
    };
    when(&usage, record("gone")).then([failed("gone")]);
    let long = "a".repeat(501);
    when(&usage, record(&long)).then([failed(&long[1..])]);
    let usage = usage.and([failed("gone")]);
    when(&usage, record("gone")).changes_nothing();
    let (_, next) = usage.state().to_report().unwrap();
    assert_eq!(next.to, 15);
}

#[test]
fn a_cut_that_is_not_due_needs_no_report() {
    let usage = up_to_9(None);
    assert_eq!(usage.state().to_report(), None);
    for to in [9, 10] {
        when(&usage, Command::RecordReport { to }).changes_nothing();
    }
    when(&given([]), Command::RecordReport { to: 0 }).changes_nothing();
}

#[test]
fn a_long_outage_of_stripe_delays_cuts_and_not_those_that_nobody_pays() {
    let due = |at: u64| counted(at, at + 1, 1, payer("cus_1"), true);
    let noted = counted(0, 1, 1, payer("cus_1"), false);
    let waiting = |count| given([noted.clone()]).and((1..=count).map(due));
    when(&waiting(499), cut(500, 501, 1, payer("cus_1"))).then([due(500)]);
    let one_more = when(&waiting(500), cut(501, 502, 1, payer("cus_1")));
    one_more.rejects(Rejection::TooManyUnreported);
    let unpaid = counted(501, 502, 1, None, false);
    when(&waiting(500), cut(501, 502, 1, None)).then([unpaid]);
}

#[test]
fn a_usage_counts_for_its_own_tenant_and_meter() {
    let usage = given([]);
    let other = UsageId::of(TenantKey(OWN), TASKS_CREATED);
    for id in [other, UsageId(OWN)] {
        let foreign = usage.when(cut(0, 9, 3, None)).to(id);
        foreign.rejects(Rejection::NotOwn);
    }
    let other_meter = Command::Cut {
        meter: PROJECTS_CREATED,
        from: 0,
        to: 9,
        quantity: 3,
        payer: None,
    };
    when(&usage, other_meter).rejects(Rejection::NotOwn);
}
