//! Accounts: registration, the proofs by mail, password, profile.

use std::time::Duration;

use events_schema::{
    Area, Challenge, ChallengeId, Claim, EmailAddress, PasswordHash, PersonName, Rejected, Time,
    account::{Command, Event},
};

use crate::aggregate::{Aggregate, Decision, Facts};

/// A mail may be answered for this long: enough to find it in another room, short enough for a lost
/// phone.
pub const CHALLENGE_LIFETIME: Duration = Duration::from_secs(30 * 60);
/// Wrong codes that end a challenge: with a million codes, a guesser succeeds once in 200,000
/// challenges.
pub const MOST_FAILURES: u32 = 5;
/// Between the first two mails of a kind within a day lies a minute, so that a button pressed twice
/// sends one. The wait doubles with each further mail, up to [`CHALLENGE_LIFETIME`] and never
/// beyond, so that asking for mails alone never leaves an owner without one. Wrong codes can end a
/// verification mail sooner; the reset by mail has no code to guess.
pub const MAIL_EVERY: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// One account.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Account {
    /// Nothing has happened yet.
    #[default]
    Absent,
    /// The address was somebody else's: this never becomes an account.
    Refused,
    /// A person's.
    Open(Box<Open>),
}

/// An account proper.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    email: EmailAddress,
    firstname: PersonName,
    lastname: PersonName,
    password_hash: PasswordHash,
    verified: bool,
    verification: Mails,
    reset: Mails,
}

/// The mails of one kind: the one that may be answered, and when those of the last day were asked
/// for.
#[derive(Clone, Debug, Default, PartialEq)]
struct Mails {
    open: Option<Challenge>,
    last: Option<ChallengeId>,
    times: Vec<Time>,
}

impl Mails {
    fn may_send(&self, now: Time) -> bool {
        let of_the_day = self.times.iter().filter(|at| now.since(**at) < DAY).count();
        let doublings = u32::try_from(of_the_day.saturating_sub(1)).unwrap_or(u32::MAX);
        let wait = MAIL_EVERY
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(CHALLENGE_LIFETIME);
        self.times.last().is_none_or(|at| now.since(*at) >= wait)
    }

    fn sent(&mut self, id: ChallengeId, at: Time) {
        self.times.retain(|earlier| at.since(*earlier) < DAY);
        self.times.push(at);
        self.open = Some(Challenge {
            id,
            requested_at: at,
            failures: 0,
        });
        self.last = Some(id);
    }

    fn answerable(&self, id: ChallengeId, now: Time) -> Result<(), Rejection> {
        let good = |open: &Challenge| {
            open.id == id
                && open.failures < MOST_FAILURES
                && now.since(open.requested_at) < CHALLENGE_LIFETIME
        };
        if self.open.as_ref().is_some_and(good) {
            Ok(())
        } else {
            Err(Rejection::ChallengeEnded)
        }
    }
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There is no account of this id.
    #[error("There is no such account.")]
    NotFound,
    /// Its id is taken.
    #[error("This account already exists.")]
    AlreadyExists,
    /// The mail that is answered was answered before, guessed at too often, replaced by a newer
    /// one, or is too old.
    #[error("The code or link is no longer valid; ask for a new mail.")]
    ChallengeEnded,
    /// Between the check of the old password and this, another one was set.
    #[error("The password was changed meanwhile; log in again.")]
    PasswordChangedMeanwhile,
}

impl From<Rejection> for Rejected {
    fn from(rejection: Rejection) -> Self {
        let code = match rejection {
            Rejection::NotFound => "not_found",
            Rejection::AlreadyExists => "already_exists",
            Rejection::ChallengeEnded => "challenge_ended",
            Rejection::PasswordChangedMeanwhile => "password_changed_meanwhile",
        };
        Self {
            code: code.to_owned(),
            message: rejection.to_string(),
        }
    }
}

impl Aggregate for Account {
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;
    const AREA: Area = Area::Account;

