use events_schema::{
    AccountId, Base64Url, CredentialId, Id, IdentityId, Name, PasskeyId, PasswordHash, PersonName,
    ProviderName, account::Command, passkey::NewPasskey,
};

use super::*;
use crate::domain::testing::{COMMAND, Given, given};

const MINUTE: i64 = 60 * 1000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const NEW: ChallengeId = ChallengeId(COMMAND);
const FIRST: ChallengeId = ChallengeId(Id::from_bytes([1; 16]));
const SECOND: ChallengeId = ChallengeId(Id::from_bytes([2; 16]));
const OTHER: AccountId = AccountId(Id::from_bytes([5; 16]));

fn email(name: &str) -> EmailAddress {
    EmailAddress::parse(&format!("{name}@example.com")).unwrap()
}
fn claim(name: &str) -> Claim {
    Claim::email(&email(name))
}
fn hash() -> PasswordHash {
    PasswordHash::parse("$x").unwrap()
}
fn registered() -> Event {
    let name = PersonName::parse("Ada").unwrap();
    Event::Registered {
        email: email("old"),
        firstname: name.clone(),
        lastname: name,
        password_hash: hash(),
    }
}
fn account() -> Given<Account> {
    given([registered(), Event::Verified])
}
fn request(to: &str, silent_until: Option<Time>) -> Command {
    Command::RequestEmailChange {
        to: email(to),
        is_held: false,
        silent_until,
    }
}
fn requested(challenge: ChallengeId, from: &str, to: &str, silent_until: Option<Time>) -> Event {
    Event::EmailChangeRequested {
        challenge,
        email: email(from),
        to: email(to),
        is_held: false,
        silent_until,
    }
}
/// An account whose owner has asked for the address `new`.
fn asked() -> Given<Account> {
    account().and([requested(FIRST, "old", "new", None)])
}
/// An account whose owner has asked for the address `new` with two factors.
fn asked_with_two_factors() -> Given<Account> {
    account().and([requested(FIRST, "old", "new", Some(Time(72 * HOUR)))])
}
fn prove(challenge: ChallengeId) -> Command {
    Command::ProveNewEmail { challenge }
}
fn confirm(challenge: ChallengeId) -> Command {
    Command::ConfirmEmailChange { challenge }
}
fn refuse(challenge: ChallengeId) -> Command {
    Command::RefuseEmailChange { challenge }
}
fn complete(challenge: ChallengeId) -> Command {
    Command::CompleteEmailChange { challenge }
}
fn undo(challenge: ChallengeId) -> Command {
    Command::UndoEmailChange { challenge }
}
fn proved() -> Event {
    Event::NewEmailProved { challenge: FIRST }
}
fn confirmed() -> Event {
    Event::EmailChangeConfirmed { challenge: FIRST }
}
fn ended() -> Event {
    Event::EmailChangeEnded {
        challenge: FIRST,
        email: email("old"),
    }
}
fn changed(challenge: ChallengeId, from: &str, to: &str) -> Event {
    Event::EmailChanged {
        challenge,
        from: email(from),
        to: email(to),
    }
}
fn restored(challenge: ChallengeId, from: &str, to: &str) -> Event {
    Event::EmailRestored {
        challenge,
        from: email(from),
        to: email(to),
    }
}
fn password_removed(to: &str) -> Event {
    Event::PasswordRemoved { email: email(to) }
}
fn password_changed() -> Event {
    Event::PasswordChanged {
        password_hash: hash(),
        email: email("old"),
        firstname: PersonName::parse("Ada").unwrap(),
    }
}
/// The decision to change the address from `old` to `new`.
fn change() -> Decision<Event> {
    Decision {
        take: vec![claim("new")],
        release: vec![claim("old")],
        ..Decision::events(vec![changed(FIRST, "old", "new")])
    }
}
/// An account whose address was changed from `old` to `new` at this time.
fn moved(at: i64) -> Given<Account> {
    asked().and_at(at, changed(FIRST, "old", "new"))
}

#[test]
fn both_addresses_are_asked() {
    let when = account().when(request("new", None));
    when.then([requested(NEW, "old", "new", None)]);
    let end = Some(Time(9));
    let when = asked().when(request("other", end));
    when.then([requested(NEW, "old", "other", end)]);
}

