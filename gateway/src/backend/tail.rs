//! The end of a tenant's log, read once for all its followers.
//!
//! As long as anybody follows a tenant, a task reads its new commits: when one of its views has
//! changed, and every two seconds. It keeps the latest ones for a moment. A follower that is
//! further behind reads the log itself.

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
    time::{Instant, sleep, timeout_at},
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
/// Commits that are kept for followers: some tenths of a second of a very busy tenant.
const RECENT: usize = 500;
/// How often the log is read without a changed view: a view may be late, or VIEWS away.
const POLL: Duration = Duration::from_secs(2);
/// A follower that seems to be behind and finds nothing reads the log again after this time: the
/// replica that has answered may lag. The time doubles with each further read.
const FIRST_RECHECK: Duration = Duration::from_secs(10);
const LONGEST_RECHECK: Duration = Duration::from_secs(5 * 60);
/// Tenants that may be kept although nobody follows them any more.
const TIDY_FROM: usize = 100;

/// The ends of the logs of all tenants that are followed.
#[derive(Clone, Debug)]
pub(crate) struct Tails {
    log: EventLog,
    views: Views,
    followed: Arc<Mutex<Followed>>,
}

#[derive(Debug, Default)]
struct Followed {
    tails: HashMap<TenantKey, Weak<Tail>>,
    /// With so many tails, those that have ended are removed.
    tidy_at: usize,
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
    /// Tells where the tail has read to.
    tail_next: watch::Receiver<u64>,
    /// The sequence at which this follower goes on.
    next: u64,
    /// The last read of the log, if it has found nothing.
    nothing: Option<Nothing>,
}

/// A read of the log that has found nothing.
#[derive(Clone, Copy)]
struct Nothing {
    /// Where the tail was.
    tail_next: u64,
    wait: Duration,
    /// When the log is read again.
    until: Instant,
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
            tail_next: tail.next.subscribe(),
            tail,
            next: last + 1,
            nothing: None,
        })
    }

    /// Returns the tail of a tenant. If nobody follows the tenant yet, it begins at this sequence,
    /// which is behind the log's end. A tail that is beyond has read another log: this one was
    /// restored since.
    fn tail(&self, tenant: TenantKey, next: u64) -> Arc<Tail> {
        let mut followed = self.followed();
        let tail = followed.tails.get(&tenant).and_then(Weak::upgrade);
        if let Some(tail) = tail.filter(|tail| *tail.next.borrow() <= next) {
            return tail;
        }
        if followed.tails.len() >= followed.tidy_at {
            followed.tails.retain(|_, tail| tail.strong_count() > 0);
            followed.tidy_at = 2 * followed.tails.len() + TIDY_FROM;
        }
        let tail = Arc::new(Tail {
            pages: Mutex::default(),
            next: watch::Sender::new(next),
        });
        followed.tails.insert(tenant, Arc::downgrade(&tail));
        let changes = self.views.changes_in(tenant);
        let reading = read(Arc::downgrade(&tail), self.log.clone(), tenant, changes);
        tokio::spawn(reading);
        tail
    }

    fn followed(&self) -> MutexGuard<'_, Followed> {
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
    let mut is_idle = false;
    while let Some(tail) = tail.upgrade() {
        let more = tail.read_page(&log, TenantId::Tenant(tenant)).await;
        if is_idle && matches!(more, Ok(false)) {
            tail.pages().clear();
        }
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
            Some(()) = changes.next() => is_idle = false,
            () = sleep(POLL) => is_idle = true,
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
            // An empty page counts, too: its commits are of areas that this program does not know.
            let size = |page: &Page| page.entries.len().max(1);
            let mut commits: usize = pages.iter().map(size).sum();
            while commits > RECENT
                && let Some(oldest) = pages.pop_front()
            {
                commits -= size(&oldest);
            }
        }
        self.next.send_replace(next);
        Ok(page.pending > 0)
    }

    /// Returns the page with this sequence, if it is kept.
    fn page(&self, sequence: u64) -> Option<Page> {
        let pages = self.pages();
        let page = pages.get(pages.partition_point(|page| page.next <= sequence))?;
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
            let tail_next = *self.tail_next.borrow_and_update();
            // Kept between calls: the caller drops this future and calls again every few seconds.
            let before = self.nothing.filter(|before| before.tail_next == tail_next);
            let is_due = before.is_none_or(|before| before.until <= Instant::now());
            if self.next < tail_next && is_due {
                // In a box, so that an idle follower reserves no memory for it.
                if let Some(entries) = Box::pin(self.read()).await? {
                    self.nothing = None;
                    return Ok(entries);
                }
                let wait = before.map_or(FIRST_RECHECK, |before| 2 * before.wait);
                let wait = wait.min(LONGEST_RECHECK);
                let until = Instant::now() + wait;
                self.nothing = Some(Nothing {
                    tail_next,
                    wait,
                    until,
                });
            }
            let until = self.nothing.map(|nothing| nothing.until);
            let until = until.unwrap_or_else(|| Instant::now() + LONGEST_RECHECK);
            // An error would mean that there is no tail, but the follower holds it.
            _ = timeout_at(until, self.tail_next.changed()).await;
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
