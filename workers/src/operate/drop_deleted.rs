//! Drops the views of tenants that were deleted long ago: `workers drop-deleted`.
//!
//! The log keeps their commits. Workers write nothing of a deleted tenant, and a rebuild skips it,
//! so nothing comes back.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use event_store::{Database, EventLog, Location, MongoOptions, NatsOptions};
use events_schema::{
    AreaName, Commit, Placement, TenantId, TenantKey, Time, View as _,
    subject::events_of_tenant_in,
    tenant::{self, View},
};
use futures_util::future::BoxFuture;
use mongodb::bson::{Bson, Document, doc};

use crate::{decode, operate::all_views, placements::Placements};

/// Drops what MongoDB has of tenants that were deleted at least `grace` ago. `progress` is called
/// with the tenant and what was dropped. Every run looks at all deleted tenants.
///
/// # Errors
/// If a server does not answer, or a host is not configured; the other tenants are dropped all the
/// same.
pub fn drop_deleted<'a>(
    nats: &'a NatsOptions,
    mongo: &'a MongoOptions,
    grace: Duration,
    progress: &'a (dyn Fn(TenantKey, &str) + Send + Sync),
) -> BoxFuture<'a, anyhow::Result<()>> {
    Box::pin(drop_all(nats, mongo, grace, progress))
}

async fn drop_all(
    nats: &NatsOptions,
    mongo: &MongoOptions,
    grace: Duration,
    progress: &(dyn Fn(TenantKey, &str) + Send + Sync),
) -> anyhow::Result<()> {
    let client = event_store::connect(nats, "workers").await?;
    let placements = Placements::connect(mongo).await?;
    let views = all_views::of(AreaName::ALL.iter().copied(), &client, &placements);
    let of_tenants = views
        .iter()
        .filter(|view| view.collection().kind.home == events_schema::Home::Tenant);
    let dropping = Dropping {
        log: EventLog::new(client),
        placements,
        views: of_tenants.map(|view| view.name()).collect(),
    };
    let deleted_before = Time::from(SystemTime::now() - grace);
    let mut failures = Vec::new();
    let deleted = doc! { "view": Bson::Null };
    for (key, _) in dropping.placements.tenants(deleted).await? {
        match dropping.drop_tenant(key, deleted_before).await {
            Ok(dropped) => dropped.iter().for_each(|dropped| progress(key, dropped)),
            Err(error) => failures.push(format!("{key}: {error:#}")),
        }
    }
    ensure!(
        failures.is_empty(),
        "these tenants were not dropped; run the command again:\n{}",
        failures.join("\n")
    );
    Ok(())
}

struct Dropping {
    log: EventLog,
    placements: Placements,
    /// The names of the views of tenants.
    views: Vec<&'static str>,
}

impl Dropping {
    /// Drops the views of one tenant, if the log says that it was deleted before this time. Returns
    /// what was there.
    async fn drop_tenant(
        &self,
        key: TenantKey,
        deleted_before: Time,
    ) -> anyhow::Result<Vec<String>> {
        let tenant = TenantId::Tenant(key);
        let Some(last) = self.last_state(tenant, deleted_before).await? else {
            return Ok(Vec::new());
        };
        let places = [
            Some(last.placement),
            last.moving_to,
            last.moved_from,
            last.to_drop,
        ];
        let mut dropped = Vec::new();
        for place in places.into_iter().flatten() {
            let location = self.placements.location(&place, tenant);
            let database = self.placements.database(&location)?;
            let what = match place {
                Placement::Shared => self.drop_documents(tenant, &database).await?,
                Placement::Database { .. } => drop_database(&location, &database).await?,
            };
            dropped.extend(what);
        }
        Ok(dropped)
    }

    /// Returns the state of a tenant before it was deleted; `None` if that is not long enough ago.
    async fn last_state(
        &self,
        tenant: TenantId,
        deleted_before: Time,
    ) -> anyhow::Result<Option<View>> {
        let subject = events_of_tenant_in(tenant, AreaName::Tenant);
        let mut state = None;
        for stored in self.log.read(&subject, 1).await? {
            let commit: Commit<tenant::Area> = decode::commit(&stored.subject, &stored.payload)?;
            let next = View::fold(state.clone(), &commit);
            if next.is_none() && state.is_some() {
                return Ok(state.filter(|_| commit.time < deleted_before));
            }
            state = next;
        }
        Ok(None)
    }

    async fn drop_documents(
        &self,
        tenant: TenantId,
        shared: &Database,
    ) -> anyhow::Result<Option<String>> {
        let mut count = 0;
        for view in self.views.iter().copied() {
            let of_tenant = doc! { "tenant": tenant.to_string() };
            let dropped = shared.run("delete_many", |shared| async move {
                let documents = shared.collection::<Document>(view);
                documents.delete_many(of_tenant).await
            });
            count += dropped.await.context("dropping documents")?.deleted_count;
        }
        Ok((count > 0).then(|| format!("{count} documents were dropped")))
    }
}

async fn drop_database(location: &Location, database: &Database) -> anyhow::Result<Option<String>> {
    let name = location.database.clone();
    let existed = database.run("drop_database", |own| async move {
        let collections = own.list_collection_names().await?;
        own.drop().await?;
        Ok(!collections.is_empty())
    });
    let existed = existed.await.context("dropping a database")?;
    Ok(existed.then(|| format!("the database {name} was dropped")))
}
