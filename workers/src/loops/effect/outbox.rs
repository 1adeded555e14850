//! The outbox: effects that are requested and not done yet, each with the time of its next attempt,
//! in the platform's database. So an effect that cannot be done now delays no other.
//!
//! It can be lost: effects that their view shows without a result for an hour are added again.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use event_store::Trace;
use events_schema::{Id, TenantId};
use futures_util::TryStreamExt as _;
use mongodb::{
    Database, IndexModel,
    bson::{DateTime, Document, doc},
    error::Result as MongoResult,
    options::{Acknowledgment, WriteConcern},
};
use tokio::time::timeout;

use crate::{
    effect::{Lane, Undone},
    placements::Placements,
};

/// The name of the collection.
const OUTBOX: &str = "outbox";

/// How long an attempt may take. Then another worker may begin the next one.
const CLAIMED_FOR: Duration = Duration::from_secs(90);
/// How long claiming may take, so that most of the claim is left for the attempt. If the answer
/// comes later, the effect is attempted when the claim ends.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(5);
/// How long MongoDB may search.
const MAX_READ_TIME: Duration = Duration::from_secs(10);
/// Characters of the reason of a failed attempt that are kept.
const MAX_REASON: usize = 500;
/// Effects that are looked up in the views at once.
const MAX_UNDONE: i64 = 1_000;

/// What is known of an effect before its task is read from the log.
#[derive(Clone, Debug)]
pub struct Entry {
    pub tenant: TenantId,
    /// The aggregate that records the effect.
    pub id: Id,
    /// Where to go on in the trace of the request.
    pub trace: Trace,
}

/// An effect that this worker alone attempts now.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub entry: Entry,
    pub destination: String,
    /// The number of attempts, this one included.
    pub attempts: i64,
    /// Whether it was performed, and only the record of that is missing.
    pub is_performed: bool,
    /// The revision of the record that had requested it last.
    revision: i64,
    /// The end of the claim. Later, another worker may have claimed it.
    until: DateTime,
}

/// The outbox of one effect.
#[derive(Clone, Debug)]
pub struct Outbox {
    placements: Placements,
    effect: &'static str,
}

impl Outbox {
    /// Returns the outbox of the effect with this name.
    pub fn new(placements: Placements, effect: &'static str) -> Self {
        Self { placements, effect }
    }

    /// Creates the index by which the next effects are found.
    ///
    /// # Errors
    /// If MongoDB does not answer.
    pub async fn prepare(&self) -> anyhow::Result<()> {
        let keys = doc! { "effect": 1, "urgent": 1, "due_at": 1, "destination": 1 };
        let index = IndexModel::builder().keys(keys).build();
        let created = self.run("create_indexes", |platform| async move {
            let outbox = platform.collection::<Document>(OUTBOX);
            outbox.create_index(index).await
        });
        created.await.context("creating the index of the outbox")?;
        Ok(())
    }

    /// Stores durably that an effect is to be done, and when at first. One that is there remembers
    /// the revision of the record that requests it last. What is requested anew does not wait as long
    /// as failed attempts to do something else.
    ///
    /// # Errors
    /// If that is not certain.
    pub async fn add(&self, entry: &Entry, revision: u64, lane: Lane) -> anyhow::Result<()> {
        let which = doc! { "_id": self.key(entry.tenant, entry.id) };
        let not_before = lane
            .not_before
            .map(|time| DateTime::from_millis(time.0))
            .unwrap_or_else(DateTime::now);
        let insert = doc! { "$setOnInsert": {
            "effect": self.effect,
            "tenant": entry.tenant.to_string(),
            "id": entry.id.to_string(),
            "destination": lane.destination,
            "urgent": lane.is_urgent,
            "due_at": not_before,
            "attempts": 0_i64,
            "trace": entry.trace.traceparent(),
        }, "$max": { "revision": i64::try_from(revision)? } };
        let added = self.run("update_one", |platform| async move {
            let outbox = platform.collection::<Document>(OUTBOX);
            let durable = WriteConcern::builder()
                .w(Acknowledgment::Majority)
                .journal(true)
                .build();
            let insert = outbox.update_one(which, insert).upsert(true);
            insert.write_concern(durable).await
        });
        let added = added.await.context("adding to the outbox")?;
        if added.matched_count > 0 {
            self.bring_forward(entry, not_before).await?;
        }
        Ok(())
    }

