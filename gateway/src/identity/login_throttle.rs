//! Slows down password guessing: counts failed logins per address in a key-value bucket that all
//! gateways share.
//!
//! Addresses without an account are counted, too. The workers create the bucket and limit the age
//! of its entries.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use async_nats::jetstream::{
    self,
    kv::{Entry, Operation, Store, UpdateErrorKind},
};
use events_schema::{EmailAddress, Time, secret::ServerKey, subject::LOGINS_BUCKET};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::{clock::now, error::Error};

/// Failures in a row without a wait: as many as an honest user may need.
const FREE_FAILURES: u32 = 10;
/// The wait after the next failure. It doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait: 24 guesses a day. An owner who is locked out can reset the password by mail.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);
/// Maximum lost races before an attempt is refused. No user makes so many attempts at once.
const MAX_RACES: usize = 8;

/// Counts failed logins.
#[derive(Clone, Debug)]
pub(crate) struct LoginThrottle {
    jetstream: jetstream::Context,
    secret: ServerKey,
    bucket: Arc<OnceCell<Store>>,
}

/// What is stored for an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Count {
    failures: u32,
    last_ms: i64,
}

impl Count {
    /// Returns how long the next attempt must wait.
    fn wait(self, now: Time) -> Duration {
        let Some(excess) = self.failures.checked_sub(FREE_FAILURES) else {
            return Duration::ZERO;
        };
        let wait = FIRST_WAIT
            .saturating_mul(2_u32.saturating_pow(excess))
            .min(LONGEST_WAIT);
        wait.saturating_sub(now.since(Time(self.last_ms)))
    }

    fn one_more(self, now: Time) -> Self {
        Self {
            failures: self.failures.saturating_add(1),
            last_ms: now.0,
        }
    }

    /// Reads an entry. One that is deleted or cannot be read counts as no failures.
    fn of(entry: &Entry) -> Self {
        match entry.operation {
            Operation::Put => serde_json::from_slice(&entry.value).unwrap_or_default(),
            Operation::Delete | Operation::Purge => Self::default(),
        }
    }
}

impl LoginThrottle {
    /// Makes a throttle. Addresses are stored under ids that nobody can guess without `secret`.
    pub(crate) fn new(jetstream: jetstream::Context, secret: ServerKey) -> Self {
        Self {
            jetstream,
            secret,
            bucket: Arc::default(),
        }
    }

    /// Counts an attempt as failed before it is made, so that each of several simultaneous guesses
    /// counts. [`clear`](Self::clear) removes the count.
    ///
    /// # Errors
    /// `RateLimited` if the attempt must wait; `Internal` if the bucket cannot be read or written.
    pub(crate) async fn begin(&self, email: &EmailAddress) -> Result<(), Error> {
        let key = self.key(email);
        for _ in 0..MAX_RACES {
            let entry = self.bucket().await?.entry(&key).await;
            let entry = entry.context("reading a login count")?;
            let count = entry.as_ref().map_or_else(Count::default, Count::of);
            let now = now();
            let retry_after = count.wait(now);
            if !retry_after.is_zero() {
                return Err(Error::RateLimited { retry_after });
            }
            let revision = entry.map_or(0, |entry| entry.revision);
            if self.replace(&key, revision, count.one_more(now)).await? {
                return Ok(());
            }
        }
        let retry_after = Duration::from_secs(1);
        Err(Error::RateLimited { retry_after })
    }

    /// Writes a count; false if another attempt was first.
    async fn replace(&self, key: &str, revision: u64, count: Count) -> Result<bool, Error> {
        let value = serde_json::to_vec(&count).context("writing a login count")?;
        let bucket = self.bucket().await?;
        let Err(error) = bucket.update(key, value.into(), revision).await else {
            return Ok(true);
        };
        // The NATS client reports a race that the server detects late (code 10164) as `Other`. The
        // number of tries is bounded.
        if matches!(
            error.kind(),
            UpdateErrorKind::WrongLastRevision | UpdateErrorKind::Other
        ) {
            tracing::debug!(%error, "another attempt changed the login count first");
            return Ok(false);
        }
        Err(anyhow!(error).context("writing a login count").into())
    }

    /// Clears the count of an address after its owner has logged in. An error is only logged, since
    /// the login stands.
    pub(crate) async fn clear(&self, email: &EmailAddress) {
        if let Err(error) = self.delete(email).await {
            let error = format!("{error:#}");
            tracing::warn!(error, "a login count was not cleared");
        }
    }

    async fn delete(&self, email: &EmailAddress) -> anyhow::Result<()> {
        let deleted = self.bucket().await?.delete(self.key(email)).await;
        deleted.context("deleting a login count")
    }

    fn key(&self, email: &EmailAddress) -> String {
        let parts: [&[u8]; 2] = [b"login", email.as_str().as_bytes()];
        self.secret.id(&parts).to_string()
    }

    async fn bucket(&self) -> anyhow::Result<&Store> {
        let open = || async {
            let bucket = self.jetstream.get_key_value(LOGINS_BUCKET).await;
            bucket.context("opening the bucket of login counts")
        };
        self.bucket.get_or_try_init(open).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_begins_after_ten_failures_and_doubles_up_to_an_hour() {
        let wait = |failures| {
            Count {
                failures,
                last_ms: 0,
            }
            .wait(Time(0))
            .as_secs()
        };
        for (failures, seconds) in [
            (0, 0),
            (9, 0),
            (10, 30),
            (11, 60),
            (12, 120),
            (13, 240),
            (16, 1_920),
            (17, 3_600),
            (40, 3_600),
            (u32::MAX, 3_600),
        ] {
            assert_eq!(wait(failures), seconds, "{failures}");
        }
    }

    #[test]
    fn the_wait_runs_from_the_last_failure() {
        let count = Count {
            failures: 10,
            last_ms: 1_000,
        };
        assert_eq!(count.wait(Time(11_000)), Duration::from_secs(20));
        assert_eq!(count.wait(Time(31_000)), Duration::ZERO);
    }
}
