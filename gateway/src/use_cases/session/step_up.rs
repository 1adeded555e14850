//! Proving again who somebody is, within their session. Each proof starts a new session and ends
//! the old one, so that a token from before gains nothing.

use events_schema::{Proof, ProofKind, Scope, proof};

use super::{Sessions, Started};
use crate::{
    clock::now,
    error::Error,
    identity::{Caller, login_throttle::Guesser},
    security::SecurityEvent,
    use_cases::{opening::Word, second_factor::SecondMethod},
};

impl Sessions {
    /// Proves the password again.
    ///
    /// # Errors
    /// `BadUserInput` if it is wrong; `RateLimited` after too many failures.
    pub(crate) async fn step_up_by_password(
        &self,
        caller: &Caller,
        password: String,
    ) -> Result<Started, Error> {
        let message = "The password is wrong.";
        self.prove_password(caller, "password", message, password)
            .await?;
        self.add_proof(caller, ProofKind::Password).await
    }

    /// Proves the second factor, for the first time in the session or again.
    ///
    /// # Errors
    /// `BadUserInput` if the code is wrong; `RateLimited` after too many wrong ones.
    pub(crate) async fn step_up_by_code(
        &self,
        caller: &Caller,
        method: SecondMethod,
        code: &str,
    ) -> Result<Started, Error> {
        let checked = self.second_factors.check_in_session(caller, method, code);
        self.add_proof(caller, checked.await?).await
    }

    /// Checks the password of the person who sends the request. `field` is the input that it came
    /// in, and `message` says that it is wrong.
    ///
    /// # Errors
    /// `BadUserInput` if it is wrong; `RateLimited` after too many failures.
    pub(crate) async fn prove_password(
        &self,
        caller: &Caller,
        field: &'static str,
        message: &'static str,
        password: String,
    ) -> Result<(), Error> {
        let identity = caller.person()?;
        let view = &identity.account.view;
        let admission = self.passwords.admit(&caller.origin).await?;
        let guesser = match identity.scope {
            Some(Scope { connection, .. }) => Guesser::Connection(connection),
            None => Guesser::Session(identity.session),
        };
        let attempt = self.logins.begin(&view.email, guesser).await?;
        let hash = view.password_hash.as_ref();
        if !self.passwords.matches(&admission, password, hash).await? {
            let failed = SecurityEvent::LoginFailed;
            let account = Some(identity.account_id());
            self.security.record(failed, caller, account);
            if attempt.warns {
                self.warn_of_failed_logins(caller, &identity.account);
            }
            return Err(Error::input(field, message));
        }
        self.logins.succeeded(attempt).await;
        Ok(())
    }

    /// Starts a session that has a further proof, and ends the one that the request came with.
    ///
    /// # Errors
    /// `Pending` if the outcome of the command is not known in time.
    pub(crate) async fn add_proof(
        &self,
        caller: &Caller,
        kind: ProofKind,
    ) -> Result<Started, Error> {
        let identity = caller.person()?;
        let proof = identity.account.view.proof(kind, now());
        let proofs = proof::with(identity.proofs.clone(), proof);
        self.replace(caller, proofs).await
    }

    async fn replace(&self, caller: &Caller, proofs: Vec<Proof>) -> Result<Started, Error> {
        let identity = caller.person()?;
        let started = self.start(caller, &identity.account, proofs).await?;
        let account = Some(identity.account_id());
        let stepped_up = SecurityEvent::SteppedUp;
        self.security.record(stepped_up, caller, account);
        // Only now is it a log-in to the whole account.
        if identity.scope.is_some() {
            self.tell_if_new_device(caller, &identity.account, &started)
                .await;
        }
        self.revoke_previous(caller).await;
        Ok(started)
    }

    /// Adds the first proof by something that was just added to the account. An error is only
    /// logged, since the addition stands.
    pub(crate) async fn add_first_proof(
        &self,
        caller: &Caller,
        kind: ProofKind,
    ) -> Option<Started> {
        let started = self.add_proof(caller, kind).await;
        if_started(started)
    }

    /// Makes a person a member by the word of a connection whose identity they have just linked,
    /// and adds it to the session, in place of that of another connection. An error is only logged,
    /// since the link stands.
    pub(crate) async fn add_word(
        &self,
        caller: &Caller,
        word: Word,
        proof: Proof,
    ) -> Option<Started> {
        let added = async {
            let person = caller.person()?;
            self.joins.join(caller, &word, &person.account).await?;
            let proofs = proof::with_word(&person.proofs, proof);
            self.replace(caller, proofs).await
        };
        if_started(added.await)
    }
}

fn if_started(started: Result<Started, Error>) -> Option<Started> {
    let started = started.inspect_err(|error| {
        tracing::warn!(
            ?error,
            "no session was started after a change of credentials"
        );
    });
    started.ok()
}
