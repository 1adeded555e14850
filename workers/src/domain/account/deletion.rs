//! The deletion of an account: requested, cancelled until its time comes, then for ever. The sender
//! has checked that the account is the only owner of no tenant.

use events_schema::{
    Claim, Time,
    account::{Event, deletion},
};

use super::{Account, Open, Rejection};
use crate::aggregate::Decision;

impl Account {
    /// Returns when the account is deleted; `None` if its owner keeps it.
    pub(crate) fn closes_at(&self) -> Option<Time> {
        match self {
            Self::Open(open) => open.closes_at(),
            Self::Absent | Self::Refused | Self::Closed => None,
        }
    }
}

impl Open {
    /// An earlier release did not wait until the address can no longer be given back.
    fn closes_at(&self) -> Option<Time> {
        let asked = self.closes_at?;
        let undoable_until = self.email_changes.undoable_until(asked);
        Some(undoable_until.map_or(asked, |until| until.max(asked)))
    }

    pub(super) fn evolve_deletion(&mut self, event: &Event, at: Time) {
        self.closes_at = deletion::after(self.closes_at, event, at);
    }

    /// A second request does not postpone the first one. A former owner who can still get the
    /// account back has time for it.
    ///
    /// # Errors
    /// If the account is disabled.
    pub(super) fn request_deletion(&self, at: Time, now: Time) -> Result<Vec<Event>, Rejection> {
        if self.is_disabled {
            return Err(Rejection::SessionEnded);
        }
        if self.closes_at.is_some() {
            return Ok(Vec::new());
        }
        let undoable_until = self.email_changes.undoable_until(now);
        Ok(vec![Event::DeletionRequested {
            at: undoable_until.map_or(at, |until| until.max(at)),
            email: self.email.clone(),
            former: self.email_changes.former(&self.email, now),
        }])
    }

    /// # Errors
    /// If the time of the deletion has come: the account may have left tenants.
    pub(super) fn cancel_deletion(&self, now: Time) -> Result<Vec<Event>, Rejection> {
        match self.closes_at() {
            None => Ok(Vec::new()),
            Some(at) if at <= now => Err(Rejection::ClosesNow),
            Some(_) => Ok(self.kept().into_iter().collect()),
        }
    }

    /// Returns the event that ends a deletion; `None` if there is none.
    pub(super) fn kept(&self) -> Option<Event> {
        let kept = |_: Time| Event::DeletionCancelled {
            email: self.email.clone(),
        };
        self.closes_at.map(kept)
    }

    pub(super) fn stop_deletion(&self) -> Vec<Event> {
        let stopped = |_: Time| Event::DeletionStopped {
            email: self.email.clone(),
        };
        self.closes_at.map(stopped).into_iter().collect()
    }

    /// Deletes the account if its time has come. All names that it holds become free.
    pub(super) fn close(&self, now: Time) -> Decision<Event> {
        if self.closes_at().is_some_and(|at| at <= now) {
            self.closed(Event::Closed {
                email: Some(self.email.clone()),
            })
        } else {
            Decision::unchanged()
        }
    }

    /// Deletes an account whose address somebody else has proved. Its owner never has.
    pub(super) fn close_unproved(&self) -> Decision<Event> {
        if self.verified || self.is_disabled {
            Decision::unchanged()
        } else {
            self.closed(Event::Closed { email: None })
        }
    }

    fn closed(&self, event: Event) -> Decision<Event> {
        let identities = self.identities.iter().map(|it| Claim::identity(it.id));
        let passkeys = self.passkeys.iter().map(|it| Claim::passkey(it.id));
        let email = [Claim::email(&self.email)];
        Decision {
            release: email
                .into_iter()
                .chain(identities)
                .chain(passkeys)
                .collect(),
            ..Decision::events(vec![event])
        }
    }
}

#[cfg(test)]
mod tests;
