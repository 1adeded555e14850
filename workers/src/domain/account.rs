//! Accounts: registration, proofs by mail, password and profile.

use events_schema::{
    AccountId, ChallengeId, Claim, EmailAddress, PasswordHash, PersonName, Reject, RejectionKind,
    Time,
    account::{Area, Command, Event},
};
use serde::Serialize;

use crate::aggregate::{Aggregate, Decision, Facts};

mod challenges;
use challenges::Challenges;

/// One account.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Account {
    /// Not registered yet.
    #[default]
    Absent,
    /// Another account has the address. This one never opens.
    Refused,
    /// The account exists.
    Open(Box<Open>),
}

/// An account that exists.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    email: EmailAddress,
    firstname: PersonName,
    lastname: PersonName,
    password_hash: PasswordHash,
    verified: bool,
    verifications: Challenges,
    resets: Challenges,
}

/// Why a command to an account is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The account does not exist.
    #[error("There is no such account.")]
    NotFound,
    /// The id is in use.
    #[error("This account already exists.")]
    AlreadyExists,
    /// The mail was answered before, was answered wrongly too often, is replaced by a newer one or
    /// has expired.
    #[error("The code or link is no longer valid. Request a new mail.")]
    ChallengeEnded,
    /// The password was changed after the old one was checked.
    #[error("The password has been changed in the meantime. Log in again.")]
    PasswordChangedMeanwhile,
}

impl Reject for Rejection {
    fn kind(&self) -> RejectionKind {
        match self {
            Self::NotFound => RejectionKind::NotFound,
            Self::AlreadyExists | Self::PasswordChangedMeanwhile => RejectionKind::Conflict,
            Self::ChallengeEnded => RejectionKind::invalid("challenge"),
        }
    }
}

impl Aggregate for Account {
    type Area = Area;
    type Rejection = Rejection;

    fn claims(&self, command: &Command, _facts: &Facts<Area>) -> Vec<Claim> {
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

    fn decide(&self, command: &Command, facts: &Facts<Area>) -> Result<Decision<Event>, Rejection> {
        match (self, command) {
            (
                Self::Absent,
                Command::Register {
                    email,
                    firstname,
                    lastname,
                    password_hash,
                },
            ) => {
                let registered = Event::Registered {
                    email: email.clone(),
                    firstname: firstname.clone(),
                    lastname: lastname.clone(),
                    password_hash: password_hash.clone(),
                };
                Ok(register(registered, email, firstname, facts))
            }
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
                    verifications: Challenges::default(),
                    resets: Challenges::default(),
                }));
            }
            (_, Event::RegistrationRefused { .. }) => *self = Self::Refused,
            (Self::Open(open), event) => open.evolve(event, at),
            (Self::Absent | Self::Refused, _) => {}
        }
    }
}

/// Registers an account and requests the first mail, unless another account has the address.
fn register(
    registered: Event,
    email: &EmailAddress,
    firstname: &PersonName,
    facts: &Facts<Area>,
) -> Decision<Event> {
    let claim = Claim::email(email);
    if let Some(holder) = facts.holders.get(&claim) {
        return Decision::events(vec![Event::RegistrationRefused {
            email: email.clone(),
            holder: AccountId(*holder),
        }]);
    }
    let mail = Event::VerificationRequested {
        challenge: ChallengeId(facts.command.0),
        email: email.clone(),
        firstname: firstname.clone(),
    };
    Decision {
        take: vec![claim],
        ..Decision::events(vec![registered, mail])
    }
}

impl Open {
    fn decide(&self, command: &Command, facts: &Facts<Area>) -> Result<Vec<Event>, Rejection> {
        let (new, now) = (ChallengeId(facts.command.0), facts.now);
        match command {
            Command::Register { .. } => Err(Rejection::AlreadyExists),
            Command::RequestVerification => Ok(self.request_verification(new, now)),
            Command::AnswerVerification { challenge, correct } => {
                self.answer_verification(*challenge, *correct, now)
            }
            Command::RequestPasswordReset => Ok(self.request_password_reset(new, now)),
            Command::ResetPassword {
                challenge,
                password_hash,
            } => self.reset_password(*challenge, password_hash, now),
            Command::ChangePassword {
                old_hash,
                password_hash,
            } => self.change_password(old_hash, password_hash),
            Command::RevokeSessions => Ok(vec![Event::SessionsRevoked]),
            Command::UpdateProfile {
                firstname,
                lastname,
            } => Ok(self.update_profile(firstname.as_ref(), lastname.as_ref())),
        }
    }

