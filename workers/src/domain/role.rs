//! Custom roles, all of a tenant's at once: names, inheritance, and that nobody makes, changes or
//! ends a role that holds more than they do.

use std::collections::{BTreeMap, BTreeSet};

use events_schema::{
    Area, BuiltInRole, Name, Permissions, Rejected, RoleId, Time,
    role::{Command, Event, MOST_ROLES, Parent, Role, inherited},
};

use crate::aggregate::{Aggregate, Decision, Facts};

/// The custom roles of a tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roles(BTreeMap<RoleId, Role>);

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There is none, or no more.
    #[error("There is no such role.")]
    NotFound,
    /// A role of the tenant, or a built-in one, has this name.
    #[error("This name is taken; choose another.")]
    NameTaken,
    /// It would inherit from a role that is not there.
    #[error("A role that it is to inherit from does not exist.")]
    ParentNotFound,
    /// It would inherit from itself, perhaps by way of others.
    #[error("A role cannot inherit from itself.")]
    Cycle,
    /// The role holds, or would hold, what the asker does not.
    #[error("You cannot give or take more than you hold.")]
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
        Self {
            code: code.to_owned(),
            message: rejection.to_string(),
        }
    }
}

impl Aggregate for Roles {
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;
    const AREA: Area = Area::Role;

    fn decide(&self, command: &Command, facts: &Facts) -> Result<Decision<Event>, Rejection> {
        let event = match command {
            Command::Create {
                name,
                permissions,
                inherits,
                held,
            } => {
                let role = RoleId(facts.command.0);
                if self.0.len() >= MOST_ROLES {
                    return Err(Rejection::TooManyRoles);
                }
                self.check(role, name, permissions, inherits, held)?;
                Event::Created {
                    role,
                    name: name.clone(),
                    permissions: permissions.clone(),
                    inherits: inherits.clone(),
                }
            }
            Command::Update {
                role,
                name,
                permissions,
                inherits,
                held,
            } => {
                let old = self.0.get(role).ok_or(Rejection::NotFound)?;
                // Who holds less neither strengthens nor weakens it.
                self.within(&old.permissions, &old.inherits, held)?;
                let name = name.as_ref().unwrap_or(&old.name);
                let permissions = permissions.as_ref().unwrap_or(&old.permissions);
                let inherits = inherits.as_ref().unwrap_or(&old.inherits);
                if (name, permissions, inherits) == (&old.name, &old.permissions, &old.inherits) {
                    return Ok(Decision::unchanged());
                }
                // What the roles that inherit from it gain is part of what it holds then.
                self.check(*role, name, permissions, inherits, held)?;
                Event::Updated {
                    role: *role,
                    name: name.clone(),
                    permissions: permissions.clone(),
                    inherits: inherits.clone(),
                }
            }
            Command::Delete { role, held } => {
                let old = self.0.get(role).ok_or(Rejection::NotFound)?;
                self.within(&old.permissions, &old.inherits, held)?;
                Event::Deleted { role: *role }
            }
        };
        Ok(Decision::events(vec![event]))
    }

    fn evolve(&mut self, event: &Event, at: Time) {
        take_in(&mut self.0, event, at);
    }
}

