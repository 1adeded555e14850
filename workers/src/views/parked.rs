//! Records which tenants' documents are not written at the moment, since their host does not
//! answer. Their commits are acknowledged meanwhile, so that they do not hold up those of others.
//!
//! A record is stored before each acknowledgement and counts them. A worker that has filled the
//! documents from the log removes the record, if its count is still the same. So a commit that was
//! acknowledged without being written is always written later.

use anyhow::{Context as _, ensure};
use events_schema::TenantId;
use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, doc};

use crate::{
    placements::Placements,
    views::{documents::SERVER_TIMEOUT_MS, write::written},
};

/// The collection of the records, in the platform's database.
pub const PARKED: &str = "parked";

/// The parked tenants of one view.
#[derive(Clone, Debug)]
pub struct ParkedTenants {
    placements: Placements,
    view: &'static str,
}

impl ParkedTenants {
    /// Returns the parked tenants of a view.
    pub fn new(placements: Placements, view: &'static str) -> Self {
        Self { placements, view }
    }

    /// Records durably that a tenant's documents miss commits.
    ///
    /// # Errors
    /// If that is not certain.
    pub async fn add(&self, tenant: TenantId) -> anyhow::Result<()> {
        let update = doc! {
            "$set": { "view": self.view, "tenant": tenant.to_string() },
            "$inc": { "count": 1_i64 },
        };
        let command = doc! {
            "update": PARKED,
            "updates": [{ "q": { "_id": self.id(tenant) }, "u": update, "upsert": true }],
            "writeConcern": { "w": "majority", "j": true },
            "maxTimeMS": SERVER_TIMEOUT_MS,
        };
        let platform = self.placements.database(&self.placements.platform())?;
        let answer = platform.run("park", |platform| async move {
            platform.run_command(command).await
        });
        let answer = answer.await.context("recording what is missing")?;
        // Of two workers that insert it at once, one is told of a duplicate.
        ensure!(written(&answer)? == 1, "another worker was first");
        Ok(())
    }

    /// Returns all parked tenants.
    ///
    /// # Errors
    /// If MongoDB does not answer.
    pub async fn all(&self) -> anyhow::Result<Vec<TenantId>> {
        let of_view = doc! { "view": self.view };
        let platform = self.placements.database(&self.placements.platform())?;
        let found = platform.run("find", |platform| async move {
            let records = platform.collection::<Document>(PARKED);
            let found = records.find(of_view).await?;
            found.try_collect::<Vec<_>>().await
        });
        let found = found.await.context("reading what is missing")?;
        let tenants = found.iter().map(|record| {
            let tenant = record.get_str("tenant").context("a record has no tenant")?;
            Ok(TenantId::parse(tenant)?)
        });
        tenants.collect()
    }

    /// Returns the count of a tenant's record; `None` if it has none.
    ///
    /// # Errors
    /// If MongoDB does not answer.
    pub async fn count(&self, tenant: TenantId) -> anyhow::Result<Option<i64>> {
        let id = doc! { "_id": self.id(tenant) };
        let platform = self.placements.database(&self.placements.platform())?;
        let found = platform.run("find_one", |platform| async move {
            let records = platform.collection::<Document>(PARKED);
            records.find_one(id).await
        });
        let found = found.await.context("reading what is missing")?;
        let count = found.map(|record| record.get_i64("count"));
        Ok(count.transpose()?)
    }

    /// Removes a tenant's record if it still has this count. Returns whether it had.
    ///
    /// # Errors
    /// If MongoDB does not answer.
    pub async fn remove(&self, tenant: TenantId, count: i64) -> anyhow::Result<bool> {
        let which = doc! { "_id": self.id(tenant), "count": count };
        let platform = self.placements.database(&self.placements.platform())?;
        let removed = platform.run("delete_one", |platform| async move {
            let records = platform.collection::<Document>(PARKED);
            records.delete_one(which).await
        });
        let removed = removed.await.context("removing a record")?;
        Ok(removed.deleted_count == 1)
    }

    /// Returns the name of the view.
    pub fn view(&self) -> &'static str {
        self.view
    }

    fn id(&self, tenant: TenantId) -> String {
        format!("{}:{tenant}", self.view)
    }
}
