//! The custom roles of a tenant, all in one aggregate.

use std::collections::{BTreeMap, BTreeSet};

use events_schema::{
    Area, BuiltInRole, Name, Permissions, Rejected, RoleId, Time,
    role::{Command, Event, MOST_ROLES, Parent, Role, inherited},
};

use crate::aggregate::{Aggregate, Decision, Facts};

/// All custom roles of one tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roles(BTreeMap<RoleId, Role>);

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There is none of this id.
    #[error("There is no such role.")]
    NotFound,
    /// Another role has this name.
    #[error("There is a role of this name; choose another.")]
    NameTaken,
    /// A role that it is to inherit from is not there.
    #[error("A role that it is to inherit from is not there.")]
    ParentNotFound,
    /// It would inherit from itself.
    #[error("A role cannot inherit from itself, not even by way of others.")]
    Cycle,
    /// It holds, or would hold, more than whoever asks.
    #[error("You cannot give more than you hold.")]
    BeyondOwnRights,
    /// More roles than [`MOST_ROLES`].
    #[error("A tenant has at most {MOST_ROLES} roles of its own.")]
    TooManyRoles,
}

impl From<Rejection> for Rejected {
    fn from(rejection: Rejection) -> Self {
        let code = match rejection {
            Rejection::NotFound => "not_found",
            Rejection::NameTaken => "name_taken",
            Rejection::ParentNotFound => "parent_not_found",
            Rejection::Cycle => "cycle",
            Rejection::BeyondOwnRights => "forbidden",
            Rejection::TooManyRoles => "too_many_roles",
        };
        Self { code: code.to_owned(), message: rejection.to_string() }
    }
}

impl Aggregate for Roles {
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;
    const AREA: Area = Area::Role;

    fn decide(&self, command: &Command, facts: &Facts) -> Result<Decision<Event>, Rejection> {
        match command {
            Command::Create { name, permissions, inherits, held } => {
                let role = RoleId(facts.command.0);
                if self.0.len() >= MOST_ROLES {
                    return Err(Rejection::TooManyRoles);
                }
                self.check(role, name, permissions, inherits, held)?;
                let (name, permissions, inherits) = (name.clone(), permissions.clone(), inherits.clone());
                Ok(Decision::events(vec![Event::Created { role, name, permissions, inherits }]))
            }
            Command::Update { role, name, permissions, inherits, held } => {
                let before = self.0.get(role).ok_or(Rejection::NotFound)?;
                within(&self.effective(&before.permissions, &before.inherits), held)?;
                let name = name.as_ref().unwrap_or(&before.name);
                let permissions = permissions.as_ref().unwrap_or(&before.permissions);
                let inherits = inherits.as_ref().unwrap_or(&before.inherits);
                if (name, permissions, inherits) == (&before.name, &before.permissions, &before.inherits) {
                    return Ok(Decision::unchanged());
                }
                self.check(*role, name, permissions, inherits, held)?;
                let (name, permissions, inherits) = (name.clone(), permissions.clone(), inherits.clone());
                Ok(Decision::events(vec![Event::Updated { role: *role, name, permissions, inherits }]))
            }
            Command::Delete { role, held } => {
                let before = self.0.get(role).ok_or(Rejection::NotFound)?;
                within(&self.effective(&before.permissions, &before.inherits), held)?;
                Ok(Decision::events(vec![Event::Deleted { role: *role }]))
            }
        }
    }

    fn evolve(&mut self, event: &Event, at: Time) {
        match event {
            Event::Created { role, name, permissions, inherits } | Event::Updated { role, name, permissions, inherits } => {
                let (name, permissions, inherits) = (name.clone(), permissions.clone(), inherits.clone());
                self.0.insert(*role, Role { name, permissions, inherits, created_at: at, updated_at: at });
            }
            Event::Deleted { role } => {
                self.0.remove(role);
                for other in self.0.values_mut() {
                    other.inherits.remove(&Parent::Custom(*role));
                }
            }
        }
    }
}

fn within(permissions: &Permissions, held: &Permissions) -> Result<(), Rejection> {
    if permissions.is_subset(held) { Ok(()) } else { Err(Rejection::BeyondOwnRights) }
}

impl Roles {
    fn effective(&self, permissions: &Permissions, inherits: &BTreeSet<Parent>) -> Permissions {
        permissions | &inherited(&self.0, inherits)
    }

    fn check(
        &self,
        id: RoleId,
        name: &Name,
        permissions: &Permissions,
        inherits: &BTreeSet<Parent>,
        held: &Permissions,
    ) -> Result<(), Rejection> {
        let lower = |name: &str| name.to_lowercase();
        let taken = self.0.iter().any(|(other, role)| *other != id && lower(role.name.as_str()) == lower(name.as_str()));
        if taken || BuiltInRole::parse(&lower(name.as_str())).is_ok() {
            return Err(Rejection::NameTaken);
        }
        let custom = || inherits.iter().filter_map(|parent| if let Parent::Custom(id) = parent { Some(*id) } else { None });
        if custom().any(|parent| parent == id || self.reaches(parent, id)) {
            return Err(Rejection::Cycle);
        }
        if custom().any(|parent| !self.0.contains_key(&parent)) {
            return Err(Rejection::ParentNotFound);
        }
        within(&self.effective(permissions, inherits), held)
    }

    /// Whether a role inherits from another, by way of whatever others.
    fn reaches(&self, from: RoleId, to: RoleId) -> bool {
        let parents = self.0.get(&from).map(|role| &role.inherits);
        parents.into_iter().flatten().any(|parent| match parent {
            Parent::BuiltIn(_) => false,
            Parent::Custom(id) => *id == to || self.reaches(*id, to),
        })
    }
}
