//! Views without their types, for operator commands that work on all of them.

use async_nats::Client;
use event_store::Location;
use events_schema::{AreaName, Home, TenantId, View};
use futures_util::future::BoxFuture;

use crate::{
    areas::{self, Visitor},
    placements::Placements,
    views::{Progress, Views},
};

/// A view of any type, so that the views of all areas fit into one list.
pub trait AnyView: Send + Sync {
    fn name(&self) -> &'static str;

    fn home(&self) -> Home;

    /// Rebuilds the view from the log, with documents of up to `max_held_bytes` in memory; returns
    /// the number of commits read.
    fn rebuild<'a>(
        &'a self,
        max_held_bytes: usize,
        progress: Progress<'a>,
    ) -> BoxFuture<'a, anyhow::Result<u64>>;

    /// Writes a tenant's documents at one location, from the log alone.
    fn fill<'a>(
        &'a self,
        tenant: TenantId,
        location: &'a Location,
        progress: Progress<'a>,
    ) -> BoxFuture<'a, anyhow::Result<()>>;

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
        let views = Views::<V>::new(self.client.clone(), self.placements.clone());
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

    fn rebuild<'a>(
        &'a self,
        max_held_bytes: usize,
        progress: Progress<'a>,
    ) -> BoxFuture<'a, anyhow::Result<u64>> {
        Box::pin(self.rebuild(max_held_bytes, progress))
    }

    fn fill<'a>(
        &'a self,
        tenant: TenantId,
        location: &'a Location,
        progress: Progress<'a>,
    ) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            self.fill(tenant, location, progress).await?;
            Ok(())
        })
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
