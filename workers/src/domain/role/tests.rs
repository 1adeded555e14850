use events_schema::{
    BuiltInRole::{Admin, Guest, Owner},
    Id, Permission,
};

use super::*;
use crate::domain::testing::{COMMAND, Given, given};

const NEW: RoleId = RoleId(COMMAND);

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
fn parents(roles: impl IntoIterator<Item = u8>) -> BTreeSet<Parent> {
    let ids = roles.into_iter().map(id);
    ids.map(Parent::Custom).collect()
}
fn built_in(role: BuiltInRole) -> BTreeSet<Parent> {
    BTreeSet::from([Parent::BuiltIn(role)])
}
fn create(text: &str, permissions: Permissions, inherits: BTreeSet<Parent>) -> Command {
    Command::Create {
        name: name(text),
        permissions,
        inherits,
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
fn rename(byte: u8, text: &str) -> Command {
    Command::Update {
        role: id(byte),
        name: Some(name(text)),
        permissions: None,
        inherits: None,
    }
}
fn permit(byte: u8, permissions: Permissions) -> Command {
    Command::Update {
        role: id(byte),
        name: None,
        permissions: Some(permissions),
        inherits: None,
    }
}
fn inherit(byte: u8, inherits: BTreeSet<Parent>) -> Command {
    Command::Update {
        role: id(byte),
        name: None,
        permissions: None,
        inherits: Some(inherits),
    }
}
fn updated(byte: u8, text: &str, permissions: Permissions, inherits: BTreeSet<Parent>) -> Event {
    Event::Updated {
        role: id(byte),
        name: name(text),
        permissions,
        inherits,
    }
}
fn delete(byte: u8) -> Command {
    Command::Delete { role: id(byte) }
}
fn deleted(byte: u8) -> Event {
    Event::Deleted { role: id(byte) }
}
/// Role 2 inherits from role 1, role 3 from role 2.
fn chain() -> Given<Roles> {
    given([
        created(id(1), "One", only("read_member"), parents([])),
        created(id(2), "Two", none(), parents([1])),
        created(id(3), "Three", none(), parents([2])),
    ])
}
/// Role 1 holds what owners hold, role 2 by inheritance from it.
fn strong() -> Given<Roles> {
    given([
        created(id(1), "One", none(), built_in(Owner)),
        created(id(2), "Two", none(), parents([1])),
    ])
}
fn many(count: u8) -> Given<Roles> {
    let named = |at| created(id(at), &format!("Role {at}"), none(), parents([]));
    given((0..count).map(named))
}

#[test]
fn a_created_role_has_the_id_of_its_command() {
    let four = create("Four", only("read_role"), parents([3]));
    let expected = created(NEW, "Four", only("read_role"), parents([3]));
    chain().when(four).holding(Admin).then([expected]);
}

#[test]
fn a_name_belongs_to_one_role_in_upper_or_lower_case() {
    for taken in ["one", "ONE", "owner", "Guest"] {
        for command in [create(taken, none(), parents([])), rename(2, taken)] {
            let when = chain().when(command).holding(Admin);
            when.rejects(Rejection::NameTaken);
        }
    }
}

#[test]
fn a_role_may_change_the_case_of_its_own_name() {
    let expected = updated(1, "ONE", only("read_member"), parents([]));
    let when = chain().when(rename(1, "ONE")).holding(Admin);
    when.then([expected]);
}

#[test]
fn a_role_inherits_only_from_roles_that_exist() {
    let itself = BTreeSet::from([Parent::Custom(NEW)]);
    for command in [
        create("Four", none(), parents([1, 9])),
        create("Four", none(), itself),
        inherit(1, parents([9])),
    ] {
        let when = chain().when(command).holding(Admin);
        when.rejects(Rejection::ParentNotFound);
    }
}

#[test]
fn a_role_never_inherits_from_itself() {
    for parent in [1, 2, 3] {
        let when = chain().when(inherit(1, parents([parent]))).holding(Admin);
        when.rejects(Rejection::Cycle);
    }
}

#[test]
fn a_role_may_inherit_from_the_same_role_by_two_paths() {
    let expected = updated(3, "Three", none(), parents([1, 2]));
    let when = chain().when(inherit(3, parents([1, 2]))).holding(Admin);
    when.then([expected]);
}

#[test]
fn nobody_creates_a_role_that_holds_more_than_they_do() {
    for (permissions, inherits) in [
        (only("delete_tenant"), parents([])),
        (none(), built_in(Owner)),
        (none(), parents([2])),
    ] {
        let when = strong().when(create("Mine", permissions.clone(), inherits.clone()));
        let by_admin = when.clone().holding(Admin);
        by_admin.rejects(Rejection::BeyondOwnPermissions);
        let expected = created(NEW, "Mine", permissions, inherits);
        when.holding(Owner).then([expected]);
    }
    let when = chain().when(create("Mine", none(), parents([3])));
    when.holding(Guest).rejects(Rejection::BeyondOwnPermissions);
}

#[test]
fn nobody_strengthens_a_role_beyond_their_own_permissions() {
    for command in [
        permit(1, only("delete_tenant")),
        inherit(1, built_in(Owner)),
    ] {
        let when = chain().when(command).holding(Admin);
        when.rejects(Rejection::BeyondOwnPermissions);
    }
}

#[test]
fn nobody_changes_or_deletes_a_role_that_holds_more_than_they_do() {
    for role in [1, 2] {
        for command in [
            inherit(role, parents([])),
            rename(role, "Mine"),
            delete(role),
        ] {
            let when = strong().when(command).holding(Admin);
            when.rejects(Rejection::BeyondOwnPermissions);
        }
        let by_owner = strong().when(delete(role)).holding(Owner);
        by_owner.then([deleted(role)]);
    }
}

#[test]
fn an_absent_field_stays_as_it_is() {
    let expected = updated(2, "Two", only("read_role"), parents([1]));
    let when = chain().when(permit(2, only("read_role"))).holding(Admin);
    when.then([expected]);
}

#[test]
fn an_update_to_the_present_values_changes_nothing() {
    let same = |name, permissions, inherits| Command::Update {
        role: id(2),
        name,
        permissions,
        inherits,
    };
    for command in [
        same(None, None, None),
        same(Some(name("Two")), Some(none()), Some(parents([1]))),
    ] {
        chain().when(command).holding(Admin).changes_nothing();
    }
}

#[test]
fn a_deleted_role_grants_nothing_to_the_roles_that_inherited_from_it() {
    let roles = chain().and_at(5, deleted(1));
    let roles = &roles.state().0;
    assert_eq!(inherited(roles, &parents([3])), none());
    let heir = |byte| {
        let role = &roles[&id(byte)];
        (role.inherits.clone(), role.updated_at)
    };
    assert_eq!(heir(2), (parents([]), Time(5)));
    assert_eq!(heir(3), (parents([2]), Time(0)));
}

#[test]
fn a_role_that_does_not_exist_is_neither_changed_nor_deleted() {
    let one = created(id(1), "One", none(), parents([]));
    for roles in [given([]), given::<Roles>([one, deleted(1)])] {
        for command in [rename(1, "Mine"), delete(1)] {
            let when = roles.when(command).holding(Owner);
            when.rejects(Rejection::NotFound);
        }
    }
}

#[test]
fn a_tenant_has_at_most_100_roles() {
    let more = || create("More", none(), parents([]));
    let last = many(99).when(more()).holding(Admin);
    last.then([created(NEW, "More", none(), parents([]))]);
    let one_too_many = many(100).when(more()).holding(Admin);
    one_too_many.rejects(Rejection::TooManyRoles);
}

/// Roles from 101 on, each of which inherits from the one before.
fn line(count: u8) -> Given<Roles> {
    let role = |at| {
        created(
            id(at),
            &format!("Role {at}"),
            none(),
            parents((101..at).last()),
        )
    };
    given((101..=100 + count).map(role))
}

#[test]
fn a_role_inherits_from_at_most_20_custom_roles() {
    let more = |parent| create("More", none(), parents([parent]));
    let twenty = line(20).when(more(120)).holding(Admin);
    twenty.then([created(NEW, "More", none(), parents([120]))]);
    let one_too_many = line(21).when(more(121)).holding(Admin);
    one_too_many.rejects(Rejection::TooManyInherited);
}

#[test]
fn the_roles_of_a_parent_count_for_those_that_inherit_from_it() {
    let more = created(id(1), "More", none(), parents([]));
    let roles = line(21).and_at(0, more);
    // The last role of the line would inherit from one more.
    let when = roles.when(inherit(101, parents([1]))).holding(Admin);
    when.rejects(Rejection::TooManyInherited);
    let when = roles.when(inherit(121, parents([1]))).holding(Admin);
    when.then([updated(121, "Role 121", none(), parents([1]))]);
}

#[test]
fn roles_of_earlier_releases_that_inherit_from_more_are_changed_but_inherit_from_no_more() {
    let more = created(id(1), "More", none(), parents([]));
    let long = line(40).and_at(0, more);
    for (command, expected) in [
        (
            rename(140, "Mine"),
            updated(140, "Mine", none(), parents([139])),
        ),
        (
            inherit(140, parents([130])),
            updated(140, "Role 140", none(), parents([130])),
        ),
        (
            inherit(130, parents([128, 129])),
            updated(130, "Role 130", none(), parents([128, 129])),
        ),
    ] {
        long.when(command).holding(Admin).then([expected]);
    }
    let when = long.when(inherit(101, parents([1]))).holding(Admin);
    when.rejects(Rejection::TooManyInherited);
}

#[test]
fn an_event_of_a_role_that_does_not_exist_changes_nothing() {
    let update = updated(1, "One", none(), parents([1]));
    given([update, deleted(1)]).is(&Roles::default());
}

#[test]
fn a_decision_ends_even_if_the_log_has_a_cycle() {
    let cycle: Given<Roles> = given([
        created(id(1), "One", none(), parents([2])),
        created(id(2), "Two", none(), parents([1])),
    ]);
    let four = create("Four", none(), parents([1]));
    let expected = created(NEW, "Four", none(), parents([1]));
    cycle.when(four).holding(Admin).then([expected]);
}
