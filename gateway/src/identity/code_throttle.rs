//! Slows down guessing the codes of a second factor, in the bucket that counts failed logins. Only
//! who has proved the first factor or has a session of the account gets here.
//!
//! Whoever has only the word of a tenant's connection is counted apart. Its issuer must not lock a
//! person out of the log-ins and sessions that are none of its business.

use async_nats::jetstream;
use events_schema::{
    AccountId, ConnectionId, Id, SessionId, secret::ServerKey, subject::LOGINS_BUCKET,
};

use super::login_throttle::{Count, check, count_one};
use crate::{backend::bucket::Bucket, clock::now, error::Error};

/// Wrong codes of one guesser within a day without a wait: more than anybody mistypes.
const FREE_CODES: u32 = 10;
/// Wrong codes of an account within a day without a wait. One guesser does not get that far, so it
/// cannot lock out the owner. A code of six digits is guessed by fifty tries once in 6,000 days.
const FREE_CODES_OF_ALL: u32 = 50;
/// Wrong codes within a day after which the owner gets a mail.
const WARNED_CODES: u32 = 5;
/// Codes that may be tried in one log-in.
const CODES_OF_CHALLENGE: u32 = 5;

/// Counts wrong codes.
#[derive(Clone, Debug)]
pub(crate) struct CodeThrottle {
    counts: Bucket<Count>,
    /// How many codes were tried in each log-in.
    tried: Bucket<u32>,
    secret: ServerKey,
}

/// Who tries codes of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodeGuesser {
    pub(crate) within: Within,
    /// The connection that alone vouches for them.
    pub(crate) connection: Option<ConnectionId>,
}

/// Where codes of an account are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Within {
    /// Somebody who has proved the first factor, in the log-in with this id.
    LogIn(Id),
    /// Somebody who has this session of the account.
    Session(SessionId),
}

/// An attempt that is counted as wrong until it is taken back.
#[derive(Debug)]
pub(crate) struct CodeAttempt {
    keys: Vec<String>,
    /// Whether the owner should hear of the wrong codes, if this one is wrong, too.
    pub(crate) warns: bool,
}

impl CodeThrottle {
    /// Makes a throttle. Accounts are stored under ids that nobody can guess without `secret`.
    pub(crate) fn new(jetstream: jetstream::Context, secret: ServerKey) -> Self {
        Self {
            counts: Bucket::new(jetstream.clone(), LOGINS_BUCKET),
            tried: Bucket::new(jetstream, LOGINS_BUCKET),
            secret,
        }
    }

    /// Counts a code as wrong before it is compared, so that each of several simultaneous guesses
    /// counts. Returns none if the log-in has had all its codes.
    ///
    /// # Errors
    /// `RateLimited` if the attempt must wait; `Internal` if the bucket cannot be read or written.
    pub(crate) async fn begin(
        &self,
        account: AccountId,
        guesser: CodeGuesser,
    ) -> Result<Option<CodeAttempt>, Error> {
        let (counts, now) = (self.counts_of(account, guesser), now());
        // Before any is raised: an attempt that is refused here is no wrong code.
        for (key, free) in &counts {
            check(&self.counts, key, *free, now).await?;
        }
        let mut wrong = 0;
        for (key, free) in &counts {
            wrong = count_one(&self.counts, key, *free, now).await?;
        }
        let attempt = CodeAttempt {
            keys: counts.into_iter().map(|(key, _)| key).collect(),
            warns: wrong >= WARNED_CODES,
        };
        // Last, since what must wait uses up no code of a log-in.
        if let Within::LogIn(challenge) = guesser.within
            && !self.count_of_challenge(challenge).await?
        {
            self.take_back(attempt).await;
            return Ok(None);
        }
        Ok(Some(attempt))
    }

    /// Takes back an attempt whose code was right, or was not compared. An error is only logged: it
    /// changes nothing of the answer.
    pub(crate) async fn take_back(&self, attempt: CodeAttempt) {
        let one_less = |count: Option<Count>| Ok((count.unwrap_or_default().one_less(), ()));
        for key in attempt.keys {
            if let Err(error) = self.counts.change(&key, one_less).await {
                tracing::warn!(?error, "a code was counted that was not wrong");
            }
        }
    }

    /// Counts a code that is tried in a log-in. Returns whether it may be compared.
    async fn count_of_challenge(&self, challenge: Id) -> Result<bool, Error> {
        let count_one = |tried: Option<u32>| {
            let tried = tried.unwrap_or_default();
            let may_try = tried < CODES_OF_CHALLENGE;
            may_try.then_some((tried + 1, ())).ok_or(Error::NotFound)
        };
        let key = self.key(b"challenge", challenge);
        match self.tried.change(&key, count_one).await {
            Ok(()) => Ok(true),
            Err(Error::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns the keys of the counts that a guesser raises, each with how many need no wait.
    fn counts_of(&self, account: AccountId, guesser: CodeGuesser) -> Vec<(String, u32)> {
        if let Some(connection) = guesser.connection {
            let parts: [&[u8]; 4] = [
                b"code",
                b"connection",
                account.0.bytes(),
                connection.0.bytes(),
            ];
            return vec![(self.secret.id(&parts).to_string(), FREE_CODES)];
        }
        let of_guesser = match guesser.within {
            // All log-ins together: a guesser begins as many as it likes.
            Within::LogIn(_) => self.key(b"log-ins", account.0),
            Within::Session(session) => self.key(b"session", session.0),
        };
        let of_all = self.key(b"account", account.0);
        vec![(of_guesser, FREE_CODES), (of_all, FREE_CODES_OF_ALL)]
    }

    fn key(&self, what: &[u8], id: Id) -> String {
        self.secret.id(&[b"code", what, id.bytes()]).to_string()
    }
}
