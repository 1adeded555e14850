//! Accounts: registration, proofs by mail, password and profile.

use events_schema::{
    ChallengeId, Claim, EmailAddress, PasswordHash, PersonName, Reject, RejectionKind, Time,
    account::{Area, Command, Event},
};
use serde::Serialize;

use crate::aggregate::{Aggregate, Decision, Facts};

mod challenges;
mod second_factor;
use challenges::Challenges;
use second_factor::Enrolment;

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
    is_platform_admin: bool,
    is_disabled: bool,
    resets: Challenges,
    second_factor: Enrolment,
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
    /// Another account has the address.
    #[error("This e-mail address has an account already.")]
    EmailTaken,
    /// The address of the account is not verified.
    #[error("The e-mail address of this account is not verified.")]
    NotVerified,
    /// The link was used before, is replaced by a newer one or has expired.
    #[error("The link is no longer valid. Request a new mail.")]
    ChallengeEnded,
    /// The password was changed after the old one was checked.
    #[error("The password has been changed in the meantime. Log in again.")]
    PasswordChangedMeanwhile,
    /// The account has an authenticator app.
    #[error("The account has an authenticator app already. Remove it first.")]
    TotpEnrolledAlready,
    /// The account has no authenticator app, or another one.
    #[error("The account has no such second factor.")]
    NoSecondFactor,
    /// The code, or one of a later time, was used before.
    #[error("The code was used before. Wait for the next one.")]
    CodeUsed,
}

impl Reject for Rejection {
    fn kind(&self) -> RejectionKind {
        match self {
            Self::NotFound => RejectionKind::NotFound,
            Self::AlreadyExists
            | Self::EmailTaken
            | Self::NotVerified
            | Self::PasswordChangedMeanwhile
            | Self::TotpEnrolledAlready
            | Self::NoSecondFactor => RejectionKind::Conflict,
            Self::CodeUsed => RejectionKind::invalid("code"),
            Self::ChallengeEnded => RejectionKind::invalid("challenge"),
        }
    }
}

impl Aggregate for Account {
    type Area = Area;
    type Rejection = Rejection;

    fn claims(&self, command: &Command, _facts: &Facts<Area>) -> Vec<Claim> {
        match command {
            Command::CompleteRegistration { email, .. } => vec![Claim::email(email)],
            Command::RequestPasswordReset
            | Command::ResetPassword { .. }
            | Command::ChangePassword { .. }
            | Command::RenewPasswordHash { .. }
            | Command::EnrolTotp { .. }
            | Command::UseTotp { .. }
            | Command::UseRecoveryCode { .. }
            | Command::RemoveTotp
            | Command::RenewRecoveryCodes { .. }
            | Command::RevokeSessions
            | Command::GrantPlatformAdmin
            | Command::RevokePlatformAdmin
            | Command::Disable
            | Command::Enable
            | Command::UpdateProfile { .. } => Vec::new(),
        }
    }

    fn decide(&self, command: &Command, facts: &Facts<Area>) -> Result<Decision<Event>, Rejection> {
        match (self, command) {
            (Self::Absent, Command::CompleteRegistration { .. }) => register(command, facts),
            (Self::Open(open), Command::CompleteRegistration { .. })
                if !open.verified && !open.is_disabled =>
            {
                register(command, facts)
            }
            (Self::Refused | Self::Open(_), Command::CompleteRegistration { .. }) => {
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
                    is_platform_admin: false,
                    is_disabled: false,
                    resets: Challenges::default(),
                    second_factor: Enrolment::default(),
                }));
            }
            (_, Event::RegistrationRefused { .. }) => *self = Self::Refused,
            (Self::Open(open), event) => open.evolve(event, at),
            (Self::Absent | Self::Refused, _) => {}
        }
    }
}

