//! Access tokens: made once, then ended.

use std::time::Duration;

use events_schema::{
    Area, Rejected, Time,
    access_token::{Command, Event},
};

use crate::aggregate::{Aggregate, Decision, Facts};

/// A token lives at most this long.
pub const LONGEST_LIFE: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// One access token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessToken {
    /// Nothing has happened yet.
    #[default]
    Absent,
    /// Good until it expires.
    Valid,
    /// Ended.
    Deleted,
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There is none, or no more.
    #[error("There is no such access token.")]
    NotFound,
    /// Its id is taken.
    #[error("This access token already exists.")]
    AlreadyExists,
    /// A token that may do nothing is of no use.
    #[error("Give the token at least one scope.")]
    ScopesMissing,
    /// It would hold more than whoever makes it.
    #[error("You cannot give more than you hold.")]
    BeyondOwnRights,
    /// It would end in the past, or too far ahead.
    #[error("A token must expire within a year from now.")]
    ExpiryOutOfBounds,
}

impl From<Rejection> for Rejected {
    fn from(rejection: Rejection) -> Self {
        let code = match rejection {
            Rejection::NotFound => "not_found",
            Rejection::AlreadyExists => "already_exists",
            Rejection::ScopesMissing => "scopes_missing",
            Rejection::BeyondOwnRights => "forbidden",
            Rejection::ExpiryOutOfBounds => "expiry_out_of_bounds",
        };
        Self { code: code.to_owned(), message: rejection.to_string() }
    }
}

impl Aggregate for AccessToken {
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;
    const AREA: Area = Area::AccessToken;

    fn decide(&self, command: &Command, facts: &Facts) -> Result<Decision<Event>, Rejection> {
        match (self, command) {
            (Self::Absent, Command::Create { name, scopes, expires_at, creator, held }) => {
                if scopes.is_empty() {
                    return Err(Rejection::ScopesMissing);
                }
                if !scopes.is_subset(held) {
                    return Err(Rejection::BeyondOwnRights);
                }
                if *expires_at <= facts.now || expires_at.since(facts.now) > LONGEST_LIFE {
                    return Err(Rejection::ExpiryOutOfBounds);
                }
                let (name, scopes) = (name.clone(), scopes.clone());
                Ok(Decision::events(vec![Event::Created { name, scopes, expires_at: *expires_at, creator: *creator }]))
            }
            (Self::Valid | Self::Deleted, Command::Create { .. }) => Err(Rejection::AlreadyExists),
            (Self::Valid, Command::Delete) => Ok(Decision::events(vec![Event::Deleted])),
            (Self::Absent | Self::Deleted, Command::Delete) => Err(Rejection::NotFound),
        }
    }

    fn evolve(&mut self, event: &Event, _at: Time) {
        *self = match event {
            Event::Created { .. } => Self::Valid,
            Event::Deleted => Self::Deleted,
        };
    }
}
