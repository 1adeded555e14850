//! Support: grants of a tenant, and the administrators of the platform who act as its people.
//!
//! One aggregate decides both. So nobody begins to act as a person while the grant is revoked.

use events_schema::{
    AccountId, Actor, Permissions, Reject, RejectionKind, SessionId, Time,
    support::{Area, Command, Event, Grantor, IMPERSONATION, LONGEST_GRANT},
};
use serde::Serialize;

use crate::aggregate::{Aggregate, Decision, Facts};

/// Administrators act as people of one tenant in at most this many sessions at once: more than one
/// support case needs.
const MAX_SESSIONS: usize = 10;

/// The support of a tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Support {
    grant: Option<Grant>,
    /// The sessions whose end is not recorded yet, in the order in which they began.
    sessions: Vec<Session>,
}

/// Administrators of the platform may act as people of the tenant for some time.
#[derive(Clone, Debug, PartialEq)]
struct Grant {
    until: Time,
    /// Unknown for a grant of an earlier release, which nobody can use for longer than
    /// [`LONGEST_GRANT`].
    by: Option<Grantor>,
}

/// A session in which an administrator acts as a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub ends_at: Time,
}

/// Why a command to a tenant's support is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The grant would have ended already, or last longer than [`LONGEST_GRANT`].
    #[error("Grant access for up to 72 hours from now.")]
    GrantOutOfBounds,
    /// There is a grant.
    #[error("Access is granted already. Revoke it first.")]
    AlreadyGranted,
    /// There is no grant, or it has ended.
    #[error("The tenant does not grant access now. Ask one of its administrators for it.")]
    NotGranted,
    /// The actor is not a person with a session of their own.
    #[error("Only a person can grant access.")]
    NotAPerson,
    /// The administrator has granted the access.
    #[error("You have granted the access yourself. Let another administrator of the platform act.")]
    OwnGrant,
    /// The person holds more than who has granted the access.
    #[error("This person may do more than who has granted the access. Ask an owner to grant it.")]
    BeyondGrant,
    /// The actor is not an administrator with a session of their own.
    #[error("Only an administrator of the platform may act as a person.")]
    NotAnAdministrator,
    /// The administrator is the person.
    #[error("You cannot act as yourself.")]
    OwnAccount,
    /// There would be more than [`MAX_SESSIONS`] sessions.
    #[error("At most {MAX_SESSIONS} sessions act as people of a tenant at once. End one first.")]
    TooManySessions,
    /// The session has begun before.
    #[error("This session has begun already.")]
    AlreadyExists,
    /// The session has not ended yet.
    #[error("The session has not ended yet.")]
    NotExpired,
}

impl Reject for Rejection {
    fn kind(&self) -> RejectionKind {
        match self {
            Self::GrantOutOfBounds => RejectionKind::invalid("until"),
            Self::AlreadyGranted | Self::AlreadyExists | Self::NotExpired => {
                RejectionKind::Conflict
            }
            Self::NotGranted
            | Self::NotAPerson
            | Self::OwnGrant
            | Self::BeyondGrant
            | Self::NotAnAdministrator => RejectionKind::Forbidden,
            Self::OwnAccount => RejectionKind::invalid("account"),
            Self::TooManySessions => RejectionKind::Limit,
        }
    }
}

impl Aggregate for Support {
    type Area = Area;
    type Rejection = Rejection;

    fn decide(&self, command: &Command, facts: &Facts<Area>) -> Result<Decision<Event>, Rejection> {
        let events = match command {
            Command::Grant { until } => self.grant(*until, facts)?,
            Command::Revoke => self.revoke(facts.now),
            Command::Begin {
                session,
                account,
                email,
                tenant_name,
                reason,
                person_holds,
            } => {
                let administrator = administrator(facts.actor, *account)?;
                let until = self.granted_to(administrator, person_holds.as_ref(), facts.now)?;
                self.check_begin(*session, facts.now)?;
                vec![Event::Begun {
                    session: *session,
                    account: *account,
                    email: email.clone(),
                    administrator,
                    tenant_name: tenant_name.clone(),
                    reason: reason.clone(),
                    ends_at: until.min(facts.now + IMPERSONATION),
                }]
            }
            Command::End { session } => self.end(*session),
            Command::Expire { session } => self.expire(*session, facts.now)?,
        };
        Ok(Decision::events(events))
    }

