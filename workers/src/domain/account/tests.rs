use events_schema::Id;

use super::*;
use crate::domain::testing::{COMMAND, Given, given};

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
    Command::Register {
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
fn answer(challenge: ChallengeId, correct: bool) -> Command {
    Command::AnswerVerification { challenge, correct }
}
fn failed() -> Event {
    Event::VerificationFailed { challenge: FIRST }
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
    given([registered(), mailed(FIRST)])
}
fn refused() -> Given<Account> {
    given([refusal()])
}
/// An account that asks twice for a mail to set a new password.
fn resetting() -> Given<Account> {
    account().and([reset_mailed(FIRST), reset_mailed(SECOND)])
}
fn commands_to_an_account() -> [Command; 7] {
    [
        Command::RequestVerification,
        answer(FIRST, true),
        Command::RequestPasswordReset,
        reset(FIRST),
        Command::RevokeSessions,
        change_password(),
        update(None, Some("Byron")),
    ]
}

#[test]
fn a_registration_takes_its_address_and_requests_a_mail() {
    absent().when(register()).decides(Decision {
        take: vec![Claim::email(&email())],
        ..Decision::events(vec![registered(), mailed(NEW)])
    });
}

#[test]
fn a_registration_with_the_address_of_another_account_is_refused() {
    let when = absent().when(register());
    let when = when.while_held(Claim::email(&email()), HOLDER);
    when.decides(Decision::events(vec![refusal()]));
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
fn a_right_answer_verifies_the_address() {
    account().when(answer(FIRST, true)).then([Event::Verified]);
}

#[test]
fn a_repeated_right_answer_changes_nothing() {
    let verified = account().and([Event::Verified]);
    verified.when(answer(FIRST, true)).changes_nothing();
}

#[test]
fn only_the_answer_that_verified_an_address_may_be_repeated() {
    let verified = account().and([Event::Verified]);
    for (challenge, correct) in [(SECOND, true), (FIRST, false)] {
        let when = verified.when(answer(challenge, correct));
        when.rejects(Rejection::ChallengeEnded);
    }
}

#[test]
fn a_wrong_answer_is_counted() {
    account().when(answer(FIRST, false)).then([failed()]);
}

#[test]
fn five_wrong_answers_end_a_mail_even_for_the_right_one() {
    let four = account().and(vec![failed(); 4]);
    four.when(answer(FIRST, false)).then([failed()]);
    four.when(answer(FIRST, true)).then([Event::Verified]);
    let five = four.and([failed()]);
    for correct in [true, false] {
        let when = five.when(answer(FIRST, correct));
        when.rejects(Rejection::ChallengeEnded);
    }
}

#[test]
fn a_verification_mail_expires_after_30_minutes() {
    let when = |now| account().when(answer(FIRST, true)).at(now);
    when(30 * MINUTE - 1).then([Event::Verified]);
    when(30 * MINUTE).rejects(Rejection::ChallengeEnded);
}

#[test]
fn a_reset_mail_expires_after_30_minutes() {
    let when = |now| resetting().when(reset(SECOND)).at(now);
    when(30 * MINUTE - 1).then([changed("new"), Event::Verified]);
    when(30 * MINUTE).rejects(Rejection::ChallengeEnded);
}

#[test]
fn a_newer_mail_replaces_the_one_before() {
    let twice = account().and([failed(), mailed(SECOND)]);
    let old = twice.when(answer(FIRST, true));
    old.rejects(Rejection::ChallengeEnded);
    twice.when(answer(SECOND, true)).then([Event::Verified]);
    let old = resetting().when(reset(FIRST));
    old.rejects(Rejection::ChallengeEnded);
}

#[test]
fn mails_of_a_kind_are_at_least_a_minute_apart() {
    let when = |now| account().when(Command::RequestVerification).at(now);
    when(MINUTE - 1).changes_nothing();
    when(MINUTE).then([mailed(NEW)]);
    let mailed_once = account().and([reset_mailed(FIRST)]);
    let when = |now| mailed_once.when(Command::RequestPasswordReset).at(now);
    when(MINUTE - 1).changes_nothing();
    when(MINUTE).then([reset_mailed(NEW)]);
}

#[test]
fn the_wait_between_mails_doubles_up_to_their_lifetime() {
    for (before, wait) in [(2, 2), (3, 4), (5, 16), (6, 30), (40, 30)] {
        let account = account().and(vec![mailed(SECOND); before - 1]);
        let when = |now| account.when(Command::RequestVerification).at(now);
        when(wait * MINUTE - 1).changes_nothing();
        when(wait * MINUTE).then([mailed(NEW)]);
    }
}

#[test]
fn mails_of_the_day_before_do_not_lengthen_the_wait() {
    let day = 24 * 60 * MINUTE;
    let account = account().and(vec![mailed(FIRST); 9]);
    let account = account.and_at(day - MINUTE, mailed(SECOND));
    let when = |now| account.when(Command::RequestVerification).at(now);
    when(day - 1).changes_nothing();
    when(day).then([mailed(NEW)]);
}

#[test]
fn a_verified_address_gets_no_verification_mail() {
    let verified = account().and([Event::Verified]);
    let when = verified.when(Command::RequestVerification).at(MINUTE);
    when.changes_nothing();
}

#[test]
fn verification_mails_delay_no_reset_mail() {
    let when = account().when(Command::RequestPasswordReset);
    when.then([reset_mailed(NEW)]);
}

#[test]
fn a_reset_changes_the_password_and_verifies_the_address() {
    let when = resetting().when(reset(SECOND));
    when.then([changed("new"), Event::Verified]);
    let verified = account().and([Event::Verified, reset_mailed(SECOND)]);
    verified.when(reset(SECOND)).then([changed("new")]);
}

#[test]
fn a_reset_mail_works_once() {
    let done = resetting().and([changed("new"), Event::Verified]);
    done.when(reset(SECOND)).rejects(Rejection::ChallengeEnded);
}

#[test]
fn a_verification_mail_resets_no_password() {
    let asked = account().and([reset_mailed(SECOND)]);
    asked.when(reset(FIRST)).rejects(Rejection::ChallengeEnded);
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
fn a_changed_password_ends_all_mails_before_it() {
    let changed = resetting().and([changed("new")]);
    for command in [reset(SECOND), answer(FIRST, true)] {
        changed.when(command).rejects(Rejection::ChallengeEnded);
    }
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
