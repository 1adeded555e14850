//! Proving again who somebody is, within their session. Each proof starts a new session and ends the
//! old one, so that a token from before gains nothing.

use events_schema::{Proof, ProofKind, Scope, account, proof};

use super::{Sessions, Started};
use crate::{
    backend::views::ViewDocument,
    clock::now,
    error::Error,
    identity::{Caller, login_throttle::Guesser},
    security::SecurityEvent,
    use_cases::second_factor::SecondMethod,
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
        let proofs = proof::with(identity.proofs.clone(), Proof::new(kind, now()));
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
        if_started(started.map(Some))
    }

    /// Replaces a session that was proved only by what its owner has just removed. The new one has
    /// no proof. An error is only logged, since the removal stands.
    pub(crate) async fn outlive_removal(
        &self,
        caller: &Caller,
        account: &ViewDocument<account::View>,
    ) -> Option<Started> {
        if_started(self.replace_void(caller, account).await)
    }

    async fn replace_void(
        &self,
        caller: &Caller,
        account: &ViewDocument<account::View>,
    ) -> Result<Option<Started>, Error> {
        let proofs = &caller.person()?.proofs;
        let is_void = account.view.counting(proofs.clone()).is_empty();
        if proofs.is_empty() || !is_void {
            return Ok(None);
        }
        let started = self.start(caller, account, Vec::new()).await?;
        self.revoke_previous(caller).await;
        Ok(Some(started))
    }
}

fn if_started(started: Result<Option<Started>, Error>) -> Option<Started> {
    started.unwrap_or_else(|error| {
        tracing::warn!(
            ?error,
            "no session was started after a change of credentials"
        );
        None
    })
}
