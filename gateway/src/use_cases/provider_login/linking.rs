//! Linking identities to the account of somebody who is logged in, and unlinking them.

use events_schema::{
    AccountId, CommandId, IdentityId, ProvedIdentity, ProviderName, TenantId,
    account::{self, Command},
};

use super::{
    ProviderLogins, ended,
    flows::{Purpose, Ticket},
};
use crate::{
    backend::commands::CommandRequest,
    clock::now,
    error::Error,
    identity::{
        Caller,
        providers::{FlowToken, Provider},
    },
    security::SecurityEvent,
};

impl ProviderLogins {
    /// Returns a URL that links an identity of a provider. It is valid once, in this session.
    ///
    /// # Errors
    /// `BadUserInput` if there is no such provider; `Forbidden` without a session.
    pub(crate) async fn start_link(
        &self,
        caller: &Caller,
        provider: &ProviderName,
    ) -> Result<String, Error> {
        let identity = caller.person()?;
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

    /// Links the identity that waits in this browser, now that its owner has logged in.
    ///
    /// # Errors
    /// `BadUserInput` if none waits for this account; `Rejected` if another account has it.
    pub(crate) async fn confirm_link(&self, caller: &Caller, id: CommandId) -> Result<(), Error> {
        let account = &caller.person()?.account;
        let waiting = self.openings.waiting(caller);
        let waiting = waiting.filter(|waiting| waiting.email == account.view.email);
        let waiting = waiting.ok_or_else(nothing_waits)?;
        self.link(caller, id, account.id, waiting.identity).await
    }

    /// Unlinks an identity of the caller.
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
        self.send(caller, account, id, unlink).await?;
        let unlinked = SecurityEvent::IdentityUnlinked;
        self.security.record(unlinked, caller, Some(account));
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
        let ticket = ticket.filter(|ticket| ticket.is_of(&provider.name, caller));
        let Ticket {
            account, session, ..
        } = ticket.ok_or_else(ended)?;
        Ok(Purpose::Link { account, session })
    }

    /// Links an identity to an account.
    ///
    /// # Errors
    /// `Rejected` if another account has it, or this one has too many.
    pub(super) async fn link(
        &self,
        caller: &Caller,
        id: CommandId,
        account: AccountId,
        identity: ProvedIdentity,
    ) -> Result<(), Error> {
        let link = Command::LinkIdentity { identity };
        self.send(caller, account, id, link).await?;
        let linked = SecurityEvent::IdentityLinked;
        self.security.record(linked, caller, Some(account));
        Ok(())
    }

    async fn send(
        &self,
        caller: &Caller,
        account: AccountId,
        id: CommandId,
        payload: Command,
    ) -> Result<(), Error> {
        let (sender, platform) = (caller.sender(), self.views.platform());
        let request = CommandRequest::new(TenantId::Platform, account, id, payload);
        let sent = self
            .commands
            .send::<account::View>(&sender, &platform, request);
        sent.await.map(|_revision| ())
    }
}

fn nothing_waits() -> Error {
    Error::request("No identity waits for this account in this browser. Begin again.")
}

fn unknown_provider() -> Error {
    Error::input("provider", "There is no such provider.")
}
