//! Registrations that wait for a proof of their address, in a bucket that all gateways share. Its
//! records are kept for a day.

use std::time::Duration;

use async_nats::jetstream;
use events_schema::{
    ChallengeId, EmailAddress, PasswordHash, PersonName, Time,
    secret::ServerKey,
    subject::{LOGINS_BUCKET, REGISTRATIONS_BUCKET},
};
use serde::{Deserialize, Serialize};

use crate::{backend::bucket::Bucket, clock::now, error::Error};

/// How long the code and the link of a mail are valid.
const LIFETIME: Duration = Duration::from_secs(10 * 60);
/// Wrong codes after which the code of a mail is no longer valid.
const MAX_FAILURES_OF_MAIL: u32 = 5;
/// Wrong codes for all registrations of an address within a day after which these take only the
/// link: with a million codes, a guesser succeeds once in 50,000 days.
const MAX_FAILURES: u32 = 20;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Passwords that may be tried for a registration, beside codes and beside the link.
const MAX_PASSWORDS: u32 = 20;
/// A registration that waits for a proof of its address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) email: EmailAddress,
    pub(super) firstname: PersonName,
    pub(super) lastname: PersonName,
    pub(super) password_hash: PasswordHash,
    /// When its latest mail was requested.
    mailed_at: Time,
    /// How many mails were requested.
    pub(super) mails: u32,
    /// Wrong codes since the latest mail.
    failures_of_mail: u32,
    /// Passwords that were tried beside a code. Anybody can do that.
    passwords: u32,
    /// Passwords that were tried beside the link.
    passwords_of_link: u32,
}

/// What a password is tried with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    Code,
    Link,
}

/// The wrong codes for all registrations of an address.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Failures {
    count: u32,
    /// When the first of them was. After a day, counting begins again.
    first_ms: i64,
}

impl Failures {
    /// Returns the count that is still valid: none if it began a day ago.
    fn within_a_day(self, now: Time) -> Self {
        if now.since(Time(self.first_ms)) < DAY {
            self
        } else {
            Self {
                count: 0,
                first_ms: now.0,
            }
        }
    }
}

/// The registrations that wait.
#[derive(Clone, Debug)]
pub(crate) struct PendingRegistrations {
    registrations: Bucket<Pending>,
    failures: Bucket<Failures>,
    secret: ServerKey,
}

impl Pending {
    /// Makes a registration whose first mail is requested now.
    pub(super) fn new(
        email: EmailAddress,
        firstname: PersonName,
        lastname: PersonName,
        password_hash: PasswordHash,
    ) -> Self {
        Self {
            email,
            firstname,
            lastname,
            password_hash,
            mailed_at: now(),
            mails: 1,
            failures_of_mail: 0,
            passwords: 0,
            passwords_of_link: 0,
        }
    }

    /// Whether the link of the latest mail is still valid.
    pub(super) fn is_fresh(&self, now: Time) -> bool {
        now.since(self.mailed_at) < LIFETIME
    }

    fn tried(&mut self, means: Means) -> &mut u32 {
        match means {
            Means::Code => &mut self.passwords,
            Means::Link => &mut self.passwords_of_link,
        }
    }

    fn takes_codes(&self, now: Time) -> bool {
        self.is_fresh(now) && self.failures_of_mail < MAX_FAILURES_OF_MAIL
    }
}

impl PendingRegistrations {
    /// Keeps registrations in their bucket. Addresses are stored under ids that nobody can guess
    /// without `secret`.
    pub(crate) fn new(jetstream: jetstream::Context, secret: ServerKey) -> Self {
        Self {
            registrations: Bucket::new(jetstream.clone(), REGISTRATIONS_BUCKET),
            // Old records give way to new ones here, so that nobody can fill the bucket.
            failures: Bucket::new(jetstream, LOGINS_BUCKET),
            secret,
        }
    }

    /// Adds a registration, unless it is there.
    pub(super) async fn add(&self, id: ChallengeId, pending: Pending) -> Result<(), Error> {
        let add = |present: Option<Pending>| Ok((present.unwrap_or_else(|| pending.clone()), ()));
        self.registrations.change(&id.0.to_string(), add).await
    }

    /// Reads a registration.
    pub(super) async fn get(&self, id: ChallengeId) -> Result<Option<Pending>, Error> {
        self.registrations.get(&id.0.to_string()).await
    }