    /// Lets an effect that waits after failed attempts be due at this time, unless it is earlier. One
    /// that is attempted now stays claimed.
    async fn bring_forward(&self, entry: &Entry, due_at: DateTime) -> anyhow::Result<()> {
        let which = doc! {
            "_id": self.key(entry.tenant, entry.id),
            "claimed_until": { "$not": { "$gt": DateTime::now() } },
        };
        let change = doc! { "$min": { "due_at": due_at }, "$set": { "attempts": 0_i64 } };
        self.update(which, change).await?;
        Ok(())
    }

    /// Claims the effect that is due first, the urgent ones before the others. None goes to a busy
    /// destination.
    ///
    /// # Errors
    /// If MongoDB does not answer.
    pub async fn claim(&self, busy: Vec<String>) -> anyhow::Result<Option<Claimed>> {
        for urgent in [true, false] {
            let which = doc! {
                "effect": self.effect,
                "urgent": urgent,
                "due_at": { "$lte": DateTime::now() },
                "destination": { "$nin": &busy },
            };
            let until = DateTime::from_system_time(SystemTime::now() + CLAIMED_FOR);
            let claim = doc! {
                "$set": { "due_at": until, "claimed_until": until },
                "$inc": { "attempts": 1_i64 },
            };
            let found = self.run("claim", |platform| async move {
                let outbox = platform.collection::<Document>(OUTBOX);
                let claimed = outbox.find_one_and_update(which, claim);
                claimed.sort(doc! { "due_at": 1 }).await
            });
            let found = timeout(CLAIM_TIMEOUT, found).await;
            let found = found.context("the outbox does not answer")?;
            if let Some(found) = found.context("reading the outbox")? {
                return Ok(Some(claimed(&found, until)?));
            }
        }
        Ok(None)
    }

    /// Sets the time of the next attempt, which ends the claim. If it has been requested again
    /// meanwhile, it is due at once.
    ///
    /// # Errors
    /// If MongoDB does not answer. Then the next attempt comes when the claim ends.
    pub async fn postpone(
        &self,
        claimed: &Claimed,
        attempts: i64,
        after: Duration,
        reason: &str,
    ) -> anyhow::Result<()> {
        let due_at = DateTime::from_system_time(SystemTime::now() + after);
        let reason: String = reason.chars().take(MAX_REASON).collect();
        let values = doc! { "due_at": due_at, "attempts": attempts, "reason": reason };
        let change = doc! { "$set": values, "$unset": { "claimed_until": "" } };
        if self.update(self.own_unchanged(claimed), change).await? == 0 {
            self.release(claimed).await?;
        }
        Ok(())
    }

    /// Lets an effect be due at once, which ends the claim.
    async fn release(&self, claimed: &Claimed) -> anyhow::Result<()> {
        let values = doc! { "due_at": DateTime::now(), "attempts": 0_i64 };
        let change = doc! { "$set": values, "$unset": { "claimed_until": "" } };
        self.update(self.own(claimed), change).await?;
        Ok(())
    }

    /// Notes that an effect was performed, so that no worker performs it again.
    ///
    /// # Errors
    /// If MongoDB does not answer.
    pub async fn note_performed(&self, claimed: &Claimed) -> anyhow::Result<()> {
        let which = doc! { "_id": self.key(claimed.entry.tenant, claimed.entry.id) };
        let change = doc! { "$set": { "performed": true } };
        self.update(which, change).await?;
        Ok(())
    }

    /// Changes an entry. Returns how many there were: one, or none.
    async fn update(&self, which: Document, change: Document) -> anyhow::Result<u64> {
        let changed = self.run("update_one", |platform| async move {
            let outbox = platform.collection::<Document>(OUTBOX);
            outbox.update_one(which, change).await
        });
        let changed = changed.await.context("changing the outbox")?;
        Ok(changed.matched_count)
    }