#[test]
fn an_address_that_is_held_is_asked_for_in_the_same_way() {
    let held = Command::RequestEmailChange {
        to: email("new"),
        is_held: true,
        silent_until: None,
    };
    let when = account().when(held).while_held(claim("new"), OTHER);
    let Ok(decision) = when.decide() else {
        panic!("it is refused");
    };
    assert_eq!(decision.events.len(), 1);
    assert_eq!(
        decision.take,
        [],
        "an address that is asked for is free for its owner"
    );
}

#[test]
fn the_present_address_is_not_asked_for() {
    let when = account().when(request("old", None));
    when.rejects(Rejection::EmailUnchanged);
}

#[test]
fn an_account_that_has_proved_no_address_changes_none() {
    let when = given::<Account>([registered()]).when(request("new", None));
    when.rejects(Rejection::NotVerified);
}

#[test]
fn an_address_is_changed_once_both_owners_agree_in_any_order() {
    asked().when(prove(FIRST)).then([proved()]);
    asked().when(confirm(FIRST)).then([confirmed()]);
    asked()
        .and([proved()])
        .when(confirm(FIRST))
        .decides(change());
    asked()
        .and([confirmed()])
        .when(prove(FIRST))
        .decides(change());
}

#[test]
fn an_owner_who_agrees_again_changes_nothing() {
    asked().and([proved()]).when(prove(FIRST)).changes_nothing();
    asked()
        .and([confirmed()])
        .when(confirm(FIRST))
        .changes_nothing();
}

#[test]
fn an_answer_to_no_open_request_is_rejected() {
    let commands = [prove(FIRST), confirm(FIRST), refuse(FIRST)];
    let replaced = asked().and([requested(SECOND, "old", "new", None)]);
    let reset = asked().and([proved(), password_changed()]);
    let disabled = asked().and([proved(), Event::Disabled, Event::Enabled]);
    let refused = asked().and([proved(), ended()]);
    for account in [account(), replaced, reset, disabled, refused, moved(0)] {
        for command in commands.clone() {
            let when = account.when(command);
            when.rejects(Rejection::ChallengeEnded);
        }
    }
}

#[test]
fn a_code_is_valid_for_ten_minutes_and_a_link_for_three_days() {
    let proves = |at| asked().when(prove(FIRST)).at(at);
    proves(10 * MINUTE - 1).then([proved()]);
    proves(10 * MINUTE).rejects(Rejection::ChallengeEnded);
    for (command, event) in [(confirm(FIRST), confirmed()), (refuse(FIRST), ended())] {
        let answers = |at| asked().when(command.clone()).at(at);
        answers(72 * HOUR - 1).then([event]);
        answers(72 * HOUR).rejects(Rejection::ChallengeEnded);
    }
}

#[test]
fn the_present_address_refuses() {
    for account in [asked(), asked().and([proved()]), asked_with_two_factors()] {
        account.when(refuse(FIRST)).then([ended()]);
    }
}

#[test]
fn with_two_factors_silence_suffices_once_the_new_address_is_proved() {
    let proved_once = asked_with_two_factors().and([proved()]);
    let completes = |at| proved_once.when(complete(FIRST)).at(at);
    completes(72 * HOUR - 1).changes_nothing();
    completes(72 * HOUR).decides(change());
    let late = proved_once.when(refuse(FIRST)).at(73 * HOUR);
    late.then([ended()]);
    proved_once.when(confirm(FIRST)).decides(change());
    for account in [
        account(),
        asked_with_two_factors(),
        asked_with_two_factors().and([confirmed()]),
        asked().and([proved()]),
        proved_once.clone().and([ended()]),
        proved_once.and([password_changed()]),
    ] {
        let when = account.when(complete(FIRST)).at(100 * DAY);
        when.changes_nothing();
    }
}

#[test]
fn a_change_by_silence_is_due_only_if_the_new_address_is_proved() {
    let due = |given: Given<Account>| given.state().silent_change();
    assert_eq!(due(asked().and([proved()])), None);
    assert_eq!(due(asked_with_two_factors()), None);
    let proved = asked_with_two_factors().and([proved()]);
    assert_eq!(due(proved), Some((FIRST, Time(72 * HOUR))));
}

