//! How much of the log is read at once.

use std::sync::Arc;

use event_store::{EventLog, Page};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Commits of a page. The server looks through the subjects of the tenant for each page, so a small
/// page costs it nearly as much as a large one.
pub const PAGE: usize = 500;
/// Commits of a page for a webhook that is far behind and fast.
const LARGE_PAGE: usize = 2_000;
/// Bytes after which a page ends.
const MAX_BYTES: usize = 1024 * 1024;
/// Sessions of a process that may read large pages. All of them at once stay below `max_pending` of
/// nats.conf: else the server would take the worker for one that is stuck.
const LARGE_AT_ONCE: usize = 16;

/// The large pages of a process.
#[derive(Clone)]
pub struct LargePages(Arc<Semaphore>);

impl Default for LargePages {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LARGE_AT_ONCE)))
    }
}

/// The size of the next page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(usize);

impl PageSize {
    /// Reads a page of this size from this sequence on.
    ///
    /// # Errors
    /// If the log does not answer.
    pub async fn read(self, log: &EventLog, filter: &str, from: u64) -> anyhow::Result<Page> {
        log.page_within(filter, from, self.0, MAX_BYTES).await
    }
}

/// Chooses the sizes of a session's pages.
pub struct Sizes {
    all: LargePages,
    /// The right to read large pages.
    large: Option<OwnedSemaphorePermit>,
}

impl Sizes {
    /// Begins with a page of usual size.
    pub const fn new(all: LargePages) -> Self {
        Self { all, large: None }
    }

    /// Returns the size of the next page, if so many commits follow as far as is known.
    pub fn next(&mut self, pending: u64, may_be_large: bool) -> PageSize {
        if !may_be_large || pending <= PAGE as u64 {
            self.large = None;
        } else if self.large.is_none() {
            self.large = self.all.0.clone().try_acquire_owned().ok();
        }
        PageSize(if self.large.is_some() {
            LARGE_PAGE
        } else {
            PAGE
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: u64 = PAGE as u64 + 1;

    #[test]
    fn pages_are_large_while_a_webhook_is_far_behind_and_they_may_be() {
        let mut sizes = Sizes::new(LargePages::default());
        let mut next = |pending, may_be_large| sizes.next(pending, may_be_large).0;
        assert_eq!(next(0, true), PAGE);
        assert_eq!(next(FAR, true), LARGE_PAGE);
        assert_eq!(next(FAR, false), PAGE);
        assert_eq!(next(FAR, true), LARGE_PAGE);
        assert_eq!(next(PAGE as u64, true), PAGE);
    }

    #[test]
    fn only_some_sessions_read_large_pages_at_once() {
        let all = LargePages::default();
        let mut sessions: Vec<_> = (0..=LARGE_AT_ONCE)
            .map(|_| Sizes::new(all.clone()))
            .collect();
        let sizes: Vec<_> = sessions.iter_mut().map(|it| it.next(FAR, true).0).collect();
        let large = sizes.iter().filter(|size| **size == LARGE_PAGE);
        assert_eq!(large.count(), LARGE_AT_ONCE);
        sessions[0].next(0, true);
        assert_eq!(sessions[LARGE_AT_ONCE].next(FAR, true).0, LARGE_PAGE);
    }
}
