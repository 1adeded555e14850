//! A page of the log that is read while events are sent.

use std::future::pending;

use event_store::{EventLog, Page};
use tokio_util::task::AbortOnDropHandle;

/// The page that comes next, if it is asked for.
#[derive(Default)]
pub struct Ahead {
    reading: Option<(u64, AbortOnDropHandle<anyhow::Result<Page>>)>,
    read: Option<ReadAhead>,
}

/// A page from this sequence on.
type ReadAhead = (u64, anyhow::Result<Page>);

impl Ahead {
    /// Begins to read a page from this sequence on.
    pub fn begin(&mut self, log: EventLog, filter: String, from: u64, limit: usize) {
        let reading = async move { log.page_of(&filter, from, limit).await };
        let reading = AbortOnDropHandle::new(tokio::spawn(reading));
        self.reading = Some((from, reading));
    }

    /// Whether no page is asked for.
    pub const fn is_empty(&self) -> bool {
        self.reading.is_none() && self.read.is_none()
    }

    /// Returns when the page is read; waits for ever if none is asked for.
    pub async fn is_read(&mut self) {
        let Some((from, reading)) = &mut self.reading else {
            return pending().await;
        };
        let page = reading.await.map_err(anyhow::Error::from);
        self.read = Some((*from, page.flatten()));
        self.reading = None;
    }

    /// Takes the page if it is read.
    pub fn take(&mut self) -> Option<ReadAhead> {
        self.read.take()
    }

    /// Waits for the page and takes it; `None` if none is asked for.
    pub async fn end(&mut self) -> Option<ReadAhead> {
        if self.reading.is_some() {
            self.is_read().await;
        }
        self.read.take()
    }
}
