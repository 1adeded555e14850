//! What the owners of mailboxes want. A recipient without an account proves the mailbox by a link,
//! one with an account by that account.

use events_schema::{
    CommandId, RecipientId, TenantId,
    recipient::{Command, View},
    secret::ServerKey,
};

use crate::{
    backend::{
        commands::{CommandRequest, Commands},
        views::Views,
    },
    error::Error,
    identity::Caller,
};

/// Stops and resumes invitations.
#[derive(Clone, Debug)]
pub(crate) struct Recipients {
    pub(crate) commands: Commands,
    pub(crate) views: Views,
    pub(crate) secret: ServerKey,
}

impl Recipients {
    /// Whether the caller gets invitations by mail.
    ///
    /// # Errors
    /// `Unauthenticated` or `Forbidden` if the caller is no person.
    pub(crate) async fn wants_invitations(&self, caller: &Caller) -> Result<bool, Error> {
        let own = self.own(caller)?;
        let found = self.views.platform().get::<View>(own).await?;
        Ok(found.is_none_or(|found| found.view.wants_invitations))
    }

    /// Stops invitations to the mailbox that got this link.
    ///
    /// # Errors
    /// `BadUserInput` if the link is wrong.
    pub(crate) async fn stop_invitations(
        &self,
        caller: &Caller,
        id: CommandId,
        token: &str,
    ) -> Result<(), Error> {
        let recipient = self.secret.open_stop_token(token).ok_or_else(wrong_link)?;
        self.send(caller, id, recipient, Command::StopInvitations)
            .await
    }

    /// Resumes invitations to the caller's own address.
    ///
    /// # Errors
    /// `Unauthenticated` or `Forbidden` if the caller is no person.
    pub(crate) async fn resume_invitations(
        &self,
        caller: &Caller,
        id: CommandId,
    ) -> Result<(), Error> {
        let own = self.own(caller)?;
        self.send(caller, id, own, Command::ResumeInvitations).await
    }

    fn own(&self, caller: &Caller) -> Result<RecipientId, Error> {
        let account = &caller.person()?.account;
        Ok(RecipientId::of(&account.view.email))
    }

    async fn send(
        &self,
        caller: &Caller,
        id: CommandId,
        recipient: RecipientId,
        payload: Command,
    ) -> Result<(), Error> {
        let request = CommandRequest::new(TenantId::Platform, recipient, id, payload);
        let (sender, platform) = (caller.sender(), self.views.platform());
        let sent = self.commands.send::<View>(&sender, &platform, request);
        sent.await.map(|_revision| ())
    }
}

fn wrong_link() -> Error {
    Error::input(
        "token",
        "This link is wrong. Open the link in the mail again.",
    )
}