    /// Renews a registration for a further mail, and returns it.
    pub(super) async fn mail_again(&self, id: ChallengeId) -> Result<Option<Pending>, Error> {
        self.update(id, |pending| {
            pending.mailed_at = now();
            pending.mails += 1;
            pending.failures_of_mail = 0;
        })
        .await
    }

    /// Counts a code as wrong before it is compared. Returns the registration if it still takes a
    /// code.
    pub(super) async fn count_guess(
        &self,
        id: ChallengeId,
        email: &EmailAddress,
    ) -> Result<Option<Pending>, Error> {
        let pending = self.update(id, |pending| {
            pending.failures_of_mail = pending.failures_of_mail.saturating_add(1);
        });
        let counted = pending.await?.map(|pending| Pending {
            failures_of_mail: pending.failures_of_mail.saturating_sub(1),
            ..pending
        });
        let Some(before) = counted.filter(|before| before.takes_codes(now())) else {
            return Ok(None);
        };
        // Only what is compared counts for the address, too.
        let failures = self.change_failures(email, |count| count.saturating_add(1));
        Ok((failures.await? < MAX_FAILURES).then_some(before))
    }

    /// Takes back the count of a code that was right.
    pub(super) async fn forgive_guess(
        &self,
        id: ChallengeId,
        email: &EmailAddress,
    ) -> Result<(), Error> {
        self.change_failures(email, |count| count.saturating_sub(1))
            .await?;
        let forgiven = self.update(id, |pending| {
            pending.failures_of_mail = pending.failures_of_mail.saturating_sub(1);
        });
        forgiven.await.map(|_pending| ())
    }

    /// Changes the count of wrong codes of an address; returns what it was.
    async fn change_failures(
        &self,
        email: &EmailAddress,
        change: impl Fn(u32) -> u32,
    ) -> Result<u32, Error> {
        let key = self.secret.id(&[b"codes", email.as_str().as_bytes()]);
        let change = |known: Option<Failures>| {
            let known = known.unwrap_or_default().within_a_day(now());
            let count = change(known.count);
            Ok((Failures { count, ..known }, known.count))
        };
        self.failures.change(&key.to_string(), change).await
    }

    /// Counts a password that is tried. Returns whether it may be. Those beside a code, which
    /// anybody can send, use up none of those beside the link.
    pub(super) async fn count_password(
        &self,
        id: ChallengeId,
        means: Means,
    ) -> Result<bool, Error> {
        let counted = self.update(id, |pending| {
            let count = pending.tried(means);
            *count = count.saturating_add(1);
        });
        let counted = counted.await?;
        Ok(counted.is_some_and(|mut pending| *pending.tried(means) <= MAX_PASSWORDS))
    }

    /// Changes a registration, if it is there, and returns it.
    async fn update(
        &self,
        id: ChallengeId,
        change: impl Fn(&mut Pending),
    ) -> Result<Option<Pending>, Error> {
        let update = |present: Option<Pending>| {
            let mut pending = present.ok_or(Error::NotFound)?;
            change(&mut pending);
            Ok((pending.clone(), pending))
        };
        match self.registrations.change(&id.0.to_string(), update).await {
            Ok(pending) => Ok(Some(pending)),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    #[test]
    fn a_mail_takes_five_codes_for_ten_minutes() {
        let email = EmailAddress::parse("ada@example.com").unwrap();
        let name = PersonName::parse("Ada").unwrap();
        let hash = PasswordHash::parse("$x").unwrap();
        let new = Pending::new(email, name.clone(), name, hash);
        let (at, later) = (new.mailed_at, Time(new.mailed_at.0 + 10 * MINUTE));
        let takes = |failures_of_mail, at| {
            let pending = Pending {
                failures_of_mail,
                ..new.clone()
            };
            pending.takes_codes(at)
        };
        assert!(takes(4, at) && !takes(5, at) && !takes(0, later));
        assert!(new.is_fresh(at) && !new.is_fresh(later));
    }

    #[test]
    fn wrong_codes_are_forgotten_after_a_day() {
        let failures = Failures {
            count: 7,
            first_ms: 5,
        };
        let day = 24 * 60 * MINUTE;
        assert_eq!(failures.within_a_day(Time(5 + day - 1)).count, 7);
        let begun = failures.within_a_day(Time(5 + day));
        assert_eq!((begun.count, begun.first_ms), (0, 5 + day));
    }
}
