//! Reads the histories of objects, which full messages show. A few at once, so that their pages fit
//! into the memory, and fewer of one tenant, so that its long histories hold up no other tenant.

mod remembered;

use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use event_store::EventLog;
use events_schema::{
    TenantKey,
    published::{Folded, PublicEvent, Unreadable},
};

use tokio::time::{Instant, timeout_at};

use self::remembered::{History, Remembered};
use super::slots::{Slot, Slots};

/// Histories that are read at once, and those of one tenant.
const AT_ONCE: usize = 16;
const AT_ONCE_OF_TENANT: usize = 4;
/// Commits of a history that are read at once. They have up to 40 KB each.
const PAGE: usize = 50;
/// With more changes, an object is too large to be shown.
const MAX_CHANGES: u64 = 10_000;

/// The histories of objects.
#[derive(Clone)]
pub struct Histories {
    log: EventLog,
    turns: Turns,
    remembered: Arc<Remembered>,
}

/// Says whose history is read next.
#[derive(Clone)]
struct Turns(Arc<Slots>);

impl Histories {
    /// Reads histories from this log.
    pub fn new(log: EventLog) -> Self {
        Self {
            log,
            turns: Turns::new(),
            remembered: Arc::new(Remembered::new()),
        }
    }

    /// Folds the object of an event up to its commit, which has this sequence; `None` if the object
    /// has too many changes, or a malformed one. `commit` is that commit, if it is known. What was
    /// read by `until` is remembered, so a further try ends sooner.
    ///
    /// # Errors
    /// If the log does not answer in time or lags behind, or a newer release wrote a commit.
    pub async fn fold(
        &self,
        event: &PublicEvent,
        sequence: u64,
        commit: Option<&Bytes>,
        until: Instant,
    ) -> anyhow::Result<Option<Folded>> {
        if event.revision > MAX_CHANGES {
            return Ok(None);
        }
        let subject = event.subject().to_string();
        let mut history = self.remembered.take(&subject, event.revision);
        let is_next = history.folded.revision() + 1 == event.revision;
        let is_readable = match commit.filter(|_| is_next) {
            Some(commit) => history.extend(event, [commit], sequence + 1)?,
            None => {
                let read = self.read(&mut history, &subject, event, sequence);
                let read = timeout_at(until, read).await;
                match read.context("the history takes long to read") {
                    Ok(Ok(is_readable)) => is_readable,
                    Ok(Err(error)) | Err(error) => {
                        self.remembered.keep(subject, history);
                        return Err(error);
                    }
                }
            }
        };
        let folded = is_readable.then(|| history.folded.clone());
        self.remembered.keep(subject, history);
        Ok(folded)
    }

    /// Reads the rest of a history up to the commit with this sequence; false if a commit is
    /// malformed.
    async fn read(
        &self,
        history: &mut History,
        subject: &str,
        event: &PublicEvent,
        sequence: u64,
    ) -> anyhow::Result<bool> {
        if history.next > sequence {
            return Ok(true);
        }
        let _turn = self.turns.next(event.tenant).await;
        while history.next <= sequence {
            let page = self.log.page_of(subject, history.next, PAGE).await?;
            let last = page.messages.last().map(|last| last.sequence);
            let last = last.context("a replica of the log lags behind")?;
            let payloads = page.messages.iter().map(|stored| &stored.payload);
            // Later commits than that of the event are not folded.
            if !history.extend(event, payloads, last.min(sequence) + 1)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl History {
    /// Folds further commits, after which the log goes on at `next`. If one is malformed, returns
    /// false, and the history is empty.
    fn extend<P: AsRef<[u8]>>(
        &mut self,
        event: &PublicEvent,
        payloads: impl IntoIterator<Item = P>,
        next: u64,
    ) -> Result<bool, Unreadable> {
        let before = std::mem::take(self);
        match event.fold(before.folded, payloads) {
            Ok(folded) => {
                *self = Self { folded, next };
                Ok(true)
            }
            Err(error) => {
                hide(event, error)?;
                Ok(false)
            }
        }
    }
}

impl Turns {
    fn new() -> Self {
        Self(Arc::new(Slots::new(AT_ONCE, AT_ONCE_OF_TENANT)))
    }

    async fn next(&self, tenant: TenantKey) -> Slot {
        loop {
            if let Some(slot) = self.0.take(tenant).await {
                return slot;
            }
        }
    }
}

/// Logs why an object is not shown.
///
/// # Errors
/// If a worker of a newer release can show it.
pub fn hide(event: &PublicEvent, error: Unreadable) -> Result<(), Unreadable> {
    match error {
        Unreadable::Newer(_) => Err(error),
        Unreadable::Malformed(_) | Unreadable::Missing { .. } => {
            tracing::warn!(event = event.id, %error, "an event is sent without its object");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use events_schema::Id;
    use futures_util::{FutureExt as _, future::join_all};

    use super::*;

    const ACME: TenantKey = TenantKey(Id::from_bytes([1; 16]));
    const OTHER: TenantKey = TenantKey(Id::from_bytes([2; 16]));

    #[tokio::test]
    async fn the_histories_of_a_tenant_hold_up_no_other() {
        let turns = Turns::new();
        let reading = join_all((0..AT_ONCE_OF_TENANT).map(|_| turns.next(ACME))).await;
        let mut waiting = pin!(turns.next(ACME));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(turns.next(OTHER).now_or_never().is_some());
        drop(reading);
        assert!(waiting.now_or_never().is_some());
    }
}
