//! Sessions: who is logged in where. Belongs to the tenant `platform`. A session's id is the head
//! of the hash of its token, so the token itself is written down nowhere.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{AccountId, Area, Device, Home, Time};

/// A session ends when it was not used for this long.
pub const IDLE: Duration = Duration::from_secs(12 * 60 * 60);
/// A session ends this long after it began, however much it is used.
pub const LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Use is noted at most this often, so that reading costs no write: "last use" may lag by as much.
pub const USE_NOTED_EVERY: Duration = Duration::from_secs(10 * 60);

/// What may be asked of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Begin, the password having been checked.
    Start {
        /// Whose it is.
        account: AccountId,
        /// The account's epoch when the password was checked.
        epoch: i64,
        /// What the client says that it is.
        device: Device,
    },
    /// Note that it is in use.
    Touch,
    /// End it.
    End {
        /// Whose it must be.
        account: AccountId,
    },
}

/// What happened to a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// It began.
    Started {
        /// Whose it is.
        account: AccountId,
        /// The account's epoch then.
        epoch: i64,
        /// What the client says that it is.
        device: Device,
    },
    /// It was in use.
    Used,
    /// It was ended.
    Ended,
}

/// A session as it is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    /// Whose it is.
    pub account: AccountId,
    /// The account's epoch when it began.
    pub epoch: i64,
    /// What the client said that it is.
    pub device: Device,
    /// When it began.
    pub started_at: Time,
    /// When it was last used, give or take [`USE_NOTED_EVERY`].
    pub last_used_at: Time,
}

impl View {
    /// Whether it still counts at `now`, for an account at `epoch`.
    pub fn is_live(&self, now: Time, epoch: i64) -> bool {
        self.epoch == epoch
            && now.since(self.last_used_at) < IDLE
            && now.since(self.started_at) < LIFETIME
    }
}

impl crate::View for View {
    const NAME: &'static str = "session";
    const AREA: Area = Area::Session;
    const HOME: Home = Home::Platform;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Id;

    const HOUR: i64 = 60 * 60 * 1000;

    fn session() -> View {
        View {
            account: AccountId(Id::from_bytes([1; 16])),
            epoch: 3,
            device: Device::from_user_agent("curl"),
            started_at: Time(0),
            last_used_at: Time(0),
        }
    }

    #[test]
    fn a_session_ends_after_12_hours_unused() {
        assert!(session().is_live(Time(12 * HOUR - 1), 3));
        assert!(!session().is_live(Time(12 * HOUR), 3));
    }

    #[test]
    fn a_session_ends_after_30_days_however_much_it_is_used() {
        let used = |now| View {
            last_used_at: Time(now),
            ..session()
        };
        assert!(used(30 * 24 * HOUR - 1).is_live(Time(30 * 24 * HOUR - 1), 3));
        assert!(!used(30 * 24 * HOUR).is_live(Time(30 * 24 * HOUR), 3));
    }

    #[test]
    fn a_session_of_another_epoch_is_over() {
        assert!(!session().is_live(Time(0), 4));
    }
}
