//! The services of a tenant.

use events_schema::{
    BuiltInRole, CommandId, Name, ServiceId, access_token,
    secret::derived_id,
    service::{Command, Service, View},
};

use crate::{
    backend::{
        commands::{CommandRequest, Commands},
        filter::{Filter, Sort},
    },
    error::Error,
    identity::{Caller, Membership},
};

/// Maximum access tokens that are deleted with their service. Further ones expire.
const MAX_TOKENS: i64 = 200;
const BY_CREATION: Sort = Sort {
    field: "created_at",
    descending: false,
};

/// Creates, changes and deletes services.
#[derive(Clone, Debug)]
pub(crate) struct Services {
    commands: Commands,
}

/// A service with its id.
#[derive(Clone, Debug)]
pub(crate) struct StoredService {
    pub(crate) id: ServiceId,
    pub(crate) service: Service,
}

impl Services {
    /// Sends commands this way.
    pub(crate) const fn new(commands: Commands) -> Self {
        Self { commands }
    }

    /// Returns all services of the caller's tenant, the oldest first.
    ///
    /// # Errors
    /// If the view cannot be read.
    pub(crate) async fn list(&self, caller: &Caller) -> Result<Vec<StoredService>, Error> {
        let services = all(caller.membership()?).await?;
        let services = services.services.into_iter();
        let mut services: Vec<_> = services
            .map(|(id, service)| StoredService { id, service })
            .collect();
        services.sort_by_key(|stored| (stored.service.created_at, stored.id));
        Ok(services)
    }

    /// Returns a service of the caller's tenant; `None` if there is none with this id.
    ///
    /// # Errors
    /// If the view cannot be read.
    pub(crate) async fn find(
        &self,
        caller: &Caller,
        id: ServiceId,
    ) -> Result<Option<StoredService>, Error> {
        let mut services = all(caller.membership()?).await?.services;
        let found = services.remove(&id);
        Ok(found.map(|service| StoredService { id, service }))
    }

    /// Creates a service.
    ///
    /// # Errors
    /// `Rejected` if the name is taken, there are too many services, or the role has permissions that
    /// the caller lacks.
    pub(crate) async fn create(
        &self,
        caller: &Caller,
        command: CommandId,
        name: Name,
        role: BuiltInRole,
    ) -> Result<StoredService, Error> {
        let id = ServiceId(command.0);
        let create = Command::Create { name, role };
        self.change(caller, command, id, create).await
    }

    /// Changes a service.
    ///
    /// # Errors
    /// `Rejected` if it does not exist, or the domain refuses the change.
    pub(crate) async fn change(
        &self,
        caller: &Caller,
        command: CommandId,
        id: ServiceId,
        payload: Command,
    ) -> Result<StoredService, Error> {
        self.send(caller, command, payload).await?;
        self.find(caller, id).await?.ok_or(Error::NotFound)
    }

    /// Changes the role of a service. Who gives it more must have a fresh session, since its access
    /// tokens get more, too.
    ///
    /// # Errors
    /// `StepUpRequired` or `Forbidden` without one; `NotFound` if the tenant has no such service;
    /// `Rejected` if it has or would have permissions that the caller lacks.
    pub(crate) async fn change_role(
        &self,
        caller: &Caller,
        command: CommandId,
        id: ServiceId,
        role: BuiltInRole,
    ) -> Result<StoredService, Error> {
        let present = self.find(caller, id).await?.ok_or(Error::NotFound)?;
        let held = present.service.role.permissions();
        if !role.permissions().is_subset(&held) {
            caller.must_be_fresh()?;
        }
        let change = Command::ChangeRole { service: id, role };
        self.change(caller, command, id, change).await
    }

    /// Deletes a service, and its access tokens, which are not valid any more.
    ///
    /// # Errors
    /// `Rejected` if it does not exist, or has permissions that the caller lacks.
    pub(crate) async fn delete(
        &self,
        caller: &Caller,
        command: CommandId,
        service: ServiceId,
    ) -> Result<(), Error> {
        self.send(caller, command, Command::Delete { service })
            .await?;
        if let Err(error) = self.delete_tokens(caller, command, service).await {
            tracing::warn!(?error, "the access tokens of a service are listed still");
        }
        Ok(())
    }

    /// Deletes the access tokens of a service that was deleted, so that they are listed no longer.
    /// Those that hold more than the caller stay.
    async fn delete_tokens(
        &self,
        caller: &Caller,
        cause: CommandId,
        service: ServiceId,
    ) -> Result<(), Error> {
        let membership = caller.membership()?;
        let (tenant, views) = (membership.tenant_id(), &membership.views);
        let own = Filter::default().is("service", service)?;
        let tokens = views.list::<access_token::View>(own, BY_CREATION, false, MAX_TOKENS);
        for token in tokens.await? {
            let id = derived_id(&[b"delete_token", cause.0.bytes(), token.id.0.bytes()]);
            let (id, delete) = (CommandId(id), access_token::Command::Delete);
            let request = CommandRequest::new(tenant, token.id, id, delete);
            let sender = caller.sender();
            let sent = self
                .commands
                .send::<access_token::View>(&sender, views, request);
            match sent.await {
                Ok(_) | Err(Error::Rejected(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn send(
        &self,
        caller: &Caller,
        command: CommandId,
        payload: Command,
    ) -> Result<(), Error> {
        let membership = caller.membership()?;
        let (tenant, key) = (membership.tenant_id(), membership.tenant.id);
        let request = CommandRequest::new(tenant, key, command, payload);
        let (sender, views) = (caller.sender(), &membership.views);
        let sent = self.commands.send::<View>(&sender, views, request);
        sent.await.map(|_revision| ())
    }
}

/// Returns all services of a tenant.
async fn all(membership: &Membership) -> Result<View, Error> {
    let found = membership.views.get::<View>(membership.tenant.id).await?;
    Ok(found.map(|found| found.view).unwrap_or_default())
}
