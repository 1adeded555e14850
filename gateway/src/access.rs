//! What a caller may do: the guard of an operation, the check of a field, and the permissions of a
//! tenant's roles.

mod check;
mod guard;
mod permissions;

pub(crate) use check::{Credentials, Rights, allows, fresh, shows};
pub(crate) use guard::guard;
pub(crate) use permissions::{PermissionCache, RolePermissions};