    fn evolve(&mut self, event: &Event, _at: Time) {
        match event {
            Event::Granted { until, by } => {
                let (until, by) = (*until, by.clone());
                self.grant = Some(Grant { until, by });
            }
            Event::Revoked => self.grant = None,
            Event::Begun {
                session, ends_at, ..
            } => self.sessions.push(Session {
                id: *session,
                ends_at: *ends_at,
            }),
            Event::Ended { session } => self.sessions.retain(|one| one.id != *session),
        }
    }
}

impl Support {
    /// Returns the session that ends first, of those whose end is not recorded yet.
    pub fn next_to_end(&self) -> Option<Session> {
        let sessions = self.sessions.iter().copied();
        sessions.min_by_key(|session| session.ends_at)
    }

    fn grant(&self, until: Time, facts: &Facts<Area>) -> Result<Vec<Event>, Rejection> {
        let now = facts.now;
        let Actor::Account(account) = facts.actor else {
            return Err(Rejection::NotAPerson);
        };
        if until <= now || until.since(now) > LONGEST_GRANT {
            return Err(Rejection::GrantOutOfBounds);
        }
        let held = facts.held.clone();
        let by = Some(Grantor { account, held });
        match self.live_grant(now) {
            Some(present) if present.until == until && present.by == by => Ok(Vec::new()),
            Some(_) => Err(Rejection::AlreadyGranted),
            None => Ok(vec![Event::Granted { until, by }]),
        }
    }

    fn revoke(&self, now: Time) -> Vec<Event> {
        if self.live_grant(now).is_none() {
            return Vec::new();
        }
        let sessions = self.sessions.iter();
        let ended = sessions.map(|session| Event::Ended {
            session: session.id,
        });
        ended.chain([Event::Revoked]).collect()
    }

    /// Returns until when the administrator may act as a person who holds these permissions. Nobody
    /// lets themselves in, and nobody lets others in as somebody who holds more than they do.
    fn granted_to(
        &self,
        administrator: AccountId,
        person_holds: Option<&Permissions>,
        now: Time,
    ) -> Result<Time, Rejection> {
        let grant = self.live_grant(now).ok_or(Rejection::NotGranted)?;
        if let Some(by) = &grant.by {
            if by.account == administrator {
                return Err(Rejection::OwnGrant);
            }
            if !person_holds.is_some_and(|holds| holds.is_subset(&by.held)) {
                return Err(Rejection::BeyondGrant);
            }
        }
        Ok(grant.until)
    }

    fn check_begin(&self, session: SessionId, now: Time) -> Result<(), Rejection> {
        let mut sessions = self.sessions.iter();
        if sessions.any(|one| one.id == session) {
            return Err(Rejection::AlreadyExists);
        }
        let lasting = self.sessions.iter().filter(|one| now < one.ends_at);
        if lasting.count() >= MAX_SESSIONS {
            return Err(Rejection::TooManySessions);
        }
        Ok(())
    }

    /// One that has ended, or never began, needs no end.
    fn end(&self, session: SessionId) -> Vec<Event> {
        let is_live = self.sessions.iter().any(|one| one.id == session);
        let ended = Event::Ended { session };
        is_live.then_some(ended).into_iter().collect()
    }

    fn expire(&self, session: SessionId, now: Time) -> Result<Vec<Event>, Rejection> {
        let mut sessions = self.sessions.iter();
        match sessions.find(|one| one.id == session) {
            Some(lasting) if now < lasting.ends_at => Err(Rejection::NotExpired),
            Some(_) | None => Ok(self.end(session)),
        }
    }

    fn live_grant(&self, now: Time) -> Option<&Grant> {
        self.grant.as_ref().filter(|grant| now < grant.until)
    }
}

/// Returns the administrator who begins to act as the person.
fn administrator(actor: Actor, person: AccountId) -> Result<AccountId, Rejection> {
    match actor {
        Actor::Account(account) if account == person => Err(Rejection::OwnAccount),
        Actor::Account(account) => Ok(account),
        Actor::Anonymous
        | Actor::AccessToken(_)
        | Actor::Service { .. }
        | Actor::Impersonated { .. }
        | Actor::System => Err(Rejection::NotAnAdministrator),
    }
}

#[cfg(test)]
mod tests;
