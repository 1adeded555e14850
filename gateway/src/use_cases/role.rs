//! Custom roles: create, change and delete them, and assign them to members.

use std::sync::Arc;

use events_schema::{
    BuiltInRole, CommandId, MemberId, Permissions, RoleId, member,
    role::{self, Command, Parent, Role},
};

use crate::{
    access::{PermissionCache, RolePermissions},
    backend::{
        commands::{CommandRequest, Commands},
        views::ViewDocument,
    },
    error::Error,
    identity::{Caller, Membership},
};

/// Changes and assigns the roles of the caller's tenant.
#[derive(Clone, Debug)]
pub(crate) struct Roles {
    pub(crate) commands: Commands,
    pub(crate) permissions: PermissionCache,
}

/// A custom role after a change, with the permissions of all roles of the tenant.
pub(crate) struct ChangedRole {
    pub(crate) id: RoleId,
    pub(crate) role: Role,
    pub(crate) permissions: Arc<RolePermissions>,
}

impl Roles {
    /// Creates or updates the role with this id, and reads it back. Who gives it permissions of
    /// owners must have a fresh session.
    ///
    /// # Errors
    /// `StepUpRequired` or `Forbidden` without one, for permissions of owners; `Rejected` if the name is taken, a limit is reached, or the role would hold permissions that
    /// the caller lacks.
    pub(crate) async fn save(
        &self,
        caller: &Caller,
        command: CommandId,
        id: RoleId,
        payload: Command,
    ) -> Result<ChangedRole, Error> {
        let membership = caller.membership()?;
        if gives_ownership(&granted_by(membership, &payload)) {
            caller.must_be_fresh()?;
        }
        self.send(caller, membership, command, payload).await?;
        // What the request has read of the roles may be older than the command.
        let (views, tenant) = (&membership.views, membership.tenant.id);
        let found = views.get::<role::View>(tenant).await?;
        let role = found.and_then(|mut found| found.view.roles.remove(&id));
        Ok(ChangedRole {
            id,
            role: role.ok_or(Error::NotFound)?,
            permissions: self.permissions.of(views, tenant).await?,
        })
    }

    /// Deletes a role.
    ///
    /// # Errors
    /// `Rejected` if it does not exist or has permissions that the caller lacks.
    pub(crate) async fn delete(
        &self,
        caller: &Caller,
        command: CommandId,
        role: RoleId,
    ) -> Result<(), Error> {
        let membership = caller.membership()?;
        self.send(caller, membership, command, Command::Delete { role })
            .await
    }

    /// Assigns a custom role to a member. Who assigns one with permissions of owners must have a
    /// fresh session.
    ///
    /// # Errors
    /// `StepUpRequired` or `Forbidden` without one, for permissions of owners; `NotFound` if there is no such role; `Rejected` if it has permissions that the caller lacks.
    pub(crate) async fn assign(
        &self,
        caller: &Caller,
        command: CommandId,
        member: MemberId,
        role: RoleId,
    ) -> Result<ViewDocument<member::View>, Error> {
        let grants = granted(caller.membership()?, role)?;
        if gives_ownership(&grants) {
            caller.must_be_fresh()?;
        }
        let assign = member::Command::AssignRole { role, grants };
        self.send_to_member(caller, command, member, assign).await
    }

    /// Unassigns a custom role from a member.
    ///
    /// # Errors
    /// `NotFound` if there is no such role; `Rejected` if it has permissions that the caller lacks.
    pub(crate) async fn unassign(
        &self,
        caller: &Caller,
        command: CommandId,
        member: MemberId,
        role: RoleId,
    ) -> Result<ViewDocument<member::View>, Error> {
        let grants = granted(caller.membership()?, role)?;
        let unassign = member::Command::UnassignRole { role, grants };
        self.send_to_member(caller, command, member, unassign).await
    }

    async fn send(
        &self,
        caller: &Caller,
        membership: &Membership,
        command: CommandId,
        payload: Command,
    ) -> Result<(), Error> {
        let (tenant, key) = (membership.tenant_id(), membership.tenant.id);
        let request = CommandRequest::new(tenant, key, command, payload);
        let (sender, views) = (caller.sender(), &membership.views);
        let sent = self.commands.send::<role::View>(&sender, views, request);
        sent.await.map(|_revision| ())
    }

    async fn send_to_member(
        &self,
        caller: &Caller,
        command: CommandId,
        member: MemberId,
        payload: member::Command,
    ) -> Result<ViewDocument<member::View>, Error> {
        let membership = caller.membership()?;
        let request = CommandRequest::new(membership.tenant_id(), member, command, payload);
        let (sender, views) = (caller.sender(), &membership.views);
        self.commands.send_and_get(&sender, views, request).await
    }
}

/// Whether these are permissions that only owners have by their role. To give them is to give
/// ownership.
fn gives_ownership(permissions: &Permissions) -> bool {
    !permissions.is_subset(&BuiltInRole::Admin.permissions())
}

/// Returns the permissions that a role would grant after this command, as far as it names them.
fn granted_by(membership: &Membership, command: &Command) -> Permissions {
    let (own, inherits) = match command {
        Command::Create {
            permissions,
            inherits,
            ..
        } => (Some(permissions), Some(inherits)),
        Command::Update {
            permissions,
            inherits,
            ..
        } => (permissions.as_ref(), inherits.as_ref()),
        Command::Delete { .. } => (None, None),
    };
    let mut all = own.cloned().unwrap_or_default();
    let parents = inherits.into_iter().flatten();
    let inherited = parents.filter_map(|parent| membership.roles.get(*parent));
    inherited.for_each(|parent| all.add_all(parent));
    all
}

/// Returns the permissions that a custom role grants now.
fn granted(membership: &Membership, role: RoleId) -> Result<Permissions, Error> {
    let granted = membership.roles.get(Parent::Custom(role));
    granted.cloned().ok_or(Error::NotFound)
}
