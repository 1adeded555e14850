use events_schema::{
    AccountId, Base64Url, EmailAddress, Id, PasswordHash, PersonName, account::Command,
    passkey::Transport,
};

use super::*;
use crate::domain::{
    account::Account,
    testing::{Given, OWN, given},
};

const EVE: AccountId = AccountId(Id::from_bytes([5; 16]));

fn email() -> EmailAddress {
    EmailAddress::parse("ada@example.com").unwrap()
}
fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
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
fn without_password() -> Given<Account> {
    let password_removed = Event::PasswordRemoved { email: email() };
    account().and([added(1, 0), password_removed])
}
fn new(byte: u8, counter: u32) -> NewPasskey {
    NewPasskey {
        credential_id: Base64Url::from_bytes(&[byte; 16]),
        key: Base64Url::from_bytes(&[1, 2, 3]),
        counter,
        is_backup_eligible: true,
        is_backed_up: true,
        transports: vec![Transport::parse("internal").unwrap()],
        aaguid: Id::from_bytes([0; 16]),
    }
}
fn id(byte: u8) -> PasskeyId {
    PasskeyId::of(&new(byte, 0).credential_id)
}
fn add(byte: u8) -> Command {
    Command::AddPasskey {
        name: name("Phone"),
        passkey: new(byte, 0),
    }
}
fn added(byte: u8, counter: u32) -> Event {
    Event::PasskeyAdded {
        name: name("Phone"),
        passkey: new(byte, counter),
        email: email(),
    }
}
fn note(byte: u8, counter: u32) -> Command {
    Command::NotePasskeyUse {
        passkey: id(byte),
        counter,
        is_backed_up: false,
        asked_at: None,
    }
}
fn note_asked_at(ms: i64, counter: u32) -> Command {
    Command::NotePasskeyUse {
        passkey: id(1),
        counter,
        is_backed_up: false,
        asked_at: Some(Time(ms)),
    }
}
fn used(byte: u8, counter: u32) -> Event {
    Event::PasskeyUsed {
        passkey: id(byte),
        counter,
        is_backed_up: false,
    }
}
fn suspended(byte: u8) -> Event {
    Event::PasskeySuspended {
        passkey: id(byte),
        name: name("Phone"),
        email: email(),
    }
}
fn rename(byte: u8, to: &str) -> Command {
    Command::RenamePasskey {
        passkey: id(byte),
        name: name(to),
    }
}
fn renamed(byte: u8, to: &str) -> Event {
    Event::PasskeyRenamed {
        passkey: id(byte),
        name: name(to),
    }
}
fn remove(byte: u8) -> Command {
    Command::RemovePasskey { passkey: id(byte) }
}
fn removed(byte: u8) -> Event {
    Event::PasskeyRemoved {
        passkey: id(byte),
        name: name("Phone"),
        email: email(),
    }
}

#[test]
fn a_passkey_belongs_to_one_account() {
    let claim = Claim::passkey(id(1));
    let adds = Decision {
        take: vec![claim],
        ..Decision::events(vec![added(1, 0)])
    };
    account().when(add(1)).decides(adds.clone());
    let taken = account().when(add(1)).while_held(claim, EVE.0);
    taken.rejects(Rejection::PasskeyTaken);
    // A release of the claim that failed.
    account().when(add(1)).while_held(claim, OWN).decides(adds);
    let again = account().and([added(1, 0)]).when(add(1));
    again.rejects(Rejection::PasskeyTaken);
}

#[test]
fn an_account_that_has_not_proved_its_address_gets_no_passkey() {
    let unverified = given::<Account>([registered()]);
    unverified.when(add(1)).rejects(Rejection::NotVerified);
}

#[test]
fn an_account_has_at_most_20_passkeys() {
    let almost = account().and((1..20).map(|byte| added(byte, 0)));
    almost.when(add(20)).then([added(20, 0)]);
    let full = almost.and([added(20, 0)]);
    full.when(add(21)).rejects(Rejection::TooManyPasskeys);
}