#[test]
fn an_address_that_another_account_has_got_meanwhile_is_not_taken() {
    let proves = asked().and([confirmed()]).when(prove(FIRST));
    let confirms = asked().and([proved()]).when(confirm(FIRST));
    for when in [proves, confirms] {
        let when = when.while_held(claim("new"), OTHER);
        when.rejects(Rejection::EmailTaken);
    }
    let silent = asked_with_two_factors().and([proved()]);
    let when = silent.when(complete(FIRST)).at(72 * HOUR);
    when.while_held(claim("new"), OTHER).then([ended()]);
}

#[test]
fn an_account_that_begins_again_keeps_no_request_of_the_one_before() {
    let name = PersonName::parse("Ada").unwrap();
    let opened = Event::Opened {
        email: email("old"),
        firstname: name.clone(),
        lastname: name,
    };
    for begun in [opened, registered()] {
        let victim = moved(0).and([
            requested(SECOND, "new", "thief", None),
            begun,
            Event::Verified,
        ]);
        for command in [confirm(SECOND), undo(FIRST)] {
            let when = victim.when(command);
            when.rejects(Rejection::ChallengeEnded);
        }
    }
}

#[test]
fn a_changed_address_ends_mails_to_the_one_before() {
    let reset = Event::PasswordResetRequested {
        challenge: SECOND,
        email: email("old"),
        firstname: PersonName::parse("Ada").unwrap(),
    };
    let asked = asked().and([reset, proved()]);
    let answer = Command::ResetPassword {
        challenge: SECOND,
        password_hash: hash(),
    };
    assert!(asked.when(answer.clone()).decide().is_ok());
    let changed = asked.and([changed(FIRST, "old", "new")]);
    changed.when(answer).rejects(Rejection::ChallengeEnded);
}

#[test]
fn a_former_owner_restores_the_address_for_thirty_days_and_ends_all_sessions() {
    let undoes = |at| moved(DAY).when(undo(FIRST)).at(at);
    undoes(31 * DAY - 1).decides(Decision {
        take: vec![claim("old")],
        release: vec![claim("new")],
        ..Decision::events(vec![
            restored(FIRST, "new", "old"),
            password_removed("old"),
            Event::SessionsRevoked,
        ])
    });
    undoes(31 * DAY).rejects(Rejection::ChallengeEnded);
    for challenge in [SECOND, NEW] {
        let when = moved(0).when(undo(challenge));
        when.rejects(Rejection::ChallengeEnded);
    }
}

#[test]
fn a_change_is_undone_once() {
    let undone = moved(0).and([restored(FIRST, "new", "old")]);
    undone.when(undo(FIRST)).rejects(Rejection::ChallengeEnded);
}

#[test]
fn a_former_owner_also_undoes_the_changes_that_followed() {
    let twice = moved(0).and([changed(SECOND, "new", "thief")]);
    let when = twice.when(undo(FIRST));
    when.decides(Decision {
        take: vec![claim("old")],
        release: vec![claim("thief")],
        ..Decision::events(vec![
            restored(FIRST, "thief", "old"),
            password_removed("old"),
            Event::SessionsRevoked,
        ])
    });
    let undone = twice.and([restored(FIRST, "thief", "old")]);
    undone.when(undo(SECOND)).rejects(Rejection::ChallengeEnded);
}

#[test]
fn an_address_that_came_back_is_not_taken_twice() {
    let back = moved(0).and([changed(SECOND, "new", "old")]);
    let decision = back.when(undo(FIRST)).decide().unwrap();
    assert_eq!((decision.take, decision.release), (vec![], vec![]));
}

#[test]
fn a_former_address_that_another_account_has_by_now_is_not_restored() {
    let when = moved(0).when(undo(FIRST));
    let when = when.while_held(claim("old"), OTHER);
    when.rejects(Rejection::EmailTaken);
}

fn linked(byte: u8) -> Event {
    Event::IdentityLinked {
        identity: IdentityId(Id::from_bytes([byte; 16])),
        provider: ProviderName::parse("google").unwrap(),
        email: email("new"),
    }
}
fn new_passkey(byte: u8) -> NewPasskey {
    NewPasskey {
        credential_id: Base64Url::from_bytes(&[byte; 16]),
        key: Base64Url::from_bytes(&[1]),
        counter: 0,
        is_backup_eligible: true,
        is_backed_up: true,
        transports: Vec::new(),
        aaguid: Id::from_bytes([0; 16]),
    }
}
fn passkey_added(byte: u8) -> Event {
    Event::PasskeyAdded {
        name: Name::parse("Phone").unwrap(),
        passkey: new_passkey(byte),
        email: email("new"),
    }
}
fn enrolled() -> Event {
    Event::TotpEnrolled {
        credential: CredentialId(Id::from_bytes([3; 16])),
        secret_id: "k1".to_owned(),
        step: 1,
        recovery_codes: CredentialId(Id::from_bytes([4; 16])),
        email: email("new"),
    }
}

