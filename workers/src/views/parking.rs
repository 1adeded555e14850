//! Records which tenants' documents are not written at the moment, since their host does not
//! answer. Their commits are acknowledged meanwhile, so that they do not hold up those of others.
//!
//! A record is stored before each acknowledgement and counts them. Whoever fills the documents from
//! the log removes the record if the count has not changed since. So a commit that was acknowledged
//! without being written is always written later.

use anyhow::{Context as _, ensure};
use events_schema::TenantId;
use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, doc};

use crate::{placements::Placements, views::documents::SERVER_TIMEOUT_MS};

/// The collection of the records, in the platform's database.
const COLLECTION: &str = "parked";

/// The records of one view.
#[derive(Clone, Debug)]
pub struct Records {
    placements: Placements,
    view: &'static str,
}

impl Records {
    /// Returns the records of a view.
    pub fn new(placements: Placements, view: &'static str) -> Self {
        Self { placements, view }
    }

    /// Records durably that a tenant's documents miss commits from this sequence on.
    ///
    /// # Errors
    /// If that is not certain.
    pub async fn add(&self, tenant: TenantId, sequence: u64) -> anyhow::Result<()> {
        let update = doc! {
            "$set": { "view": self.view, "tenant": tenant.to_string() },
            "$min": { "from": i64::try_from(sequence)? },
            "$inc": { "count": 1_i64 },
        };
        let command = doc! {
            "update": COLLECTION,
            "updates": [{ "q": { "_id": self.id(tenant) }, "u": update, "upsert": true }],
            "writeConcern": { "w": "majority", "j": true },
            "maxTimeMS": SERVER_TIMEOUT_MS,
        };
        let platform = self.placements.database(&self.placements.platform())?;
        let answer = platform.run("park", |platform| async move {
            platform.run_command(command).await
        });
        let answer = answer.await.context("recording what is missing")?;
        let is_stored = ["writeErrors", "writeConcernError"]
            .iter()
            .all(|error| answer.get(error).is_none());
        ensure!(is_stored, "recording what is missing: {answer}");
        Ok(())
    }

    /// Returns the tenants that have a record.
    ///
    /// # Errors
    /// If MongoDB does not answer.
    pub async fn tenants(&self) -> anyhow::Result<Vec<TenantId>> {
        let of_view = doc! { "view": self.view };
        let platform = self.placements.database(&self.placements.platform())?;
        let found = platform.run("find", |platform| async move {
            let records = platform.collection::<Document>(COLLECTION);
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
            let records = platform.collection::<Document>(COLLECTION);
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
            let records = platform.collection::<Document>(COLLECTION);
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
