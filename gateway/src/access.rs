//! What a caller may do: the check of an operation or a field, and the permissions of a tenant's
//! roles.

mod check;
mod permissions;

pub(crate) use check::{Credentials, Standing, allows, shows};
pub(crate) use permissions::{PermissionCache, RolePermissions};
