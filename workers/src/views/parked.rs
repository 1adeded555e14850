//! Records which tenants' documents are not written at the moment, since their host does not
//! answer. Their commits are acknowledged meanwhile, so that they do not hold up those of others.
//!
//! A record is stored before each acknowledgement and counts them. A worker that has filled the
//! documents from the log removes the record, if its count is still the same. So a commit that was
//! acknowledged without being written is always written later.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use events_schema::TenantId;
use futures_util::TryStreamExt as _;
use mongodb::bson::{DateTime, Document, doc, oid::ObjectId};

use crate::{
    placements::Placements,
    views::{documents::SERVER_TIMEOUT_MS, write::written},
};

/// The collection of the records, in the platform's database.
pub const PARKED: &str = "parked";

/// How long a worker alone fills the documents of a tenant.
const CLAIMED_FOR: Duration = Duration::from_secs(60);

/// A record as it was when it was claimed.
#[derive(Clone, Copy, Debug)]
pub struct Claimed {
    /// Another one for each record, also of the same tenant.
    record: ObjectId,
    count: i64,
}

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
            "$setOnInsert": { "record": ObjectId::new() },
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

    /// Claims a tenant's record, so that no other worker fills the documents meanwhile. `None` if
    /// there is no record, or another worker has claimed it.
    ///
    /// # Errors
    /// If MongoDB does not answer.
    pub async fn claim(&self, tenant: TenantId) -> anyhow::Result<Option<Claimed>> {
        let now = DateTime::now();
        let until = DateTime::from_system_time(SystemTime::now() + CLAIMED_FOR);
        let free = doc! { "$not": { "$gt": now } };
        let which = doc! { "_id": self.id(tenant), "claimed_until": free };
        let claim = doc! { "$set": { "claimed_until": until } };
        let platform = self.placements.database(&self.placements.platform())?;
        let found = platform.run("claim", |platform| async move {
            let records = platform.collection::<Document>(PARKED);
            records.find_one_and_update(which, claim).await
        });
        let found = found.await.context("claiming a record")?;
        let claimed = found.map(|record| {
            anyhow::Ok(Claimed {
                record: record.get_object_id("record")?,
                count: record.get_i64("count")?,
            })
        });
        claimed.transpose()
    }

    /// Removes a tenant's record if nobody has changed it since it was claimed, else releases it.
    ///
    /// # Errors
    /// If MongoDB does not answer.
    pub async fn remove(&self, tenant: TenantId, claimed: Claimed) -> anyhow::Result<bool> {
        let id = self.id(tenant);
        let Claimed { record, count } = claimed;
        let which = doc! { "_id": &id, "record": record, "count": count };
        let platform = self.placements.database(&self.placements.platform())?;
        let removed = platform.run("delete_one", |platform| async move {
            let records = platform.collection::<Document>(PARKED);
            let removed = records.delete_one(which).await?;
            let release = doc! { "$unset": { "claimed_until": "" } };
            let which = doc! { "_id": id, "record": record };
            records.update_one(which, release).await?;
            Ok(removed)
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
