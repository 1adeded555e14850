//! Slows down guessing: counts failed logins per address in the JetStream bucket `LOGINS`, shared
//! by all gateways.
//!
//! Addresses without an account are counted alike. The workers make the bucket and bound its age.

use std::time::Duration;

use anyhow::{Context, anyhow};
use async_nats::jetstream::{
    self,
    kv::{Entry, Operation, Store, UpdateErrorKind},
};
use events_schema::{EmailAddress, Time, secret::ServerKey};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::{error::Error, now};

/// The bucket.
const BUCKET: &str = "LOGINS";
/// Failures in a row that cost nothing: as many as an honest user may need.
const FREE_FAILURES: u32 = 10;
/// The wait after the next failure; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait: who guesses at this pace gets 24 guesses a day, and an owner locked out has a
/// mail link.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);
/// Lost races before an attempt is turned away: so many guesses at once are no user's.
const MAX_RACES: usize = 8;

/// Counts failed logins.
#[derive(Debug)]
pub(crate) struct LoginThrottle {
    jetstream: jetstream::Context,
    secret: ServerKey,
    bucket: OnceCell<Store>,
}

/// What is stored for an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Count {
    failures: u32,
    last_ms: i64,
}

impl Count {
    /// How long the next attempt must wait; zero when it need not.
    fn wait(self, now: Time) -> Duration {
        let Some(excess) = self.failures.checked_sub(FREE_FAILURES) else {
            return Duration::ZERO;
        };
        let wait = FIRST_WAIT
            .saturating_mul(2_u32.saturating_pow(excess))
            .min(LONGEST_WAIT);
        wait.saturating_sub(now.since(Time(self.last_ms)))
    }

    /// What an entry says; what cannot be read, or was deleted, counts as nothing.
    fn of(entry: &Entry) -> Self {
        match entry.operation {
            Operation::Put => serde_json::from_slice(&entry.value).unwrap_or_default(),
            Operation::Delete | Operation::Purge => Self::default(),
        }
    }
}

impl LoginThrottle {
    /// Addresses are stored under ids that nobody can guess without `secret`.
    pub(crate) fn new(jetstream: jetstream::Context, secret: ServerKey) -> Self {
        Self {
            jetstream,
            secret,
            bucket: OnceCell::new(),
        }
    }

    /// Counts an attempt as failed before it is made, so that guesses made at once count each;
    /// [`clear`](Self::clear) takes it back. `RateLimited` if it must not be made yet.
    pub(crate) async fn begin(&self, email: &EmailAddress) -> Result<(), Error> {
        let key = self.key(email);
        for _ in 0..MAX_RACES {
            let entry = self
                .bucket()
                .await?
                .entry(&key)
                .await
                .context("reading a login count")?;
            let count = entry.as_ref().map_or_else(Count::default, Count::of);
            let now = now();
            let wait = count.wait(now);
            if !wait.is_zero() {
                return Err(Error::RateLimited { retry_after: wait });
            }
            let count = Count {
                failures: count.failures.saturating_add(1),
                last_ms: now.0,
            };
            if self
                .replace(&key, entry.map_or(0, |entry| entry.revision), count)
                .await?
            {
                return Ok(());
            }
        }
        Err(Error::RateLimited {
            retry_after: Duration::from_secs(1),
        })
    }

    /// Writes a count unless somebody was first.
    async fn replace(&self, key: &str, revision: u64, count: Count) -> Result<bool, Error> {
        let value = serde_json::to_vec(&count).context("writing a login count")?;
        match self
            .bucket()
            .await?
            .update(key, value.into(), revision)
            .await
        {
            Ok(_) => Ok(true),
            // A race that is noticed late (10164) is not told apart by the client; the number of
            // tries is bounded.
            Err(error)
                if matches!(
                    error.kind(),
                    UpdateErrorKind::WrongLastRevision | UpdateErrorKind::Other
                ) =>
            {
                tracing::debug!(%error, "a login count was changed meanwhile");
                Ok(false)
            }
            Err(error) => Err(anyhow!(error).context("writing a login count").into()),
        }
    }

    /// Forgets the failures of an address: its owner has come in. Failure is logged, since they
    /// have come in anyhow.
    pub(crate) async fn clear(&self, email: &EmailAddress) {
        let cleared = async {
            Ok::<_, Error>(
                self.bucket()
                    .await?
                    .delete(self.key(email))
                    .await
                    .context("clearing a login count")?,
            )
        };
        if let Err(error) = cleared.await {
            tracing::warn!(?error, "a login count was not cleared");
        }
    }

    fn key(&self, email: &EmailAddress) -> String {
        self.secret
            .id(&[b"login", email.as_str().as_bytes()])
            .to_string()
    }

    async fn bucket(&self) -> Result<&Store, Error> {
        let open = || async {
            self.jetstream
                .get_key_value(BUCKET)
                .await
                .context("opening the bucket of login counts")
        };
        Ok(self.bucket.get_or_try_init(open).await?)
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
