//! Slows down password guessing: counts failed logins in a bucket that all gateways share.
//!
//! A stranger is counted by address and network, so that nobody locks out the owner from elsewhere.
//! The networks of one IPv6 site have a higher limit together, and all strangers one that is higher
//! still. Behind a proxy that hides the clients, only all strangers are counted: else any of them
//! would lock out the others. A device on which the owner has logged in before has a count of its
//! own, and so has a session that changes its password. All sessions that only one connection
//! vouches for have one together: its issuer begins as many as it likes. Addresses without an
//! account are counted, too.

use std::time::Duration;

use async_nats::jetstream;
use events_schema::{
    ConnectionId, EmailAddress, Id, SessionId, Time, secret::ServerKey, subject::LOGINS_BUCKET,
};
use serde::{Deserialize, Serialize};

use crate::{backend::bucket::Bucket, clock::now, error::Error, identity::network::Network};

/// Failures in a row of one guesser without a wait: as many as an honest user may need.
const FREE_FAILURES: u32 = 10;
/// Failures of all networks of one IPv6 site with one address without a wait. A provider gives a
/// customer as many as 65,536 networks.
const FREE_FAILURES_OF_SITE: u32 = 30;
/// Failures of all strangers with one address without a wait. They end with the age of the count,
/// or with a reset of the password.
const FREE_FAILURES_OF_STRANGERS: u32 = 100;
/// The wait after the next failure. It doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait: some 40 guesses a day, the free ones included. An owner who is locked out can
/// reset the password by mail.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Counts failed logins.
#[derive(Clone, Debug)]
pub(crate) struct LoginThrottle {
    counts: Bucket<Count>,
    secret: ServerKey,
    sees_clients: bool,
}

/// Who tries a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guesser {
    /// A client that never logged in to this account, or has lost its cookies.
    Stranger(Network),
    /// A device on which the owner of the account has logged in before.
    Device(Id),
    /// A valid session of the account.
    Session(SessionId),
    /// A session of the account that only this connection vouches for.
    Connection(ConnectionId),
}

/// An attempt that is counted as failed until it is cleared.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// `None` for a stranger whose network is hidden, and for a connection.
    own: Option<String>,
    shared: Vec<Shared>,
    /// Whether the owner should hear of the failures, if this one fails, too.
    pub(crate) warns: bool,
}

/// A count that several guessers share.
#[derive(Debug)]
struct Shared {
    key: String,
    free: u32,
}

/// What is stored for a guesser, or for all strangers with an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Count {
    failures: u32,
    last_ms: i64,
    /// When the first of them was. After a day, counting begins again.
    #[serde(default)]
    first_ms: i64,
}

impl Count {
    /// Checks whether the next attempt may be made now.
    fn check(self, free: u32, now: Time) -> Result<(), Error> {
        let retry_after = self.wait(free, now);
        if retry_after.is_zero() {
            Ok(())
        } else {
            Err(Error::RateLimited { retry_after })
        }
    }

    /// Returns how long the next attempt must wait.
    fn wait(self, free: u32, now: Time) -> Duration {
        let Some(excess) = self.failures.checked_sub(free) else {
            return Duration::ZERO;
        };
        let wait = FIRST_WAIT
            .saturating_mul(2_u32.saturating_pow(excess))
            .min(LONGEST_WAIT);
        wait.saturating_sub(now.since(Time(self.last_ms)))
    }

    /// Returns the count that is still valid: none if it began a day ago.
    fn within_a_day(self, now: Time) -> Self {
        if now.since(Time(self.first_ms)) < DAY {
            self
        } else {
            Self::default()
        }
    }

    /// Takes back a failure.
    pub(super) const fn one_less(self) -> Self {
        Self {
            failures: self.failures.saturating_sub(1),
            ..self
        }
    }

    fn one_more(self, now: Time) -> Self {
        let first_ms = if self.failures == 0 {
            now.0
        } else {
            self.first_ms
        };
        Self {
            failures: self.failures.saturating_add(1),
            last_ms: now.0,
            first_ms,
        }
    }
}

impl LoginThrottle {
    /// Makes a throttle. Addresses are stored under ids that nobody can guess without `secret`.
    /// `sees_clients` says whether the network of a client is its own, and not that of a proxy.
    pub(crate) fn new(
        jetstream: jetstream::Context,
        secret: ServerKey,
        sees_clients: bool,
    ) -> Self {
        Self {
            counts: Bucket::new(jetstream, LOGINS_BUCKET),
            secret,
            sees_clients,
        }
    }

    /// Counts an attempt as failed before it is made, so that each of several simultaneous guesses
    /// counts. [`succeeded`](Self::succeeded) clears the count.
    ///
    /// # Errors
    /// `RateLimited` if the attempt must wait; `Internal` if the bucket cannot be read or written.
    pub(crate) async fn begin(
        &self,
        email: &EmailAddress,
        guesser: Guesser,
    ) -> Result<Attempt, Error> {
        let (own, shared) = (self.own(email, guesser), self.shared(email, guesser));
        let (counts, now) = (&self.counts, now());
        // Before the guesser's own count: an attempt that is refused here is no failure.
        for Shared { key, free } in &shared {
            check(counts, key, *free, now).await?;
        }
        if let Some(own) = &own {
            count_one(counts, own, FREE_FAILURES, now).await?;
        }
        // The count of most guessers comes last.
        let mut warns = false;
        for Shared { key, free } in &shared {
            warns = count_one(counts, key, *free, now).await? == *free;
        }
        Ok(Attempt { own, shared, warns })
    }

