//! Mails with a link to set a new password: how often they are sent, and which of them may be
//! answered.

use std::time::Duration;

use events_schema::{ChallengeId, Time};

use super::Rejection;

/// A mail may be answered for this long: enough to open it, and short enough for a lost phone.
const LIFETIME: Duration = Duration::from_secs(10 * 60);
/// The shortest time between two mails, so that a button that is pressed twice sends one. It
/// doubles with each mail within a day.
const MIN_INTERVAL: Duration = Duration::from_secs(60);
/// The longest time between two mails: 48 a day. A stranger who asks for each of them leaves the
/// owner without a valid mail for 20 minutes at most.
const MAX_INTERVAL: Duration = Duration::from_secs(30 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The one that may be answered, and the times of those within a day.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Challenges {
    open: Option<(ChallengeId, Time)>,
    requested_at: Vec<Time>,
}

impl Challenges {
    /// Whether the latest mail is old enough for another one.
    pub(super) fn may_request(&self, now: Time) -> bool {
        let within_a_day = self.requested_at.iter().filter(|at| now.since(**at) < DAY);
        let doublings = within_a_day.count().saturating_sub(1);
        let doublings = u32::try_from(doublings).unwrap_or(u32::MAX);
        let interval = MIN_INTERVAL.saturating_mul(2_u32.saturating_pow(doublings));
        let wait = interval.min(MAX_INTERVAL);
        let latest = self.requested_at.last();
        latest.is_none_or(|at| now.since(*at) >= wait)
    }

    /// Checks whether a mail may be answered.
    ///
    /// # Errors
    /// If it was answered before, is replaced or has expired.
    pub(super) fn check_open(&self, id: ChallengeId, now: Time) -> Result<(), Rejection> {
        let is_valid = |(open, at): (ChallengeId, Time)| open == id && now.since(at) < LIFETIME;
        if self.open.is_some_and(is_valid) {
            Ok(())
        } else {
            Err(Rejection::ChallengeEnded)
        }
    }

    /// Records a mail. It replaces the one before.
    pub(super) fn record_request(&mut self, id: ChallengeId, at: Time) {
        self.requested_at.retain(|earlier| at.since(*earlier) < DAY);
        self.requested_at.push(at);
        self.open = Some((id, at));
    }

    /// Ends all mails so far: none of them may be answered.
    pub(super) fn close(&mut self) {
        self.open = None;
    }
}
