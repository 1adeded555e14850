//! When access tokens were last used, to the minute. The times are in a key-value bucket, since
//! they are no business facts and must cost no commits.
//!
//! A gateway records a token at most once a minute, in the background. If it dies, that minute is
//! lost.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use async_nats::jetstream::{self, kv::Store};
use events_schema::{AccessTokenId, Time, subject::TOKEN_USES_BUCKET};
use lru::LruCache;
use tokio::sync::OnceCell;

use crate::{clock::now, error::Error};

const MINUTE_MS: i64 = 60_000;
/// Tokens whose last record is remembered. The use of a forgotten one is recorded once more.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// Records and reads when access tokens were last used.
#[derive(Clone, Debug)]
pub(crate) struct TokenUses(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    jetstream: jetstream::Context,
    bucket: OnceCell<Store>,
    /// The minute of each token's last record.
    recorded: Mutex<LruCache<AccessTokenId, i64>>,
}

impl TokenUses {
    /// Opens the bucket when it is first needed. The workers create it.
    pub(crate) fn new(jetstream: jetstream::Context) -> Self {
        Self(Arc::new(Inner {
            jetstream,
            bucket: OnceCell::new(),
            recorded: Mutex::new(LruCache::new(REMEMBERED)),
        }))
    }

    /// Records in the background that a token is in use now. A failure is logged.
    pub(crate) fn record(&self, token: AccessTokenId) {
        let minute = now().0.div_euclid(MINUTE_MS);
        let recorded = self.0.recorded.lock();
        let before = recorded
            .unwrap_or_else(PoisonError::into_inner)
            .put(token, minute);
        if before == Some(minute) {
            return;
        }
        let inner = self.0.clone();
        tokio::spawn(async move {
            if let Err(error) = inner.put(token, Time(minute * MINUTE_MS)).await {
                let error = format!("{error:#}");
                tracing::warn!(%token, error, "the use of an access token was not recorded");
            }
        });
    }

    /// Returns when a token was last used; `None` if never.
    ///
    /// # Errors
    /// If the bucket cannot be read.
    pub(crate) async fn last(&self, token: AccessTokenId) -> Result<Option<Time>, Error> {
        let value = self.0.bucket().await?.get(token.to_string()).await;
        let value = value.context("reading the use of an access token")?;
        let time = value.and_then(|value| str::from_utf8(&value).ok()?.parse().ok());
        Ok(time.map(Time))
    }
}

impl Inner {
    async fn put(&self, token: AccessTokenId, time: Time) -> anyhow::Result<()> {
        let value = time.0.to_string().into();
        self.bucket().await?.put(token.to_string(), value).await?;
        Ok(())
    }

    async fn bucket(&self) -> anyhow::Result<&Store> {
        let open = || async {
            let bucket = self.jetstream.get_key_value(TOKEN_USES_BUCKET).await;
            bucket.context("opening the bucket of token uses")
        };
        self.bucket.get_or_try_init(open).await
    }
}
