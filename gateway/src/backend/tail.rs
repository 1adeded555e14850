//! The end of a tenant's log, read once for all who follow it.
//!
//! As long as anybody follows a tenant, a task reads its new commits: when one of its views has
//! changed, and every two seconds. It keeps the latest pages. A follower that is further behind
//! reads the log itself.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use event_store::EventLog;
use events_schema::{TenantId, TenantKey, subject::events_of_tenant};
use futures_util::{StreamExt, stream::BoxStream};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    backend::{
        log::{Entry, entries},
        views::Views,
    },
    error::Error,
};

/// Maximum commits on a page.
const PAGE: usize = 100;
/// Pages that are kept for followers. At a full rate, they cover a second.
const KEPT: usize = 16;
/// How often the log is read without a changed view: a view may be late, or VIEWS away.
const POLL: Duration = Duration::from_secs(2);
/// How often a follower reads the log itself where it can only find what it has missed: a replica
/// that it has read may have lagged behind.
const RECHECK: Duration = Duration::from_secs(10);

/// The ends of the logs of all tenants that are followed.
#[derive(Clone, Debug)]
pub(crate) struct Tails {
    log: EventLog,
    views: Views,
    followed: Arc<Mutex<HashMap<TenantKey, Weak<Tail>>>>,
}

/// The latest commits of a tenant.
#[derive(Debug)]
struct Tail {
    /// Without a gap between them.
    pages: Mutex<VecDeque<Page>>,
    /// The sequence at which the next page begins.
    next: watch::Sender<u64>,
}

/// All commits of a tenant with these sequences.
#[derive(Clone, Debug)]
struct Page {
    from: u64,
    /// The sequence after the last one.
    next: u64,
    entries: Arc<[Entry]>,
}

/// A place in a tenant's log, from which the log is read on.
pub(crate) struct Follower {
    log: EventLog,
    tenant: TenantId,
    tail: Arc<Tail>,
    end: watch::Receiver<u64>,
    next: u64,
}

impl Tails {
    pub(crate) fn new(log: EventLog, views: Views) -> Self {
        Self {
            log,
            views,
            followed: Arc::default(),
        }
    }

    /// Follows a tenant's commits after this sequence; by default, after the last one.
    ///
    /// # Errors
    /// `BadUserInput` if the log does not have this sequence; `Unavailable` if it does not answer.
    pub(crate) async fn follow(
        &self,
        tenant: TenantKey,
        after: Option<u64>,
    ) -> Result<Follower, Error> {
        let end = self.log.last_sequence().await?;
        let last = after.unwrap_or(end);
        if last > end {
            let message = "after is beyond the end of the events; begin without it.";
            return Err(Error::input("after", message));
        }
        let tail = self.tail(tenant, end + 1);
        Ok(Follower {
            log: self.log.clone(),
            tenant: TenantId::Tenant(tenant),
            end: tail.next.subscribe(),
            tail,
            next: last + 1,
        })
    }

    /// Returns the tail of a tenant. If nobody follows the tenant yet, it begins at this sequence.
    fn tail(&self, tenant: TenantKey, next: u64) -> Arc<Tail> {
        let mut followed = self.followed();
        if let Some(tail) = followed.get(&tenant).and_then(Weak::upgrade) {
            return tail;
        }
        followed.retain(|_, tail| tail.strong_count() > 0);
        let tail = Arc::new(Tail {
            pages: Mutex::default(),
            next: watch::Sender::new(next),
        });
        followed.insert(tenant, Arc::downgrade(&tail));
        let changes = self.views.changes_in(tenant);
        let reading = read(Arc::downgrade(&tail), self.log.clone(), tenant, changes);
        tokio::spawn(reading);
        tail
    }

    fn followed(&self) -> MutexGuard<'_, HashMap<TenantKey, Weak<Tail>>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the log for a tail until nobody follows it.
async fn read(
    tail: Weak<Tail>,
    log: EventLog,
    tenant: TenantKey,
    mut changes: BoxStream<'static, ()>,
) {
    while let Some(tail) = tail.upgrade() {
        let more = tail.read_page(&log, TenantId::Tenant(tenant)).await;
        drop(tail);
        match more {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                let error = format!("{error:#}");
                tracing::debug!(%tenant, error, "the end of the log cannot be read");
            }
        }
        tokio::select! {
            Some(()) = changes.next() => {}
            () = sleep(POLL) => {}
        }
    }
}

impl Tail {
    /// Reads the next page. Returns whether more commits follow.
    async fn read_page(&self, log: &EventLog, tenant: TenantId) -> anyhow::Result<bool> {
        let from = *self.next.borrow();
        let page = log.page_of(&events_of_tenant(tenant), from, PAGE).await?;
        let Some(last) = page.messages.last() else {
            return Ok(false);
        };
        let next = last.sequence + 1;
        {
            let mut pages = self.pages();
            match entries(tenant, &page.messages) {
                Ok(entries) => pages.push_back(Page {
                    from,
                    next,
                    entries: entries.into(),
                }),
                // Each follower reads this page itself, and gets the error.
                Err(_) => pages.clear(),
            }
            if pages.len() > KEPT {
                pages.pop_front();
            }
        }
        self.next.send_replace(next);
        Ok(page.pending > 0)
    }

    /// Returns the page with this sequence, if it is kept.
    fn page(&self, sequence: u64) -> Option<Page> {
        let pages = self.pages();
        let page = pages.iter().find(|page| sequence < page.next)?;
        (page.from <= sequence).then(|| page.clone())
    }

    fn pages(&self) -> MutexGuard<'_, VecDeque<Page>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    /// Waits for the next commits, and returns at most a page of them. If the future is dropped, no
    /// commit is lost.
    ///
    /// # Errors
    /// If a message is no commit of this tenant, or the log does not answer to a follower that is
    /// behind.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Vec<Entry>> {
        loop {
            let is_behind = self.next < *self.end.borrow_and_update();
            // In a box, so that an idle follower has no room for it.
            if is_behind && let Some(entries) = Box::pin(self.read()).await? {
                return Ok(entries);
            }
            // An error would mean that there is no tail, but the follower holds it.
            _ = timeout(RECHECK, self.end.changed()).await;
        }
    }

    /// Returns the next page, if it has commits.
    async fn read(&mut self) -> anyhow::Result<Option<Vec<Entry>>> {
        if let Some(page) = self.tail.page(self.next) {
            let new = page.entries.iter();
            let new = new.filter(|entry| entry.sequence >= self.next).cloned();
            let new = Vec::from_iter(new);
            self.next = page.next;
            return Ok(Some(new));
        }
        let filter = events_of_tenant(self.tenant);
        let page = self.log.page_of(&filter, self.next, PAGE).await?;
        let Some(last) = page.messages.last() else {
            return Ok(None);
        };
        let entries = entries(self.tenant, &page.messages)?;
        self.next = last.sequence + 1;
        Ok(Some(entries))
    }
}
