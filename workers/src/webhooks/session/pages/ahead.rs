//! Pages of the log that are read while events are sent.

use std::{collections::VecDeque, future::pending};

use event_store::{EventLog, Page};
use tokio_util::task::AbortOnDropHandle;

use super::size::{PAGE, PageSize};

/// The pages that come next. A large one waits as several, so that a line never gets more than one of
/// usual size.
#[derive(Default)]
pub struct Ahead {
    reading: Option<(u64, AbortOnDropHandle<anyhow::Result<Page>>)>,
    read: VecDeque<ReadAhead>,
}

/// A page from this sequence on.
type ReadAhead = (u64, anyhow::Result<Page>);

impl Ahead {
    /// Begins to read a page from this sequence on.
    pub fn begin(&mut self, log: EventLog, filter: String, from: u64, size: PageSize) {
        let reading = async move { size.read(&log, &filter, from).await };
        let reading = AbortOnDropHandle::new(tokio::spawn(reading));
        self.reading = Some((from, reading));
    }

    /// Whether no page waits, and none is being read.
    pub fn is_empty(&self) -> bool {
        self.reading.is_none() && self.read.is_empty()
    }

    /// Whether the next page is being read.
    pub fn is_awaited(&self) -> bool {
        self.reading.is_some() && self.read.is_empty()
    }

    /// Returns from where a page is to be read next, if the line goes on at `from`; `None` as long as
    /// enough is read.
    pub fn wants(&self, from: u64) -> Option<u64> {
        if self.reading.is_some() {
            return None;
        }
        match (self.read.len(), self.read.front()) {
            (0, _) => Some(from),
            (1, Some((_, Ok(page)))) if !page.is_last() => page.next(),
            (_, _) => None,
        }
    }

    /// Returns when a page is read that was asked for; waits for ever if none is.
    pub async fn is_read(&mut self) {
        let Some((from, reading)) = &mut self.reading else {
            return pending().await;
        };
        let (from, page) = (*from, reading.await.map_err(anyhow::Error::from));
        self.reading = None;
        match page.flatten() {
            Ok(page) => {
                let (first, following) = divide(page);
                self.read.push_back((from, Ok(first)));
                self.read.extend(following);
            }
            Err(error) => self.read.push_back((from, Err(error))),
        }
    }

    /// Waits for the page that was asked for, if there is one.
    pub async fn end(&mut self) {
        if self.reading.is_some() {
            self.is_read().await;
        }
    }

    /// Returns the first part of a page. The others wait.
    pub fn first_of(&mut self, page: Page) -> Page {
        let (first, following) = divide(page);
        self.read.extend(following);
        first
    }

    /// Takes the page from this sequence on. The pages are dropped if none begins there.
    pub fn take(&mut self, from: u64) -> Option<anyhow::Result<Page>> {
        let next = self.read.front().map(|(from, _)| *from);
        if next.is_some_and(|next| next != from) {
            self.read.clear();
            self.reading = None;
        }
        self.read.pop_front().map(|(_, page)| page)
    }
}

/// Divides a page into the first one of usual size, and those that follow.
fn divide(page: Page) -> (Page, Vec<ReadAhead>) {
    let mut left = page.messages.len() as u64;
    let mut messages = page.messages.into_iter();
    let mut part = || {
        let messages: Vec<_> = messages.by_ref().take(PAGE).collect();
        left -= messages.len() as u64;
        Page {
            messages,
            pending: page.pending + left,
        }
    };
    let first = part();
    let (mut next, mut following) = (first.next(), Vec::new());
    while let Some(from) = next {
        let part = part();
        next = part.next();
        if next.is_some() {
            following.push((from, Ok(part)));
        }
    }
    (first, following)
}

#[cfg(test)]
mod tests {
    use event_store::Stored;

    use super::*;

    /// A page of messages with every second sequence after 9, of so many that follow.
    fn page(count: usize, pending: u64) -> Page {
        let message = |at: usize| Stored {
            sequence: 10 + 2 * at as u64,
            subject: String::new(),
            payload: "".into(),
        };
        Page {
            messages: (0..count).map(message).collect(),
            pending,
        }
    }

    fn taken(ahead: &mut Ahead, from: u64) -> Option<(usize, u64)> {
        let page = ahead.take(from)?.unwrap();
        Some((page.messages.len(), page.pending))
    }

    #[test]
    fn a_large_page_comes_in_parts_that_follow_each_other() {
        let mut ahead = Ahead::default();
        let first = ahead.first_of(page(2 * PAGE + 1, 7));
        assert_eq!(first.messages.len(), PAGE);
        assert_eq!(first.pending, 7 + PAGE as u64 + 1);
        let second = 10 + 2 * (PAGE as u64 - 1) + 1;
        assert_eq!(ahead.wants(second), None);
        assert!(!ahead.is_awaited(), "a part can be taken");
        assert_eq!(taken(&mut ahead, second), Some((PAGE, 8)));
        let third = second + 2 * PAGE as u64;
        // The next page is read while the last part waits.
        assert_eq!(ahead.wants(third), Some(third + 2));
        assert_eq!(taken(&mut ahead, third), Some((1, 7)));
        assert!(ahead.is_empty());
        assert_eq!(ahead.wants(third + 2), Some(third + 2));
    }

    #[test]
    fn nothing_is_read_after_the_end_of_the_log_before_that_is_taken() {
        let mut ahead = Ahead::default();
        let first = ahead.first_of(page(PAGE + 1, 0));
        assert_eq!(ahead.wants(first.next().unwrap()), None);
    }

    #[test]
    fn an_empty_page_is_a_page() {
        let mut ahead = Ahead::default();
        let first = ahead.first_of(page(0, 0));
        assert_eq!((first.messages.len(), first.pending), (0, 0));
        assert!(ahead.is_empty());
    }

    #[test]
    fn parts_at_which_a_line_does_not_go_on_are_dropped() {
        let mut ahead = Ahead::default();
        ahead.first_of(page(PAGE + 1, 0));
        assert_eq!(taken(&mut ahead, 12), None);
        assert!(ahead.is_empty());
    }
}
