//! The identities at providers that an account logs in by. The gateway has checked what a provider
//! says; this decides that an identity belongs to one account, and that the last way to log in
//! stays.

use events_schema::{
    Claim, EmailAddress, Identity, IdentityId, ProvedIdentity,
    account::{Area, Event},
    identity::MAX_IDENTITIES,
};

use super::{Open, Rejection};
use crate::aggregate::{Decision, Facts};

impl Open {
    /// # Errors
    /// If another account has the identity, this one has too many, its sessions of this epoch have
    /// ended, or its address is not proved. Else a stranger who has registered the address would
    /// keep a way in after the owner has proved it.
    pub(super) fn link_identity(
        &self,
        identity: &ProvedIdentity,
        epoch: Option<i64>,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        if !self.verified {
            return Err(Rejection::NotVerified);
        }
        if self.is_disabled || epoch.is_some_and(|epoch| epoch != self.epoch) {
            return Err(Rejection::SessionEnded);
        }
        if identity.ids().any(|id| self.has_identity(id)) {
            return Ok(Decision::unchanged());
        }
        must_be_free(identity, facts)?;
        if self.identities.len() >= MAX_IDENTITIES {
            return Err(Rejection::TooManyIdentities);
        }
        Ok(Decision {
            take: vec![Claim::identity(identity.id)],
            ..Decision::events(vec![linked(identity, &self.email)])
        })
    }

    /// # Errors
    /// If the owner could not log in any more.
    pub(super) fn unlink_identity(&self, id: IdentityId) -> Result<Decision<Event>, Rejection> {
        let Some(known) = self.identities.iter().find(|known| known.id == id) else {
            return Ok(Decision::unchanged());
        };
        if known.is_of_connection() {
            self.must_keep_a_log_in_without(known)?;
        } else {
            self.must_have_another_log_in()?;
        }
        let unlinked = Event::IdentityUnlinked {
            identity: id,
            provider: known.provider.clone(),
            email: self.email.clone(),
        };
        Ok(Decision {
            release: vec![Claim::identity(id)],
            ..Decision::events(vec![unlinked])
        })
    }

    /// A person who comes by a tenant's issuer alone may change to another one.
    ///
    /// # Errors
    /// If the identity is all that the account has.
    fn must_keep_a_log_in_without(&self, identity: &Identity) -> Result<(), Rejection> {
        let mut identities = self.identities.iter();
        let has_another = identities.any(|other| other.id != identity.id);
        if has_another || self.log_ins() > 0 {
            Ok(())
        } else {
            Err(Rejection::LastLogIn)
        }
    }

    fn has_identity(&self, id: IdentityId) -> bool {
        self.identities.iter().any(|known| known.id == id)
    }
}

/// Checks that no other account has the identity, under any of its names.
///
/// # Errors
/// If one has.
pub(super) fn must_be_free(
    identity: &ProvedIdentity,
    facts: &Facts<Area>,
) -> Result<(), Rejection> {
    let mut claims = identity.ids().map(Claim::identity);
    if claims.any(|claim| facts.is_taken(&claim)) {
        return Err(Rejection::IdentityTaken);
    }
    Ok(())
}

pub(super) fn linked(identity: &ProvedIdentity, email: &EmailAddress) -> Event {
    Event::IdentityLinked {
        identity: identity.id,
        provider: identity.provider.clone(),
        email: email.clone(),
    }
}

#[cfg(test)]
mod tests;
