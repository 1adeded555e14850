//! The feed of the tenant's events.

use std::sync::Arc;

use async_graphql::{Context, ID, SimpleObject, Subscription};
use futures_util::{Stream, StreamExt};

use super::{
    actor::ActorView,
    area_name::TenantArea,
    cursor,
    field::FieldContext,
    scalars::{DateTime, to_id},
};
use crate::{backend::log::Entry, error::Error, identity::RequestHead};

/// A change that was made in the tenant.
#[derive(SimpleObject)]
struct TenantEvent {
    /// Position in the feed. Pass it as `after` to continue with the next event.
    cursor: String,
    /// When the change was made.
    at: DateTime,
    /// Who made the change.
    actor: ActorView,
    /// The part of the business that was changed.
    area: TenantArea,
    /// Id of the object that was changed.
    id: ID,
    /// The revision that the object reached.
    revision: u64,
    /// The names of the events, such as `created`. Newer versions may add names.
    events: Vec<String>,
}

pub(super) struct SubscriptionRoot;

/// Everything that can be followed, over a WebSocket.
#[Subscription(name = "SubscriptionRoot")]
impl SubscriptionRoot {
    /// The tenant's events, in order: those after the cursor `after`, or new ones. Only those of
    /// `areas`, or of all areas that the caller may read. `FORBIDDEN` if the caller may not read
    /// one of them. The subscription ends with an error when the caller may no longer read them.
    async fn events(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        areas: Option<Vec<TenantArea>>,
    ) -> Result<impl Stream<Item = async_graphql::Result<TenantEvent>> + use<>, Error> {
        let field = FieldContext::of(ctx);
        let after = after
            .map(|after| cursor::read("after", &after))
            .transpose()?;
        let areas = areas.map(|areas| areas.into_iter().map(|area| area.0).collect());
        let head = ctx.data_unchecked::<Arc<RequestHead>>().clone();
        let feeds = &field.use_cases.feeds;
        let feed = feeds.open(field.caller, head, after, areas).await?;
        Ok(feed.map(|entry| Ok(event(entry?))))
    }
}

fn event(entry: Entry) -> TenantEvent {
    let Entry {
        sequence,
        area,
        commit,
    } = entry;
    TenantEvent {
        cursor: cursor::write(sequence),
        at: DateTime(commit.time),
        actor: ActorView(commit.actor),
        area: TenantArea(area),
        id: to_id(commit.id),
        revision: commit.revision,
        events: commit.events.into_iter().map(|event| event.name).collect(),
    }
}
