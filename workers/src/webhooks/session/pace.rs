//! When the rate limit of a webhook allows the next request. The cursor keeps that, so that the next
//! session goes on with it.

use std::time::Duration;

use events_schema::{Time, webhook::NextStarts};
use tokio::time::Instant;

/// A request that begins so much late does not delay those that follow.
const LATE: Duration = Duration::from_millis(20);

/// Spaces the requests of a webhook. A replay takes half of the rate at most.
#[derive(Debug)]
pub struct Pace {
    /// The time between two requests; zero without a limit.
    pause: Duration,
    next: Instant,
    next_of_replay: Instant,
}

impl Pace {
    /// Goes on after the last session, with so many requests a second, or any number if it is 0.
    /// `at` and `now` are the present time.
    pub fn new(rate_limit: u32, before: Option<NextStarts>, at: Instant, now: Time) -> Self {
        let pause = match rate_limit {
            0 => Duration::ZERO,
            rate => Duration::from_secs(1) / rate,
        };
        // The clock of the last session may have been ahead, and its limit lower.
        let from = |next: Time, longest: Duration| at + next.since(now).min(longest);
        Self {
            pause,
            next: before.map_or(at, |before| from(before.request, pause)),
            next_of_replay: before.map_or(at, |before| from(before.replay, 2 * pause)),
        }
    }

    /// Whether a request may begin.
    pub fn allows(&self, at: Instant) -> bool {
        at >= self.next
    }

    /// Whether a request of a replay may begin.
    pub fn allows_replay(&self, at: Instant) -> bool {
        at >= self.next.max(self.next_of_replay)
    }

    /// Counts a request that begins.
    pub fn count(&mut self, at: Instant) {
        self.next = self.next.max(at - self.pause.min(LATE)) + self.pause;
    }

    /// Counts a request of a replay that begins.
    pub fn count_replay(&mut self, at: Instant) {
        self.count(at);
        self.next_of_replay = at + 2 * self.pause;
    }

    /// Returns when more is allowed than now; `None` if everything is.
    pub fn allows_more_at(&self, at: Instant) -> Option<Instant> {
        let starts = [self.next, self.next_of_replay].into_iter();
        starts.filter(|start| *start > at).min()
    }

    /// Returns what the next session is to know; `None` without a limit. `at` and `now` are the
    /// present time.
    pub fn next_starts(&self, at: Instant, now: Time) -> Option<NextStarts> {
        let time = |start: Instant| now + start.saturating_duration_since(at);
        (!self.pause.is_zero()).then(|| NextStarts {
            request: time(self.next),
            replay: time(self.next_of_replay),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_000_000);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn pace(rate_limit: u32) -> (Pace, Instant) {
        let at = Instant::now();
        (Pace::new(rate_limit, None, at, NOW), at)
    }

    #[test]
    fn requests_are_evenly_spaced() {
        let (mut pace, begin) = pace(2);
        for number in 0..10 {
            let at = begin + number * ms(500);
            assert!(pace.allows(at));
            pace.count(at);
            assert!(!pace.allows(at + ms(479)), "{number}");
        }
    }

    #[test]
    fn idle_time_is_not_made_up_for() {
        let (mut pace, begin) = pace(1);
        let at = begin + ms(60_000);
        pace.count(at);
        assert!(!pace.allows(at + ms(979)));
        assert!(pace.allows(at + ms(980)));
    }

    #[test]
    fn a_replay_takes_half_of_the_rate() {
        let (mut pace, at) = pace(2);
        pace.count_replay(at);
        assert!(pace.allows(at + ms(500)) && !pace.allows_replay(at + ms(500)));
        assert_eq!(pace.allows_more_at(at + ms(500)), Some(at + ms(1_000)));
        assert!(pace.allows_replay(at + ms(1_000)));
    }

    #[test]
    fn the_next_session_waits_as_this_one_would() {
        let (mut before, at) = pace(1);
        before.count_replay(at);
        let kept = before.next_starts(at, NOW);
        let after = Pace::new(1, kept, at + ms(400), NOW + ms(400));
        assert_eq!(after.next, before.next);
        assert_eq!(after.next_of_replay, before.next_of_replay);
    }

    #[test]
    fn a_clock_that_was_ahead_stops_nothing() {
        let hour = NOW + ms(3_600_000);
        let ahead = NextStarts {
            request: hour,
            replay: hour,
        };
        let at = Instant::now();
        let pace = Pace::new(1, Some(ahead), at, NOW);
        assert!(pace.allows(at + ms(1_000)) && pace.allows_replay(at + ms(2_000)));
    }

    #[test]
    fn without_a_limit_nothing_waits_or_is_kept() {
        let (mut pace, at) = pace(0);
        pace.count_replay(at);
        assert!(pace.allows_replay(at));
        assert_eq!(pace.next_starts(at, NOW), None);
    }
}
