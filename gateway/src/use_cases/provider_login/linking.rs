//! Linking identities to the account of somebody who is logged in, and unlinking them.

use events_schema::{
    AccountId, CommandId, IdentityId, ProvedIdentity, ProviderName, SessionId, TenantId,
    account::{self, Command},
};

use super::{
    Failed, ProviderLogins,
    flows::{Purpose, Ticket, ended},
};
use crate::{
    backend::{commands::CommandRequest, views::ViewDocument},
    clock::now,
    error::Error,
    identity::{
        Caller,
        caller::new_command_id,
        providers::{FlowToken, Provider},
    },
    security::SecurityEvent,
    use_cases::{opening::proof, session::Started},
};

impl ProviderLogins {
    /// Returns a URL that links an identity of a provider. It is valid once, in this session.
    ///
    /// # Errors
    /// `BadUserInput` if there is no such provider, or the request came to the sub-domain of a
    /// tenant; `Forbidden` without a session.
    pub(crate) async fn start_link(
        &self,
        caller: &Caller,
        provider: &ProviderName,
    ) -> Result<String, Error> {
        let identity = caller.person()?;
        if !caller.is_at_public_url() {
            return Err(self.only_at_public_url());
        }
        let provider = self.providers.named(provider.as_str());
        let provider = provider.ok_or_else(unknown_provider)?;
        let token = FlowToken::mint()?;
        let ticket = Ticket {
            provider: provider.name.clone(),
            account: identity.account_id(),
            session: identity.session,
            begun_at: now(),
        };
        self.flows.add_ticket(token.id(), ticket).await?;
        let (start, ticket) = (self.start_url(provider), token.text());
        Ok(format!("{start}?ticket={ticket}"))
    }

    fn only_at_public_url(&self) -> Error {
        let url = &self.public_url;
        Error::request(format!(
            "Link it at {url}: it cannot be linked at the address of a tenant."
        ))
    }

    /// Links the identity that waits in this browser, now that its owner has logged in. One of a
    /// connection makes the owner a member, and begins a new session with its word, which is
    /// returned.
    ///
    /// # Errors
    /// `BadUserInput` if none waits for this account; `Rejected` if another account has it;
    /// `RateLimited` after too many new credentials within a day.
    pub(crate) async fn confirm_link(
        &self,
        caller: &Caller,
        id: CommandId,
    ) -> Result<Option<Started>, Error> {
        let account = &caller.person()?.account;
        let waiting = self.openings.waiting(caller);
        let waiting = waiting.filter(|waiting| waiting.is_for(&account.view));
        let waiting = waiting.ok_or_else(nothing_waits)?;
        let proof = proof(&waiting);
        self.link(caller, id, account, waiting.identity).await?;
        Ok(match waiting.word {
            Some(word) => self.sessions.add_word(caller, word, proof).await,
            None => None,
        })
    }

    /// Unlinks an identity of the caller. If nothing else has proved the session, it ends.
    ///
    /// # Errors
    /// `Rejected` if nothing else would be left to log in by.
    pub(crate) async fn unlink(
        &self,
        caller: &Caller,
        id: CommandId,
        identity: IdentityId,
    ) -> Result<(), Error> {
        let account = caller.person()?.account_id();
        let unlink = Command::UnlinkIdentity { identity };
        if self.send(caller, account, id, unlink).await? {
            let unlinked = SecurityEvent::IdentityUnlinked;
            self.security.record(unlinked, caller, Some(account));
        }
        Ok(())
    }

    /// Uses a ticket up. It is lost if another session or provider comes with it.
    ///
    /// # Errors
    /// `BadUserInput` if it is not valid.
    pub(super) async fn use_ticket(
        &self,
        caller: &Caller,
        provider: &Provider,
        ticket: &str,
    ) -> Result<Purpose, Error> {
        let token = FlowToken::parse(ticket).ok_or_else(ended)?;
        let ticket = self.flows.take_ticket(token.id()).await?;
        if !ticket.is_of(&provider.name, caller) {
            return Err(ended());
        }
        let Ticket {
            account, session, ..
        } = ticket;
        Ok(Purpose::Link { account, session })
    }

    /// Links an identity in the session that has begun to. The provider has taken its time, so the
    /// session is looked up again.
    ///
    /// # Errors
    /// If the session has ended or is not fresh any more, another account has the identity, or this
    /// one has too many.
    pub(super) async fn link_in_session(
        &self,
        caller: &Caller,
        session: SessionId,
        identity: ProvedIdentity,
    ) -> Result<(), Failed> {
        let owner = self.callers.session(session).await.map_err(Failed::of)?;
        let owner = owner.ok_or(Failed::SessionEnded)?;
        owner.must_be_fresh().map_err(Failed::of)?;
        let id = new_command_id().map_err(Failed::of)?;
        let linked = self.link(caller, id, &owner.account, identity).await;
        linked.map_err(Failed::of)
    }

    /// Links an identity to an account, if no session of it has been revoked since it was read.
    async fn link(
        &self,
        caller: &Caller,
        id: CommandId,
        account: &ViewDocument<account::View>,
        identity: ProvedIdentity,
    ) -> Result<(), Error> {
        self.sessions.mails.count_new_credential(account.id).await?;
        let epoch = Some(account.view.epoch);
        let link = Command::LinkIdentity { identity, epoch };
        if self.send(caller, account.id, id, link).await? {
            let linked = SecurityEvent::IdentityLinked;
            self.security.record(linked, caller, Some(account.id));
        }
        Ok(())
    }

    /// Sends a command to an account. Returns whether it has changed something now.
    async fn send(
        &self,
        caller: &Caller,
        account: AccountId,
        id: CommandId,
        payload: Command,
    ) -> Result<bool, Error> {
        let (sender, platform) = (caller.sender(), self.views.platform());
        let request = CommandRequest::new(TenantId::Platform, account, id, payload);
        let sent = self
            .commands
            .change::<account::View>(&sender, &platform, request);
        sent.await
    }
}

fn nothing_waits() -> Error {
    Error::request("No identity waits for this account in this browser. Begin again.")
}

fn unknown_provider() -> Error {
    Error::input("provider", "There is no such provider.")
}
