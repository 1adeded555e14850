//! The custom roles of a tenant, as one aggregate: names, inheritance and limits. Nobody creates,
//! changes or deletes a role that holds more than they do.

use std::collections::{BTreeMap, BTreeSet};

use events_schema::{
    BuiltInRole, Name, Permissions, Reject, RejectionKind, RoleId, Time,
    role::{Area, Command, Event, MAX_INHERITED, MAX_ROLES, Parent, Role, apply, inherited},
};
use serde::Serialize;

use crate::aggregate::{Aggregate, Decision, Facts};

/// The custom roles of a tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roles(BTreeMap<RoleId, Role>);

/// Why a command to a tenant's roles is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The role does not exist, or it is deleted.
    #[error("There is no such role.")]
    NotFound,
    /// Another role of the tenant, or a built-in role, has the name.
    #[error("Another role has this name. Choose a different one.")]
    NameTaken,
    /// The role would inherit from a role that does not exist.
    #[error("A role to inherit from does not exist. Remove it from the list.")]
    ParentNotFound,
    /// The role would inherit from itself, directly or through other roles.
    #[error("A role cannot inherit from itself. Remove the role that leads back to it.")]
    Cycle,
    /// The role holds, or would hold, a permission that the actor lacks.
    #[error("You cannot grant or take away permissions that you do not have.")]
    BeyondOwnPermissions,
    /// The tenant would have more than [`MAX_ROLES`] custom roles.
    #[error("A tenant has at most {MAX_ROLES} custom roles. Delete one first.")]
    TooManyRoles,
    /// The role, or one that inherits from it, would inherit from more than [`MAX_INHERITED`] custom
    /// roles.
    #[error(
        "A role inherits from at most {MAX_INHERITED} custom roles, directly or through others. \
         Remove some from the list."
    )]
    TooManyInherited,
}

impl Reject for Rejection {
    fn kind(&self) -> RejectionKind {
        match self {
            Self::NotFound => RejectionKind::NotFound,
            Self::NameTaken | Self::ParentNotFound | Self::Cycle => RejectionKind::Conflict,
            Self::BeyondOwnPermissions => RejectionKind::Forbidden,
            Self::TooManyRoles | Self::TooManyInherited => RejectionKind::Limit,
        }
    }
}

/// The content of a role, stored or proposed.
#[derive(Clone, Copy, PartialEq)]
struct Definition<'a> {
    name: &'a Name,
    permissions: &'a Permissions,
    inherits: &'a BTreeSet<Parent>,
}

impl<'a> From<&'a Role> for Definition<'a> {
    fn from(role: &'a Role) -> Self {
        Self {
            name: &role.name,
            permissions: &role.permissions,
            inherits: &role.inherits,
        }
    }
}

impl Aggregate for Roles {
    type Area = Area;
    type Rejection = Rejection;

    fn decide(&self, command: &Command, facts: &Facts<Area>) -> Result<Decision<Event>, Rejection> {
        let held = &facts.held;
        let events = match command {
            Command::Create {
                name,
                permissions,
                inherits,
            } => {
                let new = Definition {
                    name,
                    permissions,
                    inherits,
                };
                self.create(RoleId(facts.command.0), new, held)?
            }
            Command::Update {
                role,
                name,
                permissions,
                inherits,
            } => {
                let old = self.find_within(*role, held)?;
                let new = Definition {
                    name: name.as_ref().unwrap_or(old.name),
                    permissions: permissions.as_ref().unwrap_or(old.permissions),
                    inherits: inherits.as_ref().unwrap_or(old.inherits),
                };
                self.update(*role, old, new, held)?
            }
            Command::Delete { role } => {
                self.find_within(*role, held)?;
                vec![Event::Deleted { role: *role }]
            }
        };
        Ok(Decision::events(events))
    }

    fn evolve(&mut self, event: &Event, at: Time) {
        apply(&mut self.0, event, at);
    }
}

impl Roles {
    fn create(
        &self,
        role: RoleId,
        new: Definition<'_>,
        held: &Permissions,
    ) -> Result<Vec<Event>, Rejection> {
        if self.0.len() >= MAX_ROLES {
            return Err(Rejection::TooManyRoles);
        }
        self.check(role, new, held)?;
        Ok(vec![Event::Created {
            role,
            name: new.name.clone(),
            permissions: new.permissions.clone(),
            inherits: new.inherits.clone(),
        }])
    }

