//! Custom roles. All custom roles of a tenant are one aggregate with the tenant's id, since names,
//! inheritance and limits concern all of them at once.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    Access, AreaName, BuiltInRole, Commit, Feature, Home, Id, Index, Name, Permission, Permissions,
    TenantKey, Time,
    id::typed_id,
    member,
    published::{EventType, Published},
};

typed_id! {
    /// Identifies a custom role: the id of the command that created it.
    RoleId
}

/// A tenant has at most this many custom roles.
pub const MAX_ROLES: usize = 100;

/// A role inherits from at most this many custom roles, directly or through others. So what the
/// roles of a tenant hold is computed quickly, and people can still see why a role holds it.
pub const MAX_INHERITED: usize = 20;

/// The permission to read roles.
pub const READ: Permission = Permission::new("read_role", BuiltInRole::Member);
/// The permission to create roles.
pub const CREATE: Permission = Permission::new("create_role", BuiltInRole::Admin);
/// The permission to change roles.
pub const UPDATE: Permission = Permission::new("update_role", BuiltInRole::Admin);
/// The permission to delete roles.
pub const DELETE: Permission = Permission::new("delete_role", BuiltInRole::Admin);

/// The feature that lets a tenant create and change custom roles.
pub const FEATURE: Feature = Feature::new("custom_roles");

/// The area of custom roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area;

impl crate::Area for Area {
    const NAME: AreaName = AreaName::Role;
    const ACCESS: &'static [Access] = &[
        Access::permission("read", READ),
        Access::permission("create", CREATE)
            .in_person()
            .feature(FEATURE)
            .creates(),
        Access::permission("update", UPDATE)
            .in_person()
            .feature(FEATURE),
        Access::permission("delete", DELETE).in_person(),
        Access::permission("assign", member::UPDATE).in_person(),
        Access::permission("unassign", member::UPDATE).in_person(),
    ];
    const FEED: Option<Permission> = Some(READ);
    type Id = TenantKey;
    type Command = Command;
    type Event = Event;
    type Public = Public;
}

/// A role that a custom role inherits from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Parent {
    /// A built-in role.
    BuiltIn(BuiltInRole),
    /// Another custom role.
    Custom(RoleId),
}

/// A request to change a tenant's custom roles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Create a role. It takes the command's id.
    Create {
        /// No other role of the tenant may have this name.
        name: Name,
        permissions: Permissions,
        /// The roles that it inherits permissions from.
        inherits: BTreeSet<Parent>,
    },
    /// Change the given fields. An absent field keeps its value.
    Update {
        role: RoleId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Name>,
        /// Replaces all permissions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        permissions: Option<Permissions>,
        /// Replaces all parents.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inherits: Option<BTreeSet<Parent>>,
    },
    /// Delete a role. Members lose the permissions that they hold by it.
    Delete { role: RoleId },
}

/// A change to a tenant's custom roles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// A role was created.
    Created {
        role: RoleId,
        name: Name,
        permissions: Permissions,
        inherits: BTreeSet<Parent>,
    },
    /// A role was changed. All fields are given, changed or not.
    Updated {
        role: RoleId,
        name: Name,
        permissions: Permissions,
        inherits: BTreeSet<Parent>,
    },
    /// A role was deleted. No role inherits from it any more.
    Deleted { role: RoleId },
}

/// A custom role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Role {
    pub name: Name,
    pub permissions: Permissions,
    /// The roles that it inherits permissions from.
    pub inherits: BTreeSet<Parent>,
    pub created_at: Time,
    pub updated_at: Time,
}

/// The view of a tenant's custom roles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    pub roles: BTreeMap<RoleId, Role>,
}

impl crate::View for View {
    type Area = Area;
    const NAME: &'static str = "role";
    const HOME: Home = Home::Tenant;
    const INDEXES: &'static [Index] = &[];

    /// The document stays when the last role is deleted.
    fn fold(view: Option<Self>, commit: &Commit<Area>) -> Option<Self> {
        let mut view = view.unwrap_or_default();
        for event in &commit.events {
            apply(&mut view.roles, event, commit.time);
        }
        Some(view)
    }
}

