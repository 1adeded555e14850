//! Where views are written. A tenant's placement is read from its view, and kept for a second.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use event_store::{Database, Location, Mongo, MongoOptions};
use events_schema::{Document, TenantId, TenantKey, View as _, tenant};
use futures_util::TryStreamExt;
use lru::LruCache;
use mongodb::bson::{Bson, doc};

/// How long a placement may be used after it was read. A move waits for it.
pub const KEPT_FOR: Duration = Duration::from_secs(1);
/// Placements that are kept.
const MAX_KEPT: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// Where a tenant's views are written, and when that was read.
type Kept = (Instant, Vec<Location>);

/// Finds the databases that hold the views of tenants.
#[derive(Clone, Debug)]
pub struct Placements {
    mongo: Mongo,
    kept: Arc<Mutex<LruCache<TenantKey, Kept>>>,
}

impl Placements {
    /// Connects to the platform's host, which must be a replica set, and prepares the other hosts.
    ///
    /// # Errors
    /// If the platform's host cannot be reached or is not a replica set.
    pub async fn connect(options: &MongoOptions) -> anyhow::Result<Self> {
        let mongo = Mongo::connect(options, "workers").await?;
        let hello = mongo.ping().await.context("check UB_MONGO_URL")?;
        ensure!(
            hello.contains_key("setName"),
            "MongoDB must run as a replica set (one member is enough), or its majority writes are \
             not durable"
        );
        Ok(Self {
            mongo,
            kept: Arc::new(Mutex::new(LruCache::new(MAX_KEPT))),
        })
    }

    /// Returns all configured hosts.
    pub const fn mongo(&self) -> &Mongo {
        &self.mongo
    }

    /// Checks that the platform's host answers.
    ///
    /// # Errors
    /// If it does not.
    pub async fn ping(&self) -> anyhow::Result<()> {
        self.mongo.ping().await.map(|_| ())
    }

    pub fn platform(&self) -> Location {
        self.mongo.platform_location()
    }

    /// Returns the location that a placement means for a tenant.
    pub fn location(&self, placement: &events_schema::Placement, tenant: TenantId) -> Location {
        self.mongo.location(placement, tenant)
    }

    /// Returns the database at a location.
    ///
    /// # Errors
    /// If the host is not configured here.
    pub fn database(&self, location: &Location) -> anyhow::Result<Database> {
        self.mongo.database(location)
    }

    /// Returns where each tenant's views are written: two locations while they move, none after the
    /// tenant is deleted. The answer is at most [`KEPT_FOR`] old.
    ///
    /// # Errors
    /// If a tenant's own view is not written yet. A retry finds it.
    pub async fn of(
        &self,
        tenants: BTreeSet<TenantId>,
    ) -> anyhow::Result<BTreeMap<TenantId, Vec<Location>>> {
        let locations = self.of_known(tenants.clone()).await?;
        let unknown = tenants
            .iter()
            .find(|tenant| !locations.contains_key(tenant));
        match unknown {
            Some(tenant) => bail!("tenant {tenant} has no view yet"),
            None => Ok(locations),
        }
    }

    /// Returns where each tenant's views are written, as [`of`](Self::of) does, without the tenants
    /// whose own view is not written yet.
    ///
    /// # Errors
    /// If MongoDB does not answer.
    pub async fn of_known(
        &self,
        tenants: BTreeSet<TenantId>,
    ) -> anyhow::Result<BTreeMap<TenantId, Vec<Location>>> {
        let (mut locations, mut unknown) = (BTreeMap::new(), Vec::new());
        for tenant in tenants {
            match tenant {
                TenantId::Platform => {
                    locations.insert(tenant, vec![self.platform()]);
                }
                TenantId::Tenant(key) => match self.kept(key) {
                    Some(kept) => {
                        locations.insert(tenant, kept);
                    }
                    None => unknown.push(key),
                },
            }
        }
        if unknown.is_empty() {
            return Ok(locations);
        }
        let read_at = Instant::now();
        let ids: Vec<String> = unknown.iter().map(ToString::to_string).collect();
        let found = self.tenants(doc! { "_id": { "$in": ids } }).await?;
        for (key, view) in found {
            let written: Vec<Location> = view
                .iter()
                .flat_map(|view| self.written(key, view))
                .collect();
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.put(key, (read_at, written.clone()));
            locations.insert(TenantId::Tenant(key), written);
        }
        Ok(locations)
    }

    fn kept(&self, tenant: TenantKey) -> Option<Vec<Location>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (read_at, locations) = kept.get(&tenant)?;
        (read_at.elapsed() < KEPT_FOR).then(|| locations.clone())
    }

    /// Returns every location that holds views.
    ///
    /// # Errors
    /// If MongoDB does not answer.
    pub async fn all(&self) -> anyhow::Result<BTreeSet<Location>> {
        let tenants = self.tenants(doc! { "view": { "$ne": Bson::Null } }).await?;
        let of_tenants = tenants.iter().flat_map(|(key, view)| {
            let view = view.iter();
            view.flat_map(|view| self.written(*key, view))
        });
        Ok(of_tenants.chain([self.platform()]).collect())
    }

    /// Returns the tenants that a filter finds. A deleted one has no view.
    ///
    /// # Errors
    /// If MongoDB does not answer.
    pub async fn tenants(
        &self,
        filter: mongodb::bson::Document,
    ) -> anyhow::Result<Vec<(TenantKey, Option<tenant::View>)>> {
        let platform = self.mongo.platform();
        let found = platform.run("find", |platform| async move {
            let tenants = platform.collection::<Document<tenant::View>>(tenant::View::NAME);
            let found = tenants.find(filter).await?;
            let found = found.map_ok(|document| (document.id, document.view));
            found.try_collect().await
        });
        found.await.context("reading tenants")
    }

    /// Returns where a tenant's views are written.
    fn written(&self, key: TenantKey, view: &tenant::View) -> Vec<Location> {
        let (from, to) = (view.moved_from.as_ref(), view.moving_to.as_ref());
        let placements = [Some(&view.placement), from, to].into_iter().flatten();
        placements
            .map(|placement| self.location(placement, TenantId::Tenant(key)))
            .collect()
    }
}
