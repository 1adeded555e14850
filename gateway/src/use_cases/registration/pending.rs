//! Registrations that wait for a proof of their address, and the mails that were sent for them, in
//! a bucket that all gateways share. Its records are kept for a day.

use std::time::Duration;

use async_nats::jetstream;
use events_schema::{
    ChallengeId, EmailAddress, Id, PasswordHash, PersonName, Time, secret::ServerKey,
    subject::REGISTRATIONS_BUCKET,
};
use serde::{Deserialize, Serialize};

use crate::{backend::bucket::Bucket, clock::now, error::Error, identity::network::Network};

/// How long the code and the link of a mail are valid.
const LIFETIME: Duration = Duration::from_secs(10 * 60);
/// Wrong codes after which the code of a mail is no longer valid.
const MAX_FAILURES_OF_MAIL: u32 = 5;
/// Wrong codes after which a registration takes only the link: with a million codes, a guesser
/// succeeds once in 50,000 registrations.
const MAX_FAILURES: u32 = 20;
/// Passwords that may be tried for a registration.
const MAX_PASSWORDS: u32 = 20;
/// The shortest time between two mails that one client requests for an address. It doubles with
/// each of its mails within a day.
const MIN_INTERVAL: Duration = Duration::from_secs(60);
/// The longest time between two of these mails.
const MAX_INTERVAL: Duration = Duration::from_secs(30 * 60);
/// Mails that all clients can request for an address within a day.
const MAX_MAILS: usize = 20;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

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
    /// Passwords that were tried.
    passwords: u32,
}

/// The mails to an address.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Mails {
    /// Those within a day, the latest last.
    sent: Vec<Mail>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Mail {
    at: Time,
    challenge: ChallengeId,
    /// The network of the client, under an id that nobody can guess.
    client: Id,
}

/// The registrations that wait.
#[derive(Clone, Debug)]
pub(crate) struct PendingRegistrations {
    registrations: Bucket<Pending>,
    mails: Bucket<Mails>,
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
            failures: 0,
            passwords: 0,
        }
    }

    /// Whether the link of the latest mail is still valid.
    pub(super) fn is_fresh(&self, now: Time) -> bool {
        now.since(self.mailed_at) < LIFETIME
    }

    fn takes_codes(&self, now: Time) -> bool {
        self.is_fresh(now)
            && self.failures_of_mail < MAX_FAILURES_OF_MAIL
            && self.failures < MAX_FAILURES
    }
}

impl Mails {
    /// Adds a mail, unless this client or all clients have requested too many.
    fn add(&mut self, mail: Mail) -> Result<(), Error> {
        let now = mail.at;
        self.sent.retain(|sent| now.since(sent.at) < DAY);
        let wait = self.wait(mail.client, now);
        if !wait.is_zero() {
            return Err(Error::RateLimited { retry_after: wait });
        }
        self.sent.push(mail);
        Ok(())
    }

    fn wait(&self, client: Id, now: Time) -> Duration {
        if self.sent.len() >= MAX_MAILS {
            let oldest = self.sent.first().map_or(now, |sent| sent.at);
            return DAY.saturating_sub(now.since(oldest));
        }
        let mut own = self.sent.iter().filter(|sent| sent.client == client);
        let doublings = u32::try_from(own.clone().count().saturating_sub(1)).unwrap_or(u32::MAX);
        let interval = MIN_INTERVAL.saturating_mul(2_u32.saturating_pow(doublings));
        let interval = interval.min(MAX_INTERVAL);
        own.next_back().map_or(Duration::ZERO, |last| {
            interval.saturating_sub(now.since(last.at))
        })
    }
}

impl PendingRegistrations {
    /// Keeps registrations in their bucket. Addresses and networks are stored under ids that nobody
    /// can guess without `secret`.
    pub(crate) fn new(jetstream: jetstream::Context, secret: ServerKey) -> Self {
        Self {
            registrations: Bucket::new(jetstream.clone(), REGISTRATIONS_BUCKET),
            mails: Bucket::new(jetstream, REGISTRATIONS_BUCKET),
            secret,
        }
    }