#[test]
fn each_use_is_noted() {
    let with = account().and([added(1, 0)]);
    with.when(note(1, 0)).then([used(1, 0)]);
    with.when(note(1, 7)).then([used(1, 7)]);
    with.when(note(2, 7)).rejects(Rejection::NoSuchPasskey);
}

#[test]
fn a_counter_that_does_not_rise_suspends_the_passkey() {
    let with = account().and([added(1, 4)]);
    with.when(note(1, 5)).then([used(1, 5)]);
    for counter in [0, 3, 4] {
        with.when(note(1, counter)).then([suspended(1)]);
    }
    let later = with.clone().and([used(1, 9)]);
    later.when(note(1, 9)).at(1).then([suspended(1)]);
    let suspended = with.and([suspended(1)]);
    let used = suspended.when(note(1, 100));
    used.rejects(Rejection::PasskeyIsSuspended);
}

#[test]
fn two_answers_in_the_other_order_suspend_no_passkey() {
    let with = account().and([added(1, 4)]).and_at(20, used(1, 6));
    // A redelivery of an earlier command.
    for at in [10, 20] {
        let late = with.when(note(1, 5)).at(at);
        late.rejects(Rejection::PasskeyUsedMeanwhile);
    }
    with.when(note(1, 5)).at(21).then([suspended(1)]);
    // Another browser, whose person has touched the key before.
    let late = |asked_at| with.when(note_asked_at(asked_at, 5)).at(30);
    for asked_at in [10, 20] {
        late(asked_at).rejects(Rejection::PasskeyUsedMeanwhile);
    }
    late(21).then([suspended(1)]);
    let rising = with.when(note_asked_at(10, 7)).at(30);
    rising.then([used(1, 7)]);
}

#[test]
fn a_passkey_is_renamed() {
    let with = account().and([added(1, 0)]);
    with.when(rename(1, "Key")).then([renamed(1, "Key")]);
    with.when(rename(1, "Phone")).changes_nothing();
    with.when(rename(2, "Key"))
        .rejects(Rejection::NoSuchPasskey);
}

#[test]
fn a_passkey_that_was_removed_is_free_and_void() {
    let removes = Decision {
        release: vec![Claim::passkey(id(1))],
        ..Decision::events(vec![removed(1)])
    };
    let with = account().and([added(1, 0)]);
    with.when(remove(1)).decides(removes);
    let without = with.and([removed(1)]);
    for command in [remove(1), note(1, 9), rename(1, "Key")] {
        without.when(command).rejects(Rejection::NoSuchPasskey);
    }
    without.when(add(1)).then([added(1, 0)]);
}

#[test]
fn the_last_way_to_log_in_stays() {
    let last = without_password();
    last.when(remove(1)).rejects(Rejection::LastLogIn);
    let two = last.and([added(2, 0)]);
    two.when(remove(1)).then([removed(1)]);
    // Two are removed at once: the loser of the race decides again.
    let one = two.clone().and([removed(1)]);
    one.when(remove(2)).rejects(Rejection::LastLogIn);
    // Nobody can log in by one that is suspended.
    let suspended = two.and([suspended(2)]);
    suspended.when(remove(1)).rejects(Rejection::LastLogIn);
    suspended.when(remove(2)).then([removed(2)]);
}

#[test]
fn a_passkey_lets_the_password_go() {
    let password_removed = Event::PasswordRemoved { email: email() };
    let with = account().and([added(1, 0)]);
    let removed = with.when(Command::RemovePassword);
    removed.then([password_removed]);
    let suspended = with.and([suspended(1)]);
    let refused = suspended.when(Command::RemovePassword);
    refused.rejects(Rejection::LastLogIn);
}

#[test]
fn an_administrator_removes_all_passkeys_of_a_person_who_has_lost_them() {
    let two = without_password().and([added(2, 0), suspended(2)]);
    two.when(Command::RemovePasskeys)
        .then([removed(1), removed(2)]);
    account().when(Command::RemovePasskeys).changes_nothing();
}
