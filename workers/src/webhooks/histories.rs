//! Reads the histories of objects, which full messages show. A few at once, so that their pages fit
//! into the memory, and fewer of one tenant, so that its long histories hold up no other tenant.

use std::sync::Arc;

use anyhow::Context as _;
use event_store::EventLog;
use events_schema::{
    TenantKey,
    published::{Folded, PublicEvent, Unreadable},
};

use super::slots::{Slot, Slots};

/// Histories that are read at once, and those of one tenant.
const AT_ONCE: usize = 16;
const AT_ONCE_OF_TENANT: usize = 4;
/// Commits of a history that are read at once. They have up to 40 KB each.
const PAGE: usize = 50;
/// With so many pages, an object is too large to be shown.
const MAX_PAGES: usize = 200;

/// The histories of objects.
#[derive(Clone)]
pub struct Histories {
    log: EventLog,
    turns: Turns,
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
        }
    }

    /// Folds the object of an event up to the commit with this sequence; `None` if it has too many
    /// changes, or a malformed one.
    ///
    /// # Errors
    /// If the log does not answer or lags behind, or a newer release wrote a commit.
    pub async fn fold(&self, event: &PublicEvent, sequence: u64) -> anyhow::Result<Option<Folded>> {
        let _turn = self.turns.next(event.tenant).await;
        let subject = event.subject().to_string();
        let (mut folded, mut next) = (Folded::default(), 1);
        for _ in 0..MAX_PAGES {
            let page = self.log.page_of(&subject, next, PAGE).await?;
            let last = page.messages.last().map(|last| last.sequence);
            let last = last.context("a replica of the log lags behind")?;
            let payloads = page.messages.iter().map(|stored| &stored.payload);
            match event.fold(folded, payloads) {
                Ok(read) => folded = read,
                Err(error) => {
                    hide(event, error)?;
                    return Ok(None);
                }
            }
            if last >= sequence {
                return Ok(Some(folded));
            }
            next = last + 1;
        }
        Ok(None)
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
