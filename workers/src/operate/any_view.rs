//! Views without their types, for operator commands that work on all of them.

use async_nats::Client;
use event_store::Location;
use events_schema::{AreaName, Home, TenantId, View};
use futures_util::future::BoxFuture;

use crate::{
    areas::{self, Visitor},
    placements::Placements,
    views::{Confirmations, Progress, Rebuilt, Scope, Views},
};

/// A view of any type, so that the views of all areas fit into one list.
pub trait AnyView: Send + Sync {
    fn name(&self) -> &'static str;

    fn home(&self) -> Home;

    /// Prepares the platform's collection.
    fn prepare(&self) -> BoxFuture<'_, anyhow::Result<()>>;

    /// Rebuilds documents, with up to `max_held_bytes` of them in memory.
    fn rebuild<'a>(
        &'a self,
        scope: Scope,
        max_held_bytes: usize,
        progress: Progress<'a>,
    ) -> BoxFuture<'a, anyhow::Result<Rebuilt>>;

    /// Counts the documents of a tenant that differ between two locations.
    fn differences<'a>(
        &'a self,
        tenant: TenantId,
        one: &'a Location,
        other: &'a Location,
    ) -> BoxFuture<'a, anyhow::Result<u64>>;
}

/// Returns all views of these areas.
pub fn of(
    areas: impl IntoIterator<Item = AreaName>,
    client: &Client,
    placements: &Placements,
) -> Vec<Box<dyn AnyView>> {
    let mut collect = Collect {
        client,
        placements,
        views: Vec::new(),
    };
    for area in areas {
        areas::visit(area, &mut collect);
    }
    collect.views
}

struct Collect<'a> {
    client: &'a Client,
    placements: &'a Placements,
    views: Vec<Box<dyn AnyView>>,
}

impl Visitor for Collect<'_> {
    fn view<V: View>(&mut self) {
        let (client, placements) = (self.client.clone(), self.placements.clone());
        let confirmations = Confirmations::new(placements.clone());
        let views = Views::<V>::new(client, placements, confirmations);
        self.views.push(Box::new(views));
    }
}

impl<V: View> AnyView for Views<V> {
    fn name(&self) -> &'static str {
        V::NAME
    }

    fn home(&self) -> Home {
        V::HOME
    }

    fn prepare(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(self.prepare())
    }

    fn rebuild<'a>(
        &'a self,
        scope: Scope,
        max_held_bytes: usize,
        progress: Progress<'a>,
    ) -> BoxFuture<'a, anyhow::Result<Rebuilt>> {
        Box::pin(self.rebuild(scope, max_held_bytes, progress))
    }

    fn differences<'a>(
        &'a self,
        tenant: TenantId,
        one: &'a Location,
        other: &'a Location,
    ) -> BoxFuture<'a, anyhow::Result<u64>> {
        Box::pin(self.differences(tenant, one, other))
    }
}
