//! What may be done in a tenant: permissions, and the built-in roles that hold them.
//!
//! This table is the reviewed one; `gateway/src/operations.rs` says which operation needs which
//! permission.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Make a new one.
    Create,
    /// See it.
    Read,
    /// Change it.
    Update,
    /// End it.
    Delete,
}

/// What it is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// The tenant itself.
    Tenant,
    /// Its members and invitations.
    Member,
    /// Its custom roles, and who has them.
    Role,
    /// Keys for machines.
    AccessToken,
    /// Projects.
    Project,
    /// Who did what, when, from where.
    AuditLog,
}

use Action::{Create, Delete, Read, Update};

/// An action on a resource, written `read_project`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Permission(pub Action, pub Resource);

impl Permission {
    /// Every permission there is. What is not here cannot be granted, nor needed.
    pub const ALL: [Self; 19] = [
        Self(Read, Resource::Tenant),
        Self(Update, Resource::Tenant),
        Self(Delete, Resource::Tenant),
        Self(Create, Resource::Member),
        Self(Read, Resource::Member),
        Self(Update, Resource::Member),
        Self(Delete, Resource::Member),
        Self(Create, Resource::Role),
        Self(Read, Resource::Role),
        Self(Update, Resource::Role),
        Self(Delete, Resource::Role),
        Self(Create, Resource::AccessToken),
        Self(Read, Resource::AccessToken),
        Self(Delete, Resource::AccessToken),
        Self(Create, Resource::Project),
        Self(Read, Resource::Project),
        Self(Update, Resource::Project),
        Self(Delete, Resource::Project),
        Self(Read, Resource::AuditLog),
    ];

    /// Reads `read_project`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let known = Self::ALL
            .into_iter()
            .find(|permission| permission.to_string() == text);
        known.ok_or(Invalid("must be a known permission such as read_project"))
    }
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl Resource {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Member => "member",
            Self::Role => "role",
            Self::AccessToken => "access_token",
            Self::Project => "project",
            Self::AuditLog => "audit_log",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.0, self.1)
    }
}

impl From<Permission> for String {
    fn from(permission: Permission) -> Self {
        permission.to_string()
    }
}

impl TryFrom<String> for Permission {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

/// A set of permissions.
pub type Permissions = BTreeSet<Permission>;

/// The roles that every tenant has. Each holds all that the next lower one holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum BuiltInRole {
    /// Sees projects.
    Guest,
    /// Works on projects.
    Member,
    /// Also ends projects, and makes keys for machines.
    Developer,
    /// Also runs the tenant: its people, roles and settings.
    Admin,
    /// Also ends the tenant.
    Owner,
}

impl BuiltInRole {
    /// All of them, the lowest first.
    pub const ALL: [Self; 5] = [
        Self::Guest,
        Self::Member,
        Self::Developer,
        Self::Admin,
        Self::Owner,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Member => "member",
            Self::Developer => "developer",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let known = Self::ALL.into_iter().find(|role| role.as_str() == text);
        known.ok_or(Invalid(
            "must be one of owner, admin, developer, member, guest",
        ))
    }

    /// The role whose permissions it also holds.
    pub const fn inherits(self) -> Option<Self> {
        match self {
            Self::Guest => None,
            Self::Member => Some(Self::Guest),
            Self::Developer => Some(Self::Member),
            Self::Admin => Some(Self::Developer),
            Self::Owner => Some(Self::Admin),
        }
    }

    /// What it holds beyond what it inherits.
    pub const fn own(self) -> &'static [Permission] {
        match self {
            Self::Guest => &[
                Permission(Read, Resource::Tenant),
                Permission(Read, Resource::Project),
            ],
            Self::Member => &[
                Permission(Read, Resource::Member),
                Permission(Read, Resource::Role),
                Permission(Create, Resource::Project),
                Permission(Update, Resource::Project),
            ],
            Self::Developer => &[
                Permission(Delete, Resource::Project),
                Permission(Create, Resource::AccessToken),
                Permission(Read, Resource::AccessToken),
                Permission(Delete, Resource::AccessToken),
            ],
            Self::Admin => &[
                Permission(Update, Resource::Tenant),
                Permission(Create, Resource::Member),
                Permission(Update, Resource::Member),
                Permission(Delete, Resource::Member),
                Permission(Create, Resource::Role),
                Permission(Update, Resource::Role),
                Permission(Delete, Resource::Role),
                Permission(Read, Resource::AuditLog),
            ],
            Self::Owner => &[Permission(Delete, Resource::Tenant)],
        }
    }

    /// Everything that it holds.
    pub fn permissions(self) -> Permissions {
        let inherited = self.inherits().map(Self::permissions).unwrap_or_default();
        inherited
            .into_iter()
            .chain(self.own().iter().copied())
            .collect()
    }
}

impl fmt::Display for BuiltInRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_permission_reads_back_as_it_is_written() {
        for permission in Permission::ALL {
            assert_eq!(Permission::parse(&permission.to_string()), Ok(permission));
        }
        for wrong in [
            "",
            "read",
            "read_",
            "read_moon",
            "Read_project",
            "read_project ",
            "create_tenant",
            "create_audit_log",
        ] {
            assert!(Permission::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_owner_holds_everything_and_each_role_more_than_the_one_below() {
        assert_eq!(
            BuiltInRole::Owner.permissions(),
            Permissions::from(Permission::ALL)
        );
        for pair in BuiltInRole::ALL.windows(2) {
            assert!(
                pair[0].permissions().is_subset(&pair[1].permissions())
                    && pair[0].permissions() != pair[1].permissions()
            );
            assert_eq!(pair[1].inherits(), Some(pair[0]));
        }
    }
}
