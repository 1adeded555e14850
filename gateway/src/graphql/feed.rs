//! The feed: what happens in the tenant, as it happens, in order, and from where the client left
//! off.
//!
//! It is read from the log, page by page, as fast as the client takes it; nothing is kept for a
//! client that is slow. News of written views only wake it up. Who may hear what is looked at again
//! whenever a right may have changed.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use anyhow::Context as _;
use async_graphql::{Context, ID, SimpleObject, Subscription};
use axum::body::Bytes;
use events_schema::{Action, Area, Id, Permission, Resource};
use futures_util::{Stream, StreamExt, stream, stream::BoxStream};
use tokio::time::{Instant, sleep_until};

use super::{
    DateTime,
    audit::{AreaName, Doer, read_cursor, write_cursor},
};
use crate::{
    State,
    access::operations::Access,
    backend::log::{Entry, From},
    error::Error,
    http::sockets::Handshake,
    identity::caller::{Caller, Membership},
};

/// Commits read at once.
const PAGE: usize = 100;
/// How often the log and the rights are looked at, should all news be lost.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Something that happened in the tenant.
#[derive(SimpleObject)]
struct TenantEvent {
    /// Where it stands: give it as `after` to go on behind it.
    cursor: String,
    at: DateTime,
    actor: Doer,
    area: AreaName,
    /// Of what changed.
    id: ID,
    /// To which revision it changed.
    revision: u64,
    /// What happened, such as `created`.
    events: Vec<String>,
}

/// What happens.
pub(crate) struct Feeds;

#[Subscription(name = "Subscription")]
impl Feeds {
    /// What happens in the tenant, in order: from behind `after` on, or from now on. Only what the
    /// caller may read.
    async fn events(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        areas: Option<Vec<AreaName>>,
    ) -> Result<impl Stream<Item = async_graphql::Result<TenantEvent>> + use<>, async_graphql::Error>
    {
        let state = ctx.data_unchecked::<Arc<State>>().clone();
        let caller = ctx.data_unchecked::<Caller>();
        Access::Member.allows(caller)?;
        let membership = caller.membership()?;
        let areas = areas.unwrap_or_else(|| {
            AreaName::ALL
                .into_iter()
                .filter(|area| may_read(membership, *area))
                .collect()
        });
        if !areas.iter().all(|area| may_read(membership, *area)) {
            return Err(Error::Forbidden.into());
        }
        let after = after
            .as_deref()
            .map(|cursor| read_cursor("after", cursor))
            .transpose()?;
        let news = news(&state, membership).await?;
        let next = match after {
            Some(sequence) => sequence + 1,
            None => state.log.last_sequence().await? + 1,
        };
        let handshake = ctx.data_unchecked::<Arc<Handshake>>().clone();
        let feed = Feed {
            tenant: membership.tenant.id,
            state,
            handshake,
            areas,
            next,
            waiting: VecDeque::new(),
            news,
            over: false,
        };
        Ok(stream::unfold(feed, |mut feed| async move {
            Some((feed.next().await?, feed))
        }))
    }
}

/// A feed under way.
struct Feed {
    state: Arc<State>,
    handshake: Arc<Handshake>,
    tenant: Id,
    areas: Vec<AreaName>,
    /// The sequence to go on from.
    next: u64,
    /// Entries that were read and not yet taken; at most a page.
    waiting: VecDeque<Entry>,
    news: BoxStream<'static, ()>,
    over: bool,
}

impl Feed {
    /// The next event; an error once, when the caller may no longer hear, and then nothing.
    async fn next(&mut self) -> Option<async_graphql::Result<TenantEvent>> {
        if self.over {
            return None;
        }
        let result = self.entry().await;
        self.over = result.is_err();
        Some(result.map(event).map_err(Into::into))
    }

    async fn entry(&mut self) -> Result<Entry, Error> {
        loop {
            if let Some(entry) = self.waiting.pop_front() {
                return Ok(entry);
            }
            // Rights are looked at before each page, so that no page is handed out that was read
            // after they had gone.
            let membership =
                membership(&self.state, &self.handshake, self.tenant, &self.areas).await?;
            let (page, left) = self
                .state
                .log
                .page(membership.tenant_id(), From::Sequence(self.next), PAGE)
                .await?;
            self.next = page.last().map_or(self.next, |last| last.sequence + 1);
            self.waiting = page.into_iter().filter(|entry| self.wants(entry)).collect();
            if self.waiting.is_empty() && left == 0 {
                let look = Instant::now() + LOOK_EVERY;
                tokio::select! {
                    _ = self.news.next() => {}
                    () = sleep_until(look) => {}
                }
            }
        }
    }

    fn wants(&self, entry: &Entry) -> bool {
        AreaName::of(entry.area).is_some_and(|area| self.areas.contains(&area))
    }
}

/// The caller's place in the tenant as it is now; an error if they may no longer read what they
/// asked for.
async fn membership(
    state: &State,
    handshake: &Handshake,
    tenant: Id,
    areas: &[AreaName],
) -> Result<Membership, Error> {
    let asked = handshake.asked();
    let caller = Caller::of(state, &asked, Bytes::new()).await?;
    Access::Member.allows(&caller)?;
    let membership = caller.membership.ok_or(Error::NotFound)?;
    let same = membership.tenant.id == tenant;
    if same && areas.iter().all(|area| may_read(&membership, *area)) {
        Ok(membership)
    } else {
        Err(Error::Forbidden)
    }
}

fn event(entry: Entry) -> TenantEvent {
    let Entry {
        sequence,
        area,
        id,
        revision,
        time,
        actor,
        events,
        ..
    } = entry;
    TenantEvent {
        cursor: write_cursor(sequence),
        at: DateTime(time),
        actor: Doer(actor),
        // Others were sorted out by `wants`.
        area: AreaName::of(area).unwrap_or(AreaName::Tenant),
        id: id.to_string().into(),
        revision,
        events,
    }
}

fn may_read(membership: &Membership, area: AreaName) -> bool {
    let resource = match area {
        AreaName::AccessToken => Resource::AccessToken,
        AreaName::Member => Resource::Member,
        AreaName::Project => Resource::Project,
        AreaName::Role => Resource::Role,
        AreaName::Tenant => Resource::Tenant,
    };
    membership
        .rights
        .contains(&Permission(Action::Read, resource))
}

/// Whenever a view was written that shows something new in the tenant, or that a right may have
/// changed.
async fn news(state: &State, membership: &Membership) -> Result<BoxStream<'static, ()>, Error> {
    let account = membership
        .member
        .view
        .account
        .map(|account| account.to_string())
        .unwrap_or_default();
    let subjects = [
        format!("view.{}.>", membership.tenant_id()),
        format!("view.platform.{}.{}", Area::Tenant, membership.tenant.id),
        // A password change ends all sessions. That of a single session is seen at the next look.
        format!("view.platform.{}.{account}", Area::Account),
    ];
    let mut all = Vec::new();
    for subject in subjects {
        all.push(
            state
                .nats
                .subscribe(subject)
                .await
                .context("subscribing to views")?
                .map(|_| ()),
        );
    }
    Ok(stream::select_all(all).boxed())
}
