use events_schema::{
    BuiltInRole::{self, Admin, Guest, Owner},
    EmailAddress, Id, Name, Reason,
};

use super::*;
use crate::domain::testing::{Given, When, given};

const ADA: AccountId = AccountId(Id::from_bytes([1; 16]));
const ROOT: AccountId = AccountId(Id::from_bytes([2; 16]));
/// Who has granted access.
const EVE: AccountId = AccountId(Id::from_bytes([3; 16]));
const MINUTE: i64 = 60 * 1000;
const HOUR: i64 = 60 * MINUTE;

fn session(number: u8) -> SessionId {
    SessionId(Id::from_bytes([number; 16]))
}
fn email() -> EmailAddress {
    EmailAddress::parse("ada@example.com").unwrap()
}
fn acme() -> Name {
    Name::parse("Acme").unwrap()
}
fn reason() -> Reason {
    Reason::parse("Ticket 7").unwrap()
}
fn grant(until: i64) -> Command {
    Command::Grant { until: Time(until) }
}
/// A grant by an administrator of the tenant.
fn granted(until: i64) -> Event {
    granted_by(EVE, until)
}
fn granted_by(account: AccountId, until: i64) -> Event {
    let held = Admin.permissions();
    Event::Granted {
        until: Time(until),
        by: Some(Grantor { account, held }),
    }
}
/// An administrator of the tenant grants access.
fn when_granted(given: &Given<Support>, until: i64) -> When<Support> {
    let when = given.when(grant(until)).by(Actor::Account(EVE));
    when.holding(Admin)
}
fn begin(number: u8) -> Command {
    begin_as(number, Some(Guest))
}
fn begin_as(number: u8, role: Option<BuiltInRole>) -> Command {
    Command::Begin {
        session: session(number),
        account: ADA,
        email: email(),
        tenant_name: acme(),
        reason: reason(),
        person_holds: role.map(BuiltInRole::permissions),
    }
}
fn begun(number: u8, ends_at: i64) -> Event {
    Event::Begun {
        session: session(number),
        account: ADA,
        email: email(),
        administrator: ROOT,
        tenant_name: acme(),
        reason: reason(),
        ends_at: Time(ends_at),
    }
}
fn end(number: u8) -> Command {
    let session = session(number);
    Command::End { session }
}
fn expire(number: u8) -> Command {
    let session = session(number);
    Command::Expire { session }
}
fn ended(number: u8) -> Event {
    let session = session(number);
    Event::Ended { session }
}
fn closed() -> Given<Support> {
    given([])
}
fn open() -> Given<Support> {
    given([granted(2 * HOUR)])
}
/// The administrator begins to act as Ada.
fn when_begun(given: &Given<Support>, number: u8) -> When<Support> {
    given.when(begin(number)).by(Actor::Account(ROOT))
}

#[test]
fn a_tenant_grants_access_for_up_to_72_hours() {
    for until in [1, 72 * HOUR] {
        when_granted(&closed(), until).then([granted(until)]);
    }
    for wrong in [i64::MIN, -1, 0, 72 * HOUR + 1, i64::MAX] {
        let when = when_granted(&closed(), wrong);
        when.rejects(Rejection::GrantOutOfBounds);
    }
}

#[test]
fn there_is_one_grant_at_a_time() {
    let when = |until| when_granted(&open(), until).at(HOUR);
    when(3 * HOUR).rejects(Rejection::AlreadyGranted);
    when(2 * HOUR).changes_nothing();
    when(2 * HOUR)
        .holding(Owner)
        .rejects(Rejection::AlreadyGranted);
    let later = when_granted(&open(), 3 * HOUR).at(2 * HOUR);
    later.then([granted(3 * HOUR)]);
    let revoked = open().and([Event::Revoked]);
    when_granted(&revoked, 3 * HOUR).then([granted(3 * HOUR)]);
}

#[test]
fn an_administrator_acts_as_a_person_for_30_minutes() {
    when_begun(&open(), 7).then([begun(7, 30 * MINUTE)]);
}

#[test]
fn nobody_acts_as_a_person_beyond_the_grant() {
    let when = when_begun(&open(), 7).at(2 * HOUR - MINUTE);
    when.then([begun(7, 2 * HOUR)]);
    let when = when_begun(&open(), 7).at(2 * HOUR);
    when.rejects(Rejection::NotGranted);
    when_begun(&closed(), 7).rejects(Rejection::NotGranted);
    let revoked = open().and([Event::Revoked]);
    when_begun(&revoked, 7).rejects(Rejection::NotGranted);
}