    /// Sends nothing if the address is verified or the latest mail is too recent. The sender must
    /// not learn which.
    fn request_verification(&self, challenge: ChallengeId, now: Time) -> Vec<Event> {
        if self.verified || !self.verifications.may_request(now) {
            return Vec::new();
        }
        vec![Event::VerificationRequested {
            challenge,
            email: self.email.clone(),
            firstname: self.firstname.clone(),
        }]
    }

    fn answer_verification(
        &self,
        challenge: ChallengeId,
        correct: bool,
        now: Time,
    ) -> Result<Vec<Event>, Rejection> {
        // A link that is opened twice, or a code that is entered twice, is still accepted.
        if correct && self.verified && self.verifications.is_latest(challenge) {
            return Ok(Vec::new());
        }
        // Checked before the answer, so that the sixth of many concurrent guesses is refused even
        // if it is right.
        self.verifications.check_open(challenge, now)?;
        Ok(vec![if correct {
            Event::Verified
        } else {
            Event::VerificationFailed { challenge }
        }])
    }

    /// Sends nothing if the latest mail is too recent. The sender must not learn it.
    fn request_password_reset(&self, challenge: ChallengeId, now: Time) -> Vec<Event> {
        if !self.resets.may_request(now) {
            return Vec::new();
        }
        vec![Event::PasswordResetRequested {
            challenge,
            email: self.email.clone(),
            firstname: self.firstname.clone(),
        }]
    }

    fn reset_password(
        &self,
        challenge: ChallengeId,
        new: &PasswordHash,
        now: Time,
    ) -> Result<Vec<Event>, Rejection> {
        self.resets.check_open(challenge, now)?;
        let mut events = vec![self.password_changed(new)];
        // A person who reads the mailbox has proved that it is theirs.
        if !self.verified {
            events.push(Event::Verified);
        }
        Ok(events)
    }

    fn change_password(
        &self,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<Vec<Event>, Rejection> {
        if *old == self.password_hash {
            Ok(vec![self.password_changed(new)])
        } else {
            Err(Rejection::PasswordChangedMeanwhile)
        }
    }

    fn password_changed(&self, new: &PasswordHash) -> Event {
        Event::PasswordChanged {
            password_hash: new.clone(),
            email: self.email.clone(),
            firstname: self.firstname.clone(),
        }
    }

    fn update_profile(
        &self,
        firstname: Option<&PersonName>,
        lastname: Option<&PersonName>,
    ) -> Vec<Event> {
        let firstname = firstname.unwrap_or(&self.firstname);
        let lastname = lastname.unwrap_or(&self.lastname);
        if (firstname, lastname) == (&self.firstname, &self.lastname) {
            return Vec::new();
        }
        vec![Event::ProfileUpdated {
            firstname: firstname.clone(),
            lastname: lastname.clone(),
        }]
    }

    fn evolve(&mut self, event: &Event, at: Time) {
        match event {
            Event::Registered { .. }
            | Event::RegistrationRefused { .. }
            | Event::SessionsRevoked => {}
            Event::VerificationRequested { challenge, .. } => {
                self.verifications.record_request(*challenge, at);
            }
            Event::VerificationFailed { challenge } => {
                self.verifications.record_failure(*challenge);
            }
            Event::Verified => {
                self.verified = true;
                self.verifications.close();
            }
            Event::PasswordResetRequested { challenge, .. } => {
                self.resets.record_request(*challenge, at);
            }
            Event::PasswordChanged { password_hash, .. } => {
                self.password_hash = password_hash.clone();
                // Mails that were requested under the old password are no longer valid.
                self.resets.close();
                self.verifications.close();
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
mod tests;
