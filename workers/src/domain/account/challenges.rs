//! Mails that ask for a proof: how often they are sent, and which of them may be answered.

use std::time::Duration;

use events_schema::{Challenge, ChallengeId, Time};

use super::Rejection;

/// A mail may be answered for this long: enough to find it on another device, and short enough for
/// a lost phone.
const LIFETIME: Duration = Duration::from_secs(30 * 60);
/// A mail is no longer valid after this many wrong codes. With a million codes, a guesser succeeds
/// once in 200,000 mails.
const MAX_FAILURES: u32 = 5;
/// The shortest time between two mails of a kind, so that a button that is pressed twice sends one.
/// It doubles with each mail within a day, up to [`LIFETIME`] and never beyond. So requests alone
/// never leave an owner without a valid mail.
const MIN_INTERVAL: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The mails of one kind: the one that may be answered, the latest one, and the times of those
/// within a day.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Challenges {
    open: Option<Challenge>,
    latest: Option<ChallengeId>,
    requested_at: Vec<Time>,
}

impl Challenges {
    /// Whether the latest mail is old enough for another one.
    pub(super) fn may_request(&self, now: Time) -> bool {
        let within_a_day = self.requested_at.iter().filter(|at| now.since(**at) < DAY);
        let doublings = within_a_day.count().saturating_sub(1);
        let doublings = u32::try_from(doublings).unwrap_or(u32::MAX);
        let interval = MIN_INTERVAL.saturating_mul(2_u32.saturating_pow(doublings));
        let wait = interval.min(LIFETIME);
        let latest = self.requested_at.last();
        latest.is_none_or(|at| now.since(*at) >= wait)
    }

    /// Checks whether a mail may be answered.
    ///
    /// # Errors
    /// If it was answered before, was answered wrongly too often, is replaced or has expired.
    pub(super) fn check_open(&self, id: ChallengeId, now: Time) -> Result<(), Rejection> {
        let is_valid = |open: &Challenge| {
            open.id == id && open.failures < MAX_FAILURES && now.since(open.requested_at) < LIFETIME
        };
        if self.open.as_ref().is_some_and(is_valid) {
            Ok(())
        } else {
            Err(Rejection::ChallengeEnded)
        }
    }

    /// Whether this is the latest mail, answered or not.
    pub(super) fn is_latest(&self, id: ChallengeId) -> bool {
        self.latest == Some(id)
    }

    /// Records a mail. It replaces the one before.
    pub(super) fn record_request(&mut self, id: ChallengeId, at: Time) {
        self.requested_at.retain(|earlier| at.since(*earlier) < DAY);
        self.requested_at.push(at);
        self.latest = Some(id);
        self.open = Some(Challenge {
            id,
            requested_at: at,
            failures: 0,
        });
    }

    /// Records a wrong answer.
    pub(super) fn record_failure(&mut self, id: ChallengeId) {
        let open = self.open.as_mut();
        if let Some(open) = open.filter(|open| open.id == id) {
            open.failures += 1;
        }
    }

    /// Ends all mails so far: none of them may be answered.
    pub(super) fn close(&mut self) {
        self.open = None;
    }
}
