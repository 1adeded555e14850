use events_schema::{Id, PasswordHash, PersonName};

use super::*;
use crate::domain::{
    account::Account,
    testing::{Given, given},
};

const APP: CredentialId = CredentialId(Id::from_bytes([1; 16]));
const CODES: CredentialId = CredentialId(Id::from_bytes([2; 16]));
const OTHER: CredentialId = CredentialId(Id::from_bytes([3; 16]));

fn email() -> EmailAddress {
    EmailAddress::parse("ada@example.com").unwrap()
}
fn account() -> Given<Account> {
    let name = PersonName::parse("Ada").unwrap();
    let registered = Event::Registered {
        email: email(),
        firstname: name.clone(),
        lastname: name,
        password_hash: PasswordHash::parse("$x").unwrap(),
    };
    given([registered, Event::Verified])
}
fn enrol(credential: CredentialId) -> Command {
    Command::EnrolTotp {
        credential,
        secret_id: "k1".to_owned(),
        step: 7,
        recovery_codes: CODES,
    }
}
fn enrolled(credential: CredentialId) -> Event {
    Event::TotpEnrolled {
        credential,
        secret_id: "k1".to_owned(),
        step: 7,
        recovery_codes: CODES,
        email: email(),
    }
}
fn use_totp(credential: CredentialId, step: i64) -> Command {
    Command::UseTotp { credential, step }
}
fn totp_used(step: i64) -> Event {
    let credential = APP;
    Event::TotpUsed { credential, step }
}
fn use_code(credential: CredentialId, index: u8) -> Command {
    Command::UseRecoveryCode { credential, index }
}
fn code_used(credential: CredentialId, index: u8) -> Event {
    Event::RecoveryCodeUsed {
        credential,
        index,
        email: email(),
    }
}
fn renew() -> Command {
    Command::RenewRecoveryCodes {
        credential: OTHER,
        secret_id: "k2".to_owned(),
    }
}
fn renewed() -> Event {
    Event::RecoveryCodesRenewed {
        credential: OTHER,
        secret_id: "k2".to_owned(),
        email: email(),
    }
}
fn removed() -> Event {
    Event::TotpRemoved {
        credential: APP,
        email: email(),
    }
}
fn protected() -> Given<Account> {
    account().and([enrolled(APP)])
}

#[test]
fn an_account_gets_one_authenticator_app() {
    account().when(enrol(APP)).then([enrolled(APP)]);
    for credential in [APP, OTHER] {
        let again = protected().when(enrol(credential));
        again.rejects(Rejection::TotpEnrolledAlready);
    }
}

#[test]
fn an_app_that_was_removed_is_not_enrolled_again() {
    let without = protected().and([removed()]);
    let again = without.when(enrol(APP));
    again.rejects(Rejection::TotpEnrolledAlready);
    without.when(enrol(OTHER)).then([enrolled(OTHER)]);
}

#[test]
fn a_code_is_used_once_and_no_earlier_one_after_it() {
    for step in [6, 7] {
        let used = protected().when(use_totp(APP, step));
        used.rejects(Rejection::CodeUsed);
    }
    protected().when(use_totp(APP, 8)).then([totp_used(8)]);
    let later = protected().and([totp_used(9)]);
    later.when(use_totp(APP, 9)).rejects(Rejection::CodeUsed);
    later.when(use_totp(APP, 8)).rejects(Rejection::CodeUsed);
    later.when(use_totp(APP, 10)).then([totp_used(10)]);
}

#[test]
fn a_recovery_code_is_used_once() {
    protected()
        .when(use_code(CODES, 0))
        .then([code_used(CODES, 0)]);
    let used = protected().and([code_used(CODES, 0)]);
    used.when(use_code(CODES, 0)).rejects(Rejection::CodeUsed);
    used.when(use_code(CODES, 9)).then([code_used(CODES, 9)]);
}

#[test]
fn new_recovery_codes_replace_those_before() {
    protected().when(renew()).then([renewed()]);
    let new = protected().and([code_used(CODES, 0), renewed()]);
    let old = new.when(use_code(CODES, 1));
    old.rejects(Rejection::NoSecondFactor);
    new.when(use_code(OTHER, 0)).then([code_used(OTHER, 0)]);
}

#[test]
fn removing_the_second_factor_again_changes_nothing() {
    protected().when(Command::RemoveTotp).then([removed()]);
    let without = protected().and([removed()]);
    without.when(Command::RemoveTotp).changes_nothing();
}

#[test]
fn nothing_is_used_or_renewed_that_the_account_does_not_have() {
    let other = protected().when(use_totp(OTHER, 8));
    other.rejects(Rejection::NoSecondFactor);
    for without in [account(), protected().and([removed()])] {
        for command in [use_totp(APP, 8), use_code(CODES, 0), renew()] {
            let when = without.when(command);
            when.rejects(Rejection::NoSecondFactor);
        }
    }
}
