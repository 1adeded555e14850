//! When the requests of an open loop are due, and the clock that releases them.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

/// Requests at a steady rate. The first is due at the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    pub(super) start: Instant,
    /// Requests per second, above 0.
    pub(super) rate: f64,
    /// How many requests there are.
    pub(super) total: usize,
}

impl Schedule {
    /// Returns when a request is due. They count from 0.
    pub(super) fn due(&self, index: usize) -> Instant {
        self.start + Duration::from_secs_f64(index as f64 / self.rate)
    }

    /// Returns how many requests are due at `now`.
    pub(super) fn due_by(&self, now: Instant) -> usize {
        let Some(elapsed) = now.checked_duration_since(self.start) else {
            return 0;
        };
        let due = (elapsed.as_secs_f64() * self.rate).floor() as usize + 1;
        due.min(self.total)
    }

    /// Adds a permit for each request when it is due, and `clients` permits at the end. Blocks its
    /// thread: the timers of tokio are late by up to a millisecond, more than many requests take.
    pub(super) fn release(&self, permits: &Semaphore, clients: usize) {
        let mut released = 0;
        while released < self.total {
            thread::sleep(self.due(released).saturating_duration_since(Instant::now()));
            let due = self.due_by(Instant::now());
            permits.add_permits(due.saturating_sub(released));
            released = due.max(released);
        }
        permits.add_permits(clients);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: f64, total: usize) -> Schedule {
        let start = Instant::now();
        Schedule { start, rate, total }
    }

    #[test]
    fn requests_are_due_at_fixed_times() {
        let schedule = schedule(100.0, 5);
        assert_eq!(schedule.due(0), schedule.start);
        assert_eq!(schedule.due(3), schedule.start + Duration::from_millis(30));
    }

    #[test]
    fn a_request_is_released_when_it_is_due_and_not_before() {
        let schedule = schedule(100.0, 5);
        let after = |ms| schedule.due_by(schedule.start + Duration::from_millis(ms));
        assert_eq!([after(0), after(9), after(11), after(31)], [1, 1, 2, 4]);
        assert_eq!(after(10_000), 5, "no more than there are");
        assert_eq!(schedule.due_by(schedule.start - Duration::from_secs(1)), 0);
    }

    #[test]
    fn every_request_and_every_client_gets_a_permit() {
        let permits = Semaphore::new(0);
        schedule(5_000.0, 100).release(&permits, 3);
        assert_eq!(permits.available_permits(), 103);
    }
}