    fn update(
        &self,
        role: RoleId,
        old: Definition<'_>,
        new: Definition<'_>,
        held: &Permissions,
    ) -> Result<Vec<Event>, Rejection> {
        if new == old {
            return Ok(Vec::new());
        }
        self.check(role, new, held)?;
        Ok(vec![Event::Updated {
            role,
            name: new.name.clone(),
            permissions: new.permissions.clone(),
            inherits: new.inherits.clone(),
        }])
    }

    /// Finds a role that the actor may change: one that holds no more than they do.
    fn find_within(&self, role: RoleId, held: &Permissions) -> Result<Definition<'_>, Rejection> {
        let found = self.0.get(&role).ok_or(Rejection::NotFound)?;
        let found = Definition::from(found);
        self.check_within(found, held)?;
        Ok(found)
    }

    /// Checks the proposed content of a role. Roles that inherit from it gain no more than it
    /// holds, so they need no check.
    fn check(&self, id: RoleId, new: Definition<'_>, held: &Permissions) -> Result<(), Rejection> {
        if self.is_taken(new.name, id) {
            return Err(Rejection::NameTaken);
        }
        if custom(new.inherits).any(|parent| !self.0.contains_key(&parent)) {
            return Err(Rejection::ParentNotFound);
        }
        let proposed = Inheritance {
            roles: &self.0,
            of: id,
            parents: new.inherits,
        };
        if proposed.ancestors(id).contains(&id) {
            return Err(Rejection::Cycle);
        }
        if proposed.is_too_long() {
            return Err(Rejection::TooManyInherited);
        }
        self.check_within(new, held)
    }

    /// Whether a built-in role or another custom role has this name, in upper or lower case.
    fn is_taken(&self, name: &Name, id: RoleId) -> bool {
        let name = name.as_str().to_lowercase();
        let mut others = self.0.iter().filter(|(other, _)| **other != id);
        BuiltInRole::ALL.iter().any(|role| role.as_str() == name)
            || others.any(|(_, role)| role.name.as_str().to_lowercase() == name)
    }

    /// Checks that the actor holds everything that a role with this content holds, inherited
    /// permissions included.
    fn check_within(&self, role: Definition<'_>, held: &Permissions) -> Result<(), Rejection> {
        let inherited = inherited(&self.0, role.inherits);
        if role.permissions.is_subset(held) && inherited.is_subset(held) {
            Ok(())
        } else {
            Err(Rejection::BeyondOwnPermissions)
        }
    }
}

/// The custom roles of a tenant, one of which has proposed parents.
struct Inheritance<'a> {
    roles: &'a BTreeMap<RoleId, Role>,
    of: RoleId,
    parents: &'a BTreeSet<Parent>,
}

impl Inheritance<'_> {
    /// Whether a role would inherit from more roles than allowed, and from more than now. Roles of
    /// earlier releases may be beyond the limit; whatever does not add to it is allowed.
    fn is_too_long(&self) -> bool {
        let none = BTreeSet::new();
        let now = self.roles.get(&self.of).map(|role| &role.inherits);
        let now = Inheritance {
            parents: now.unwrap_or(&none),
            ..*self
        };
        let mut all = self.roles.keys().copied().chain([self.of]);
        all.any(|role| {
            let count = self.ancestors(role).len();
            count > MAX_INHERITED && count > now.ancestors(role).len()
        })
    }

    /// Returns the custom roles that a role inherits from, directly or through others.
    fn ancestors(&self, role: RoleId) -> BTreeSet<RoleId> {
        let mut seen = BTreeSet::new();
        let mut open = vec![role];
        while let Some(id) = open.pop() {
            let new = self.parents(id).filter(|parent| seen.insert(*parent));
            open.extend(new);
        }
        seen
    }

    fn parents(&self, role: RoleId) -> impl Iterator<Item = RoleId> {
        let parents = if role == self.of {
            Some(self.parents)
        } else {
            self.roles.get(&role).map(|role| &role.inherits)
        };
        parents.into_iter().flat_map(custom)
    }
}

fn custom(parents: &BTreeSet<Parent>) -> impl Iterator<Item = RoleId> {
    parents.iter().filter_map(|parent| match parent {
        Parent::BuiltIn(_) => None,
        Parent::Custom(role) => Some(*role),
    })
}

#[cfg(test)]
mod tests;
