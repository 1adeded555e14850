//! Beginning the session of a log-in that has proved enough.

use events_schema::{
    CommandId, EmailId, Proof, TenantId, account, email, proof, secret::derived_id,
};

use super::{LoggedIn, Sessions, Started};
use crate::{
    backend::{commands::CommandRequest, views::ViewDocument},
    error::Error,
    identity::Caller,
    security::SecurityEvent,
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
        let is_known = self.is_known_device(caller, &account);
        let logged_in = self.welcome(caller, account, proofs, word).await?;
        if let LoggedIn::Session(account, started) = &logged_in
            && !is_known
        {
            self.tell_of_new_device(caller, account, started).await;
        }
        Ok(logged_in)
    }

    /// Starts the first session of an account that was just opened, and revokes the one that the
    /// request came with. The word of a connection makes the person a member first.
    ///
    /// # Errors
    /// `Pending` if the outcome of the command is not known in time. If only a connection vouches for
    /// the person, also if its tenant does not let them in.
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

    /// Makes a person a member by the word of a connection. If that fails, those who have proved enough
    /// themselves go on without the word. Returns what counts.
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
        let Err(error) = self.joins.join(caller, word, account).await else {
            return Ok(proofs);
        };
        let own = proof::own(&proofs);
        if !proof::suffices(&own, account.view.second_factor.is_some()) {
            return Err(error);
        }
        tracing::info!(?error, account = %account.id, "a person has not become a member");
        Ok(own)
    }

    /// Whether somebody has logged in to the account on the device, or has registered it there.
    fn is_known_device(&self, caller: &Caller, account: &ViewDocument<account::View>) -> bool {
        let token = caller.kept.registration.as_ref();
        let registered = token.and_then(|token| self.secret.open_registration_token(token));
        let has_registered = registered.is_some_and(|challenge| challenge.0 == account.id.0);
        has_registered || self.device(caller, account).is_some()
    }

    /// Tells the owner of an account by mail, up to 20 times a day: who knows the password must not
    /// bury other mails. The answer does not wait for the mail.
    async fn tell_of_new_device(
        &self,
        caller: &Caller,
        account: &ViewDocument<account::View>,
        started: &Started,
    ) {
        if let Err(error) = self.mails.count_new_device(account.id).await {
            tracing::warn!(?error, "the owner is not told of a new device");
            return;
        }
        let session = started.session.id.0;
        let id = derived_id(&[b"email", b"new_device", session.bytes()]);
        let tell = email::Command::TellOfNewDevice {
            to: account.view.email.clone(),
            device: caller.origin.device.clone(),
            at: started.session.view.started_at,
        };
        let (platform, command) = (TenantId::Platform, CommandId(id));
        let request = CommandRequest::<email::Area>::new(platform, EmailId(id), command, tell);
        self.commands.send_in_background(caller.sender(), request);
    }
}