/// Takes in what happened to a tenant's roles. Its view shows just what is decided upon, so it is
/// folded by this, too.
pub fn take_in(roles: &mut BTreeMap<RoleId, Role>, event: &Event, at: Time) {
    match event {
        Event::Created {
            role,
            name,
            permissions,
            inherits,
        } => {
            let (name, permissions, inherits) =
                (name.clone(), permissions.clone(), inherits.clone());
            roles.insert(
                *role,
                Role {
                    name,
                    permissions,
                    inherits,
                    created_at: at,
                    updated_at: at,
                },
            );
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

impl Roles {
    /// Whether a role may be like this, and be made so by whoever holds `held`.
    fn check(
        &self,
        id: RoleId,
        name: &Name,
        permissions: &Permissions,
        inherits: &BTreeSet<Parent>,
        held: &Permissions,
    ) -> Result<(), Rejection> {
        let name = name.as_str().to_lowercase();
        let of_another = |(other, role): (&RoleId, &Role)| {
            *other != id && role.name.as_str().to_lowercase() == name
        };
        if BuiltInRole::ALL.iter().any(|role| role.as_str() == name)
            || self.0.iter().any(of_another)
        {
            return Err(Rejection::NameTaken);
        }
        if custom(inherits).any(|parent| !self.0.contains_key(&parent)) {
            return Err(Rejection::ParentNotFound);
        }
        if self.ancestors(inherits).contains(&id) {
            return Err(Rejection::Cycle);
        }
        self.within(permissions, inherits, held)
    }

    /// Whether everything that a role like this holds, by inheritance too, is held by the asker.
    fn within(
        &self,
        permissions: &Permissions,
        inherits: &BTreeSet<Parent>,
        held: &Permissions,
    ) -> Result<(), Rejection> {
        let holds = permissions.is_subset(held) && inherited(&self.0, inherits).is_subset(held);
        if holds {
            Ok(())
        } else {
            Err(Rejection::BeyondOwnRights)
        }
    }

    /// The custom roles among these parents and above them.
    fn ancestors(&self, parents: &BTreeSet<Parent>) -> BTreeSet<RoleId> {
        let (mut seen, mut open) = (BTreeSet::new(), custom(parents).collect::<Vec<_>>());
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(
                    self.0
                        .get(&id)
                        .into_iter()
                        .flat_map(|role| custom(&role.inherits)),
                );
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
mod tests {
    use events_schema::{Id, Permission};

    use super::*;
    use crate::domain::testing::{COMMAND, decide, given, held};

    const NEW: RoleId = RoleId(COMMAND);
    use BuiltInRole::{Admin, Guest, Owner};

    fn id(byte: u8) -> RoleId {
        RoleId(Id::from_bytes([byte; 16]))
    }
    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }
    fn only(permission: &str) -> Permissions {
        Permissions::from([Permission::parse(permission).unwrap()])
    }
    fn none() -> Permissions {
        Permissions::new()
    }
    fn of(roles: impl IntoIterator<Item = u8>) -> BTreeSet<Parent> {
        roles
            .into_iter()
            .map(|byte| Parent::Custom(id(byte)))
            .collect()
    }
    fn built_in(role: BuiltInRole) -> BTreeSet<Parent> {
        BTreeSet::from([Parent::BuiltIn(role)])
    }
    fn create(
        text: &str,
        permissions: Permissions,
        inherits: BTreeSet<Parent>,
        by: BuiltInRole,
    ) -> Command {
        Command::Create {
            name: name(text),
            permissions,
            inherits,
            held: held(by),
        }
    }
    fn created(
        role: RoleId,
        text: &str,
        permissions: Permissions,
        inherits: BTreeSet<Parent>,
    ) -> Event {
        Event::Created {
            role,
            name: name(text),
            permissions,
            inherits,
        }
    }
    fn update(
        byte: u8,
        text: Option<&str>,
        permissions: Option<Permissions>,
        inherits: Option<BTreeSet<Parent>>,
    ) -> Command {
        Command::Update {
            role: id(byte),
            name: text.map(name),
            permissions,
            inherits,
            held: held(Admin),
        }
    }
    fn updated(
        byte: u8,
        text: &str,
        permissions: Permissions,
        inherits: BTreeSet<Parent>,
    ) -> Event {
        Event::Updated {
            role: id(byte),
            name: name(text),
            permissions,
            inherits,
        }
    }
    fn delete(byte: u8, by: BuiltInRole) -> Command {
        Command::Delete {
            role: id(byte),
            held: held(by),
        }
    }
    /// Role 2 inherits from role 1, role 3 from role 2.
    fn chain() -> Roles {
        given([
            created(id(1), "One", only("read_member"), of([])),
            created(id(2), "Two", none(), of([1])),
            created(id(3), "Three", none(), of([2])),
        ])
    }
    /// Role 1 holds what owners hold, role 2 by inheritance from it.
    fn strong() -> Roles {
        given([
            created(id(1), "One", none(), built_in(Owner)),
            created(id(2), "Two", none(), of([1])),
        ])
    }

    #[test]
    fn a_role_is_made_with_the_id_of_its_command() {
        let made = decide(
            &chain(),
            &create("Four", only("read_role"), of([3]), Admin),
            0,
        );
        assert_eq!(
            made,
            Ok(vec![created(NEW, "Four", only("read_role"), of([3]))])
        );
    }

    #[test]
    fn a_name_is_that_of_one_role_whatever_its_case() {
        for taken in ["one", "ONE", "owner", "Guest"] {
            assert_eq!(
                decide(&chain(), &create(taken, none(), of([]), Admin), 0),
                Err(Rejection::NameTaken),
                "{taken}"
            );
            assert_eq!(
                decide(&chain(), &update(2, Some(taken), None, None), 0),
                Err(Rejection::NameTaken),
                "{taken}"
            );
        }
        let respelled = decide(&chain(), &update(1, Some("ONE"), None, None), 0);
        assert_eq!(
            respelled,
            Ok(vec![updated(1, "ONE", only("read_member"), of([]))]),
            "it may be its own"
        );
    }

    #[test]
    fn a_role_inherits_only_from_what_is_there() {
        assert_eq!(
            decide(&chain(), &create("Four", none(), of([1, 9]), Admin), 0),
            Err(Rejection::ParentNotFound)
        );
        assert_eq!(
            decide(
                &chain(),
                &create("Four", none(), BTreeSet::from([Parent::Custom(NEW)]), Admin),
                0
            ),
            Err(Rejection::ParentNotFound)
        );
        assert_eq!(
            decide(&chain(), &update(1, None, None, Some(of([9]))), 0),
            Err(Rejection::ParentNotFound)
        );
    }

    #[test]
    fn no_role_inherits_from_itself_by_whatever_way() {
        for parents in [of([1]), of([2]), of([3])] {
            assert_eq!(
                decide(&chain(), &update(1, None, None, Some(parents)), 0),
                Err(Rejection::Cycle)
            );
        }
        assert_eq!(
            decide(&chain(), &update(3, None, None, Some(of([1, 2]))), 0),
            Ok(vec![updated(3, "Three", none(), of([1, 2]))])
        );
    }

    #[test]
    fn nobody_makes_a_role_that_holds_more_than_they_do_by_itself_or_by_inheritance() {
        for (permissions, inherits) in [
            (only("delete_tenant"), of([])),
            (none(), built_in(Owner)),
            (none(), of([2])),
        ] {
            let by = |role| {
                decide(
                    &strong(),
                    &create("Mine", permissions.clone(), inherits.clone(), role),
                    0,
                )
            };
            assert_eq!(
                by(Admin),
                Err(Rejection::BeyondOwnRights),
                "{permissions:?} {inherits:?}"
            );
            assert!(by(Owner).is_ok());
        }
        assert_eq!(
            decide(&chain(), &create("Mine", none(), of([3]), Guest), 0),
            Err(Rejection::BeyondOwnRights)
        );
    }

    #[test]
    fn nobody_makes_a_role_stronger_than_themselves_nor_touches_one_that_is() {
        assert_eq!(
            decide(
                &chain(),
                &update(1, None, Some(only("delete_tenant")), None),
                0
            ),
            Err(Rejection::BeyondOwnRights)
        );
        assert_eq!(
            decide(&chain(), &update(1, None, None, Some(built_in(Owner))), 0),
            Err(Rejection::BeyondOwnRights)
        );
        for role in [1, 2] {
            let weakened = update(role, None, None, Some(of([])));
            assert_eq!(
                decide(&strong(), &weakened, 0),
                Err(Rejection::BeyondOwnRights),
                "{role}"
            );
            assert_eq!(
                decide(&strong(), &update(role, Some("Mine"), None, None), 0),
                Err(Rejection::BeyondOwnRights),
                "{role}"
            );
            assert_eq!(
                decide(&strong(), &delete(role, Admin), 0),
                Err(Rejection::BeyondOwnRights),
                "{role}"
            );
            assert_eq!(
                decide(&strong(), &delete(role, Owner), 0),
                Ok(vec![Event::Deleted { role: id(role) }])
            );
        }
    }

    #[test]
    fn a_role_changes_in_what_is_given_and_only_if_it_differs() {
        let changed = decide(&chain(), &update(2, None, Some(only("read_role")), None), 0);
        assert_eq!(
            changed,
            Ok(vec![updated(2, "Two", only("read_role"), of([1]))])
        );
        for command in [
            update(2, None, None, None),
            update(2, Some("Two"), Some(none()), Some(of([1]))),
        ] {
            assert_eq!(decide(&chain(), &command, 0), Ok(vec![]), "{command:?}");
        }
    }

    #[test]
    fn who_inherited_from_a_role_that_is_ended_holds_nothing_by_it() {
        let mut roles = chain();
        roles.evolve(&Event::Deleted { role: id(1) }, Time(5));
        assert_eq!(inherited(&roles.0, &of([3])), none());
        assert_eq!(
            roles
                .0
                .get(&id(2))
                .map(|role| (role.inherits.clone(), role.updated_at)),
            Some((of([]), Time(5)))
        );
        assert_eq!(
            roles
                .0
                .get(&id(3))
                .map(|role| (role.inherits.clone(), role.updated_at)),
            Some((of([2]), Time(0)))
        );
    }

    #[test]
    fn nothing_is_done_to_a_role_that_is_not_there() {
        for roles in [
            Roles::default(),
            given([
                created(id(1), "One", none(), of([])),
                Event::Deleted { role: id(1) },
            ]),
        ] {
            assert_eq!(
                decide(&roles, &update(1, Some("Mine"), None, None), 0),
                Err(Rejection::NotFound)
            );
            assert_eq!(
                decide(&roles, &delete(1, Owner), 0),
                Err(Rejection::NotFound)
            );
        }
    }

    #[test]
    fn roles_are_bounded() {
        let with = |count: u8| {
            given::<Roles>(
                (0..count).map(|at| created(id(at), &format!("Role {at}"), none(), of([]))),
            )
        };
        assert!(decide(&with(99), &create("More", none(), of([]), Admin), 0).is_ok());
        assert_eq!(
            decide(&with(100), &create("More", none(), of([]), Admin), 0),
            Err(Rejection::TooManyRoles)
        );
    }

    #[test]
    fn what_happened_is_taken_in_whatever_was_before() {
        let events = [
            updated(1, "One", none(), of([1])),
            Event::Deleted { role: id(1) },
        ];
        assert_eq!(given::<Roles>(events), Roles::default());
        let circle: Roles = given([
            created(id(1), "One", none(), of([2])),
            created(id(2), "Two", none(), of([1])),
        ]);
        assert_eq!(
            decide(&circle, &create("Four", none(), of([1]), Admin), 0).map(|events| events.len()),
            Ok(1),
            "even a circle ends"
        );
    }
}
