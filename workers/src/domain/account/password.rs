//! The password of an account, which has one or none.

use events_schema::{ChallengeId, PasswordHash, Time, account::Event};

use super::{Open, Rejection};

impl Open {
    /// Sends nothing if the latest mail is too recent, or the account is disabled. The sender must
    /// not learn it.
    pub(super) fn request_password_reset(&self, challenge: ChallengeId, now: Time) -> Vec<Event> {
        if self.is_disabled || !self.resets.may_request(now) {
            return Vec::new();
        }
        vec![Event::PasswordResetRequested {
            challenge,
            email: self.email.clone(),
            firstname: self.firstname.clone(),
        }]
    }

    /// # Errors
    /// If the mail may not be answered, or the account is disabled.
    pub(super) fn reset_password(
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

    /// # Errors
    /// If the account has another password by now, or none.
    pub(super) fn change_password(
        &self,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<Vec<Event>, Rejection> {
        if self.has_password(old) {
            Ok(vec![self.password_changed(new)])
        } else {
            Err(Rejection::PasswordChangedMeanwhile)
        }
    }

    pub(super) fn renew_password_hash(&self, old: &PasswordHash, new: &PasswordHash) -> Vec<Event> {
        let renewed = || Event::PasswordHashRenewed {
            password_hash: new.clone(),
        };
        self.has_password(old).then(renewed).into_iter().collect()
    }

    /// # Errors
    /// If the account has a password.
    pub(super) fn set_password(&self, new: &PasswordHash) -> Result<Vec<Event>, Rejection> {
        if self.password_hash.is_some() {
            return Err(Rejection::PasswordSetAlready);
        }
        Ok(vec![Event::PasswordSet {
            password_hash: new.clone(),
            email: self.email.clone(),
        }])
    }

    /// # Errors
    /// If the owner could not log in any more.
    pub(super) fn remove_password(&self) -> Result<Vec<Event>, Rejection> {
        if self.password_hash.is_none() {
            return Ok(Vec::new());
        }
        self.must_have_another_log_in()?;
        let email = self.email.clone();
        Ok(vec![Event::PasswordRemoved { email }])
    }

    fn has_password(&self, hash: &PasswordHash) -> bool {
        self.password_hash.as_ref() == Some(hash)
    }

    fn password_changed(&self, new: &PasswordHash) -> Event {
        Event::PasswordChanged {
            password_hash: new.clone(),
            email: self.email.clone(),
            firstname: self.firstname.clone(),
        }
    }
}
