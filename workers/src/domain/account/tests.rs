use events_schema::{AccountId, Id};

use super::*;
use crate::domain::testing::{COMMAND, Given, OWN, given};

const MINUTE: i64 = 60 * 1000;
const FIRST: ChallengeId = ChallengeId(Id::from_bytes([1; 16]));
const SECOND: ChallengeId = ChallengeId(Id::from_bytes([2; 16]));
const NEW: ChallengeId = ChallengeId(COMMAND);
const HOLDER: AccountId = AccountId(Id::from_bytes([5; 16]));

fn email() -> EmailAddress {
    EmailAddress::parse("ada@example.com").unwrap()
}
fn name(text: &str) -> PersonName {
    PersonName::parse(text).unwrap()
}
fn hash(text: &str) -> PasswordHash {
    PasswordHash::parse(&format!("${text}")).unwrap()
}
fn register() -> Command {
    Command::CompleteRegistration {
        email: email(),
        firstname: name("Ada"),
        lastname: name("Lovelace"),
        password_hash: hash("old"),
    }
}
fn registered() -> Event {
    Event::Registered {
        email: email(),
        firstname: name("Ada"),
        lastname: name("Lovelace"),
        password_hash: hash("old"),
    }
}
fn refusal() -> Event {
    Event::RegistrationRefused {
        email: email(),
        holder: HOLDER,
    }
}
/// Of an earlier release.
fn mailed(challenge: ChallengeId) -> Event {
    Event::VerificationRequested {
        challenge,
        email: email(),
        firstname: name("Ada"),
    }
}
fn reset_mailed(challenge: ChallengeId) -> Event {
    Event::PasswordResetRequested {
        challenge,
        email: email(),
        firstname: name("Ada"),
    }
}
fn reset(challenge: ChallengeId) -> Command {
    Command::ResetPassword {
        challenge,
        password_hash: hash("new"),
    }
}
fn change_password() -> Command {
    Command::ChangePassword {
        old_hash: hash("old"),
        password_hash: hash("new"),
    }
}
fn renew_hash() -> Command {
    Command::RenewPasswordHash {
        old_hash: hash("old"),
        password_hash: hash("new"),
    }
}
fn changed(to: &str) -> Event {
    Event::PasswordChanged {
        password_hash: hash(to),
        email: email(),
        firstname: name("Ada"),
    }
}
fn update(firstname: Option<&str>, lastname: Option<&str>) -> Command {
    Command::UpdateProfile {
        firstname: firstname.map(name),
        lastname: lastname.map(name),
    }
}
fn updated(firstname: &str, lastname: &str) -> Event {
    Event::ProfileUpdated {
        firstname: name(firstname),
        lastname: name(lastname),
    }
}
fn absent() -> Given<Account> {
    given([])
}
fn account() -> Given<Account> {
    given([registered(), Event::Verified])
}
/// An account of an earlier release whose address was never proved.
fn unverified() -> Given<Account> {
    given([registered(), mailed(FIRST)])
}
fn refused() -> Given<Account> {
    given([refusal()])
}
/// An account that asks twice for a mail to set a new password.
fn resetting() -> Given<Account> {
    account().and([reset_mailed(FIRST), reset_mailed(SECOND)])
}
fn commands_to_an_account() -> [Command; 10] {
    [
        renew_hash(),
        Command::RequestPasswordReset,
        reset(FIRST),
        Command::RevokeSessions,
        Command::GrantPlatformAdmin,
        Command::RevokePlatformAdmin,
        Command::Disable,
        Command::Enable,
        change_password(),
        update(None, Some("Byron")),
    ]
}

#[test]
fn a_completed_registration_takes_its_address() {
    let decision = Decision {
        take: vec![Claim::email(&email())],
        ..Decision::events(vec![registered(), Event::Verified])
    };
    absent().when(register()).decides(decision.clone());
    // Nobody has proved the address of this account.
    let own = unverified().when(register());
    own.while_held(Claim::email(&email()), AccountId(OWN))
        .decides(decision);
}

#[test]
fn a_registration_with_the_address_of_another_account_is_rejected() {
    for account in [absent(), unverified()] {
        let when = account.when(register());
        let when = when.while_held(Claim::email(&email()), HOLDER);
        when.rejects(Rejection::EmailTaken);
    }
}

#[test]
fn an_account_is_registered_only_once() {
    for account in [account(), refused()] {
        account.when(register()).rejects(Rejection::AlreadyExists);
    }
}

#[test]
fn an_account_that_does_not_exist_is_not_changed() {
    for command in commands_to_an_account() {
        absent().when(command.clone()).rejects(Rejection::NotFound);
        refused().when(command).rejects(Rejection::NotFound);
    }
}

#[test]
fn an_operator_makes_an_account_an_administrator_and_an_ordinary_one_again() {
    let grant = Command::GrantPlatformAdmin;
    let revoke = Command::RevokePlatformAdmin;
    account()
        .when(grant.clone())
        .then([Event::PlatformAdminGranted]);
    account().when(revoke.clone()).changes_nothing();
    let admin = account().and([Event::PlatformAdminGranted]);
    admin.when(grant.clone()).changes_nothing();
    admin.when(revoke).then([Event::PlatformAdminRevoked]);
    unverified().when(grant).rejects(Rejection::NotVerified);
}