/// Registers an account, unless another one has the address.
fn register(command: &Command, facts: &Facts<Area>) -> Result<Decision<Event>, Rejection> {
    let Command::CompleteRegistration {
        email,
        firstname,
        lastname,
        password_hash,
    } = command
    else {
        return Err(Rejection::NotFound);
    };
    let claim = Claim::email(email);
    if facts.is_taken(&claim) {
        return Err(Rejection::EmailTaken);
    }
    let registered = Event::Registered {
        email: email.clone(),
        firstname: firstname.clone(),
        lastname: lastname.clone(),
        password_hash: password_hash.clone(),
    };
    Ok(Decision {
        take: vec![claim],
        ..Decision::events(vec![registered, Event::Verified])
    })
}

impl Open {
    fn decide(&self, command: &Command, facts: &Facts<Area>) -> Result<Vec<Event>, Rejection> {
        let (new, now) = (ChallengeId(facts.command.0), facts.now);
        match command {
            Command::CompleteRegistration { .. } => Err(Rejection::AlreadyExists),
            Command::RequestPasswordReset => Ok(self.request_password_reset(new, now)),
            Command::ResetPassword {
                challenge,
                password_hash,
            } => self.reset_password(*challenge, password_hash, now),
            Command::ChangePassword {
                old_hash,
                password_hash,
            } => self.change_password(old_hash, password_hash),
            Command::RenewPasswordHash {
                old_hash,
                password_hash,
            } => Ok(if *old_hash == self.password_hash {
                vec![Event::PasswordHashRenewed {
                    password_hash: password_hash.clone(),
                }]
            } else {
                Vec::new()
            }),
            Command::EnrolTotp { .. }
            | Command::UseTotp { .. }
            | Command::UseRecoveryCode { .. }
            | Command::RemoveTotp
            | Command::RenewRecoveryCodes { .. } => self.second_factor.decide(command, &self.email),
            Command::RevokeSessions => Ok(vec![Event::SessionsRevoked]),
            Command::GrantPlatformAdmin => self.grant_platform_admin(),
            Command::RevokePlatformAdmin => Ok(if self.is_platform_admin {
                vec![Event::PlatformAdminRevoked]
            } else {
                Vec::new()
            }),
            Command::Disable => Ok(if self.is_disabled {
                Vec::new()
            } else {
                vec![Event::Disabled]
            }),
            Command::Enable => Ok(if self.is_disabled {
                vec![Event::Enabled]
            } else {
                Vec::new()
            }),
            Command::UpdateProfile {
                firstname,
                lastname,
            } => Ok(self.update_profile(firstname.as_ref(), lastname.as_ref())),
        }
    }

    fn grant_platform_admin(&self) -> Result<Vec<Event>, Rejection> {
        if !self.verified {
            return Err(Rejection::NotVerified);
        }
        Ok(if self.is_platform_admin {
            Vec::new()
        } else {
            vec![Event::PlatformAdminGranted]
        })
    }

    /// Sends nothing if the latest mail is too recent, or the account is disabled. The sender must
    /// not learn it.
    fn request_password_reset(&self, challenge: ChallengeId, now: Time) -> Vec<Event> {
        if self.is_disabled || !self.resets.may_request(now) {
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
        if self.is_disabled {
            return Err(Rejection::ChallengeEnded);
        }
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
        self.second_factor.evolve(event, at);
        match event {
            Event::Registered { .. }
            | Event::RegistrationRefused { .. }
            | Event::VerificationRequested { .. }
            | Event::VerificationFailed { .. }
            | Event::TotpEnrolled { .. }
            | Event::TotpUsed { .. }
            | Event::RecoveryCodeUsed { .. }
            | Event::TotpRemoved { .. }
            | Event::RecoveryCodesRenewed { .. }
            | Event::SessionsRevoked => {}
            Event::Verified => self.verified = true,
            Event::PlatformAdminGranted => self.is_platform_admin = true,
            Event::PlatformAdminRevoked => self.is_platform_admin = false,
            Event::Disabled => self.is_disabled = true,
            Event::Enabled => self.is_disabled = false,
            Event::PasswordResetRequested { challenge, .. } => {
                self.resets.record_request(*challenge, at);
            }
            Event::PasswordChanged { password_hash, .. } => {
                self.password_hash = password_hash.clone();
                // Mails that were requested under the old password are no longer valid.
                self.resets.close();
            }
            Event::PasswordHashRenewed { password_hash } => {
                self.password_hash = password_hash.clone();
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
