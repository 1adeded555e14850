//! Sessions: begin, note use, end. When a session ends by itself is said in
//! `events_schema::session`, since the gateway must know it at every request.

use events_schema::{
    AccountId, Area, Rejected, Time,
    session::{Command, Event, USE_NOTED_EVERY},
};

use crate::aggregate::{Aggregate, Decision, Facts};

/// One session.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Session {
    /// Nothing has happened yet.
    #[default]
    Absent,
    /// Under way.
    Live {
        /// Whose it is.
        account: AccountId,
        /// When it was last used.
        last_used_at: Time,
    },
    /// Over.
    Ended {
        /// Whose it was.
        account: AccountId,
    },
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There is none, it is over, or it is somebody else's: to the asker that is the same.
    #[error("There is no such session.")]
    NotFound,
    /// Its id is taken.
    #[error("This session has already begun.")]
    AlreadyExists,
}

impl From<Rejection> for Rejected {
    fn from(rejection: Rejection) -> Self {
        let code = match rejection {
            Rejection::NotFound => "not_found",
            Rejection::AlreadyExists => "already_exists",
        };
        Self {
            code: code.to_owned(),
            message: rejection.to_string(),
        }
    }
}

impl Aggregate for Session {
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;
    const AREA: Area = Area::Session;

    fn decide(&self, command: &Command, facts: &Facts) -> Result<Decision<Event>, Rejection> {
        match (self, command) {
            (
                Self::Absent,
                Command::Start {
                    account,
                    epoch,
                    device,
                },
            ) => Ok(Decision::events(vec![Event::Started {
                account: *account,
                epoch: *epoch,
                device: device.clone(),
            }])),
            (Self::Live { .. } | Self::Ended { .. }, Command::Start { .. }) => {
                Err(Rejection::AlreadyExists)
            }
            (Self::Live { last_used_at, .. }, Command::Touch)
                if facts.now.since(*last_used_at) < USE_NOTED_EVERY =>
            {
                Ok(Decision::unchanged())
            }
            (Self::Live { .. }, Command::Touch) => Ok(Decision::events(vec![Event::Used])),
            (Self::Absent | Self::Ended { .. }, Command::Touch) => Err(Rejection::NotFound),
            (Self::Live { account: own, .. }, Command::End { account }) if own == account => {
                Ok(Decision::events(vec![Event::Ended]))
            }
            (Self::Ended { account: own }, Command::End { account }) if own == account => {
                Ok(Decision::unchanged())
            }
            (Self::Absent | Self::Live { .. } | Self::Ended { .. }, Command::End { .. }) => {
                Err(Rejection::NotFound)
            }
        }
    }

    fn evolve(&mut self, event: &Event, at: Time) {
        match event {
            Event::Started { account, .. } => {
                *self = Self::Live {
                    account: *account,
                    last_used_at: at,
                }
            }
            Event::Used => {
                if let Self::Live { last_used_at, .. } = self {
                    *last_used_at = at;
                }
            }
            Event::Ended => {
                if let Self::Live { account, .. } = *self {
                    *self = Self::Ended { account };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{Device, Id};

    use super::*;
    use crate::domain::testing::{decide, given};

    const ADA: AccountId = AccountId(Id::from_bytes([1; 16]));
    const EVE: AccountId = AccountId(Id::from_bytes([2; 16]));
    const TEN_MINUTES: i64 = 10 * 60 * 1000;

    fn start() -> Command {
        Command::Start {
            account: ADA,
            epoch: 0,
            device: Device::from_user_agent("curl"),
        }
    }
    fn started() -> Event {
        Event::Started {
            account: ADA,
            epoch: 0,
            device: Device::from_user_agent("curl"),
        }
    }

    #[test]
    fn a_session_begins_once() {
        assert_eq!(decide(&Session::Absent, &start(), 0), Ok(vec![started()]));
        assert_eq!(
            decide(&given::<Session>([started()]), &start(), 0),
            Err(Rejection::AlreadyExists)
        );
        assert_eq!(
            decide(&given::<Session>([started(), Event::Ended]), &start(), 0),
            Err(Rejection::AlreadyExists)
        );
    }

    #[test]
    fn use_is_noted_every_ten_minutes() {
        let session = given::<Session>([started()]);
        assert_eq!(
            decide(&session, &Command::Touch, TEN_MINUTES - 1),
            Ok(vec![])
        );
        assert_eq!(
            decide(&session, &Command::Touch, TEN_MINUTES),
            Ok(vec![Event::Used])
        );
        assert_eq!(
            decide(&Session::Absent, &Command::Touch, 0),
            Err(Rejection::NotFound)
        );
        assert_eq!(
            decide(
                &given::<Session>([started(), Event::Ended]),
                &Command::Touch,
                TEN_MINUTES
            ),
            Err(Rejection::NotFound)
        );
    }

    #[test]
    fn only_its_owner_ends_a_session_and_ending_it_again_changes_nothing() {
        let end = |account| Command::End { account };
        assert_eq!(
            decide(&given::<Session>([started()]), &end(ADA), 0),
            Ok(vec![Event::Ended])
        );
        assert_eq!(
            decide(&given::<Session>([started(), Event::Ended]), &end(ADA), 0),
            Ok(vec![])
        );
        for session in [
            Session::Absent,
            given::<Session>([started()]),
            given::<Session>([started(), Event::Ended]),
        ] {
            assert_eq!(decide(&session, &end(EVE), 0), Err(Rejection::NotFound));
        }
    }
}
