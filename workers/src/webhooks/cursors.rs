//! Where each delivery stands: records in the bucket `CURSORS`. A change names the revision that was
//! read, so that two workers never both hold the lease of a webhook.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use async_nats::jetstream::{
    self,
    kv::{Entry, Operation, Store, UpdateError, UpdateErrorKind},
};
use events_schema::{
    TenantKey, Time, WebhookId,
    subject::{CURSORS_BUCKET, cursor_key, cursors, parse_cursor},
    webhook::Cursor,
};
use futures_util::TryStreamExt as _;
use tokio::sync::OnceCell;

use super::tenants::TenantWebhooks;

/// The record of when the cursors were last looked at.
const SWEEP_KEY: &str = "sweep";
/// How much the clocks of two workers may differ until one takes the lease of the other.
const CLOCKS_DIFFER: Duration = Duration::from_secs(3);

/// Why a delivery cannot go on yet.
pub const LAGS: &str = "a replica of the log lags behind";

/// The bucket of cursors.
#[derive(Clone)]
pub struct Cursors {
    jetstream: jetstream::Context,
    store: Arc<OnceCell<Store>>,
}

/// What the bucket has for a webhook.
#[derive(Debug, Default)]
pub struct Record {
    /// `None` if there is no cursor (any more).
    pub cursor: Option<Cursor>,
    /// What a change of the record names; 0 if there never was one.
    pub revision: u64,
}

/// Why there is no cursor to go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The webhook is new, so it has none yet.
    New,
    /// The bucket is younger than the webhook: its records are lost.
    Lost,
}

impl Missing {
    /// Says why a webhook that was created at this time has no cursor in a bucket that was.
    pub fn since(bucket_created_at: Time, created_at: Time) -> Self {
        if bucket_created_at > created_at + CLOCKS_DIFFER {
            Self::Lost
        } else {
            Self::New
        }
    }
}

impl Cursors {
    /// Uses the bucket. It is opened when it is first needed.
    pub fn new(jetstream: jetstream::Context) -> Self {
        Self {
            jetstream,
            store: Arc::default(),
        }
    }

    /// Reads the record of a webhook.
    ///
    /// # Errors
    /// If the bucket does not answer, or a newer release has written the record.
    pub async fn get(&self, tenant: TenantKey, webhook: WebhookId) -> anyhow::Result<Record> {
        let entry = self.store().await?.entry(cursor_key(tenant, webhook)).await;
        let Some(entry) = entry.context("reading a cursor")? else {
            return Ok(Record::default());
        };
        let cursor = is_present(&entry).then(|| serde_json::from_slice(&entry.value));
        Ok(Record {
            cursor: cursor.transpose().context("reading a cursor")?,
            revision: entry.revision,
        })
    }

    /// Says why a webhook has no cursor.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn missing(&self, created_at: Time) -> anyhow::Result<Missing> {
        Ok(Missing::since(self.created_at().await?, created_at))
    }

    /// Returns when the bucket was created. All records are lost that were written before.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn created_at(&self) -> anyhow::Result<Time> {
        let status = self.store().await?.status().await;
        let status = status.context("reading the state of the cursors")?;
        Ok(std::time::SystemTime::from(status.info.created).into())
    }

    /// Stores the first cursor of a new webhook, which gets the events after this sequence. Changes
    /// nothing if there is a record, or if it is lost.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn begin(
        &self,
        tenant: TenantKey,
        webhook: WebhookId,
        start: u64,
        created_at: Time,
    ) -> anyhow::Result<()> {
        let record = self.get(tenant, webhook).await?;
        if record.revision == 0 && self.missing(created_at).await? == Missing::New {
            self.put(tenant, webhook, &Cursor::after(start), 0).await?;
        }
        Ok(())
    }

    /// Replaces the record with this revision, 0 for none. Returns the new revision; `None` if
    /// another worker was first.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn put(
        &self,
        tenant: TenantKey,
        webhook: WebhookId,
        cursor: &Cursor,
        revision: u64,
    ) -> anyhow::Result<Option<u64>> {
        let value = serde_json::to_vec(cursor).context("writing a cursor")?;
        let key = cursor_key(tenant, webhook);
        match self
            .store()
            .await?
            .update(key, value.into(), revision)
            .await
        {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if is_race(&error) => Ok(None),
            Err(error) => Err(error).context("writing a cursor"),
        }
    }

    /// Deletes the cursor of a webhook that is deleted, if its record still has this revision.
    ///
    /// # Errors
    /// If the bucket does not answer, or another worker has written the record.
    pub async fn delete(
        &self,
        tenant: TenantKey,
        webhook: WebhookId,
        revision: u64,
    ) -> anyhow::Result<()> {
        let key = cursor_key(tenant, webhook);
        let store = self.store().await?;
        let purged = store.purge_expect_revision(key, Some(revision)).await;
        purged.context("deleting a cursor")
    }

    /// Begins to look at all cursors; false if another process has begun to within `interval`.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn begin_sweep(&self, now: Time, interval: Duration) -> anyhow::Result<bool> {
        let entry = self.store().await?.entry(SWEEP_KEY).await;
        let entry = entry.context("reading when the cursors were looked at")?;
        let last = entry.as_ref().filter(|entry| is_present(entry));
        let last: Option<Time> = last.and_then(|entry| serde_json::from_slice(&entry.value).ok());
        if last.is_some_and(|last| now.since(last) < interval) {
            return Ok(false);
        }
        let revision = entry.map_or(0, |entry| entry.revision);
        let value = serde_json::to_vec(&now)?;
        match self
            .store()
            .await?
            .update(SWEEP_KEY, value.into(), revision)
            .await
        {
            Ok(_) => Ok(true),
            Err(error) if is_race(&error) => Ok(false),
            Err(error) => Err(error).context("writing when the cursors were looked at"),
        }
    }

    /// Returns all webhooks that have or had a cursor. The client's own list of keys needs a consumer,
    /// which this loop may not create.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn all(&self) -> anyhow::Result<Vec<(TenantKey, WebhookId)>> {
        let store = self.store().await?;
        let subjects = store.stream.info_with_subjects(cursors()).await;
        let subjects = subjects.context("listing the cursors")?.try_collect();
        let subjects: Vec<(String, usize)> = subjects.await.context("listing the cursors")?;
        let keys = subjects
            .iter()
            .filter_map(|(subject, _)| parse_cursor(subject));
        Ok(keys.collect())
    }

    async fn store(&self) -> anyhow::Result<&Store> {
        let open = || async {
            let store = self.jetstream.get_key_value(CURSORS_BUCKET).await;
            store.with_context(|| format!("opening the bucket {CURSORS_BUCKET}"))
        };
        self.store.get_or_try_init(open).await
    }
}

