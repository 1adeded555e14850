//! Registrations that wait for a proof of their address, in a bucket that all gateways share. Its
//! records are kept for a day.

use std::time::Duration;

use async_nats::jetstream;
use events_schema::{
    ChallengeId, EmailAddress, PasswordHash, PersonName, Time, subject::REGISTRATIONS_BUCKET,
};
use serde::{Deserialize, Serialize};

use crate::{backend::bucket::Bucket, clock::now, error::Error};

/// How long the code and the link of a mail are valid.
const LIFETIME: Duration = Duration::from_secs(10 * 60);
/// Wrong codes after which the code of a mail is no longer valid.
const MAX_FAILURES_OF_MAIL: u32 = 5;
/// Wrong codes after which a registration takes only the link: with a million codes, a guesser
/// succeeds once in 50,000 registrations.
const MAX_FAILURES: u32 = 20;
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
    failures: u32,
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

/// The registrations that wait.
#[derive(Clone, Debug)]
pub(crate) struct PendingRegistrations(Bucket<Pending>);

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
            failures: 0,
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
        self.is_fresh(now)
            && self.failures_of_mail < MAX_FAILURES_OF_MAIL
            && self.failures < MAX_FAILURES
    }
}

impl PendingRegistrations {
    /// Keeps registrations in their bucket.
    pub(crate) fn new(jetstream: jetstream::Context) -> Self {
        Self(Bucket::new(jetstream, REGISTRATIONS_BUCKET))
    }

    /// Adds a registration, unless it is there.
    pub(super) async fn add(&self, id: ChallengeId, pending: Pending) -> Result<(), Error> {
        let add = |present: Option<Pending>| Ok((present.unwrap_or_else(|| pending.clone()), ()));
        self.0.change(&id.0.to_string(), add).await
    }

    /// Reads a registration.
    pub(super) async fn get(&self, id: ChallengeId) -> Result<Option<Pending>, Error> {
        self.0.get(&id.0.to_string()).await
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
    pub(super) async fn count_guess(&self, id: ChallengeId) -> Result<Option<Pending>, Error> {
        let pending = self.update(id, |pending| {
            pending.failures_of_mail = pending.failures_of_mail.saturating_add(1);
            pending.failures = pending.failures.saturating_add(1);
        });
        let counted = pending.await?.map(|pending| Pending {
            failures_of_mail: pending.failures_of_mail.saturating_sub(1),
            failures: pending.failures.saturating_sub(1),
            ..pending
        });
        Ok(counted.filter(|before| before.takes_codes(now())))
    }

    /// Takes back the count of a code that was right.
    pub(super) async fn forgive_guess(&self, id: ChallengeId) -> Result<(), Error> {
        let forgiven = self.update(id, |pending| {
            pending.failures_of_mail = pending.failures_of_mail.saturating_sub(1);
            pending.failures = pending.failures.saturating_sub(1);
        });
        forgiven.await.map(|_pending| ())
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
        match self.0.change(&id.0.to_string(), update).await {
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
    fn a_registration_takes_five_codes_per_mail_and_twenty_in_all() {
        let email = EmailAddress::parse("ada@example.com").unwrap();
        let name = PersonName::parse("Ada").unwrap();
        let hash = PasswordHash::parse("$x").unwrap();
        let new = Pending::new(email, name.clone(), name, hash);
        let (at, later) = (new.mailed_at, Time(new.mailed_at.0 + 10 * MINUTE));
        let takes = |of_mail, all, at| {
            let pending = Pending {
                failures_of_mail: of_mail,
                failures: all,
                ..new.clone()
            };
            pending.takes_codes(at)
        };
        assert!(takes(4, 4, at) && takes(4, 19, at));
        assert!(!takes(5, 5, at) && !takes(0, 20, at) && !takes(0, 0, later));
        assert!(new.is_fresh(at) && !new.is_fresh(later));
    }
}
