//! The feed of the tenant's events.

use std::sync::Arc;

use async_graphql::{Context, ID, SimpleObject, Subscription};
use events_schema::TenantKey;
use futures_util::{Stream, StreamExt};

use super::{
    actor::ActorView,
    area_name::TenantArea,
    cursor::{Cursors, Timeline},
    field::FieldContext,
    scalars::{DateTime, to_id},
};
use crate::{backend::log::Entry, error::Error, identity::RequestHead};

/// A change that was made in the tenant.
#[derive(SimpleObject)]
struct TenantEvent {
    /// Position in the feed. Pass it as `after` to resume with the next event.
    cursor: String,
    /// When the change was made.
    at: DateTime,
    /// Who made the change.
    actor: ActorView,
    /// The area of the object that was changed.
    area: TenantArea,
    /// Id of the object that was changed: 32 lower-case hex digits.
    id: ID,
    /// Revision of the object after the change.
    revision: u64,
    /// Names of the events of the change, such as `created`. Newer versions may add names.
    events: Vec<String>,
}

pub(super) struct SubscriptionRoot;

/// All subscriptions. They use a WebSocket at `/graphql/ws` or `/t/<slug>/graphql/ws`, with the
/// sub-protocol `graphql-transport-ws`, and the socket needs a session or an access token. A socket
/// has at most 20 subscriptions, each with one field, and an account at most 300 sockets at one
/// gateway. `RATE_LIMITED` if the account or the tenant has too many subscriptions.
#[Subscription(name = "SubscriptionRoot")]
impl SubscriptionRoot {
    /// The tenant's events, in the order of the log. `FORBIDDEN` if the caller may not read one of
    /// the areas; `BAD_USER_INPUT` if `after` is no cursor of this tenant, or beyond the last event.
    /// The subscription ends with an error as soon as the caller may no longer read the areas.
    async fn events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Cursor to resume after; by default, new events.")] after: Option<String>,
        #[graphql(
            default,
            desc = "Without `after`, begin with the tenant's first event."
        )]
        from_beginning: bool,
        #[graphql(desc = "Areas to follow; by default, all that the caller may read.")]
        areas: Option<Vec<TenantArea>>,
    ) -> Result<impl Stream<Item = async_graphql::Result<TenantEvent>> + use<>, Error> {
        let field = FieldContext::of(ctx);
        let (tenant, cursors) = (field.membership()?.tenant.id, field.cursors().clone());
        let after = match after {
            Some(after) => Some(cursors.read(Timeline::Commits(tenant), "after", &after)?),
            None => from_beginning.then_some(0),
        };
        let areas = areas.map(|areas| areas.into_iter().map(|area| area.0).collect());
        let head = ctx.data_unchecked::<Arc<RequestHead>>().clone();
        let feeds = &field.use_cases.feeds;
        let feed = feeds.open(field.caller, head, after, areas).await?;
        Ok(feed.map(move |entry| Ok(event(&cursors, tenant, entry?)?)))
    }
}

fn event(cursors: &Cursors, tenant: TenantKey, entry: Entry) -> Result<TenantEvent, Error> {
    let Entry {
        sequence,
        area,
        commit,
    } = entry;
    Ok(TenantEvent {
        cursor: cursors.write(Timeline::Commits(tenant), sequence)?,
        at: DateTime(commit.time),
        actor: ActorView(commit.actor),
        area: TenantArea(area),
        id: to_id(commit.id),
        revision: commit.revision,
        events: commit.events.into_iter().map(|event| event.name).collect(),
    })
}
