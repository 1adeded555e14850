//! The feed: the tenant's events as they happen, in order, from where the client left off.
//!
//! Before each page it shows, the feed checks whether the caller may still read the events.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use events_schema::{AccountId, AreaName, TenantKey};
use futures_util::{
    Stream, StreamExt,
    future::ready,
    stream::{self, BoxStream, once},
};
use tokio::time::sleep;

use crate::{
    access::allows,
    backend::{
        log::Entry,
        tail::{Follower, Tails},
    },
    error::Error,
    identity::{Caller, Callers, Membership, RequestHead},
    shares::{Share, Shares},
};

/// How often the permissions are checked without a change: time ends sessions and access tokens.
const RECHECK: Duration = Duration::from_secs(10);

/// The answer to an account or a tenant with too many feeds.
const TOO_MANY: Error = Error::RateLimited {
    retry_after: Duration::from_secs(10),
};

/// Opens feeds.
#[derive(Clone, Debug)]
pub(crate) struct Feeds {
    pub(crate) tails: Tails,
    pub(crate) callers: Callers,
    /// The open feeds of each account.
    pub(crate) of_accounts: Shares<AccountId>,
    /// The open feeds of each tenant.
    pub(crate) of_tenants: Shares<TenantKey>,
}

/// An open feed.
struct Feed {
    callers: Callers,
    /// The request that opened the feed. Its caller is identified again before each page.
    head: Arc<RequestHead>,
    tenant: TenantKey,
    areas: Vec<AreaName>,
    log: Follower,
    /// Entries that the client has not read yet; at most a page.
    waiting: VecDeque<Entry>,
    /// Has an item when the permissions of the caller may have changed.
    changes: BoxStream<'static, ()>,
    has_ended: bool,
    _shares: (Share<AccountId>, Share<TenantKey>),
}

impl Feeds {
    /// Opens a feed of the caller's tenant. It begins after this sequence, or now, and has the
    /// events of these areas, or of all that the caller may read. It ends with an error when the
    /// caller may no longer read them.
    ///
    /// # Errors
    /// `Forbidden` if the caller may not read one of the areas; `BadUserInput` if the log does not
    /// have this sequence; `RateLimited` if the account or the tenant has too many feeds.
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
        let account = caller.identity()?.account_id();
        let shares = self
            .of_accounts
            .take(account)
            .zip(self.of_tenants.take(tenant));
        let shares = shares.ok_or(TOO_MANY)?;
        let feed = Feed {
            callers: self.callers.clone(),
            head,
            tenant,
            areas,
            log: self.tails.follow(tenant, after).await?,
            waiting: VecDeque::new(),
            // Checked at once, too: something may have changed since the caller was identified.
            changes: once(ready(())).chain(self.callers.changes(caller)).boxed(),
            _shares: shares,
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
            let page = tokio::select! {
                page = self.log.next() => page?,
                Some(()) = self.changes.next() => Vec::new(),
                () = sleep(RECHECK) => Vec::new(),
            };
            // In a box, so that an idle feed reserves no memory for it.
            let caller = Box::pin(self.callers.identify(&self.head, Bytes::new())).await?;
            authorize(&caller, self.tenant, &self.areas)?;
            let entries = page.into_iter();
            self.waiting = entries
                .filter(|entry| self.areas.contains(&entry.area))
                .collect();
        }
    }
}

/// Checks that a caller may follow these areas in this tenant.
fn authorize(caller: &Caller, tenant: TenantKey, areas: &[AreaName]) -> Result<(), Error> {
    let operation = AreaName::Tenant.operation("events");
    allows(operation.ok_or(Error::Forbidden)?, caller.rights())?;
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
