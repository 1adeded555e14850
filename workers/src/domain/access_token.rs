//! Access tokens: made and ended. What a token may do at a request, the gateway finds anew from its
//! scopes and its creator's present rights; here it is only made sure that nobody grants more than
//! they hold when they make it.

use std::time::Duration;

use events_schema::{
    Area, Rejected, Time,
    access_token::{Command, Event},
};

use crate::aggregate::{Aggregate, Decision, Facts};

/// A token lives at most so long, a leap year: a key that is never replaced is lost some day,
/// unnoticed.
pub const LONGEST_LIFETIME: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// One access token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessToken {
    /// Nothing has happened yet.
    #[default]
    Absent,
    /// Made, and not ended by anybody; whether it has expired, whoever reads it sees by the clock.
    Live,
    /// Ended for ever.
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
    /// It would be good for nothing.
    #[error("An access token needs at least one permission.")]
    ScopesMissing,
    /// It would hold what its creator does not.
    #[error("You cannot give more than you hold.")]
    BeyondOwnRights,
    /// It would end in the past, or later than [`LONGEST_LIFETIME`] from now.
    #[error("An access token must end within the next 366 days.")]
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
        Self {
            code: code.to_owned(),
            message: rejection.to_string(),
        }
    }
}

impl Aggregate for AccessToken {
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;
    const AREA: Area = Area::AccessToken;

    fn decide(&self, command: &Command, facts: &Facts) -> Result<Decision<Event>, Rejection> {
        let event = match (self, command) {
            (
                Self::Absent,
                Command::Create {
                    name,
                    scopes,
                    expires_at,
                    creator,
                    held,
                },
            ) => {
                if scopes.is_empty() {
                    return Err(Rejection::ScopesMissing);
                }
                if !scopes.is_subset(held) {
                    return Err(Rejection::BeyondOwnRights);
                }
                if *expires_at <= facts.now || expires_at.since(facts.now) > LONGEST_LIFETIME {
                    return Err(Rejection::ExpiryOutOfBounds);
                }
                Event::Created {
                    name: name.clone(),
                    scopes: scopes.clone(),
                    expires_at: *expires_at,
                    creator: *creator,
                }
            }
            (Self::Absent | Self::Deleted, _) => return Err(Rejection::NotFound),
            (Self::Live, Command::Create { .. }) => return Err(Rejection::AlreadyExists),
            (Self::Live, Command::Delete) => Event::Deleted,
        };
        Ok(Decision::events(vec![event]))
    }

    fn evolve(&mut self, event: &Event, _at: Time) {
        *self = match event {
            Event::Created { .. } => Self::Live,
            Event::Deleted => Self::Deleted,
        };
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{AccountId, BuiltInRole, Id, Name, Permissions};

    use super::*;
    use crate::domain::testing::{decide, given, held};

    const NOW: i64 = 1_000;
    const LONGEST: i64 = 366 * 24 * 60 * 60 * 1000;
    const ADA: AccountId = AccountId(Id::from_bytes([1; 16]));

    fn create(scopes: Permissions, expires_at: i64) -> Command {
        let name = Name::parse("Deployment").unwrap();
        Command::Create {
            name,
            scopes,
            expires_at: Time(expires_at),
            creator: ADA,
            held: held(BuiltInRole::Developer),
        }
    }
    fn created(scopes: Permissions, expires_at: i64) -> Event {
        Event::Created {
            name: Name::parse("Deployment").unwrap(),
            scopes,
            expires_at: Time(expires_at),
            creator: ADA,
        }
    }
    fn guest() -> Permissions {
        held(BuiltInRole::Guest)
    }

    #[test]
    fn a_token_is_made_once() {
        assert_eq!(
            decide(&AccessToken::Absent, &create(guest(), NOW + 1), NOW),
            Ok(vec![created(guest(), NOW + 1)])
        );
        let made: AccessToken = given([created(guest(), NOW + 1)]);
        assert_eq!(
            decide(&made, &create(guest(), NOW + 1), NOW),
            Err(Rejection::AlreadyExists)
        );
    }

    #[test]
    fn a_token_may_something_but_no_more_than_its_creator() {
        let made = |scopes| decide(&AccessToken::Absent, &create(scopes, NOW + 1), NOW);
        assert!(made(held(BuiltInRole::Developer)).is_ok());
        assert_eq!(
            made(held(BuiltInRole::Admin)),
            Err(Rejection::BeyondOwnRights)
        );
        assert_eq!(made(Permissions::new()), Err(Rejection::ScopesMissing));
    }

    #[test]
    fn a_token_ends_within_a_year() {
        let made = |expires_at| decide(&AccessToken::Absent, &create(guest(), expires_at), NOW);
        assert!(made(NOW + LONGEST).is_ok());
        for wrong in [i64::MIN, NOW - 1, NOW, NOW + LONGEST + 1, i64::MAX] {
            assert_eq!(made(wrong), Err(Rejection::ExpiryOutOfBounds), "{wrong}");
        }
    }

    #[test]
    fn a_token_is_ended_once_even_after_it_expired() {
        let made: AccessToken = given([created(guest(), NOW)]);
        assert_eq!(
            decide(&made, &Command::Delete, NOW + LONGEST),
            Ok(vec![Event::Deleted])
        );
        for token in [
            AccessToken::Absent,
            given([created(guest(), NOW), Event::Deleted]),
        ] {
            assert_eq!(
                decide(&token, &Command::Delete, NOW),
                Err(Rejection::NotFound)
            );
        }
        let ended: AccessToken = given([created(guest(), NOW), Event::Deleted]);
        assert_eq!(
            decide(&ended, &create(guest(), NOW + 1), NOW),
            Err(Rejection::NotFound)
        );
    }
}
