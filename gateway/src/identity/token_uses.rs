//! When access tokens were last used, to the minute: in a key-value bucket, since it is no business
//! fact and must cost no commit.
//!
//! A gateway notes a token at most once a minute, in the background; what is lost when it dies is a
//! minute.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use async_nats::jetstream::{self, kv::Store};
use events_schema::{AccessTokenId, Time};
use lru::LruCache;
use tokio::sync::OnceCell;

use crate::{error::Error, now};

/// The bucket, which the workers create.
const BUCKET: &str = "TOKEN_USES";
/// A use is noted to the minute.
const MINUTE_MS: i64 = 60_000;
/// Tokens whose last note is remembered; one that is forgotten is noted once more.
const KEPT: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// Notes and reads uses.
#[derive(Clone, Debug)]
pub(crate) struct TokenUses(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    jetstream: jetstream::Context,
    bucket: OnceCell<Store>,
    noted: Mutex<LruCache<AccessTokenId, i64>>,
}

impl TokenUses {
    /// Nothing is noted yet.
    pub(crate) fn new(jetstream: jetstream::Context) -> Self {
        Self(Arc::new(Inner {
            jetstream,
            bucket: OnceCell::new(),
            noted: Mutex::new(LruCache::new(KEPT)),
        }))
    }

    /// Notes that a token is in use now. Failure is logged: it is no reason to turn anybody away.
    pub(crate) fn note(&self, token: AccessTokenId) {
        let minute = now().0.div_euclid(MINUTE_MS);
        let before = self
            .0
            .noted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .put(token, minute);
        if before == Some(minute) {
            return;
        }
        let inner = self.0.clone();
        tokio::spawn(async move {
            let time = (minute * MINUTE_MS).to_string();
            let noted = async {
                inner
                    .bucket()
                    .await?
                    .put(token.to_string(), time.into())
                    .await
                    .context("noting a use")
            };
            if let Err(error) = noted.await {
                tracing::warn!(%token, error = format!("{error:#}"), "the use of an access token was not noted");
            }
        });
    }

    /// When a token was last used, if ever.
    pub(crate) async fn last(&self, token: AccessTokenId) -> Result<Option<Time>, Error> {
        let value = self
            .0
            .bucket()
            .await?
            .get(token.to_string())
            .await
            .context("reading a use")?;
        Ok(value
            .and_then(|value| str::from_utf8(&value).ok()?.parse().ok())
            .map(Time))
    }
}

impl Inner {
    async fn bucket(&self) -> anyhow::Result<&Store> {
        let open = || async {
            self.jetstream
                .get_key_value(BUCKET)
                .await
                .context("opening the bucket of token uses")
        };
        self.bucket.get_or_try_init(open).await
    }
}