    fn claims(&self, command: &Command, _facts: &Facts) -> Vec<Claim> {
        match command {
            Command::Register { email, .. } => vec![Claim::email(email)],
            Command::RequestVerification
            | Command::AnswerVerification { .. }
            | Command::RequestPasswordReset
            | Command::ResetPassword { .. }
            | Command::ChangePassword { .. }
            | Command::RevokeSessions
            | Command::UpdateProfile { .. } => Vec::new(),
        }
    }

    fn decide(&self, command: &Command, facts: &Facts) -> Result<Decision<Event>, Rejection> {
        match (self, command) {
            (
                Self::Absent,
                Command::Register {
                    email,
                    firstname,
                    lastname,
                    password_hash,
                },
            ) => Ok(register(email, firstname, lastname, password_hash, facts)),
            (Self::Refused | Self::Open(_), Command::Register { .. }) => {
                Err(Rejection::AlreadyExists)
            }
            (Self::Absent | Self::Refused, _) => Err(Rejection::NotFound),
            (Self::Open(open), command) => open.decide(command, facts).map(Decision::events),
        }
    }

    fn evolve(&mut self, event: &Event, at: Time) {
        match (&mut *self, event) {
            (
                _,
                Event::Registered {
                    email,
                    firstname,
                    lastname,
                    password_hash,
                },
            ) => {
                *self = Self::Open(Box::new(Open {
                    email: email.clone(),
                    firstname: firstname.clone(),
                    lastname: lastname.clone(),
                    password_hash: password_hash.clone(),
                    verified: false,
                    verification: Mails::default(),
                    reset: Mails::default(),
                }));
            }
            (_, Event::RegistrationRefused { .. }) => *self = Self::Refused,
            (Self::Open(open), event) => open.evolve(event, at),
            (Self::Absent | Self::Refused, _) => {}
        }
    }
}

fn register(
    email: &EmailAddress,
    firstname: &PersonName,
    lastname: &PersonName,
    password_hash: &PasswordHash,
    facts: &Facts,
) -> Decision<Event> {
    let claim = Claim::email(email);
    if let Some(holder) = facts.holders.get(&claim) {
        return Decision::events(vec![Event::RegistrationRefused {
            email: email.clone(),
            holder: *holder,
        }]);
    }
    let (email, firstname, lastname, password_hash) = (
        email.clone(),
        firstname.clone(),
        lastname.clone(),
        password_hash.clone(),
    );
    let mail = Event::VerificationRequested {
        challenge: ChallengeId(facts.command.0),
        email: email.clone(),
        firstname: firstname.clone(),
    };
    Decision {
        take: vec![claim],
        ..Decision::events(vec![
            Event::Registered {
                email,
                firstname,
                lastname,
                password_hash,
            },
            mail,
        ])
    }
}