    /// Counts the first mail of a registration. A repeated request counts none.
    ///
    /// # Errors
    /// `RateLimited` if the client or all clients have requested too many mails to the address.
    pub(super) async fn count_mail(
        &self,
        email: &EmailAddress,
        network: Network,
        challenge: ChallengeId,
    ) -> Result<(), Error> {
        let client = self.client(network);
        let add = |mails: Option<Mails>| {
            let mut mails = mails.unwrap_or_default();
            if mails.sent.iter().all(|sent| sent.challenge != challenge) {
                mails.add(Mail {
                    at: now(),
                    challenge,
                    client,
                })?;
            }
            Ok((mails, ()))
        };
        self.mails.change(&self.key(email), add).await
    }

    /// Counts a further mail of a registration.
    ///
    /// # Errors
    /// `RateLimited` if the client or all clients have requested too many mails to the address.
    pub(super) async fn count_mail_again(
        &self,
        email: &EmailAddress,
        network: Network,
        challenge: ChallengeId,
    ) -> Result<(), Error> {
        let client = self.client(network);
        let add = |mails: Option<Mails>| {
            let mut mails = mails.unwrap_or_default();
            mails.add(Mail {
                at: now(),
                challenge,
                client,
            })?;
            Ok((mails, ()))
        };
        self.mails.change(&self.key(email), add).await
    }

    /// Returns the registration that the latest mail to this address was about.
    pub(super) async fn latest(&self, email: &EmailAddress) -> Result<Option<ChallengeId>, Error> {
        let mails = self.mails.get(&self.key(email)).await?;
        Ok(mails.and_then(|mails| Some(mails.sent.last()?.challenge)))
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

    /// Counts a password that is tried. Returns whether one more may be tried.
    pub(super) async fn count_password(&self, id: ChallengeId) -> Result<bool, Error> {
        let counted = self.update(id, |pending| {
            pending.passwords = pending.passwords.saturating_add(1);
        });
        let counted = counted.await?;
        Ok(counted.is_some_and(|pending| pending.passwords <= MAX_PASSWORDS))
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

    fn key(&self, email: &EmailAddress) -> String {
        let parts: [&[u8]; 2] = [b"registration", email.as_str().as_bytes()];
        self.secret.id(&parts).to_string()
    }

    fn client(&self, network: Network) -> Id {
        self.secret.id(&[b"network", network.text().as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn mail(client: u8, minute: i64) -> Mail {
        Mail {
            at: Time(minute * MINUTE),
            challenge: ChallengeId(Id::from_bytes([client; 16])),
            client: Id::from_bytes([client; 16]),
        }
    }

    #[test]
    fn the_mails_of_one_client_are_ever_further_apart() {
        let mut mails = Mails::default();
        let mut minute = 0;
        for wait in [1, 2, 4, 8, 16, 30, 30] {
            mails.add(mail(1, minute)).unwrap();
            assert!(mails.add(mail(1, minute + wait - 1)).is_err(), "{wait}");
            minute += wait;
        }
        mails.add(mail(1, minute)).unwrap();
    }

    #[test]
    fn a_client_does_not_keep_another_from_registering() {
        let mut mails = Mails::default();
        mails.add(mail(1, 0)).unwrap();
        mails.add(mail(2, 0)).unwrap();
    }

    #[test]
    fn an_address_gets_twenty_mails_a_day() {
        let mut mails = Mails::default();
        for client in 0..20 {
            mails.add(mail(client, client.into())).unwrap();
        }
        let refused = mails.add(mail(20, 20));
        let Err(Error::RateLimited { retry_after }) = refused else {
            panic!("{refused:?}");
        };
        let day = 24 * 60;
        assert_eq!(retry_after, Duration::from_secs((day - 20) * 60));
        mails.add(mail(20, 24 * 60)).unwrap();
    }

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
