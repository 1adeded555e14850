//! When sessions and access tokens were last used. The times are in key-value buckets, since they
//! are no business facts and must cost no commits.
//!
//! A gateway records a use in the background, and not more often than the bucket's interval. If it
//! dies, the uses of one interval are lost.

use std::{
    fmt::Display,
    hash::{DefaultHasher, Hash, Hasher as _},
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use async_nats::jetstream::{self, kv::Store};
use events_schema::Time;
use lru::LruCache;
use tokio::{sync::OnceCell, time::timeout};

use crate::clock::now;

/// Credentials whose last recorded use is remembered. The use of a forgotten one is recorded once
/// more.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();
/// How long a request may wait for the time of a last use.
const LOOKED_UP_WITHIN: Duration = Duration::from_secs(1);

/// Records and reads when credentials of one kind were last used. `I` is their id.
#[derive(Debug)]
pub(crate) struct LastUses<I: Hash + Eq>(Arc<Inner<I>>);

#[derive(Debug)]
struct Inner<I: Hash + Eq> {
    jetstream: jetstream::Context,
    name: &'static str,
    interval_ms: i64,
    bucket: OnceCell<Store>,
    /// The last use of each that this gateway has recorded or read.
    known: Mutex<LruCache<I, Time>>,
}

impl<I: Hash + Eq> Clone for LastUses<I> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<I: Copy + Display + Eq + Hash + Send + Sync + 'static> LastUses<I> {
    /// Uses the bucket of this name, and records a use at most once in each interval. The bucket is
    /// opened when it is first needed. The workers create it.
    pub(crate) fn new(
        jetstream: jetstream::Context,
        name: &'static str,
        interval: Duration,
    ) -> Self {
        Self(Arc::new(Inner {
            jetstream,
            name,
            interval_ms: i64::try_from(interval.as_millis()).unwrap_or(i64::MAX),
            bucket: OnceCell::new(),
            known: Mutex::new(LruCache::new(REMEMBERED)),
        }))
    }

    /// Records in the background that these credentials are in use now. A failure is logged, since
    /// it is no reason to refuse a request.
    pub(crate) fn record(&self, id: I) {
        let begun = self.0.interval_start(&id, now());
        if self.0.known().put(id, begun) == Some(begun) {
            return;
        }
        let inner = self.0.clone();
        tokio::spawn(async move {
            if let Err(error) = inner.put(id, begun).await {
                inner.known().pop(&id);
                let (bucket, error) = (inner.name, format!("{error:#}"));
                tracing::warn!(%id, bucket, error, "a use was not recorded");
            }
        });
    }

    /// Whether the credentials were used after this time, as far as it is recorded.
    ///
    /// # Errors
    /// If the bucket cannot be read.
    pub(crate) async fn was_used_after(&self, id: I, time: Time) -> anyhow::Result<bool> {
        // Another gateway may have recorded a later use, but none that is earlier.
        let known = self.0.known().get(&id).copied();
        if known.is_some_and(|known| known > time) {
            return Ok(true);
        }
        let last = timeout(LOOKED_UP_WITHIN, self.last(id)).await;
        let last =
            last.with_context(|| format!("the bucket {} does not answer", self.0.name))??;
        if let Some(last) = last {
            self.0.known().put(id, last);
        }
        Ok(last.is_some_and(|last| last > time))
    }

    /// Returns when the credentials were last used; `None` if that is not recorded.
    ///
    /// # Errors
    /// If the bucket cannot be read.
    pub(crate) async fn last(&self, id: I) -> anyhow::Result<Option<Time>> {
        let bucket = self.0.bucket().await?;
        let value = bucket.get(id.to_string()).await;
        let value = value.with_context(|| format!("reading the bucket {}", self.0.name))?;
        let time = value.and_then(|value| str::from_utf8(&value).ok()?.parse().ok());
        Ok(time.map(Time))
    }
}

impl<I: Copy + Display + Eq + Hash> Inner<I> {
    async fn put(&self, id: I, time: Time) -> anyhow::Result<()> {
        let value = time.0.to_string().into();
        self.bucket().await?.put(id.to_string(), value).await?;
        Ok(())
    }

    async fn bucket(&self) -> anyhow::Result<&Store> {
        let open = || async {
            let bucket = self.jetstream.get_key_value(self.name).await;
            bucket.with_context(|| format!("opening the bucket {}", self.name))
        };
        self.bucket.get_or_try_init(open).await
    }

    /// Returns the start of the current interval of these credentials. Each has intervals of its
    /// own, so that not all are recorded at the same moment.
    fn interval_start(&self, id: &I, now: Time) -> Time {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let shift = i64::from(hasher.finish() as u32) % self.interval_ms;
        Time((now.0 - shift).div_euclid(self.interval_ms) * self.interval_ms + shift)
    }

    fn known(&self) -> MutexGuard<'_, LruCache<I, Time>> {
        // A panic under this lock leaves at worst a missing entry.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