#[test]
fn an_account_is_disabled_and_enabled() {
    account().when(Command::Disable).then([Event::Disabled]);
    account().when(Command::Enable).changes_nothing();
    let disabled = account().and([Event::Disabled]);
    disabled.when(Command::Disable).changes_nothing();
    disabled.when(Command::Enable).then([Event::Enabled]);
    disabled
        .when(Command::RequestPasswordReset)
        .changes_nothing();
    let resetting = resetting().and([Event::Disabled]);
    let when = resetting.when(reset(SECOND));
    when.rejects(Rejection::ChallengeEnded);
    let unproved = unverified().and([Event::Disabled]);
    unproved.when(register()).rejects(Rejection::AlreadyExists);
    let enabled = disabled.and([Event::Enabled]);
    enabled
        .when(Command::RequestPasswordReset)
        .then([reset_mailed(NEW)]);
}

#[test]
fn a_reset_mail_expires_after_ten_minutes() {
    let when = |now| resetting().when(reset(SECOND)).at(now);
    when(10 * MINUTE - 1).then([changed("new")]);
    when(10 * MINUTE).rejects(Rejection::ChallengeEnded);
}

#[test]
fn a_newer_mail_replaces_the_one_before() {
    let old = resetting().when(reset(FIRST));
    old.rejects(Rejection::ChallengeEnded);
    resetting().when(reset(SECOND)).then([changed("new")]);
}

#[test]
fn reset_mails_are_at_least_a_minute_apart() {
    let mailed_once = account().and([reset_mailed(FIRST)]);
    let when = |now| mailed_once.when(Command::RequestPasswordReset).at(now);
    when(MINUTE - 1).changes_nothing();
    when(MINUTE).then([reset_mailed(NEW)]);
}

#[test]
fn the_wait_between_mails_doubles_up_to_half_an_hour() {
    for (before, wait) in [(2, 2), (3, 4), (5, 16), (6, 30), (40, 30)] {
        let account = account().and(vec![reset_mailed(SECOND); before]);
        let when = |now| account.when(Command::RequestPasswordReset).at(now);
        when(wait * MINUTE - 1).changes_nothing();
        when(wait * MINUTE).then([reset_mailed(NEW)]);
    }
}

#[test]
fn mails_of_the_day_before_do_not_lengthen_the_wait() {
    let day = 24 * 60 * MINUTE;
    let account = account().and(vec![reset_mailed(FIRST); 10]);
    let account = account.and_at(day - MINUTE, reset_mailed(SECOND));
    let when = |now| account.when(Command::RequestPasswordReset).at(now);
    when(day - 1).changes_nothing();
    when(day).then([reset_mailed(NEW)]);
}

#[test]
fn a_reset_changes_the_password_and_verifies_the_address() {
    let asked = unverified().and([reset_mailed(SECOND)]);
    let when = asked.when(reset(SECOND));
    when.then([changed("new"), Event::Verified]);
    resetting().when(reset(SECOND)).then([changed("new")]);
}

#[test]
fn a_reset_mail_works_once() {
    let done = resetting().and([changed("new")]);
    done.when(reset(SECOND)).rejects(Rejection::ChallengeEnded);
}

#[test]
fn a_password_is_changed() {
    account().when(change_password()).then([changed("new")]);
}

#[test]
fn a_password_is_changed_only_if_the_checked_one_is_still_current() {
    let changed = account().and([changed("other")]);
    let when = changed.when(change_password());
    when.rejects(Rejection::PasswordChangedMeanwhile);
}

#[test]
fn a_hash_is_renewed_only_if_it_is_still_current_and_ends_no_mail() {
    let renewed = Event::PasswordHashRenewed {
        password_hash: hash("new"),
    };
    resetting().when(renew_hash()).then([renewed.clone()]);
    let changed = account().and([changed("other")]);
    changed.when(renew_hash()).changes_nothing();
    let resetting = resetting().and([renewed]);
    assert!(resetting.when(reset(SECOND)).decide().is_ok());
}

#[test]
fn a_changed_password_ends_all_mails_before_it() {
    let changed = resetting().and([changed("new")]);
    changed
        .when(reset(SECOND))
        .rejects(Rejection::ChallengeEnded);
}

#[test]
fn an_absent_name_stays_as_it_is() {
    let when = account().when(update(None, Some("Byron")));
    when.then([updated("Ada", "Byron")]);
    let when = account().when(update(Some("Augusta"), None));
    when.then([updated("Augusta", "Lovelace")]);
}

#[test]
fn a_profile_update_to_the_present_names_changes_nothing() {
    account().when(update(None, None)).changes_nothing();
    let married = account().and([updated("Ada", "Byron")]);
    let when = married.when(update(Some("Ada"), Some("Byron")));
    when.changes_nothing();
}

#[test]
fn sessions_are_revoked_as_often_as_requested() {
    let revoked = account().and([Event::SessionsRevoked]);
    for account in [account(), revoked] {
        let when = account.when(Command::RevokeSessions);
        when.then([Event::SessionsRevoked]);
    }
}

#[test]
fn a_later_event_restores_no_account() {
    let later = || [mailed(FIRST), Event::Verified, changed("new")];
    absent().and(later()).is(&Account::Absent);
    refused().and(later()).is(&Account::Refused);
}
