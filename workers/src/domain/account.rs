//! Accounts: how they begin, how their owners log in, and their profile.

use events_schema::{
    ChallengeId, Claim, EmailAddress, Identity, PasskeyId, PasswordHash, PersonName, Reject,
    RejectionKind, Time,
    account::{Area, Command, Event, epoch},
    identity,
    passkey::{self, Passkey},
};
use serde::Serialize;

use crate::aggregate::{Aggregate, Decision, Facts};

mod beginning;
mod challenges;
mod identities;
mod passkeys;
mod password;
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
    password_hash: Option<PasswordHash>,
    identities: Vec<Identity>,
    passkeys: Vec<Passkey>,
    verified: bool,
    /// Counts the events that revoke all sessions.
    epoch: i64,
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
    /// The session that the command comes from has ended.
    #[error("The session has ended in the meantime. Log in again.")]
    SessionEnded,
    /// Another account has the identity.
    #[error("Another account logs in by this identity.")]
    IdentityTaken,
    /// The account has as many identities as it may have.
    #[error("The account has 20 identities already. Remove one first.")]
    TooManyIdentities,
    /// An account has the passkey.
    #[error("This passkey is known already.")]
    PasskeyTaken,
    /// The account has as many passkeys as it may have.
    #[error("The account has 20 passkeys already. Remove one first.")]
    TooManyPasskeys,
    /// The account does not have the passkey.
    #[error("There is no such passkey.")]
    NoSuchPasskey,
    /// The passkey was used after it was asked for.
    #[error("The passkey was used again in the meantime. Begin again.")]
    PasskeyUsedMeanwhile,
    /// Somebody may have copied the passkey.
    #[error("The passkey is suspended. Remove it, and add another one.")]
    PasskeyIsSuspended,
    /// Nothing else would be left to log in by.
    #[error("This is the last way to log in to the account. Add another one first.")]
    LastLogIn,
    /// The account has a password.
    #[error("The account has a password already. Change it instead.")]
    PasswordSetAlready,
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
            Self::NotFound | Self::NoSuchPasskey => RejectionKind::NotFound,
            Self::AlreadyExists
            | Self::EmailTaken
            | Self::NotVerified
            | Self::PasswordChangedMeanwhile
            | Self::SessionEnded
            | Self::IdentityTaken
            | Self::PasskeyTaken
            | Self::PasskeyUsedMeanwhile
            | Self::PasskeyIsSuspended
            | Self::LastLogIn
            | Self::PasswordSetAlready
            | Self::TotpEnrolledAlready
            | Self::NoSecondFactor => RejectionKind::Conflict,
            Self::TooManyIdentities | Self::TooManyPasskeys => RejectionKind::Limit,
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
            Command::OpenByIdentity {
                email, identity, ..
            } => {
                let identities = identity.ids().map(Claim::identity);
                [Claim::email(email)]
                    .into_iter()
                    .chain(identities)
                    .collect()
            }
            Command::LinkIdentity { identity, .. } => identity.ids().map(Claim::identity).collect(),
            Command::AddPasskey { passkey, .. } => {
                vec![Claim::passkey(PasskeyId::of(&passkey.credential_id))]
            }
            Command::UnlinkIdentity { .. }
            | Command::SetPassword { .. }
            | Command::RemovePassword
            | Command::RequestPasswordReset
            | Command::ResetPassword { .. }
            | Command::ChangePassword { .. }
            | Command::RenewPasswordHash { .. }
            | Command::EnrolTotp { .. }
            | Command::UseTotp { .. }
            | Command::UseRecoveryCode { .. }
            | Command::RemoveTotp
            | Command::RenewRecoveryCodes { .. }
            | Command::NotePasskeyUse { .. }
            | Command::RenamePasskey { .. }
            | Command::RemovePasskey { .. }
            | Command::RemovePasskeys
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
            (
                Self::Absent,
                Command::CompleteRegistration { .. } | Command::OpenByIdentity { .. },
            ) => beginning::begin(command, facts),
            (
                Self::Open(open),
                Command::CompleteRegistration { .. } | Command::OpenByIdentity { .. },
            ) if !open.verified && !open.is_disabled => beginning::begin(command, facts),
            (
                Self::Refused | Self::Open(_),
                Command::CompleteRegistration { .. } | Command::OpenByIdentity { .. },
            ) => Err(Rejection::AlreadyExists),
            (Self::Absent | Self::Refused, _) => Err(Rejection::NotFound),
            (Self::Open(open), Command::LinkIdentity { identity, epoch }) => {
                open.link_identity(identity, *epoch, facts)
            }
            (Self::Open(open), Command::UnlinkIdentity { identity }) => {
                open.unlink_identity(*identity)
            }
            (Self::Open(open), Command::AddPasskey { name, passkey }) => {
                open.add_passkey(name, passkey, facts)
            }
            (Self::Open(open), Command::RemovePasskey { passkey }) => open.remove_passkey(*passkey),
            (Self::Open(open), Command::RemovePasskeys) => Ok(open.remove_passkeys()),
            (Self::Open(open), command) => open.decide(command, facts).map(Decision::events),
        }
    }

    fn evolve(&mut self, event: &Event, at: Time) {
        let epoch = epoch::after(self.epoch(), event);
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
                let password_hash = Some(password_hash.clone());
                let open = Open::begin(email, firstname, lastname, password_hash, epoch);
                *self = Self::Open(Box::new(open));
            }
            (
                _,
                Event::Opened {
                    email,
                    firstname,
                    lastname,
                },
            ) => {
                let open = Open::begin(email, firstname, lastname, None, epoch);
                *self = Self::Open(Box::new(open));
            }
            (_, Event::RegistrationRefused { .. }) => *self = Self::Refused,
            (Self::Open(open), event) => open.evolve(event, at),
            (Self::Absent | Self::Refused, _) => {}
        }
    }
}

