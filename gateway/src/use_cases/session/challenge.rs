//! A log-in that waits for its second factor. The browser keeps it, sealed, so that nobody else can
//! complete it.

use std::time::Duration;

use event_store::{random_bytes, random_id};
use events_schema::{
    AccountId, Id, Proof, Time, account,
    proof::{self, TWO_FACTORS},
    sealed::{NONCE_BYTES, Sealed},
};
use serde::{Deserialize, Serialize};

use super::{LoggedIn, Sessions};
use crate::{
    backend::views::ViewDocument,
    clock::now,
    error::Error,
    identity::Caller,
    method::{Method, SECOND},
    use_cases::{
        opening::Word,
        second_factor::{ENDED, SecondMethod},
    },
};

/// The second factor must be proved within this time.
const LIFETIME: Duration = Duration::from_secs(10 * 60);
const PURPOSE: &str = "challenge";

/// A log-in that waits for its second factor.
pub(crate) struct Challenge {
    /// What only the browser keeps.
    pub(crate) token: String,
    pub(crate) methods: &'static [Method],
    pub(crate) expires_at: Time,
}

/// What the browser keeps, sealed.
#[derive(Serialize, Deserialize)]
struct Begun {
    id: Id,
    account: AccountId,
    /// The account's epoch when the first factor was proved.
    epoch: i64,
    at: Time,
    proofs: Vec<Proof>,
    /// The word of a connection, if the first factor was proved there.
    #[serde(default)]
    word: Option<Word>,
}

impl Sessions {
    /// Goes on with a log-in after its first proof: starts a session, unless the account has a
    /// second factor that is not proved yet. The session that the request came with ends. The word
    /// of a connection makes the person a member once all is proved.
    ///
    /// # Errors
    /// `Pending` if the outcome of the command is not known in time. If only a connection vouches
    /// for the person, also if its tenant does not let them in.
    pub(crate) async fn proceed(
        &self,
        caller: &Caller,
        account: ViewDocument<account::View>,
        first: Proof,
        word: Option<Word>,
    ) -> Result<LoggedIn, Error> {
        let proofs = vec![first];
        let is_complete = proof::aal(&proofs) >= TWO_FACTORS;
        if account.view.second_factor.is_some() && !is_complete {
            let challenge = self.challenge(&account, proofs, word)?;
            return Ok(LoggedIn::Challenge(challenge));
        }
        self.complete(caller, account, proofs, word).await
    }

    /// Completes a log-in by its second factor.
    ///
    /// # Errors
    /// `Unauthenticated` if this browser has begun none, it has ended, or its first proof counts no
    /// more; `BadUserInput` if the code is wrong; `RateLimited` after too many wrong ones.
    pub(crate) async fn complete_challenge(
        &self,
        caller: &Caller,
        method: SecondMethod,
        code: &str,
    ) -> Result<LoggedIn, Error> {
        let begun = self.open(caller).ok_or(ENDED)?;
        let platform = self.views.platform();
        let account = platform.get::<account::View>(begun.account).await?;
        let is_valid = |account: &ViewDocument<account::View>| {
            account.view.epoch == begun.epoch && !account.view.is_disabled
        };
        let account = account.filter(is_valid).ok_or(ENDED)?;
        let first = account.view.counting(begun.proofs);
        if first.is_empty() {
            return Err(ENDED);
        }
        let connection = first.iter().find_map(Proof::scope);
        let connection = connection.map(|scope| scope.connection);
        let (factors, of_log_in) = (&self.second_factors, (begun.id, connection));
        let checked = factors.check_in_log_in(caller, of_log_in, &account, method, code);
        let second = Proof::new(checked.await?, now());
        let proofs = proof::with(first, second);
        self.complete(caller, account, proofs, begun.word).await
    }

    /// Returns when the log-in that this browser has begun ends, if its second factor is still to
    /// be proved.
    pub(crate) fn awaits_second(&self, caller: &Caller) -> Option<Time> {
        self.open(caller).map(|begun| begun.at + LIFETIME)
    }

    fn challenge(
        &self,
        account: &ViewDocument<account::View>,
        proofs: Vec<Proof>,
        word: Option<Word>,
    ) -> Result<Challenge, Error> {
        let begun = Begun {
            id: random_id()?,
            account: account.id,
            epoch: account.view.epoch,
            at: now(),
            proofs,
            word,
        };
        let plain = serde_json::to_vec(&begun).map_err(anyhow::Error::from)?;
        let nonce: [u8; NONCE_BYTES] = random_bytes()?;
        let sealed = self.secret.seal(PURPOSE, &[], nonce, &plain);
        Ok(Challenge {
            token: sealed.into(),
            methods: SECOND,
            expires_at: begun.at + LIFETIME,
        })
    }

    /// Opens the log-in that this browser has begun, if it has not ended.
    fn open(&self, caller: &Caller) -> Option<Begun> {
        let sealed = Sealed::parse(caller.kept.challenge.as_ref()?).ok()?;
        let plain = self.secret.open_sealed(PURPOSE, &[], &sealed)?;
        let begun: Begun = serde_json::from_slice(&plain).ok()?;
        (now().since(begun.at) < LIFETIME).then_some(begun)
    }
}
