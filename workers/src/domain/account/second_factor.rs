//! The second factor of an account. The gateway compares codes; this decides that each is used once.

use events_schema::{
    CredentialId, EmailAddress, SecondFactor, Time,
    account::{Command, Event},
    second_factor::step,
};

use super::Rejection;

/// The second factor, and the authenticator app that was enrolled last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Enrolment {
    factor: Option<SecondFactor>,
    /// It is not enrolled again after it was removed: its seed is known where it was lost.
    latest: Option<CredentialId>,
}

impl Enrolment {
    /// Decides a command about the second factor; nothing follows from any other.
    ///
    /// # Errors
    /// If a code was used before, or the account does not have what the command names.
    pub(super) fn decide(
        &self,
        command: &Command,
        email: &EmailAddress,
    ) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::EnrolTotp {
                credential,
                secret_id,
                step,
                recovery_codes,
            } => {
                self.must_be_new(*credential)?;
                Ok(vec![Event::TotpEnrolled {
                    credential: *credential,
                    secret_id: secret_id.clone(),
                    step: *step,
                    recovery_codes: *recovery_codes,
                    email: email.clone(),
                }])
            }
            Command::UseTotp { credential, step } => self.use_totp(*credential, *step),
            Command::UseRecoveryCode { credential, index } => {
                self.use_recovery_code(*credential, *index, email)
            }
            Command::RemoveTotp => Ok(self.remove(email)),
            Command::RenewRecoveryCodes {
                credential,
                secret_id,
            } => {
                self.enrolled()?;
                Ok(vec![Event::RecoveryCodesRenewed {
                    credential: *credential,
                    secret_id: secret_id.clone(),
                    email: email.clone(),
                }])
            }
            Command::CompleteRegistration { .. }
            | Command::OpenByIdentity { .. }
            | Command::LinkIdentity { .. }
            | Command::UnlinkIdentity { .. }
            | Command::SetPassword { .. }
            | Command::RemovePassword
            | Command::RequestPasswordReset
            | Command::ResetPassword { .. }
            | Command::ChangePassword { .. }
            | Command::RenewPasswordHash { .. }
            | Command::AddPasskey { .. }
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
            | Command::ProveNewEmail { .. }
            | Command::ConfirmEmailChange { .. }
            | Command::RefuseEmailChange { .. }
            | Command::CompleteEmailChange { .. }
            | Command::UndoEmailChange { .. }
            | Command::RequestDeletion { .. }
            | Command::CancelDeletion
            | Command::StopDeletion
            | Command::Close
            | Command::CloseUnproved => Ok(Vec::new()),
        }
    }

    pub(super) fn evolve(&mut self, event: &Event, at: Time) {
        self.factor = step(self.factor.take(), event, at);
        if let Some(factor) = &self.factor {
            self.latest = Some(factor.totp.id);
        }
    }

    /// Returns the app if it, or its recovery codes, were added at such a time.
    pub(super) fn if_added(&self, is_such: impl Fn(Time) -> bool) -> Option<CredentialId> {
        let factor = self.factor.as_ref()?;
        let mut added = [factor.totp.enrolled_at, factor.recovery_codes.created_at].into_iter();
        added.any(is_such).then_some(factor.totp.id)
    }

    fn must_be_new(&self, credential: CredentialId) -> Result<(), Rejection> {
        if self.factor.is_some() || self.latest == Some(credential) {
            return Err(Rejection::TotpEnrolledAlready);
        }
        Ok(())
    }

    fn enrolled(&self) -> Result<&SecondFactor, Rejection> {
        self.factor.as_ref().ok_or(Rejection::NoSecondFactor)
    }

    fn use_totp(&self, credential: CredentialId, step: i64) -> Result<Vec<Event>, Rejection> {
        let totp = &self.enrolled()?.totp;
        if totp.id != credential {
            return Err(Rejection::NoSecondFactor);
        }
        if step <= totp.last_step {
            return Err(Rejection::CodeUsed);
        }
        Ok(vec![Event::TotpUsed { credential, step }])
    }

    fn use_recovery_code(
        &self,
        credential: CredentialId,
        index: u8,
        email: &EmailAddress,
    ) -> Result<Vec<Event>, Rejection> {
        let codes = &self.enrolled()?.recovery_codes;
        if codes.id != credential {
            return Err(Rejection::NoSecondFactor);
        }
        if codes.used.contains(&index) {
            return Err(Rejection::CodeUsed);
        }
        Ok(vec![Event::RecoveryCodeUsed {
            credential,
            index,
            email: email.clone(),
        }])
    }

    fn remove(&self, email: &EmailAddress) -> Vec<Event> {
        let removed = |factor: &SecondFactor| Event::TotpRemoved {
            credential: factor.totp.id,
            email: email.clone(),
        };
        self.factor.iter().map(removed).collect()
    }
}

#[cfg(test)]
mod tests;