impl Open {
    fn decide(&self, command: &Command, facts: &Facts) -> Result<Vec<Event>, Rejection> {
        let (email, firstname) = (self.email.clone(), self.firstname.clone());
        let challenge = ChallengeId(facts.command.0);
        Ok(match command {
            Command::Register { .. } => return Err(Rejection::AlreadyExists),
            // Too soon, too often or needless: nothing is sent, and the asker cannot tell.
            Command::RequestVerification
                if self.verified || !self.verification.may_send(facts.now) =>
            {
                Vec::new()
            }
            Command::RequestVerification => vec![Event::VerificationRequested {
                challenge,
                email,
                firstname,
            }],
            // A link that is opened twice, or a code that is given twice, has done its work.
            Command::AnswerVerification {
                challenge,
                correct: true,
            } if self.verified && self.verification.last == Some(*challenge) => Vec::new(),
            Command::AnswerVerification { challenge, correct } => {
                // Before the answer is looked at, so that the sixth of many concurrent guesses is
                // void even if right.
                self.verification.answerable(*challenge, facts.now)?;
                vec![if *correct {
                    Event::Verified
                } else {
                    Event::VerificationFailed {
                        challenge: *challenge,
                    }
                }]
            }
            Command::RequestPasswordReset if !self.reset.may_send(facts.now) => Vec::new(),
            Command::RequestPasswordReset => vec![Event::PasswordResetRequested {
                challenge,
                email,
                firstname,
            }],
            Command::ResetPassword {
                challenge,
                password_hash,
            } => {
                self.reset.answerable(*challenge, facts.now)?;
                let changed = Event::PasswordChanged {
                    password_hash: password_hash.clone(),
                    email,
                    firstname,
                };
                // Who reads the mailbox has proved that it is theirs.
                if self.verified {
                    vec![changed]
                } else {
                    vec![changed, Event::Verified]
                }
            }
            Command::ChangePassword { old_hash, .. } if *old_hash != self.password_hash => {
                return Err(Rejection::PasswordChangedMeanwhile);
            }
            Command::ChangePassword { password_hash, .. } => {
                vec![Event::PasswordChanged {
                    password_hash: password_hash.clone(),
                    email,
                    firstname,
                }]
            }
            Command::RevokeSessions => vec![Event::SessionsRevoked],
            Command::UpdateProfile {
                firstname,
                lastname,
            } => {
                let firstname = firstname.as_ref().unwrap_or(&self.firstname);
                let lastname = lastname.as_ref().unwrap_or(&self.lastname);
                if (firstname, lastname) == (&self.firstname, &self.lastname) {
                    Vec::new()
                } else {
                    vec![Event::ProfileUpdated {
                        firstname: firstname.clone(),
                        lastname: lastname.clone(),
                    }]
                }
            }
        })
    }

