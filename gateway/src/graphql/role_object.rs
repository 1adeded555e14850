//! A role as clients see it: a built-in one, or a custom one of a tenant.

use async_graphql::{ID, SimpleObject};
use events_schema::{
    BuiltInRole, Permissions, RoleId,
    role::{self, Parent},
};

use super::scalars::to_id;
use crate::{access::RolePermissions, use_cases::role::ChangedRole};

/// A named set of permissions. Members hold them through the role.
#[derive(SimpleObject)]
pub(super) struct Role {
    /// Id of the role: 32 lower-case hex digits. For a built-in role, its name, such as `admin`.
    id: ID,
    /// Name of the role, 1 to 100 characters. No other role of the tenant has it.
    name: String,
    /// Whether every tenant has the role. A built-in role cannot be changed.
    built_in: bool,
    /// The permissions that the role itself holds, such as `read_project`.
    permissions: Vec<String>,
    /// Ids of the roles that it inherits permissions from.
    inherits: Vec<ID>,
    /// All permissions that the role holds, inherited ones included.
    effective_permissions: Vec<String>,
}

impl Role {
    pub(super) fn of_every_tenant(role: BuiltInRole, held: &RolePermissions) -> Self {
        Self {
            id: to_id(role),
            name: role.to_string(),
            built_in: true,
            permissions: texts(&role.own_permissions()),
            inherits: role.inherits().into_iter().map(to_id).collect(),
            effective_permissions: texts(&held.of(Parent::BuiltIn(role))),
        }
    }

    pub(super) fn of_tenant(id: RoleId, role: &role::Role, held: &RolePermissions) -> Self {
        Self {
            id: to_id(id),
            name: role.name.as_str().to_owned(),
            built_in: false,
            permissions: texts(&role.permissions),
            inherits: role.inherits.iter().map(parent_id).collect(),
            effective_permissions: texts(&held.of(Parent::Custom(id))),
        }
    }

    pub(super) fn changed(changed: &ChangedRole) -> Self {
        Self::of_tenant(changed.id, &changed.role, &changed.permissions)
    }
}

fn texts(permissions: &Permissions) -> Vec<String> {
    permissions.iter().map(|held| held.to_string()).collect()
}

fn parent_id(parent: &Parent) -> ID {
    match parent {
        Parent::BuiltIn(role) => to_id(role),
        Parent::Custom(id) => to_id(id),
    }
}