#[test]
fn whoever_has_had_the_account_since_keeps_no_way_in() {
    let before = account()
        .and([linked(1), passkey_added(1)])
        .and([requested(FIRST, "old", "new", None)])
        .and_at(30 * DAY, changed(FIRST, "old", "new"));
    let deletion = Event::DeletionRequested {
        at: Time(60 * DAY),
        email: email("new"),
        former: Vec::new(),
    };
    let since = [linked(2), passkey_added(2), enrolled(), deletion];
    let taken_over = since
        .into_iter()
        .fold(before, |given, event| given.and_at(31 * DAY, event));
    let identity = IdentityId(Id::from_bytes([2; 16]));
    let passkey = PasskeyId::of(&new_passkey(2).credential_id);
    taken_over.when(undo(FIRST)).at(32 * DAY).decides(Decision {
        take: vec![claim("old")],
        release: vec![
            claim("new"),
            Claim::identity(identity),
            Claim::passkey(passkey),
        ],
        ..Decision::events(vec![
            restored(FIRST, "new", "old"),
            Event::IdentityUnlinked {
                identity,
                provider: ProviderName::parse("google").unwrap(),
                email: email("old"),
            },
            Event::PasskeyRemoved {
                passkey,
                name: Name::parse("Phone").unwrap(),
                email: email("old"),
            },
            Event::TotpRemoved {
                credential: CredentialId(Id::from_bytes([3; 16])),
                email: email("old"),
            },
            password_removed("old"),
            Event::DeletionCancelled {
                email: email("old"),
            },
            Event::SessionsRevoked,
        ])
    });
}

#[test]
fn recovery_codes_that_were_replaced_since_end_with_their_app() {
    let renewed = Event::RecoveryCodesRenewed {
        credential: CredentialId(Id::from_bytes([6; 16])),
        secret_id: "k1".to_owned(),
        email: email("new"),
    };
    let before = account().and([enrolled(), requested(FIRST, "old", "new", None)]);
    let before = before.and_at(30 * DAY, changed(FIRST, "old", "new"));
    let removed = |given: &Given<Account>| {
        let decision = given.when(undo(FIRST)).at(32 * DAY).decide().unwrap();
        let mut events = decision.events.iter();
        events.any(|event| matches!(event, Event::TotpRemoved { .. }))
    };
    assert!(!removed(&before));
    assert!(removed(&before.and_at(31 * DAY, renewed)));
}

#[test]
fn a_thief_who_has_added_ways_in_before_the_change_keeps_none() {
    for added in [linked(2), passkey_added(2), enrolled()] {
        let ends = |days: i64| {
            let account = account()
                .and_at(days * DAY, added.clone())
                .and_at(40 * DAY, requested(FIRST, "old", "new", None))
                .and_at(43 * DAY, changed(FIRST, "old", "new"));
            let decision = account.when(undo(FIRST)).at(44 * DAY).decide().unwrap();
            // Restored, without a password, and without sessions.
            decision.events.len() > 3
        };
        assert!(ends(14), "{added:?}");
        assert!(!ends(13), "{added:?}");
    }
}

#[test]
fn a_way_in_that_has_ended_takes_the_change_with_it() {
    let proved_once = asked_with_two_factors().and([passkey_added(2), proved()]);
    let removed = Event::PasskeyRemoved {
        passkey: PasskeyId::of(&new_passkey(2).credential_id),
        name: Name::parse("Phone").unwrap(),
        email: email("old"),
    };
    for end in [Event::SessionsRevoked, removed] {
        let ended = proved_once.clone().and([end]);
        ended
            .when(confirm(FIRST))
            .rejects(Rejection::ChallengeEnded);
        ended.when(complete(FIRST)).at(72 * HOUR).changes_nothing();
    }
}
