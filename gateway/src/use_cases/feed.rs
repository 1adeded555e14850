//! The feed: the tenant's events as they happen, in order, from where the client left off.
//!
//! It is read from the log, page by page, as fast as the client reads: at most one page is
//! buffered. Announcements of written views only wake it up. Before each page, it checks whether
//! the caller may still read the events.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use event_store::EventLog;
use events_schema::{AreaName, TenantId, TenantKey, subject::events_of_tenant};
use futures_util::{Stream, StreamExt, stream, stream::BoxStream};
use tokio::time::sleep;

use crate::{
    access::allows,
    backend::{
        log::{Entry, entries},
        views::Views,
    },
    error::Error,
    identity::{Caller, Callers, Membership, RequestHead},
};

/// Maximum commits on a page.
const PAGE: usize = 100;
/// How often the log and the permissions are read without an announcement.
const POLL: Duration = Duration::from_secs(2);

/// Opens feeds.
#[derive(Clone, Debug)]
pub(crate) struct Feeds {
    pub(crate) log: EventLog,
    pub(crate) views: Views,
    pub(crate) callers: Callers,
}

/// An open feed.
struct Feed {
    log: EventLog,
    callers: Callers,
    /// The request that opened the feed. Its caller is identified again before each page.
    head: Arc<RequestHead>,
    tenant: TenantKey,
    areas: Vec<AreaName>,
    /// The sequence at which the next page begins.
    next: u64,
    /// Entries that the client has not read yet; at most a page.
    waiting: VecDeque<Entry>,
    changes: BoxStream<'static, ()>,
    has_ended: bool,
}

impl Feeds {
    /// Opens a feed of the caller's tenant. It begins after this sequence, or now, and has the
    /// events of these areas, or of all that the caller may read. It ends with an error when the
    /// caller may no longer read them.
    ///
    /// # Errors
    /// `Forbidden` if the caller may not read one of the areas; `BadUserInput` if the log does not
    /// have this sequence.
    pub(crate) async fn open(
        &self,
        caller: &Caller,
        head: Arc<RequestHead>,
        after: Option<u64>,
        areas: Option<Vec<AreaName>>,
    ) -> Result<impl Stream<Item = Result<Entry, Error>> + use<>, Error> {
        let membership = caller.membership()?;
        let all = AreaName::ALL.iter().copied();
        let readable = all.filter(|area| may_read(membership, *area));
        let areas = areas.unwrap_or_else(|| readable.collect());
        let tenant = membership.tenant.id;
        authorize(caller, tenant, &areas)?;
        let account = membership.member.view.account;
        let changes = self.views.changes(tenant, account);
        let end = self.log.last_sequence().await?;
        let last = after.unwrap_or(end);
        if last > end {
            let message = "after is beyond the end of the events; begin without it.";
            return Err(Error::input("after", message));
        }
        let feed = Feed {
            log: self.log.clone(),
            callers: self.callers.clone(),
            head,
            tenant,
            areas,
            next: last + 1,
            waiting: VecDeque::new(),
            changes,
            has_ended: false,
        };
        Ok(stream::unfold(feed, |mut feed| async move {
            Some((feed.next().await?, feed))
        }))
    }
}

impl Feed {
    /// Returns the next entry, or one last error.
    async fn next(&mut self) -> Option<Result<Entry, Error>> {
        if self.has_ended {
            return None;
        }
        let entry = self.entry().await;
        self.has_ended = entry.is_err();
        Some(entry)
    }

    async fn entry(&mut self) -> Result<Entry, Error> {
        loop {
            if let Some(entry) = self.waiting.pop_front() {
                return Ok(entry);
            }
            // Checked before each page, so that no page is shown that was read after the
            // permissions were revoked.
            let caller = self.callers.identify(&self.head, Bytes::new()).await?;
            authorize(&caller, self.tenant, &self.areas)?;
            let pending = self.read_page().await?;
            if self.waiting.is_empty() && pending == 0 {
                tokio::select! {
                    Some(()) = self.changes.next() => {}
                    () = sleep(POLL) => {}
                }
            }
        }
    }

    /// Reads the next page. Returns how many commits follow.
    async fn read_page(&mut self) -> Result<u64, Error> {
        let tenant = TenantId::Tenant(self.tenant);
        let filter = events_of_tenant(tenant);
        let page = self.log.page_of(&filter, self.next, PAGE).await?;
        let last = page.messages.last().map(|last| last.sequence);
        self.next = last.map_or(self.next, |last| last + 1);
        let entries = entries(tenant, &page.messages)?.into_iter();
        self.waiting = entries
            .filter(|entry| self.areas.contains(&entry.area))
            .collect();
        Ok(page.pending)
    }
}

/// Checks that a caller may follow these areas in this tenant.
fn authorize(caller: &Caller, tenant: TenantKey, areas: &[AreaName]) -> Result<(), Error> {
    let operation = AreaName::Tenant.operation("events");
    allows(operation.ok_or(Error::Forbidden)?, caller.standing())?;
    let membership = caller.membership()?;
    let may_read_all = areas.iter().all(|area| may_read(membership, *area));
    if membership.tenant.id == tenant && may_read_all {
        Ok(())
    } else {
        Err(Error::Forbidden)
    }
}

fn may_read(membership: &Membership, area: AreaName) -> bool {
    let needed = area.feed();
    needed.is_some_and(|permission| membership.permissions.contains(&permission))
}
