//! What the cursor of a line keeps beside the events.

use events_schema::webhook::{Failing, NextStarts, ReplayId, ReplayProgress};

use super::Line;

impl<T> Line<T> {
    /// Remembers that the requests of people up to this sequence are done.
    pub fn answered(&mut self, sequence: u64) {
        self.cursor.requests = self.cursor.requests.max(sequence);
    }

    /// Returns up to which sequence requests of people are done.
    pub fn answered_to(&self) -> u64 {
        self.cursor.requests
    }

    /// Returns since when every attempt has failed.
    pub fn failing(&self) -> Option<Failing> {
        self.cursor.failing
    }

    /// Remembers that the owners were warned.
    pub fn warned(&mut self) {
        if let Some(failing) = &mut self.cursor.failing {
            failing.warned = true;
        }
    }

    /// Returns how far a replay is.
    pub fn replay(&self, replay: ReplayId) -> ReplayProgress {
        self.cursor
            .replays
            .get(&replay)
            .copied()
            .unwrap_or_default()
    }

    /// Remembers how far a replay is.
    pub fn set_replay(&mut self, replay: ReplayId, progress: ReplayProgress) {
        self.cursor.replays.insert(replay, progress);
    }

    /// Remembers which change of the tenant's webhooks is known.
    pub fn set_known(&mut self, sequence: u64) {
        self.cursor.known = self.cursor.known.max(sequence);
    }

    /// Remembers when the rate limit allows further requests.
    pub fn set_next_starts(&mut self, next_starts: Option<NextStarts>) {
        self.cursor.next_starts = next_starts;
    }
}
