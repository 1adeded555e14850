//! Permissions, and the built-in roles that hold them. Both derive from the areas' access tables.
//!
//! A newer release may have stored a permission that this one does not know. It is kept with its
//! name, and allows nothing here.

use std::{cmp::Ordering, collections::BTreeSet, fmt, sync::LazyLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{AreaName, Invalid, Permissions, names};

/// Allows an action on a resource of one tenant. Its stored form is a name such as `read_project`.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Permission {
    name: &'static str,
    role: BuiltInRole,
}

/// All permissions, in the order of their names.
static ALL: LazyLock<Vec<Permission>> = LazyLock::new(|| {
    let in_tables = AreaName::ALL.iter().flat_map(|area| {
        let rows = area.access().iter().chain(area.fields());
        let in_rows = rows.filter_map(|access| access.who.permission());
        in_rows.chain(area.feed())
    });
    let all: BTreeSet<Permission> = in_tables.collect();
    all.into_iter().collect()
});

impl Permission {
    /// A permission that this built-in role and all stronger ones hold. The name is the action, `_`
    /// and the resource.
    pub const fn new(name: &'static str, role: BuiltInRole) -> Self {
        Self { name, role }
    }

    /// Returns all permissions that an access table names, in the order of their names. No other
    /// can be granted.
    pub fn all() -> &'static [Self] {
        &ALL
    }

    /// Parses a name such as `read_project`.
    ///
    /// # Errors
    /// If no access table names this permission.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let known = Self::all()
            .iter()
            .find(|permission| permission.name == text);
        known.copied().ok_or(Invalid(
            "must be a known permission such as read_project; me.permissions lists yours",
        ))
    }

    /// Returns a permission that was stored, also one that this release does not know; `None` if
    /// its name is malformed, or there are more than any release could have.
    pub fn from_stored(name: &str) -> Option<Self> {
        // No access table names an unknown one, so no built-in role holds it, not even the owner.
        let unknown = || Some(Self::new(names::keep(name)?, BuiltInRole::Owner));
        Self::parse(name).ok().or_else(unknown)
    }

    /// Returns the name, such as `read_project`.
    pub const fn as_str(self) -> &'static str {
        self.name
    }

    /// Returns the action and the resource, such as `read` and `project`.
    pub fn action_and_resource(self) -> (&'static str, &'static str) {
        self.name.split_once('_').unwrap_or((self.name, ""))
    }

    /// Returns the weakest built-in role that holds the permission.
    pub const fn weakest_role(self) -> BuiltInRole {
        self.role
    }
}

impl PartialEq for Permission {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Permission {}

impl PartialOrd for Permission {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Permission {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name.cmp(other.name)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Serialize for Permission {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl<'de> Deserialize<'de> for Permission {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Self::from_stored(&String::deserialize(deserializer)?);
        stored.ok_or_else(|| D::Error::custom("not the name of a permission"))
    }
}

/// The roles that every tenant has. Each holds all permissions of the weaker ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum BuiltInRole {
    /// Sees projects.
    Guest,
    /// Works on projects.
    Member,
    /// Also deletes projects and manages access tokens.
    Developer,
    /// Also manages the tenant's members, roles and settings.
    Admin,
    /// Also deletes the tenant.
    Owner,
}

impl BuiltInRole {
    /// All built-in roles, the weakest first.
    pub const ALL: [Self; 5] = [
        Self::Guest,
        Self::Member,
        Self::Developer,
        Self::Admin,
        Self::Owner,
    ];

    /// Returns the name, such as `admin`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Member => "member",
            Self::Developer => "developer",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// Parses a name such as `admin`.
    ///
    /// # Errors
    /// If no built-in role has this name.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let known = Self::ALL.into_iter().find(|role| role.as_str() == text);
        known.ok_or(Invalid(
            "must be one of owner, admin, developer, member, guest",
        ))
    }

    /// Returns the next weaker role, whose permissions this one holds, too.
    pub const fn inherits(self) -> Option<Self> {
        match self {
            Self::Guest => None,
            Self::Member => Some(Self::Guest),
            Self::Developer => Some(Self::Member),
            Self::Admin => Some(Self::Developer),
            Self::Owner => Some(Self::Admin),
        }
    }

    /// Returns the permissions that the next weaker role does not hold.
    pub fn own_permissions(self) -> Permissions {
        let all = Permission::all().iter().copied();
        all.filter(|permission| permission.role == self).collect()
    }

    /// Returns all permissions that the role holds.
    pub fn permissions(self) -> Permissions {
        let all = Permission::all().iter().copied();
        all.filter(|permission| permission.role <= self).collect()
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
    fn a_permission_parses_back_from_its_name() {
        for permission in Permission::all() {
            let parsed = Permission::parse(permission.as_str()).unwrap();
            assert_eq!(parsed, *permission);
            assert_eq!(parsed.weakest_role(), permission.weakest_role());
        }
        for wrong in [
            "",
            "read",
            "read_",
            "read_moon",
            "Read_project",
            "read_project ",
            "create_audit_log",
        ] {
            assert!(Permission::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_permission_of_a_newer_release_is_kept_and_equals_no_other() {
        let newer = Permission::from_stored("read_moon").unwrap();
        assert_eq!(newer.as_str(), "read_moon");
        assert_eq!(Permission::from_stored("read_moon"), Some(newer));
        assert!(!BuiltInRole::Owner.permissions().contains(&newer));
        for wrong in [
            "",
            "Read_moon",
            "read moon",
            &"x".repeat(names::MAX_NAME + 1),
        ] {
            assert_eq!(Permission::from_stored(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn tables_that_name_a_permission_agree_on_its_weakest_role() {
        for area in AreaName::ALL {
            for access in area.access().iter().chain(area.fields()) {
                if let Some(permission) = access.who.permission() {
                    let known = Permission::parse(permission.as_str()).unwrap();
                    assert_eq!(permission.weakest_role(), known.weakest_role(), "{area}");
                }
            }
        }
    }

    #[test]
    fn an_owner_holds_everything_and_each_role_more_than_the_next_weaker_one() {
        let all: Permissions = Permission::all().iter().copied().collect();
        assert_eq!(BuiltInRole::Owner.permissions(), all);
        for pair in BuiltInRole::ALL.windows(2) {
            let (weaker, stronger) = (pair[0].permissions(), pair[1].permissions());
            assert!(weaker.is_subset(&stronger) && weaker != stronger);
            assert_eq!(pair[1].inherits(), Some(pair[0]));
        }
    }
}
