//! Small records in a key-value bucket, which all gateways share and change together. The workers
//! create the buckets, and limit the age of their records.

use std::{marker::PhantomData, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use async_nats::jetstream::{
    self,
    kv::{Entry, Operation, Store, UpdateError, UpdateErrorKind},
};
use event_store::random_bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::OnceCell;

use crate::error::Error;

/// Maximum lost races before a change is refused. No user makes so many changes at once.
const MAX_RACES: u8 = 8;
/// How long a client waits that lost so many races.
const RACES_PAUSE: Duration = Duration::from_secs(1);

/// Records of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Bucket<T> {
    jetstream: jetstream::Context,
    name: &'static str,
    store: Arc<OnceCell<Store>>,
    records: PhantomData<T>,
}

impl<T: DeserializeOwned + Serialize> Bucket<T> {
    /// Uses the bucket of this name. It is opened when it is first needed.
    pub(crate) fn new(jetstream: jetstream::Context, name: &'static str) -> Self {
        Self {
            jetstream,
            name,
            store: Arc::default(),
            records: PhantomData,
        }
    }

    /// Reads a record. One that cannot be read counts as none.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<T>, Error> {
        let entry = self.entry(key).await?;
        Ok(entry.as_ref().and_then(record))
    }

    /// Replaces a record. `change` gets the present one, and returns the new one with a result. It
    /// is called again if another change was first.
    ///
    /// # Errors
    /// The error of `change`; `RateLimited` after too many lost races; `Unavailable` if the bucket is
    /// full; `Internal` if it cannot be read.
    pub(crate) async fn change<R>(
        &self,
        key: &str,
        mut change: impl FnMut(Option<T>) -> Result<(T, R), Error>,
    ) -> Result<R, Error> {
        for lost in 0..MAX_RACES {
            pause_after(lost).await;
            let entry = self.entry(key).await?;
            let (new, result) = change(entry.as_ref().and_then(record))?;
            let revision = entry.map_or(0, |entry| entry.revision);
            if self.replace(key, revision, &new).await? {
                return Ok(result);
            }
        }
        Err(Error::RateLimited {
            retry_after: RACES_PAUSE,
        })
    }

    /// Deletes a record.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub(crate) async fn delete(&self, key: &str) -> anyhow::Result<()> {
        let deleted = self.store().await?.delete(key).await;
        deleted.with_context(|| format!("deleting a record of {}", self.name))
    }

    async fn entry(&self, key: &str) -> anyhow::Result<Option<Entry>> {
        let entry = self.store().await?.entry(key).await;
        entry.with_context(|| format!("reading a record of {}", self.name))
    }

    /// Writes a record; false if another change was first.
    async fn replace(&self, key: &str, revision: u64, record: &T) -> Result<bool, Error> {
        let value = serde_json::to_vec(record).context("writing a record")?;
        let Err(error) = self
            .store()
            .await?
            .update(key, value.into(), revision)
            .await
        else {
            return Ok(true);
        };
        if is_race(&error) {
            tracing::debug!(%error, bucket = self.name, "another change was first");
            return Ok(false);
        }
        // Mostly a full bucket.
        let cause = anyhow!(error).context(format!("writing a record of {}", self.name));
        Err(Error::Unavailable(cause))
    }

    async fn store(&self) -> anyhow::Result<&Store> {
        let open = || async {
            let store = self.jetstream.get_key_value(self.name).await;
            store.with_context(|| format!("opening the bucket {}", self.name))
        };
        self.store.get_or_try_init(open).await
    }
}

/// Waits after lost races, longer after more, and not as long as others. The change that was first
/// may not be readable yet, so an attempt at once could lose to it again.
async fn pause_after(lost: u8) {
    if lost > 0 {
        // Without random bytes all wait for the same time, which still lets the change be read.
        let [random] = random_bytes().unwrap_or([0; 1]);
        let micros = u64::from(lost) * (500 + u64::from(random) * 10);
        tokio::time::sleep(Duration::from_micros(micros)).await;
    }
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

/// Reads an entry. One that is deleted has no record.
fn record<T: DeserializeOwned>(entry: &Entry) -> Option<T> {
    match entry.operation {
        Operation::Put => serde_json::from_slice(&entry.value).ok(),
        Operation::Delete | Operation::Purge => None,
    }
}
