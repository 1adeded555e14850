//! The passkeys that an account logs in by. The gateway has checked what an authenticator has
//! signed; this decides that a passkey belongs to one account, that one which may have been copied is
//! suspended, and that the last way to log in stays.

use events_schema::{
    Claim, Name, PasskeyId, Time,
    account::{Area, Event},
    passkey::{MAX_PASSKEYS, NewPasskey, Passkey},
};

use super::{Open, Rejection};
use crate::aggregate::{Decision, Facts};

impl Open {
    /// # Errors
    /// If another account has the passkey, this one has too many, or its address is not proved.
    pub(super) fn add_passkey(
        &self,
        name: &Name,
        new: &NewPasskey,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        if !self.verified {
            return Err(Rejection::NotVerified);
        }
        let claim = Claim::passkey(PasskeyId::of(&new.credential_id));
        let is_own = self.passkey(PasskeyId::of(&new.credential_id)).is_ok();
        if is_own || facts.is_taken(&claim) {
            return Err(Rejection::PasskeyTaken);
        }
        if self.passkeys.len() >= MAX_PASSKEYS {
            return Err(Rejection::TooManyPasskeys);
        }
        let added = Event::PasskeyAdded {
            name: name.clone(),
            passkey: new.clone(),
            email: self.email.clone(),
        };
        Ok(Decision {
            take: vec![claim],
            ..Decision::events(vec![added])
        })
    }

    /// # Errors
    /// If the account does not have the passkey, it is suspended, or the counter does not rise and
    /// the passkey was used after it was asked for.
    pub(super) fn note_passkey_use(
        &self,
        id: PasskeyId,
        counter: u32,
        is_backed_up: bool,
        asked_at: Time,
    ) -> Result<Vec<Event>, Rejection> {
        let passkey = self.passkey(id)?;
        if passkey.is_suspended() {
            return Err(Rejection::PasskeyIsSuspended);
        }
        let is_copied = passkey.is_copied(counter);
        // The answer may be older than that use: one of two browsers, or a redelivery, was late.
        if is_copied && passkey.last_used_at.is_some_and(|used| asked_at <= used) {
            return Err(Rejection::PasskeyUsedMeanwhile);
        }
        if is_copied {
            return Ok(vec![Event::PasskeySuspended {
                passkey: id,
                name: passkey.name.clone(),
                email: self.email.clone(),
            }]);
        }
        Ok(vec![Event::PasskeyUsed {
            passkey: id,
            counter,
            is_backed_up,
        }])
    }

    /// # Errors
    /// If the account does not have the passkey.
    pub(super) fn rename_passkey(
        &self,
        id: PasskeyId,
        name: &Name,
    ) -> Result<Vec<Event>, Rejection> {
        if self.passkey(id)?.name == *name {
            return Ok(Vec::new());
        }
        let (passkey, name) = (id, name.clone());
        Ok(vec![Event::PasskeyRenamed { passkey, name }])
    }

    /// # Errors
    /// If the account does not have the passkey, or its owner could not log in any more.
    pub(super) fn remove_passkey(&self, id: PasskeyId) -> Result<Decision<Event>, Rejection> {
        let passkey = self.passkey(id)?;
        if !passkey.is_suspended() {
            self.must_have_another_log_in()?;
        }
        Ok(self.without([passkey]))
    }

    /// Removes all passkeys, also if nothing else is left to log in by: an administrator does this
    /// for a person who has lost them.
    pub(super) fn remove_passkeys(&self) -> Decision<Event> {
        self.without(&self.passkeys)
    }

    /// Counts the passkeys that the owner can log in by.
    pub(super) fn live_passkeys(&self) -> usize {
        let live = self.passkeys.iter().filter(|one| !one.is_suspended());
        live.count()
    }

    fn passkey(&self, id: PasskeyId) -> Result<&Passkey, Rejection> {
        let mut passkeys = self.passkeys.iter();
        let found = passkeys.find(|passkey| passkey.id == id);
        found.ok_or(Rejection::NoSuchPasskey)
    }

    fn without<'a>(&self, passkeys: impl IntoIterator<Item = &'a Passkey>) -> Decision<Event> {
        let removed = |passkey: &Passkey| Event::PasskeyRemoved {
            passkey: passkey.id,
            name: passkey.name.clone(),
            email: self.email.clone(),
        };
        let passkeys: Vec<&Passkey> = passkeys.into_iter().collect();
        let claims = passkeys.iter().map(|passkey| Claim::passkey(passkey.id));
        Decision {
            release: claims.collect(),
            ..Decision::events(passkeys.into_iter().map(removed).collect())
        }
    }
}

#[cfg(test)]
mod tests;