/// Applies an event to a tenant's roles. The view and the aggregate have the same state.
pub fn apply(roles: &mut BTreeMap<RoleId, Role>, event: &Event, at: Time) {
    match event {
        Event::Created {
            role,
            name,
            permissions,
            inherits,
        } => {
            let created = Role {
                name: name.clone(),
                permissions: permissions.clone(),
                inherits: inherits.clone(),
                created_at: at,
                updated_at: at,
            };
            roles.insert(*role, created);
        }
        Event::Updated {
            role,
            name,
            permissions,
            inherits,
        } => {
            if let Some(role) = roles.get_mut(role) {
                role.name = name.clone();
                role.permissions = permissions.clone();
                role.inherits = inherits.clone();
                role.updated_at = at;
            }
        }
        Event::Deleted { role } => {
            roles.remove(role);
            for other in roles.values_mut() {
                if other.inherits.remove(&Parent::Custom(*role)) {
                    other.updated_at = at;
                }
            }
        }
    }
}

/// Returns all permissions that a role with these parents inherits. It ends even if roles form a
/// cycle, and skips roles that do not exist.
pub fn inherited(roles: &BTreeMap<RoleId, Role>, parents: &BTreeSet<Parent>) -> Permissions {
    let mut held = Permissions::new();
    let mut seen = BTreeSet::new();
    let mut open: Vec<Parent> = parents.iter().copied().collect();
    while let Some(parent) = open.pop() {
        match parent {
            Parent::BuiltIn(role) => held.add_all(&role.permissions()),
            Parent::Custom(id) if seen.insert(id) => {
                if let Some(role) = roles.get(&id) {
                    held.add_all(&role.permissions);
                    open.extend(role.inherits.iter().copied());
                }
            }
            Parent::Custom(_) => {}
        }
    }
    held
}

/// A custom role as webhooks send it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Public {
    /// Id of the role.
    id: RoleId,
    /// Name of the role.
    name: Name,
    /// The permissions that the role itself holds.
    permissions: Permissions,
    /// Ids of the roles that it inherits permissions from; of a built-in role, its name.
    inherits: Vec<String>,
}

impl Published for Public {
    type View = View;
    const EVENTS: &'static [EventType] = &[
        EventType::new("role.created", "The custom role was created."),
        EventType::new("role.updated", "The custom role was changed."),
        EventType::new("role.deleted", "The custom role was deleted."),
    ];

    fn object_id(event: &Event, _: Id) -> Id {
        match event {
            Event::Created { role, .. } | Event::Updated { role, .. } | Event::Deleted { role } => {
                role.0
            }
        }
    }

    fn of(mut view: View, id: Id, _: u64) -> Option<Self> {
        let id = RoleId(id);
        let role = view.roles.remove(&id)?;
        let parents = role.inherits.iter().map(|parent| match parent {
            Parent::BuiltIn(role) => role.to_string(),
            Parent::Custom(role) => role.to_string(),
        });
        Some(Self {
            id,
            name: role.name,
            permissions: role.permissions,
            inherits: parents.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::testing::fold;

    const FIRST: RoleId = RoleId(Id::from_bytes([1; 16]));
    const SECOND: RoleId = RoleId(Id::from_bytes([2; 16]));

    fn created(role: RoleId, inherits: impl IntoIterator<Item = RoleId>) -> Event {
        Event::Created {
            role,
            name: Name::parse("Auditor").unwrap(),
            permissions: Permissions::new(),
            inherits: inherits.into_iter().map(Parent::Custom).collect(),
        }
    }

    #[test]
    fn a_role_shows_its_latest_state() {
        let name = Name::parse("Reviewer").unwrap();
        let updated = Event::Updated {
            role: SECOND,
            name: name.clone(),
            permissions: Permissions::new(),
            inherits: BTreeSet::from([Parent::Custom(FIRST)]),
        };
        let events = [
            (10, created(FIRST, [])),
            (20, created(SECOND, [])),
            (30, updated),
        ];
        let shown: View = fold(events).unwrap();
        let second = &shown.roles[&SECOND];
        assert_eq!(second.name, name);
        assert_eq!((second.created_at, second.updated_at), (Time(20), Time(30)));
        assert!(second.inherits.contains(&Parent::Custom(FIRST)));
    }

    #[test]
    fn a_deleted_role_is_no_longer_a_parent() {
        let events = [
            (10, created(FIRST, [])),
            (20, created(SECOND, [FIRST])),
            (30, Event::Deleted { role: FIRST }),
        ];
        let shown: View = fold(events).unwrap();
        assert_eq!(shown.roles.keys().collect::<Vec<_>>(), [&SECOND]);
        assert!(shown.roles[&SECOND].inherits.is_empty());
    }

    #[test]
    fn the_document_stays_without_roles() {
        let events = [
            (10, created(FIRST, [])),
            (20, Event::Deleted { role: FIRST }),
        ];
        assert_eq!(fold(events), Some(View::default()));
    }
}