    fn evolve(&mut self, event: &Event, at: Time) {
        match event {
            Event::Registered { .. }
            | Event::RegistrationRefused { .. }
            | Event::SessionsRevoked => {}
            Event::VerificationRequested { challenge, .. } => {
                self.verification.sent(*challenge, at)
            }
            Event::VerificationFailed { challenge } => {
                if let Some(open) = self
                    .verification
                    .open
                    .as_mut()
                    .filter(|open| open.id == *challenge)
                {
                    open.failures += 1;
                }
            }
            Event::Verified => {
                self.verified = true;
                self.verification.open = None;
            }
            Event::PasswordResetRequested { challenge, .. } => self.reset.sent(*challenge, at),
            Event::PasswordChanged { password_hash, .. } => {
                self.password_hash = password_hash.clone();
                // Mails that were asked for under the old password are worth nothing under the new
                // one.
                self.reset.open = None;
                self.verification.open = None;
            }
            Event::ProfileUpdated {
                firstname,
                lastname,
            } => {
                self.firstname = firstname.clone();
                self.lastname = lastname.clone();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use events_schema::Id;

    use super::*;
    use crate::domain::testing::{COMMAND, decide, facts, given};

    const MINUTE: i64 = 60 * 1000;
    const FIRST: ChallengeId = ChallengeId(Id::from_bytes([1; 16]));
    const SECOND: ChallengeId = ChallengeId(Id::from_bytes([2; 16]));
    const NEW: ChallengeId = ChallengeId(COMMAND);

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
    fn changed(to: &str) -> Event {
        Event::PasswordChanged {
            password_hash: hash(to),
            email: email(),
            firstname: name("Ada"),
        }
    }
    fn answer(challenge: ChallengeId, correct: bool) -> Command {
        Command::AnswerVerification { challenge, correct }
    }
    fn reset(challenge: ChallengeId) -> Command {
        Command::ResetPassword {
            challenge,
            password_hash: hash("new"),
        }
    }
    fn account(more: impl IntoIterator<Item = Event>) -> Account {
        given([registered(), mailed(FIRST)].into_iter().chain(more))
    }
    fn failed() -> Event {
        Event::VerificationFailed { challenge: FIRST }
    }

    #[test]
    fn a_free_address_is_taken_and_a_mail_asked_for() {
        let decision = Account::Absent.decide(&register(), &facts(0, [])).unwrap();
        assert_eq!(decision.events, [registered(), mailed(NEW)]);
        assert_eq!(decision.take, [Claim::email(&email())]);
        assert_eq!(
            Account::Absent.claims(&register(), &facts(0, [])),
            [Claim::email(&email())]
        );
    }

    #[test]
    fn an_address_that_is_held_makes_no_account_and_takes_nothing() {
        let holder = Id::from_bytes([5; 16]);
        let decision = Account::Absent
            .decide(&register(), &facts(0, [(Claim::email(&email()), holder)]))
            .unwrap();
        assert_eq!(
            decision,
            Decision::events(vec![Event::RegistrationRefused {
                email: email(),
                holder
            }])
        );
        let refused: Account = given(decision.events);
        assert_eq!(
            decide(&refused, &Command::RevokeSessions, 0),
            Err(Rejection::NotFound)
        );
        assert_eq!(
            decide(&refused, &register(), 0),
            Err(Rejection::AlreadyExists)
        );
    }

    #[test]
    fn an_account_is_opened_once() {
        assert_eq!(
            decide(&account([]), &register(), 0),
            Err(Rejection::AlreadyExists)
        );
    }

    #[test]
    fn nothing_is_done_to_an_account_that_is_not_there() {
        for command in [
            Command::RequestVerification,
            answer(FIRST, true),
            Command::RequestPasswordReset,
            reset(FIRST),
            Command::RevokeSessions,
            Command::ChangePassword {
                old_hash: hash("old"),
                password_hash: hash("new"),
            },
            Command::UpdateProfile {
                firstname: None,
                lastname: Some(name("Byron")),
            },
        ] {
            assert_eq!(
                decide(&Account::Absent, &command, 0),
                Err(Rejection::NotFound),
                "{command:?}"
            );
        }
    }

    #[test]
    fn a_right_answer_verifies_and_a_second_one_changes_nothing() {
        assert_eq!(
            decide(&account([]), &answer(FIRST, true), 0),
            Ok(vec![Event::Verified])
        );
        assert_eq!(
            decide(&account([Event::Verified]), &answer(FIRST, true), 0),
            Ok(vec![])
        );
        assert_eq!(
            decide(&account([Event::Verified]), &answer(SECOND, true), 0),
            Err(Rejection::ChallengeEnded)
        );
    }

    #[test]
    fn five_wrong_answers_end_a_challenge_even_for_the_right_one() {
        let four = account(vec![failed(); 4]);
        assert_eq!(decide(&four, &answer(FIRST, false), 0), Ok(vec![failed()]));
        assert_eq!(
            decide(&four, &answer(FIRST, true), 0),
            Ok(vec![Event::Verified])
        );
        let five = account(vec![failed(); 5]);
        assert_eq!(
            decide(&five, &answer(FIRST, true), 0),
            Err(Rejection::ChallengeEnded)
        );
        assert_eq!(
            decide(&five, &answer(FIRST, false), 0),
            Err(Rejection::ChallengeEnded)
        );
    }

    #[test]
    fn thirty_minutes_end_a_challenge() {
        assert!(decide(&account([]), &answer(FIRST, true), 30 * MINUTE - 1).is_ok());
        assert_eq!(
            decide(&account([]), &answer(FIRST, true), 30 * MINUTE),
            Err(Rejection::ChallengeEnded)
        );
        assert!(
            decide(
                &account([reset_mailed(FIRST)]),
                &reset(FIRST),
                30 * MINUTE - 1
            )
            .is_ok()
        );
        assert_eq!(
            decide(&account([reset_mailed(FIRST)]), &reset(FIRST), 30 * MINUTE),
            Err(Rejection::ChallengeEnded)
        );
    }

    #[test]
    fn a_newer_mail_replaces_the_one_before() {
        let account = account([failed(), mailed(SECOND)]);
        assert_eq!(
            decide(&account, &answer(FIRST, true), 0),
            Err(Rejection::ChallengeEnded)
        );
        assert_eq!(
            decide(&account, &answer(SECOND, true), 0),
            Ok(vec![Event::Verified])
        );
    }

    #[test]
    fn mails_are_a_minute_apart_then_two_then_four_and_at_last_as_long_as_one_may_be_answered() {
        assert_eq!(
            decide(&account([]), &Command::RequestVerification, MINUTE - 1),
            Ok(vec![])
        );
        assert_eq!(
            decide(&account([]), &Command::RequestVerification, MINUTE),
            Ok(vec![mailed(NEW)])
        );
        assert_eq!(
            decide(
                &account([Event::Verified]),
                &Command::RequestVerification,
                MINUTE
            ),
            Ok(vec![]),
            "needless"
        );
        for (before, wait) in [(2, 2), (3, 4), (5, 16), (6, 30), (40, 30)] {
            let account = account(vec![mailed(SECOND); before - 1]);
            assert_eq!(
                decide(&account, &Command::RequestVerification, wait * MINUTE - 1),
                Ok(vec![]),
                "{before}"
            );
            assert_eq!(
                decide(&account, &Command::RequestVerification, wait * MINUTE),
                Ok(vec![mailed(NEW)]),
                "{before}"
            );
        }
        assert_eq!(
            decide(&account([]), &Command::RequestPasswordReset, 0),
            Ok(vec![reset_mailed(NEW)])
        );
        assert_eq!(
            decide(
                &account([reset_mailed(FIRST)]),
                &Command::RequestPasswordReset,
                MINUTE - 1
            ),
            Ok(vec![])
        );
    }

    #[test]
    fn a_reset_sets_the_password_verifies_the_mailbox_and_works_once() {
        let asked = account([reset_mailed(SECOND)]);
        assert_eq!(
            decide(&asked, &reset(SECOND), 0),
            Ok(vec![changed("new"), Event::Verified])
        );
        assert_eq!(
            decide(
                &account([Event::Verified, reset_mailed(SECOND)]),
                &reset(SECOND),
                0
            ),
            Ok(vec![changed("new")])
        );
        assert_eq!(
            decide(&asked, &reset(FIRST), 0),
            Err(Rejection::ChallengeEnded),
            "a verification mail resets nothing"
        );
        let done = account([reset_mailed(SECOND), changed("new"), Event::Verified]);
        assert_eq!(
            decide(&done, &reset(SECOND), 0),
            Err(Rejection::ChallengeEnded)
        );
    }

    #[test]
    fn a_password_is_changed_only_from_the_one_that_was_checked() {
        let change = Command::ChangePassword {
            old_hash: hash("old"),
            password_hash: hash("new"),
        };
        assert_eq!(decide(&account([]), &change, 0), Ok(vec![changed("new")]));
        assert_eq!(
            decide(&account([changed("other")]), &change, 0),
            Err(Rejection::PasswordChangedMeanwhile)
        );
    }

    #[test]
    fn a_changed_password_ends_what_was_mailed_before() {
        let account = account([reset_mailed(SECOND), changed("new")]);
        assert_eq!(
            decide(&account, &reset(SECOND), 0),
            Err(Rejection::ChallengeEnded)
        );
        assert_eq!(
            decide(&account, &answer(FIRST, true), 0),
            Err(Rejection::ChallengeEnded)
        );
    }

    #[test]
    fn a_profile_changes_in_what_is_given_and_only_if_it_differs() {
        let update = |firstname: Option<&str>, lastname: Option<&str>| Command::UpdateProfile {
            firstname: firstname.map(name),
            lastname: lastname.map(name),
        };
        let updated = Event::ProfileUpdated {
            firstname: name("Ada"),
            lastname: name("Byron"),
        };
        assert_eq!(
            decide(&account([]), &update(None, Some("Byron")), 0),
            Ok(vec![updated.clone()])
        );
        assert_eq!(
            decide(&account([updated]), &update(Some("Ada"), Some("Byron")), 0),
            Ok(vec![])
        );
        assert_eq!(decide(&account([]), &update(None, None), 0), Ok(vec![]));
    }

    #[test]
    fn sessions_are_revoked_as_often_as_asked() {
        assert_eq!(
            decide(
                &account([Event::SessionsRevoked]),
                &Command::RevokeSessions,
                0
            ),
            Ok(vec![Event::SessionsRevoked])
        );
    }
}
