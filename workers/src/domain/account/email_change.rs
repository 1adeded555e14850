//! Changes of the address of an account. The gateway has checked codes and links; this decides that
//! both owners agree, that an address belongs to one account, and that a former owner gets the
//! account back.

use events_schema::{
    ChallengeId, Claim, EmailAddress, EmailChange, Time,
    account::{Area, Event},
    email_change::{self, CODE_LIFETIME, FormerAddress, Status, UNDO_LIFETIME},
};

use super::{Account, Open, Rejection};
use crate::aggregate::{Decision, Facts};

/// The change that waits, and those that a former owner may undo.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct EmailChanges {
    waiting: Option<EmailChange>,
    made: Vec<Made>,
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq)]
struct Made {
    challenge: ChallengeId,
    /// The address before.
    from: EmailAddress,
    at: Time,
}

impl EmailChanges {
    pub(super) fn evolve(&mut self, event: &Event, at: Time) {
        self.waiting = email_change::step(self.waiting.take(), event, at);
        if let Event::EmailChanged {
            challenge, from, ..
        } = event
        {
            self.made.retain(|made| made.may_be_undone(at));
            self.made.push(Made {
                challenge: *challenge,
                from: from.clone(),
                at,
            });
        } else if let Event::EmailRestored { challenge, .. } = event {
            // Later changes were made by somebody who should not have had the account.
            let undone = self.made.iter().position(|it| it.challenge == *challenge);
            self.made.truncate(undone.unwrap_or(self.made.len()));
        }
    }

    fn waiting(&self, challenge: ChallengeId) -> Option<&EmailChange> {
        let waiting = self.waiting.as_ref();
        waiting.filter(|change| change.challenge == challenge)
    }

    fn made(&self, challenge: ChallengeId) -> Option<&Made> {
        let mut made = self.made.iter();
        made.find(|made| made.challenge == challenge)
    }

    /// Returns until when a former owner may undo a change; `None` if nobody may.
    pub(super) fn undoable_until(&self, now: Time) -> Option<Time> {
        let until = self.undoable(now).map(|made| made.at + UNDO_LIFETIME);
        until.max()
    }

    /// Returns the addresses whose owners may undo a change, but the present one.
    pub(super) fn former(&self, present: &EmailAddress, now: Time) -> Vec<FormerAddress> {
        let former = self.undoable(now).filter(|made| made.from != *present);
        let former = former.map(|made| FormerAddress {
            challenge: made.challenge,
            email: made.from.clone(),
        });
        former.collect()
    }

    fn undoable(&self, now: Time) -> impl Iterator<Item = &Made> {
        self.made.iter().filter(move |made| made.may_be_undone(now))
    }
}

impl Made {
    fn may_be_undone(&self, now: Time) -> bool {
        now.since(self.at) < UNDO_LIFETIME
    }

    /// Whether what was added at this time ends with the change. A thief may have added it before.
    /// Its owner was told of it, and has had as long as to undo the change.
    fn ends(&self, added_at: Time) -> bool {
        added_at + UNDO_LIFETIME > self.at
    }
}

impl Account {
    /// Returns the claim to the address that a change or its end gives to the account.
    pub(super) fn address_claim(&self, challenge: ChallengeId) -> Vec<Claim> {
        let Self::Open(open) = self else {
            return Vec::new();
        };
        let changes = &open.email_changes;
        let new = changes.waiting(challenge).map(|change| &change.to);
        let former = changes.made(challenge).map(|made| &made.from);
        new.or(former).map(Claim::email).into_iter().collect()
    }

    /// Returns the change that happens without an answer of the present address, and when.
    pub(crate) fn silent_change(&self) -> Option<(ChallengeId, Time)> {
        let Self::Open(open) = self else {
            return None;
        };
        let waiting = open.email_changes.waiting.as_ref()?;
        Some((waiting.challenge, waiting.changes_at()?))
    }
}

impl Open {
    /// # Errors
    /// If nobody has proved the present address, or it is the new one.
    pub(super) fn request_email_change(
        &self,
        challenge: ChallengeId,
        to: &EmailAddress,
        is_held: bool,
        silent_until: Option<Time>,
    ) -> Result<Vec<Event>, Rejection> {
        if !self.verified {
            return Err(Rejection::NotVerified);
        }
        if *to == self.email {
            return Err(Rejection::EmailUnchanged);
        }
        Ok(vec![Event::EmailChangeRequested {
            challenge,
            email: self.email.clone(),
            to: to.clone(),
            is_held,
            silent_until,
        }])
    }

    /// # Errors
    /// If the code is no longer valid, or another account has got the address.
    pub(super) fn prove_new_email(
        &self,
        challenge: ChallengeId,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        let change = self.open_change(challenge, facts.now)?;
        if facts.now.since(change.requested_at) >= CODE_LIFETIME {
            return Err(Rejection::ChallengeEnded);
        }
        match change.status {
            Status::Requested => Ok(Decision::events(vec![Event::NewEmailProved { challenge }])),
            Status::Confirmed => self.change_email(change, facts),
            Status::Proved => Ok(Decision::unchanged()),
        }
    }

