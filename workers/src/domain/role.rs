//! The custom roles of a tenant, as one aggregate: names, inheritance and limits. Nobody creates,
//! changes or deletes a role that holds more than they do.

use std::collections::{BTreeMap, BTreeSet};

use events_schema::{
    BuiltInRole, Name, Permissions, Reject, RejectionKind, RoleId, Time,
    role::{Area, Command, Event, MAX_ROLES, Parent, Role, apply, inherited},
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
}

impl Reject for Rejection {
    fn kind(&self) -> RejectionKind {
        match self {
            Self::NotFound => RejectionKind::NotFound,
            Self::NameTaken | Self::ParentNotFound | Self::Cycle => RejectionKind::Conflict,
            Self::BeyondOwnPermissions => RejectionKind::Forbidden,
            Self::TooManyRoles => RejectionKind::Limit,
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
        if self.ancestors(new.inherits).contains(&id) {
            return Err(Rejection::Cycle);
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

    /// Returns the custom roles among these parents and above them.
    fn ancestors(&self, parents: &BTreeSet<Parent>) -> BTreeSet<RoleId> {
        let mut seen = BTreeSet::new();
        let mut open: Vec<RoleId> = custom(parents).collect();
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                let role = self.0.get(&id).into_iter();
                open.extend(role.flat_map(|role| custom(&role.inherits)));
            }
        }
        seen
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