/// Whether another worker may hold the lease of a cursor now.
pub fn is_held(cursor: &Cursor, now: Time) -> bool {
    let lease = cursor.lease.as_ref();
    lease.is_some_and(|lease| now < lease.until + CLOCKS_DIFFER)
}

/// Returns the cursor of a webhook that has none yet, or goes on after its latest start.
///
/// # Errors
/// If less is known of the webhooks than when the cursor was stored.
pub fn started(
    cursor: Option<Cursor>,
    webhook: WebhookId,
    tenant: &TenantWebhooks,
) -> anyhow::Result<Cursor> {
    let start = tenant.starts.get(&webhook).copied().unwrap_or_default();
    let mut cursor = cursor.unwrap_or_else(|| Cursor::after(start));
    ensure!(tenant.sequence >= cursor.known, LAGS);
    cursor.known = tenant.sequence;
    cursor
        .replays
        .retain(|replay, _| tenant.replays.contains_key(replay));
    if cursor.next <= start {
        cursor.next = start + 1;
        cursor.done.clear();
        cursor.parked.clear();
        cursor.probe_at = None;
    }
    let enabled_at = tenant.enabled_at.get(&webhook);
    let failing = cursor.failing.map(|failing| failing.since);
    if failing.is_some_and(|since| enabled_at.is_some_and(|at| since < *at)) {
        cursor.failing = None;
        cursor.probe_at = None;
        for parked in cursor.parked.values_mut() {
            parked.due = Time(0);
        }
    }
    Ok(cursor)
}

fn is_present(entry: &Entry) -> bool {
    matches!(entry.operation, Operation::Put)
}

/// Whether another change was first. The NATS client has no name for a race that the server detects
/// late.
fn is_race(error: &UpdateError) -> bool {
    const DETECTED_LATE: &str = "10164";
    match error.kind() {
        UpdateErrorKind::WrongLastRevision => true,
        UpdateErrorKind::Other => format!("{error:?}").contains(DETECTED_LATE),
        UpdateErrorKind::InvalidKey | UpdateErrorKind::TimedOut => false,
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{
        Id,
        webhook::{ReplayId, ReplayProgress},
    };

    use super::*;

    const WEBHOOK: WebhookId = WebhookId(Id::from_bytes([1; 16]));
    const REPLAY: ReplayId = ReplayId(Id::from_bytes([2; 16]));

    /// The webhooks of a tenant up to this change, the seventh of which begins a replay.
    fn tenant(sequence: u64) -> TenantWebhooks {
        let mut tenant = TenantWebhooks {
            sequence,
            ..TenantWebhooks::default()
        };
        if sequence >= 7 {
            tenant.replays.insert(REPLAY, 7);
        }
        tenant
    }

    #[test]
    fn a_worker_that_knows_less_than_the_last_one_does_not_go_on() {
        let mut cursor = started(None, WEBHOOK, &tenant(7)).unwrap();
        let progress = ReplayProgress {
            sent: 3,
            ..ReplayProgress::default()
        };
        cursor.replays.insert(REPLAY, progress);
        assert!(started(Some(cursor.clone()), WEBHOOK, &tenant(5)).is_err());
        let later = started(Some(cursor), WEBHOOK, &tenant(8)).unwrap();
        assert_eq!(later.replays[&REPLAY], progress);
        assert_eq!(later.known, 8);
    }
}