    /// Clears the count of a guesser that knew the password, and takes this attempt back from those
    /// that are shared. An error is only logged, since the login stands.
    pub(crate) async fn succeeded(&self, attempt: Attempt) {
        if let Some(own) = &attempt.own {
            self.delete(own).await;
        }
        let one_less = |count: Option<Count>| Ok((count.unwrap_or_default().one_less(), ()));
        for Shared { key, .. } in &attempt.shared {
            if let Err(error) = self.counts.change(key, one_less).await {
                tracing::warn!(?error, "a login was counted as a failure");
            }
        }
    }

    /// Clears the counts of an address whose owner has set a new password: that of this network,
    /// and those that it shares.
    pub(crate) async fn clear(&self, email: &EmailAddress, network: Network) {
        let stranger = Guesser::Stranger(network);
        let shared = self.shared(email, stranger);
        let shared = shared.into_iter().map(|shared| shared.key);
        for key in shared.chain(self.own(email, stranger)) {
            self.delete(&key).await;
        }
    }

    async fn delete(&self, key: &str) {
        if let Err(error) = self.counts.delete(key).await {
            let error = format!("{error:#}");
            tracing::warn!(error, "a login count was not cleared");
        }
    }

    /// Returns the key of a guesser's own count.
    fn own(&self, email: &EmailAddress, guesser: Guesser) -> Option<String> {
        let email = email.as_str().as_bytes();
        let id = match guesser {
            Guesser::Stranger(_) if !self.sees_clients => return None,
            // A success of the person is none of the issuer, so it must not clear the count.
            Guesser::Connection(_) => return None,
            Guesser::Stranger(network) => {
                let network = network.text();
                self.secret
                    .id(&[b"login", b"stranger", email, network.as_bytes()])
            }
            Guesser::Device(device) => {
                self.secret
                    .id(&[b"login", b"device", email, device.bytes()])
            }
            Guesser::Session(session) => {
                self.secret
                    .id(&[b"login", b"session", email, session.0.bytes()])
            }
        };
        Some(id.to_string())
    }

    /// Returns the counts that a guesser shares with others, that of most guessers last.
    fn shared(&self, email: &EmailAddress, guesser: Guesser) -> Vec<Shared> {
        let email = email.as_str().as_bytes();
        let network = match guesser {
            Guesser::Stranger(network) => network,
            Guesser::Device(_) | Guesser::Session(_) => return Vec::new(),
            Guesser::Connection(connection) => {
                let key = self.id(&[b"login", b"connection", email, connection.0.bytes()]);
                let free = FREE_FAILURES;
                return vec![Shared { key, free }];
            }
        };
        let site = network.site().filter(|_| self.sees_clients);
        let site = site.map(|site| Shared {
            key: self.id(&[b"login", b"site", email, site.text().as_bytes()]),
            free: FREE_FAILURES_OF_SITE,
        });
        let strangers = Shared {
            key: self.id(&[b"login", email]),
            free: FREE_FAILURES_OF_STRANGERS,
        };
        site.into_iter().chain([strangers]).collect()
    }

    fn id(&self, parts: &[&[u8]]) -> String {
        self.secret.id(parts).to_string()
    }
}

/// Checks whether the next attempt may be made, and counts nothing.
///
/// # Errors
/// `RateLimited` if there are more failures than `free` and the wait is not over; `Internal` if the
/// bucket cannot be read.
pub(super) async fn check(
    counts: &Bucket<Count>,
    key: &str,
    free: u32,
    now: Time,
) -> Result<(), Error> {
    let count = counts.get(key).await?.unwrap_or_default();
    count.within_a_day(now).check(free, now)
}

/// Counts one more failure, and returns how many there are.
///
/// # Errors
/// `RateLimited` if there are more than `free` and the wait is not over; `Internal` if the bucket
/// cannot be read or written.
pub(super) async fn count_one(
    counts: &Bucket<Count>,
    key: &str,
    free: u32,
    now: Time,
) -> Result<u32, Error> {
    let one_more = |count: Option<Count>| {
        let count = count.unwrap_or_default().within_a_day(now);
        count.check(free, now)?;
        let count = count.one_more(now);
        Ok((count, count.failures))
    };
    counts.change(key, one_more).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_begins_after_ten_failures_and_doubles_up_to_an_hour() {
        let wait = |failures| {
            let count = Count {
                failures,
                ..Count::default()
            };
            count.wait(FREE_FAILURES, Time(0)).as_secs()
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
            first_ms: 0,
        };
        assert_eq!(count.wait(10, Time(11_000)), Duration::from_secs(20));
        assert_eq!(count.wait(10, Time(31_000)), Duration::ZERO);
    }

    #[test]
    fn counting_begins_again_after_a_day() {
        let day = 24 * 60 * 60 * 1000;
        let mut count = Count::default();
        for hour in 0..23 {
            count = count.one_more(Time(5 + hour * day / 24));
        }
        assert_eq!(count.within_a_day(Time(5 + day - 1)).failures, 23);
        assert_eq!(count.within_a_day(Time(5 + day)).failures, 0);
    }
}
