//! Slows down guessing the codes of a second factor, in the bucket that counts failed logins. Only
//! who has proved the first factor gets here, so a stranger cannot lock out the owner.

use async_nats::jetstream;
use events_schema::{AccountId, Id, secret::ServerKey, subject::LOGINS_BUCKET};

use super::login_throttle::{Count, count_one};
use crate::{backend::bucket::Bucket, clock::now, error::Error};

/// Wrong codes of an account within a day without a wait: more than anybody mistypes.
const FREE_CODES: u32 = 10;
/// Wrong codes within a day after which the owner gets a mail.
const WARNED_CODES: u32 = 5;
/// Codes that may be tried in one log-in.
const CODES_OF_CHALLENGE: u32 = 5;

/// Counts wrong codes.
#[derive(Clone, Debug)]
pub(crate) struct CodeThrottle {
    counts: Bucket<Count>,
    secret: ServerKey,
}

/// An attempt that is counted as wrong until it is taken back.
#[derive(Debug)]
pub(crate) struct CodeAttempt {
    key: String,
    /// Whether the owner should hear of the wrong codes, if this one is wrong, too.
    pub(crate) warns: bool,
}

impl CodeThrottle {
    /// Makes a throttle. Accounts are stored under ids that nobody can guess without `secret`.
    pub(crate) fn new(jetstream: jetstream::Context, secret: ServerKey) -> Self {
        Self {
            counts: Bucket::new(jetstream, LOGINS_BUCKET),
            secret,
        }
    }

    /// Counts a code as wrong before it is compared, so that each of several simultaneous guesses
    /// counts.
    ///
    /// # Errors
    /// `RateLimited` if the attempt must wait; `Internal` if the bucket cannot be read or written.
    pub(crate) async fn begin(&self, account: AccountId) -> Result<CodeAttempt, Error> {
        let key = self.key(b"account", account.0);
        let wrong = count_one(&self.counts, &key, FREE_CODES, now()).await?;
        Ok(CodeAttempt {
            key,
            warns: wrong == WARNED_CODES,
        })
    }

    /// Takes back an attempt whose code was right. An error is only logged, since the code counts.
    pub(crate) async fn succeeded(&self, attempt: CodeAttempt) {
        let one_less = |count: Option<Count>| Ok((count.unwrap_or_default().one_less(), ()));
        if let Err(error) = self.counts.change(&attempt.key, one_less).await {
            tracing::warn!(?error, "a right code was counted as a wrong one");
        }
    }

    /// Counts a code that is tried in a log-in. Returns whether it may be compared.
    ///
    /// # Errors
    /// If the bucket cannot be read or written.
    pub(crate) async fn count_of_challenge(&self, challenge: Id) -> Result<bool, Error> {
        let key = self.key(b"challenge", challenge);
        let counted = count_one(&self.counts, &key, CODES_OF_CHALLENGE, now()).await;
        match counted {
            Ok(tried) => Ok(tried <= CODES_OF_CHALLENGE),
            Err(Error::RateLimited { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn key(&self, what: &[u8], id: Id) -> String {
        self.secret.id(&[b"code", what, id.bytes()]).to_string()
    }
}
