//! Beginning the session of a log-in that has proved enough.

use events_schema::{Proof, account, proof};

use super::{LoggedIn, Sessions};
use crate::{
    backend::views::ViewDocument, error::Error, identity::Caller, security::SecurityEvent,
    use_cases::opening::Word,
};

impl Sessions {
    /// Starts the session of a log-in that has proved enough, and revokes the one that the request
    /// came with.
    pub(super) async fn complete(
        &self,
        caller: &Caller,
        account: ViewDocument<account::View>,
        proofs: Vec<Proof>,
        word: Option<Word>,
    ) -> Result<LoggedIn, Error> {
        let logged_in = self.welcome(caller, account, proofs, word).await?;
        if let LoggedIn::Session(account, started) = &logged_in {
            self.tell_if_new_device(caller, account, started).await;
        }
        Ok(logged_in)
    }

    /// Starts the first session of an account that was just opened, and revokes the one that the
    /// request came with. The word of a connection makes the person a member first.
    ///
    /// # Errors
    /// `Pending` if the outcome of the command is not known in time. If only a connection vouches
    /// for the person, also if its tenant does not let them in.
    pub(crate) async fn welcome(
        &self,
        caller: &Caller,
        account: ViewDocument<account::View>,
        proofs: Vec<Proof>,
        word: Option<Word>,
    ) -> Result<LoggedIn, Error> {
        let proofs = self.joined(caller, &account, proofs, word).await?;
        let started = self.start(caller, &account, proofs).await?;
        let succeeded = SecurityEvent::LoginSucceeded;
        self.security.record(succeeded, caller, Some(account.id));
        self.revoke_previous(caller).await;
        Ok(LoggedIn::Session(Box::new(account), started))
    }

    /// Makes a person a member by the word of a connection. If that fails, those who have proved
    /// enough themselves go on without the word. Returns what counts.
    async fn joined(
        &self,
        caller: &Caller,
        account: &ViewDocument<account::View>,
        proofs: Vec<Proof>,
        word: Option<Word>,
    ) -> Result<Vec<Proof>, Error> {
        let Some(word) = word else {
            return Ok(proofs);
        };
        let Err(error) = self.joins.join(caller, &word, account).await else {
            return Ok(proofs);
        };
        let own = proof::own(&proofs);
        if !proof::suffices(&own, account.view.second_factor.is_some()) {
            return Err(error);
        }
        tracing::info!(?error, account = %account.id, "a person has not become a member");
        Ok(own)
    }
}
