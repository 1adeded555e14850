//! Slows down guessing the codes of a second factor, in the bucket that counts failed logins. Only
//! who has proved the first factor or has a session of the account gets here.

use async_nats::jetstream;
use events_schema::{AccountId, Id, SessionId, secret::ServerKey, subject::LOGINS_BUCKET};

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
pub(crate) enum CodeGuesser {
    /// Somebody who has proved the first factor, in the log-in with this id.
    LogIn(Id),
    /// Somebody who has this session of the account.
    Session(SessionId),
}

/// An attempt that is counted as wrong until it is taken back.
#[derive(Debug)]
pub(crate) struct CodeAttempt {
    keys: [String; 2],
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
        let of_guesser = match guesser {
            // All log-ins together: a guesser begins as many as it likes.
            CodeGuesser::LogIn(_) => self.key(b"log-ins", account.0),
            CodeGuesser::Session(session) => self.key(b"session", session.0),
        };
        let of_all = self.key(b"account", account.0);
        let now = now();
        // Before the guesser's own count: an attempt that is refused here is no wrong code.
        check(&self.counts, &of_all, FREE_CODES_OF_ALL, now).await?;
        count_one(&self.counts, &of_guesser, FREE_CODES, now).await?;
        let wrong = count_one(&self.counts, &of_all, FREE_CODES_OF_ALL, now).await?;
        let attempt = CodeAttempt {
            keys: [of_guesser, of_all],
            warns: wrong >= WARNED_CODES,
        };
        // Last, since what must wait uses up no code of a log-in.
        if let CodeGuesser::LogIn(challenge) = guesser
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

    fn key(&self, what: &[u8], id: Id) -> String {
        self.secret.id(&[b"code", what, id.bytes()]).to_string()
    }
}
