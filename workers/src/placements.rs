//! Where views are written. A tenant's placement is read from its view each time, so that a move
//! takes effect at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context as _, ensure};
use event_store::{Location, Mongo, MongoOptions};
use events_schema::{Document, TenantId, TenantKey, View as _, tenant};
use futures_util::TryStreamExt;
use mongodb::{
    Database,
    bson::{Bson, doc},
};

/// Finds the databases that hold the views of tenants.
#[derive(Clone, Debug)]
pub struct Placements {
    mongo: Mongo,
}

impl Placements {
    /// Connects to the platform's host, which must be a replica set, and prepares the other hosts.
    ///
    /// # Errors
    /// If the platform's host cannot be reached or is not a replica set.
    pub async fn connect(options: &MongoOptions) -> anyhow::Result<Self> {
        let mongo = Mongo::connect(options, "workers").await?;
        let hello = mongo.platform().run_command(doc! { "hello": 1 }).await;
        let hello = hello.context("MongoDB cannot be reached; check UB_MONGO_URL")?;
        ensure!(
            hello.contains_key("setName"),
            "MongoDB must run as a replica set (one member is enough), or its majority writes are \
             not durable"
        );
        Ok(Self { mongo })
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
    /// tenant is deleted.
    ///
    /// # Errors
    /// If a tenant's own view is not written yet. A retry finds it.
    pub async fn of(
        &self,
        tenants: BTreeSet<TenantId>,
    ) -> anyhow::Result<BTreeMap<TenantId, Vec<Location>>> {
        let ids = tenants.iter().filter_map(|tenant| match tenant {
            TenantId::Platform => None,
            TenantId::Tenant(key) => Some(key.to_string()),
        });
        let ids: Vec<String> = ids.collect();
        let mut found = HashMap::new();
        if !ids.is_empty() {
            found.extend(self.tenants(doc! { "_id": { "$in": ids } }).await?);
        }
        let mut locations = BTreeMap::new();
        for tenant in tenants {
            let of_tenant = match tenant {
                TenantId::Platform => vec![self.platform()],
                TenantId::Tenant(key) => {
                    let view = found.get(&key);
                    let view = view.with_context(|| format!("tenant {key} has no view yet"))?;
                    view.iter()
                        .flat_map(|view| self.written(key, view))
                        .collect()
                }
            };
            locations.insert(tenant, of_tenant);
        }
        Ok(locations)
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
        let tenants = platform.collection::<Document<tenant::View>>(tenant::View::NAME);
        let cursor = tenants.find(filter).await.context("reading tenants")?;
        let found = cursor.map_ok(|document| (document.id, document.view));
        found.try_collect().await.context("reading tenants")
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
