use events_schema::{
    Base64Url, ChallengeId, EmailAddress, Id, IdentityId, Name, PasskeyId, PasswordHash,
    PersonName, ProviderName,
    account::Command,
    email_change::{FormerAddress, UNDO_LIFETIME},
    passkey::NewPasskey,
};

use super::*;
use crate::domain::testing::{Given, given};

const DUE: i64 = 1_000;

fn email() -> EmailAddress {
    EmailAddress::parse("ada@example.com").unwrap()
}
fn registered() -> Event {
    let name = PersonName::parse("Ada").unwrap();
    Event::Registered {
        email: email(),
        firstname: name.clone(),
        lastname: name,
        password_hash: PasswordHash::parse("$x").unwrap(),
    }
}
fn account() -> Given<Account> {
    given([registered(), Event::Verified])
}
fn requested() -> Event {
    Event::DeletionRequested {
        at: Time(DUE),
        email: email(),
        former: Vec::new(),
    }
}
fn leaving() -> Given<Account> {
    account().and([requested()])
}
fn closed() -> Event {
    Event::Closed {
        email: Some(email()),
    }
}
fn cancelled() -> Event {
    Event::DeletionCancelled { email: email() }
}
fn stopped() -> Event {
    Event::DeletionStopped { email: email() }
}

#[test]
fn a_deletion_is_requested_and_not_postponed() {
    let request = |at| Command::RequestDeletion { at: Time(at) };
    account().when(request(DUE)).then([requested()]);
    leaving().when(request(2 * DUE)).changes_nothing();
    for kept in [cancelled(), stopped()] {
        let when = leaving().and([kept]).when(request(DUE));
        when.then([requested()]);
    }
}

#[test]
fn an_owner_keeps_the_account_until_its_time_has_come() {
    let cancel = |at| leaving().when(Command::CancelDeletion).at(at);
    cancel(DUE - 1).then([cancelled()]);
    cancel(DUE).rejects(Rejection::ClosesNow);
    account().when(Command::CancelDeletion).changes_nothing();
}

#[test]
fn only_the_owner_of_no_tenant_alone_is_deleted() {
    leaving().when(Command::StopDeletion).then([stopped()]);
    account().when(Command::StopDeletion).changes_nothing();
}

#[test]
fn an_account_is_deleted_when_its_time_has_come_and_not_before() {
    let close = |at| leaving().when(Command::Close).at(at);
    close(DUE - 1).changes_nothing();
    close(DUE).then([closed()]);
    for kept in [
        account(),
        leaving().and([cancelled()]),
        leaving().and([stopped()]),
    ] {
        kept.when(Command::Close).at(DUE).changes_nothing();
    }
}

const CHANGE: ChallengeId = ChallengeId(Id::from_bytes([2; 16]));

/// The address before another one.
fn former() -> EmailAddress {
    EmailAddress::parse("augusta@example.com").unwrap()
}
/// An account that has got its address at this time.
fn moved(at: i64) -> Given<Account> {
    let changed = Event::EmailChanged {
        challenge: CHANGE,
        from: former(),
        to: email(),
    };
    account().and_at(at, changed)
}

/// An earlier release has asked for a time before the end of the undo.
#[test]
fn a_deletion_that_was_asked_for_before_waits_for_the_undo_as_well() {
    let account = moved(1).and([requested()]);
    account
        .clone()
        .when(Command::Close)
        .at(DUE)
        .changes_nothing();
    let undoable_until = Time(1) + UNDO_LIFETIME;
    account
        .when(Command::Close)
        .at(undoable_until.0)
        .then([closed()]);
}

#[test]
fn an_account_is_deleted_only_once_no_change_of_its_address_can_be_undone() {
    let request = Command::RequestDeletion { at: Time(DUE) };
    let undoable_until = Time(1) + UNDO_LIFETIME;
    let asked = Event::DeletionRequested {
        at: undoable_until,
        email: email(),
        former: vec![FormerAddress {
            challenge: CHANGE,
            email: former(),
        }],
    };
    moved(1).when(request.clone()).at(2).then([asked]);
    let later = moved(1).when(request).at(undoable_until.0);
    later.then([requested()]);
}

#[test]
fn a_change_of_the_address_postpones_a_deletion_until_it_cannot_be_undone() {
    let changed = Event::EmailChanged {
        challenge: CHANGE,
        from: former(),
        to: email(),
    };
    let changed = leaving().and_at(DUE - 1, changed);
    let until = Time(DUE - 1) + UNDO_LIFETIME;
    assert_eq!(changed.state().closes_at(), Some(until));
    let close = |at| changed.when(Command::Close).at(at);
    close(until.0 - 1).changes_nothing();
    close(until.0).then([closed()]);
}

#[test]
fn an_account_that_is_disabled_is_not_deleted() {
    let disable = leaving().when(Command::Disable);
    disable.then([Event::Disabled, cancelled()]);
    let disabled = leaving().and([Event::Disabled]);
    for kept in [disabled.clone(), disabled.clone().and([Event::Enabled])] {
        kept.when(Command::Close).at(DUE).changes_nothing();
        assert_eq!(kept.state().closes_at(), None);
    }
    let request = Command::RequestDeletion { at: Time(DUE) };
    disabled.when(request).rejects(Rejection::SessionEnded);
}

#[test]
fn a_deleted_account_frees_all_names_that_it_has() {
    let identity = IdentityId(Id::from_bytes([1; 16]));
    let linked = Event::IdentityLinked {
        identity,
        provider: ProviderName::parse("google").unwrap(),
        email: email(),
    };
    let passkey = NewPasskey {
        credential_id: Base64Url::from_bytes(&[1; 16]),
        key: Base64Url::from_bytes(&[1]),
        counter: 0,
        is_backup_eligible: true,
        is_backed_up: true,
        transports: Vec::new(),
        aaguid: Id::from_bytes([0; 16]),
    };
    let id = PasskeyId::of(&passkey.credential_id);
    let added = Event::PasskeyAdded {
        name: Name::parse("Phone").unwrap(),
        passkey,
        email: email(),
    };
    let when = leaving().and([linked, added]).when(Command::Close);
    when.at(DUE).decides(Decision {
        release: vec![
            Claim::email(&email()),
            Claim::identity(identity),
            Claim::passkey(id),
        ],
        ..Decision::events(vec![closed()])
    });
}

#[test]
fn a_deleted_account_never_opens_again() {
    let deleted = leaving().and([closed()]);
    for command in [
        Command::RevokeSessions,
        Command::CancelDeletion,
        Command::RequestPasswordReset,
        Command::Close,
    ] {
        deleted.when(command).rejects(Rejection::NotFound);
    }
    let register = Command::CompleteRegistration {
        email: email(),
        firstname: PersonName::parse("Ada").unwrap(),
        lastname: PersonName::parse("Ada").unwrap(),
        password_hash: PasswordHash::parse("$x").unwrap(),
    };
    deleted.when(register).rejects(Rejection::AlreadyExists);
    deleted
        .and([Event::Verified, cancelled()])
        .is(&Account::Closed);
}

#[test]
fn only_an_account_that_has_proved_no_address_gives_way_to_who_has() {
    let unproved = given::<Account>([registered()]);
    unproved.when(Command::CloseUnproved).decides(Decision {
        release: vec![Claim::email(&email())],
        ..Decision::events(vec![Event::Closed { email: None }])
    });
    let disabled = unproved.and([Event::Disabled]);
    for kept in [account(), disabled] {
        kept.when(Command::CloseUnproved).changes_nothing();
    }
}
