//! Accounts: how they begin, how their owners log in, and their profile.

use events_schema::{
    ChallengeId, Claim, EmailAddress, Identity, PasskeyId, PasswordHash, PersonName, Time,
    account::{Area, Command, Event, epoch},
    identity,
    passkey::{self, Passkey},
};

use crate::aggregate::{Aggregate, Decision, Facts};

mod beginning;
mod challenges;
mod deletion;
mod email_change;
mod identities;
mod passkeys;
mod password;
mod rejection;
mod second_factor;
use challenges::Challenges;
use email_change::EmailChanges;
pub use rejection::Rejection;
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
    /// The account was deleted, for ever.
    Closed,
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
    email_changes: EmailChanges,
    /// When the account is deleted, if its owner wants that.
    closes_at: Option<Time>,
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
            Command::ProveNewEmail { challenge }
            | Command::ConfirmEmailChange { challenge }
            | Command::CompleteEmailChange { challenge }
            | Command::UndoEmailChange { challenge } => self.address_claim(*challenge),
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
            | Command::UpdateProfile { .. }
            | Command::RequestEmailChange { .. }
            | Command::RefuseEmailChange { .. }
            | Command::RequestDeletion { .. }
            | Command::CancelDeletion
            | Command::StopDeletion
            | Command::Close
            | Command::CloseUnproved => Vec::new(),
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
                Self::Refused | Self::Open(_) | Self::Closed,
                Command::CompleteRegistration { .. } | Command::OpenByIdentity { .. },
            ) => Err(Rejection::AlreadyExists),
            (Self::Absent | Self::Refused | Self::Closed, _) => Err(Rejection::NotFound),
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
            (Self::Open(open), Command::ProveNewEmail { challenge }) => {
                open.prove_new_email(*challenge, facts)
            }
            (Self::Open(open), Command::ConfirmEmailChange { challenge }) => {
                open.confirm_email_change(*challenge, facts)
            }
            (Self::Open(open), Command::CompleteEmailChange { challenge }) => {
                Ok(open.complete_email_change(*challenge, facts))
            }
            (Self::Open(open), Command::UndoEmailChange { challenge }) => {
                open.undo_email_change(*challenge, facts)
            }
            (Self::Open(open), Command::Close) => Ok(open.close(facts.now)),
            (Self::Open(open), Command::CloseUnproved) => Ok(open.close_unproved()),
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
            (_, Event::Closed { .. }) => *self = Self::Closed,
            (Self::Open(open), event) => open.evolve(event, at),
            (Self::Absent | Self::Refused | Self::Closed, _) => {}
        }
    }
}

impl Account {
    fn epoch(&self) -> Option<i64> {
        match self {
            Self::Open(open) => Some(open.epoch),
            Self::Absent | Self::Refused | Self::Closed => None,
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
            email_changes: EmailChanges::default(),
            closes_at: None,
        }
    }

    /// Counts what the owner can log in by. Codes by mail do not count: a deployment may have no
    /// mail server, and an owner may have lost the mailbox. Nor do the issuers of tenants: their
    /// word does not open the account.
    fn log_ins(&self) -> usize {
        let passwords = usize::from(self.password_hash.is_some());
        let identities = self.identities.iter();
        let own = identities.filter(|identity| !identity.is_of_connection());
        passwords + own.count() + self.live_passkeys()
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
            | Command::RemovePasskeys
            | Command::ProveNewEmail { .. }
            | Command::ConfirmEmailChange { .. }
            | Command::CompleteEmailChange { .. }
            | Command::UndoEmailChange { .. }
            | Command::Close
            | Command::CloseUnproved => Ok(Vec::new()),
            Command::RequestEmailChange {
                to,
                is_held,
                silent_until,
            } => self.request_email_change(new, to, *is_held, *silent_until),
            Command::RefuseEmailChange { challenge } => self.refuse_email_change(*challenge, now),
            Command::RequestDeletion { at } => self.request_deletion(*at, now),
            Command::CancelDeletion => self.cancel_deletion(now),
            Command::StopDeletion => Ok(self.stop_deletion()),
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
            Command::Disable => Ok(self.disable()),
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

    /// Also ends a deletion: whoever is kept out must neither lose the account nor get away with
    /// it.
    fn disable(&self) -> Vec<Event> {
        if self.is_disabled {
            return Vec::new();
        }
        let kept = self.kept();
        [Event::Disabled].into_iter().chain(kept).collect()
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
        self.email_changes.evolve(event, at);
        self.evolve_deletion(event, at);
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
            | Event::EmailChangeRequested { .. }
            | Event::NewEmailProved { .. }
            | Event::EmailChangeConfirmed { .. }
            | Event::EmailChangeEnded { .. }
            | Event::DeletionRequested { .. }
            | Event::DeletionCancelled { .. }
            | Event::DeletionStopped { .. }
            | Event::Closed { .. }
            | Event::SessionsRevoked => {}
            Event::EmailChanged { to, .. } | Event::EmailRestored { to, .. } => {
                self.email = to.clone();
                // Mails that were requested for another mailbox are no longer valid.
                self.resets.close();
            }
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