    /// Removes an effect whose result is recorded. If it has been requested again meanwhile, it is
    /// due at once.
    ///
    /// # Errors
    /// If MongoDB does not answer. Then the next attempt finds the record.
    pub async fn remove(&self, claimed: &Claimed) -> anyhow::Result<()> {
        let which = self.own_unchanged(claimed);
        let removed = self.run("delete_one", |platform| async move {
            let outbox = platform.collection::<Document>(OUTBOX);
            outbox.delete_one(which).await
        });
        let removed = removed.await.context("removing from the outbox")?;
        if removed.deleted_count == 0 {
            self.release(claimed).await?;
        }
        Ok(())
    }

    /// Returns effects that were requested before this time, that have no result, and that the
    /// outbox lacks: it was lost, or an older backup of it was restored.
    ///
    /// # Errors
    /// If MongoDB does not answer.
    pub async fn missing(&self, undone: Undone, before: SystemTime) -> anyhow::Result<Vec<Id>> {
        let Undone { view, state, since } = undone;
        let requested_at = format!("view.{since}");
        let before = DateTime::from_system_time(before).timestamp_millis();
        let mut which = doc! {
            "tenant": TenantId::Platform.to_string(),
            // As in the indexes, which leave out tombstones.
            "view": { "$type": "object" },
            &requested_at: { "$lt": before },
        };
        which.extend(state.map(|(field, value)| (format!("view.{field}"), value.into())));
        let undone = self.run("find", |platform| async move {
            let views = platform.collection::<Document>(view);
            let found = views
                .find(which)
                .sort(doc! { requested_at: 1 })
                .limit(MAX_UNDONE);
            let found = found
                .max_time(MAX_READ_TIME)
                .projection(doc! { "_id": 1 })
                .await?;
            found.try_collect::<Vec<_>>().await
        });
        let undone = undone.await.context("looking for lost effects")?;
        let undone = undone
            .iter()
            .filter_map(|found| Id::parse(found.get_str("_id").ok()?).ok());
        let undone: Vec<Id> = undone.collect();
        let keys = undone.iter().map(|id| self.key(TenantId::Platform, *id));
        let which = doc! { "_id": { "$in": keys.collect::<Vec<_>>() } };
        let present = self.run("find", |platform| async move {
            let outbox = platform.collection::<Document>(OUTBOX);
            let found = outbox.find(which).projection(doc! { "id": 1 }).await?;
            found.try_collect::<Vec<_>>().await
        });
        let present = present.await.context("reading the outbox")?;
        let present = present
            .iter()
            .filter_map(|found| Id::parse(found.get_str("id").ok()?).ok());
        let present: HashSet<Id> = present.collect();
        Ok(undone
            .into_iter()
            .filter(|id| !present.contains(id))
            .collect())
    }

    async fn run<T, F>(
        &self,
        name: &'static str,
        operation: impl FnOnce(Database) -> F,
    ) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = MongoResult<T>> + Send + 'static,
    {
        let platform = self.placements.database(&self.placements.platform())?;
        platform.run(name, operation).await
    }

    /// Returns the filter of an entry while nobody else has claimed it.
    fn own(&self, claimed: &Claimed) -> Document {
        let key = self.key(claimed.entry.tenant, claimed.entry.id);
        doc! { "_id": key, "due_at": claimed.until }
    }

    /// Returns the filter of an entry that has not been requested again since its claim either.
    fn own_unchanged(&self, claimed: &Claimed) -> Document {
        let mut which = self.own(claimed);
        // An entry of an earlier release has no revision.
        which.insert("revision", doc! { "$not": { "$gt": claimed.revision } });
        which
    }

    fn key(&self, tenant: TenantId, id: Id) -> String {
        format!("{}:{tenant}:{id}", self.effect)
    }
}

fn claimed(found: &Document, until: DateTime) -> anyhow::Result<Claimed> {
    Ok(Claimed {
        entry: Entry {
            tenant: TenantId::parse(found.get_str("tenant")?)?,
            id: Id::parse(found.get_str("id")?)?,
            trace: Trace::of(found.get_str("trace").ok()),
        },
        destination: found.get_str("destination")?.to_owned(),
        // As it was before the claim.
        attempts: found.get_i64("attempts")? + 1,
        is_performed: found.get_bool("performed").unwrap_or_default(),
        revision: found.get_i64("revision").unwrap_or_default(),
        until,
    })
}
