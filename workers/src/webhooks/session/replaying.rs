//! A running replay: finds its events, one after the other.

use std::collections::{BTreeSet, VecDeque};

use events_schema::{
    Time,
    webhook::{EventRef, Only, Replay, ReplayId, ReplayProgress, Settings},
};

use super::pages::{Pages, item};
use crate::webhooks::{
    line::{Item, Line},
    message::Outgoing,
    retries::{self, Failure},
};

/// Attempts to send one event. A webhook that does not work should not hold a replay up for a day.
const ATTEMPTS: u32 = 3;

/// Pages that are read before other work is done.
const PAGES_AT_ONCE: usize = 20;
/// How far the time of a commit, which its gateway has set, may be from the time when the log has
/// stored it.
const CLOCKS_DIFFER_MS: i64 = 2 * 60 * 1000;

/// What comes next in a replay.
pub enum Next {
    Event(Box<Item<Outgoing>>),
    /// Nothing was found yet. Everything before this sequence is read.
    Later(u64),
    /// There is nothing more.
    End,
}

/// A running replay.
pub struct Replaying {
    pub id: ReplayId,
    replay: Replay,
    /// The sequence at which it was requested. Later events do not belong to it.
    end: u64,
    /// The next sequence to read.
    scan: u64,
    found: VecDeque<Item<Outgoing>>,
    /// The events to send; `None` for all.
    failed: Option<BTreeSet<EventRef>>,
}

impl Replaying {
    /// Goes on with a replay that was requested at the sequence `end`. `failed` finds the events
    /// that were not accepted, if it needs them.
    ///
    /// # Errors
    /// If the log does not answer, or they cannot be found.
    pub async fn new(
        id: ReplayId,
        replay: Replay,
        end: u64,
        progress: ReplayProgress,
        pages: &Pages,
        failed: impl Future<Output = anyhow::Result<BTreeSet<EventRef>>>,
    ) -> anyhow::Result<Self> {
        let failed = match replay.only {
            Only::All => None,
            Only::Failed => Some(failed.await?),
        };
        let scan = match progress.next.sequence {
            0 => {
                let since = Time(replay.since.0.saturating_sub(CLOCKS_DIFFER_MS));
                pages.first_since(since, end).await?
            }
            begun => begun,
        };
        Ok(Self {
            id,
            replay,
            end,
            scan,
            found: VecDeque::new(),
            failed,
        })
    }

    /// Returns the first event from `from` on.
    ///
    /// # Errors
    /// If the log does not answer.
    pub async fn next(
        &mut self,
        from: EventRef,
        pages: &Pages,
        line: &Line<Outgoing>,
        settings: &Settings,
    ) -> anyhow::Result<Next> {
        for _ in 0..PAGES_AT_ONCE {
            while let Some(item) = self.found.front() {
                if item.event >= from {
                    return Ok(Next::Event(Box::new(item.clone())));
                }
                self.found.pop_front();
            }
            let is_more = match self.failed.as_ref() {
                None => self.read(pages, line, settings).await?,
                Some(failed) => {
                    let next = failed.range(from..).next().copied();
                    self.find(next, pages, line, settings).await?
                }
            };
            if !is_more {
                return Ok(Next::End);
            }
        }
        Ok(Next::Later(self.scan))
    }

    /// Reads a page of the log; false at the end.
    async fn read(
        &mut self,
        pages: &Pages,
        line: &Line<Outgoing>,
        settings: &Settings,
    ) -> anyhow::Result<bool> {
        if self.scan >= self.end {
            return Ok(false);
        }
        let read = pages.page(line, settings, self.scan).await?;
        let (end, replay) = (self.end, &self.replay);
        let belongs =
            |item: &Item<Outgoing>| item.event.sequence < end && replay.contains(item.time);
        self.found.extend(read.items.into_iter().filter(belongs));
        self.scan = read.end;
        Ok(true)
    }

    /// Finds a failed event in the log; false if there is none.
    async fn find(
        &mut self,
        event: Option<EventRef>,
        pages: &Pages,
        line: &Line<Outgoing>,
        settings: &Settings,
    ) -> anyhow::Result<bool> {
        let Some(reference) = event.filter(|event| event.sequence < self.end) else {
            return Ok(false);
        };
        self.failed = self.failed.take().map(|mut failed| {
            failed.remove(&reference);
            failed
        });
        let found = pages.event(reference).await?;
        let found = found.filter(|found| settings.wants(found.event.event_type));
        let found = found.map(|found| item(line, reference.sequence, found));
        self.found
            .extend(found.filter(|item| self.replay.contains(item.time)));
        Ok(true)
    }
}

/// Returns how far a replay is after an attempt to send this event. `random` is from -1 to 1.
pub fn advanced(
    progress: ReplayProgress,
    event: EventRef,
    is_accepted: bool,
    failure: Failure,
    random: f64,
    now: Time,
) -> ReplayProgress {
    let attempts = progress.attempts + 1;
    let wait = retries::wait(attempts, failure, random).filter(|_| attempts < ATTEMPTS);
    match wait {
        Some(wait) if !is_accepted => ReplayProgress {
            next: event,
            attempts,
            due: Some(now + wait),
            ..progress
        },
        Some(_) | None => ReplayProgress {
            next: event.following(),
            sent: progress.sent + u64::from(is_accepted),
            failed: progress.failed + u64::from(!is_accepted),
            attempts: 0,
            due: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: EventRef = EventRef {
        sequence: 7,
        position: 1,
    };

    fn after(progress: ReplayProgress, is_accepted: bool) -> ReplayProgress {
        advanced(
            progress,
            EVENT,
            is_accepted,
            Failure::default(),
            0.0,
            Time(0),
        )
    }

    #[test]
    fn an_accepted_event_is_counted_and_the_next_one_follows() {
        let progress = after(ReplayProgress::default(), true);
        assert_eq!(progress.next, EVENT.following());
        assert_eq!((progress.sent, progress.failed, progress.due), (1, 0, None));
    }

    #[test]
    fn a_refused_event_is_tried_three_times() {
        let first = after(ReplayProgress::default(), false);
        assert_eq!((first.next, first.due), (EVENT, Some(Time(5_000))));
        let second = after(first, false);
        assert_eq!((second.attempts, second.due), (2, Some(Time(300_000))));
        let third = after(second, false);
        assert_eq!(third.next, EVENT.following());
        assert_eq!((third.sent, third.failed, third.attempts), (0, 1, 0));
    }
}
