//! Logging out and revoking sessions.

use events_schema::{
    CommandId, SessionId, TenantId, TenantKey, account,
    secret::derived_id,
    session::{self, Command, epoch_of_impersonator},
    support,
};

use super::{MAX_READ, Sessions, millis, request};
use crate::{
    backend::{
        commands::CommandRequest,
        filter::{Filter, Sort},
    },
    clock::now,
    error::Error,
    identity::{Caller, caller::new_command_id},
    security::SecurityEvent,
};

impl Sessions {
    /// Revokes the session that the request of a login came with. An error is only logged, since
    /// the login stands.
    pub(crate) async fn revoke_previous(&self, caller: &Caller) {
        let revoked = async { self.log_out(caller, new_command_id()?).await };
        if let Err(error) = revoked.await {
            tracing::warn!(?error, "the session before a login was not revoked");
        }
    }

    /// Revokes the session that the request came with, if there is one and it is still valid.
    ///
    /// # Errors
    /// `Pending` if the outcome of the command is not known in time.
    pub(crate) async fn log_out(&self, caller: &Caller, command: CommandId) -> Result<(), Error> {
        let Ok(person) = caller.person() else {
            return Ok(());
        };
        let (session, account) = (person.session, person.account_id());
        if let Some(by) = person.impersonator {
            self.end_impersonation(caller, command, session, by.tenant)
                .await?;
        }
        let request = request(session, command, Command::End { account });
        match self.send(caller, request).await {
            // The session had ended already.
            Err(Error::Rejected(_)) => Ok(()),
            result => result,
        }
    }

    /// Revokes one of the caller's sessions. Returns whether the request came with it.
    ///
    /// # Errors
    /// `NotFound` if the session does not exist or belongs to another account.
    pub(crate) async fn revoke(
        &self,
        caller: &Caller,
        command: CommandId,
        id: SessionId,
    ) -> Result<bool, Error> {
        let identity = caller.person()?;
        let account = identity.account_id();
        let session = self.views.platform().get::<session::View>(id).await?;
        let session = session.filter(|session| session.view.account == account);
        let session = session.ok_or(Error::NotFound)?;
        if let Some(by) = session.view.impersonator {
            self.end_impersonation(caller, command, id, by.tenant)
                .await?;
        }
        self.send(caller, request(id, command, Command::End { account }))
            .await?;
        let revoked = SecurityEvent::SessionRevoked;
        self.security.record(revoked, caller, Some(account));
        Ok(id == identity.session)
    }

    /// Tells a tenant that an administrator of the platform no longer acts as a person.
    ///
    /// # Errors
    /// `Pending` if the outcome of the command is not known in time.
    pub(crate) async fn end_impersonation(
        &self,
        caller: &Caller,
        cause: CommandId,
        session: SessionId,
        tenant: TenantKey,
    ) -> Result<(), Error> {
        let parts: [&[u8]; 3] = [b"end_impersonation", cause.0.bytes(), session.0.bytes()];
        let id = CommandId(derived_id(&parts));
        let end = support::Command::End { session };
        let request =
            CommandRequest::<support::Area>::new(TenantId::Tenant(tenant), tenant, id, end);
        let (sender, deadline) = (caller.sender(), self.commands.deadline());
        let sent = self.commands.decide(&sender, request, deadline);
        sent.await.map(|_outcome| ())
    }

    /// Revokes all of the caller's sessions. Those in which somebody acts as the caller end, too, and
    /// their tenants see it.
    ///
    /// # Errors
    /// `Rejected` if the domain refuses the command; `Pending` if its outcome is not known in time.
    pub(crate) async fn revoke_all(&self, caller: &Caller, id: CommandId) -> Result<(), Error> {
        let account = caller.person()?.account_id();
        let revoke = account::Command::RevokeSessions;
        let request = CommandRequest::new(TenantId::Platform, account, id, revoke);
        let (sender, platform) = (caller.sender(), self.views.platform());
        let sent = self
            .commands
            .send::<account::View>(&sender, &platform, request);
        sent.await?;
        let revoked = SecurityEvent::SessionsRevoked;
        self.security.record(revoked, caller, Some(account));
        if let Err(error) = self.end_impersonations(caller, id).await {
            tracing::warn!(?error, "a tenant sees the end of an impersonation later");
        }
        Ok(())
    }

    /// Tells tenants that nobody acts as the caller any more.
    async fn end_impersonations(&self, caller: &Caller, cause: CommandId) -> Result<(), Error> {
        let account = &caller.person()?.account;
        let impersonated = Filter::default()
            .is("account", account.id)?
            .is("epoch", epoch_of_impersonator(account.view.epoch))?
            .greater_than("started_at", now().0 - millis(support::IMPERSONATION));
        let sort = Sort {
            field: "started_at",
            descending: true,
        };
        let platform = self.views.platform();
        let found = platform.list::<session::View>(impersonated, sort, false, MAX_READ);
        for session in found.await? {
            if let Some(by) = session.view.impersonator {
                self.end_impersonation(caller, cause, session.id, by.tenant)
                    .await?;
            }
        }
        Ok(())
    }

    async fn send(
        &self,
        caller: &Caller,
        request: CommandRequest<session::Area>,
    ) -> Result<(), Error> {
        let (sender, platform) = (caller.sender(), self.views.platform());
        let sent = self
            .commands
            .send::<session::View>(&sender, &platform, request);
        sent.await.map(|_revision| ())
    }
}
