//! Support: a tenant lets administrators of the platform act as its people, and they do so.

use events_schema::{
    AccountId, CommandId, Permissions, Reason, SessionId, TenantId, TenantKey, Time, account,
    member::{self, Status},
    session::{self, Impersonator},
    support::{self, Command, View},
    tenant,
};

use crate::{
    access::PermissionCache,
    backend::{
        commands::CommandRequest,
        filter::Filter,
        views::{TenantViews, ViewDocument},
    },
    error::Error,
    identity::{Caller, Membership, Person, caller::new_command_id, cookie::SessionToken},
    security::SecurityEvent,
    use_cases::session::Sessions,
};

/// Grants and revokes access, and begins to act as people.
#[derive(Clone, Debug)]
pub(crate) struct Support {
    sessions: Sessions,
    permissions: PermissionCache,
}

/// As whom an administrator wants to act, where and why.
pub(crate) struct Wanted {
    pub(crate) account: AccountId,
    pub(crate) tenant: TenantKey,
    pub(crate) reason: Reason,
}

/// A session in which an administrator acts as a person.
pub(crate) struct Impersonated {
    /// The secret that only the client keeps.
    pub(crate) token: SessionToken,
    pub(crate) session: ViewDocument<session::View>,
    /// The person.
    pub(crate) account: ViewDocument<account::View>,
}

impl Support {
    /// Starts and ends sessions this way, and finds what people hold.
    pub(crate) const fn new(sessions: Sessions, permissions: PermissionCache) -> Self {
        Self {
            sessions,
            permissions,
        }
    }

    /// Returns who may act as people of the caller's tenant, and who has done so.
    ///
    /// # Errors
    /// If the view cannot be read.
    pub(crate) async fn get(&self, caller: &Caller) -> Result<View, Error> {
        of(caller.membership()?).await
    }

    /// Lets administrators of the platform act as people of the caller's tenant until this time.
    ///
    /// # Errors
    /// `Rejected` if the time is out of bounds, or there is a grant.
    pub(crate) async fn grant(
        &self,
        caller: &Caller,
        command: CommandId,
        until: Time,
    ) -> Result<View, Error> {
        self.change(caller, command, Command::Grant { until }).await
    }

    /// Lets nobody act as a person of the caller's tenant any more.
    ///
    /// # Errors
    /// `Pending` if the outcome of the command is not known in time.
    pub(crate) async fn revoke(&self, caller: &Caller, command: CommandId) -> Result<View, Error> {
        self.change(caller, command, Command::Revoke).await
    }

    async fn change(
        &self,
        caller: &Caller,
        command: CommandId,
        payload: Command,
    ) -> Result<View, Error> {
        let membership = caller.membership()?;
        let (views, tenant) = (&membership.views, membership.tenant.id);
        let request = CommandRequest::new(membership.tenant_id(), tenant, command, payload);
        let (sender, commands) = (caller.sender(), &self.sessions.commands);
        let sent = commands.send::<View>(&sender, views, request);
        sent.await?;
        of(membership).await
    }

    /// Begins to act as a person, in one tenant and for half an hour, and ends the administrator's
    /// own session. Each call starts a new session, since its token is random and shown once.
    ///
    /// # Errors
    /// `NotFound` if there is no such tenant, or the account is not a member of it; `Rejected` if the
    /// tenant does not grant access now, or not as this person, or too many sessions act as its
    /// people.
    pub(crate) async fn impersonate(
        &self,
        caller: &Caller,
        wanted: Wanted,
    ) -> Result<Impersonated, Error> {
        let administrator = caller.person()?;
        let platform = self.sessions.views.platform();
        let tenant = platform.get::<tenant::View>(wanted.tenant).await?;
        let tenant = tenant.ok_or(Error::NotFound)?;
        let views = self.sessions.views.of(&tenant)?;
        let (account, person_holds) = self.member(&views, tenant.id, wanted.account).await?;
        let token = SessionToken::mint()?;
        let id = token.session_id();
        let begin = Command::Begin {
            session: id,
            account: account.id,
            email: account.view.email.clone(),
            tenant_name: tenant.view.name.clone(),
            reason: wanted.reason,
            person_holds: Some(person_holds),
        };
        self.begin(caller, &views, tenant.id, begin).await?;
        let started = self.start(caller, administrator, &account, tenant.id, id);
        let session = match started.await {
            Ok(session) => session,
            Err(error) => {
                self.give_up(caller, id, tenant.id).await;
                return Err(error);
            }
        };
        let begun = SecurityEvent::ImpersonationBegun;
        self.sessions
            .security
            .record(begun, caller, Some(account.id));
        self.sessions.revoke_previous(caller).await;
        Ok(Impersonated {
            token,
            session,
            account,
        })
    }

    /// Returns the account of a member, and what they hold.
    async fn member(
        &self,
        views: &TenantViews,
        tenant: TenantKey,
        account: AccountId,
    ) -> Result<(ViewDocument<account::View>, Permissions), Error> {
        let accepted = Filter::default()
            .is("account", account)?
            .is("status", Status::Accepted)?;
        let member = views.find::<member::View>(accepted).await?;
        let member = member.ok_or(Error::NotFound)?;
        let roles = self.permissions.of(views, tenant).await?;
        let account = self
            .sessions
            .views
            .platform()
            .get::<account::View>(account)
            .await?;
        let account = account.filter(|account| !account.view.is_disabled);
        let account = account.ok_or(Error::NotFound)?;
        Ok((account, roles.of_member(&member.view)))
    }

    /// Tells the tenant that a session is about to start. It has the last word.
    async fn begin(
        &self,
        caller: &Caller,
        views: &TenantViews,
        tenant: TenantKey,
        begin: Command,
    ) -> Result<(), Error> {
        let owner = TenantId::Tenant(tenant);
        let request = CommandRequest::new(owner, tenant, new_command_id()?, begin);
        let (sender, commands) = (caller.sender(), &self.sessions.commands);
        let sent = commands.send::<View>(&sender, views, request);
        sent.await.map(|_revision| ())
    }

    /// Tells the tenant that a session has not started, so that it takes no place. If it has started
    /// unnoticed, it is not valid any more. An error is only logged: the session ends by itself.
    async fn give_up(&self, caller: &Caller, session: SessionId, tenant: TenantKey) {
        let ended = async {
            let cause = new_command_id()?;
            let ended = self
                .sessions
                .end_impersonation(caller, cause, session, tenant);
            ended.await
        };
        if let Err(error) = ended.await {
            tracing::warn!(?error, "the tenant sees a session that has not started");
        }
    }

    async fn start(
        &self,
        caller: &Caller,
        administrator: &Person,
        account: &ViewDocument<account::View>,
        tenant: TenantKey,
        session: SessionId,
    ) -> Result<ViewDocument<session::View>, Error> {
        let impersonate = session::Command::Impersonate {
            account: account.id,
            epoch: account.view.epoch,
            device: caller.origin.device.clone(),
            impersonator: Impersonator {
                account: administrator.account.id,
                epoch: administrator.account.view.epoch,
                tenant,
            },
        };
        let (platform, command) = (TenantId::Platform, new_command_id()?);
        let request = CommandRequest::new(platform, session, command, impersonate);
        let (sender, views) = (caller.sender(), self.sessions.views.platform());
        self.sessions
            .commands
            .send_and_get(&sender, &views, request)
            .await
    }
}

/// Returns the support of a tenant.
async fn of(membership: &Membership) -> Result<View, Error> {
    let views = &membership.views;
    let found = views.get::<support::View>(membership.tenant.id).await?;
    Ok(found.map(|found| found.view).unwrap_or_default())
}