impl Account {
    fn epoch(&self) -> Option<i64> {
        match self {
            Self::Open(open) => Some(open.epoch),
            Self::Absent | Self::Refused => None,
        }
    }
}

impl Open {
    /// Returns an account as it begins. One without a password begins with a proved address.
    fn begin(
        email: &EmailAddress,
        firstname: &PersonName,
        lastname: &PersonName,
        password_hash: Option<PasswordHash>,
        epoch: i64,
    ) -> Self {
        Self {
            email: email.clone(),
            firstname: firstname.clone(),
            lastname: lastname.clone(),
            verified: password_hash.is_none(),
            password_hash,
            identities: Vec::new(),
            passkeys: Vec::new(),
            epoch,
            is_platform_admin: false,
            is_disabled: false,
            resets: Challenges::default(),
            second_factor: Enrolment::default(),
        }
    }

    /// Counts what the owner can log in by. Codes by mail do not count: a deployment may have no
    /// mail server, and an owner may have lost the mailbox.
    fn log_ins(&self) -> usize {
        let passwords = usize::from(self.password_hash.is_some());
        passwords + self.identities.len() + self.live_passkeys()
    }

    /// # Errors
    /// If the account has one way to log in, or none.
    fn must_have_another_log_in(&self) -> Result<(), Rejection> {
        if self.log_ins() > 1 {
            Ok(())
        } else {
            Err(Rejection::LastLogIn)
        }
    }

    fn decide(&self, command: &Command, facts: &Facts<Area>) -> Result<Vec<Event>, Rejection> {
        let (new, now) = (ChallengeId(facts.command.0), facts.now);
        match command {
            Command::CompleteRegistration { .. } | Command::OpenByIdentity { .. } => {
                Err(Rejection::AlreadyExists)
            }
            // These change claims, too.
            Command::LinkIdentity { .. }
            | Command::UnlinkIdentity { .. }
            | Command::AddPasskey { .. }
            | Command::RemovePasskey { .. }
            | Command::RemovePasskeys => Ok(Vec::new()),
            Command::NotePasskeyUse {
                passkey,
                counter,
                is_backed_up,
                asked_at,
            } => self.note_passkey_use(*passkey, *counter, *is_backed_up, asked_at.unwrap_or(now)),
            Command::RenamePasskey { passkey, name } => self.rename_passkey(*passkey, name),
            Command::SetPassword { password_hash } => self.set_password(password_hash),
            Command::RemovePassword => self.remove_password(),
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
            } => Ok(self.renew_password_hash(old_hash, password_hash)),
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
        self.epoch = epoch::after(Some(self.epoch), event);
        self.second_factor.evolve(event, at);
        self.identities = identity::step(std::mem::take(&mut self.identities), event, at);
        self.passkeys = passkey::step(std::mem::take(&mut self.passkeys), event, at);
        match event {
            Event::Registered { .. }
            | Event::Opened { .. }
            | Event::IdentityLinked { .. }
            | Event::IdentityUnlinked { .. }
            | Event::RegistrationRefused { .. }
            | Event::VerificationRequested { .. }
            | Event::VerificationFailed { .. }
            | Event::TotpEnrolled { .. }
            | Event::TotpUsed { .. }
            | Event::RecoveryCodeUsed { .. }
            | Event::TotpRemoved { .. }
            | Event::RecoveryCodesRenewed { .. }
            | Event::PasskeyAdded { .. }
            | Event::PasskeyUsed { .. }
            | Event::PasskeyRenamed { .. }
            | Event::PasskeySuspended { .. }
            | Event::PasskeyRemoved { .. }
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
                self.password_hash = Some(password_hash.clone());
                // Mails that were requested under the old password are no longer valid.
                self.resets.close();
            }
            Event::PasswordHashRenewed { password_hash }
            | Event::PasswordSet { password_hash, .. } => {
                self.password_hash = Some(password_hash.clone());
            }
            Event::PasswordRemoved { .. } => {
                self.password_hash = None;
                // A link from before would bring a password back.
                self.resets.close();
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