#[test]
fn only_a_person_grants_access() {
    let impersonated = Actor::Impersonated {
        account: EVE,
        by: ROOT,
    };
    for actor in [Actor::Anonymous, Actor::System, impersonated] {
        let when = when_granted(&closed(), HOUR).by(actor);
        when.rejects(Rejection::NotAPerson);
    }
}

#[test]
fn nobody_acts_as_a_person_by_a_grant_of_their_own() {
    let own = given([granted_by(ROOT, HOUR)]);
    when_begun(&own, 7).rejects(Rejection::OwnGrant);
}

#[test]
fn nobody_acts_as_a_person_who_holds_more_than_who_granted_it() {
    let when = |role| open().when(begin_as(7, role)).by(Actor::Account(ROOT));
    when(Some(Admin)).then([begun(7, 30 * MINUTE)]);
    when(Some(Owner)).rejects(Rejection::BeyondGrant);
    when(None).rejects(Rejection::BeyondGrant);
    let of_earlier_release = Event::Granted {
        until: Time(HOUR),
        by: None,
    };
    let earlier: Given<Support> = given([of_earlier_release]);
    let when = earlier.when(begin_as(7, None)).by(Actor::Account(ROOT));
    when.then([begun(7, 30 * MINUTE)]);
}

#[test]
fn only_a_person_with_a_session_of_their_own_acts_as_another() {
    let token = events_schema::AccessTokenId(ROOT.0);
    let service = events_schema::ServiceId(ROOT.0);
    let impersonated = Actor::Impersonated {
        account: ROOT,
        by: ROOT,
    };
    for actor in [
        Actor::Anonymous,
        Actor::System,
        Actor::AccessToken(token),
        Actor::Service { service, token },
        impersonated,
    ] {
        let when = open().when(begin(7)).by(actor);
        when.rejects(Rejection::NotAnAdministrator);
    }
    let when = open().when(begin(7)).by(Actor::Account(ADA));
    when.rejects(Rejection::OwnAccount);
}

#[test]
fn ten_sessions_act_as_people_at_once() {
    let ten = open().and((0..10).map(|number| begun(number, HOUR)));
    when_begun(&ten, 10).rejects(Rejection::TooManySessions);
    let nine = ten.clone().and([ended(3)]);
    when_begun(&nine, 10).then([begun(10, 30 * MINUTE)]);
    let when = when_begun(&ten, 10).at(HOUR);
    when.then([begun(10, HOUR + 30 * MINUTE)]);
}

#[test]
fn a_session_begins_once() {
    let begun = open().and([begun(7, HOUR)]);
    when_begun(&begun, 7).rejects(Rejection::AlreadyExists);
}

#[test]
fn a_revoked_grant_ends_all_sessions() {
    let two = open().and([begun(7, HOUR), begun(8, HOUR)]);
    let when = two.when(Command::Revoke);
    when.then([ended(7), ended(8), Event::Revoked]);
    for nothing in [closed(), open().and([Event::Revoked])] {
        nothing.when(Command::Revoke).changes_nothing();
    }
    let when = open().when(Command::Revoke).at(2 * HOUR);
    when.changes_nothing();
}

#[test]
fn a_session_ends_once() {
    let one = open().and([begun(7, HOUR)]);
    one.when(end(7)).then([ended(7)]);
    one.and([ended(7)]).when(end(7)).changes_nothing();
    open().when(end(7)).changes_nothing();
}

#[test]
fn the_end_of_a_session_is_recorded_when_its_time_has_passed() {
    let one = open().and([begun(7, HOUR)]);
    let when = |ms| one.when(expire(7)).at(ms);
    when(HOUR - 1).rejects(Rejection::NotExpired);
    when(HOUR).then([ended(7)]);
    let over = one.clone().and([ended(7)]);
    over.when(expire(7)).at(HOUR).changes_nothing();
}

#[test]
fn the_session_that_ends_first_is_the_next_to_end() {
    let next = |given: &Given<Support>| given.state().next_to_end().map(|next| next.id);
    let two = open().and([begun(7, HOUR), begun(8, MINUTE)]);
    assert_eq!(next(&two), Some(session(8)));
    let one = two.and([ended(8)]);
    assert_eq!(next(&one), Some(session(7)));
    assert_eq!(next(&one.and([ended(7)])), None);
}