    /// # Errors
    /// If the link is no longer valid, or another account has got the address.
    pub(super) fn confirm_email_change(
        &self,
        challenge: ChallengeId,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        let change = self.open_change(challenge, facts.now)?;
        match change.status {
            Status::Requested => {
                let confirmed = Event::EmailChangeConfirmed { challenge };
                Ok(Decision::events(vec![confirmed]))
            }
            Status::Proved => self.change_email(change, facts),
            Status::Confirmed => Ok(Decision::unchanged()),
        }
    }

    /// # Errors
    /// If the link is no longer valid.
    pub(super) fn refuse_email_change(
        &self,
        challenge: ChallengeId,
        now: Time,
    ) -> Result<Vec<Event>, Rejection> {
        self.open_change(challenge, now)?;
        Ok(vec![self.ended(challenge)])
    }

    /// Changes the address after the silence of the present one. Changes nothing if that time has
    /// not come.
    pub(super) fn complete_email_change(
        &self,
        challenge: ChallengeId,
        facts: &Facts<Area>,
    ) -> Decision<Event> {
        let waiting = self.email_changes.waiting(challenge);
        let is_due = |change: &&EmailChange| change.changes_at().is_some_and(|at| at <= facts.now);
        let Some(change) = waiting.filter(is_due) else {
            return Decision::unchanged();
        };
        let changed = self.change_email(change, facts);
        changed.unwrap_or_else(|_taken| Decision::events(vec![self.ended(challenge)]))
    }

    /// Restores the address before a change. Who had the account since then has chosen the
    /// password, or knew it, and may have added ways to log in, also before the change. All that
    /// ends.
    ///
    /// # Errors
    /// If the link is no longer valid, or another account has the address.
    pub(super) fn undo_email_change(
        &self,
        challenge: ChallengeId,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        let made = self.email_changes.made(challenge);
        let made = made.filter(|made| made.may_be_undone(facts.now));
        let made = made.ok_or(Rejection::ChallengeEnded)?;
        let former = &made.from;
        let claim = Claim::email(former);
        if facts.is_taken(&claim) {
            return Err(Rejection::EmailTaken);
        }
        let mut decision = Decision::events(vec![Event::EmailRestored {
            challenge,
            from: self.email.clone(),
            to: former.clone(),
        }]);
        if *former != self.email {
            decision.take.push(claim);
            decision.release.push(Claim::email(&self.email));
        }
        self.end_what_was_added(made, &mut decision);
        decision.events.push(Event::SessionsRevoked);
        Ok(decision)
    }

    /// Ends the password, a deletion, and the ways to log in that may be those of a thief.
    fn end_what_was_added(&self, made: &Made, decision: &mut Decision<Event>) {
        let email = &made.from;
        self.unlink_added(made, decision);
        self.remove_added(made, decision);
        let is_added = |at| made.ends(at);
        if let Some(credential) = self.second_factor.if_added(is_added) {
            let email = email.clone();
            let removed = Event::TotpRemoved { credential, email };
            decision.events.push(removed);
        }
        if self.password_hash.is_some() {
            let email = email.clone();
            decision.events.push(Event::PasswordRemoved { email });
        }
        if self.closes_at.is_some() {
            let email = email.clone();
            decision.events.push(Event::DeletionCancelled { email });
        }
    }

    fn unlink_added(&self, made: &Made, decision: &mut Decision<Event>) {
        let identities = self.identities.iter();
        for identity in identities.filter(|it| made.ends(it.linked_at)) {
            decision.release.push(Claim::identity(identity.id));
            decision.events.push(Event::IdentityUnlinked {
                identity: identity.id,
                provider: identity.provider.clone(),
                email: made.from.clone(),
            });
        }
    }

    fn remove_added(&self, made: &Made, decision: &mut Decision<Event>) {
        let passkeys = self.passkeys.iter();
        for passkey in passkeys.filter(|it| made.ends(it.added_at)) {
            decision.release.push(Claim::passkey(passkey.id));
            decision.events.push(Event::PasskeyRemoved {
                passkey: passkey.id,
                name: passkey.name.clone(),
                email: made.from.clone(),
            });
        }
    }

    fn open_change(&self, challenge: ChallengeId, now: Time) -> Result<&EmailChange, Rejection> {
        let waiting = self.email_changes.waiting(challenge);
        let open = waiting.filter(|change| change.is_open(now));
        open.ok_or(Rejection::ChallengeEnded)
    }

    fn change_email(
        &self,
        change: &EmailChange,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        let new = Claim::email(&change.to);
        if facts.is_taken(&new) {
            return Err(Rejection::EmailTaken);
        }
        Ok(Decision {
            take: vec![new],
            release: vec![Claim::email(&self.email)],
            ..Decision::events(vec![Event::EmailChanged {
                challenge: change.challenge,
                from: self.email.clone(),
                to: change.to.clone(),
            }])
        })
    }

    fn ended(&self, challenge: ChallengeId) -> Event {
        Event::EmailChangeEnded {
            challenge,
            email: self.email.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
