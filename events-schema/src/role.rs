//! The custom roles of a tenant. All of a tenant's are one aggregate, with the tenant's id: names,
//! inheritance and what may be granted concern all of them at once.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Area, BuiltInRole, Home, Name, Permissions, RoleId, Time};

/// A tenant has at most so many custom roles.
pub const MOST_ROLES: usize = 100;

/// What a custom role inherits from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Parent {
    /// A built-in role.
    BuiltIn(BuiltInRole),
    /// Another custom role.
    Custom(RoleId),
}

/// What may be asked of a tenant's roles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Make one. Its id is the command's.
    Create {
        /// Its name, unlike that of any other.
        name: Name,
        /// What it holds.
        permissions: Permissions,
        /// What else it holds, by inheritance.
        inherits: BTreeSet<Parent>,
        /// What whoever asks may do: nobody grants what they do not hold.
        held: Permissions,
    },
    /// Change one; what is absent stays.
    Update {
        /// Which.
        role: RoleId,
        /// New name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Name>,
        /// All that it holds, anew.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        permissions: Option<Permissions>,
        /// All that it inherits from, anew.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inherits: Option<BTreeSet<Parent>>,
        /// What whoever asks may do.
        held: Permissions,
    },
    /// End one; whoever has it holds nothing by it any more.
    Delete {
        /// Which.
        role: RoleId,
        /// What whoever asks may do.
        held: Permissions,
    },
}

/// What happened to a tenant's roles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// One was made.
    Created {
        /// Which.
        role: RoleId,
        /// Its name.
        name: Name,
        /// What it holds.
        permissions: Permissions,
        /// What it inherits from.
        inherits: BTreeSet<Parent>,
    },
    /// One was changed.
    Updated {
        /// Which.
        role: RoleId,
        /// Its name, changed or not.
        name: Name,
        /// What it holds, changed or not.
        permissions: Permissions,
        /// What it inherits from, changed or not.
        inherits: BTreeSet<Parent>,
    },
    /// One was ended; no other inherits from it any more.
    Deleted {
        /// Which.
        role: RoleId,
    },
}

/// A custom role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Role {
    /// Its name.
    pub name: Name,
    /// What it holds.
    pub permissions: Permissions,
    /// What it inherits from.
    pub inherits: BTreeSet<Parent>,
    /// When it was made.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
}

/// A tenant's custom roles as they are read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    /// By id.
    pub roles: BTreeMap<RoleId, Role>,
}

impl crate::View for View {
    const NAME: &'static str = "role";
    const AREA: Area = Area::Role;
    const HOME: Home = Home::Tenant;
}

/// Everything that a role with these parents holds by inheritance. Ends for whatever graph, and
/// passes over roles that are gone.
pub fn inherited(roles: &BTreeMap<RoleId, Role>, parents: &BTreeSet<Parent>) -> Permissions {
    let mut held = Permissions::new();
    let (mut seen, mut open) = (BTreeSet::new(), parents.iter().copied().collect::<Vec<_>>());
    while let Some(parent) = open.pop() {
        match parent {
            Parent::BuiltIn(role) => held.extend(role.permissions()),
            Parent::Custom(id) if seen.insert(id) => {
                if let Some(role) = roles.get(&id) {
                    held.extend(role.permissions.iter().copied());
                    open.extend(role.inherits.iter().copied());
                }
            }
            Parent::Custom(_) => {}
        }
    }
    held
}
