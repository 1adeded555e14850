//! Privilege escalation: each attempt is refused and changes nothing.

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::{
    ASSIGN_ROLE, Browser, CREATE_PROJECT, CREATE_ROLE, CREATE_TOKEN, DELETE_ACME, DELETE_MEMBER,
    DELETE_ROLE, INVITE, RENAME_TENANT, Team, UNASSIGN_ROLE, UPDATE_MEMBER, UPDATE_ROLE,
    assignment, code_of, input, invite, member_role, role, scopes, share,
};

const FRIEND: &str = "friend@example.com";

/// What is attempted: a name for messages, by whom, the document and its variables.
type Attempt<'a> = (&'a str, &'a Browser, &'a str, Value);

/// A team with custom roles, some of them stronger than an admin.
struct World {
    team: Team,
    owner_id: String,
    admin_id: String,
    member_id: String,
    guest_id: String,
    /// May delete the tenant, and is assigned to the guest.
    closer: String,
    /// Inherits from owner.
    above: String,
    /// Weak, and assigned to the admin.
    own: String,
    /// Manages members and roles, and is assigned to the member.
    recruiter: String,
}

impl World {
    async fn start() -> Self {
        let team = Team::start().await;
        let managing = [
            "create_member",
            "update_member",
            "create_role",
            "update_role",
        ];
        let world = Self {
            owner_id: team.owner.member_id().await,
            admin_id: team.admin.member_id().await,
            member_id: team.member.member_id().await,
            guest_id: team.guest.member_id().await,
            closer: team.create_role("Closer", &["delete_tenant"], &[]).await,
            above: team.create_role("Above", &[], &["owner"]).await,
            own: team.create_role("Own", &["read_project"], &[]).await,
            recruiter: team.create_role("Recruiter", &managing, &[]).await,
            team,
        };
        for (member, role) in [
            (&world.admin_id, &world.own),
            (&world.member_id, &world.recruiter),
            (&world.guest_id, &world.closer),
        ] {
            world
                .team
                .owner
                .data(ASSIGN_ROLE, assignment(member, role))
                .await;
        }
        world
    }

    async fn assert_refused(&self, attempts: Vec<Attempt<'_>>) {
        let before = self.team.snapshot().await;
        for (what, who, document, variables) in attempts {
            let error = who.error(document, variables).await;
            assert_eq!(error, json!({ "code": "FORBIDDEN" }), "{what}");
        }
        assert_eq!(self.team.snapshot().await, before);
    }
}

/// Runs a test in the one world of this file: what is refused changes nothing for the others.
fn in_world(test: impl AsyncFnOnce(&World)) {
    static WORLD: OnceCell<World> = OnceCell::const_new();
    share(&WORLD, World::start, test);
}

/// The variables of a change of a role's permissions or of what it inherits.
fn change(id: &str, permissions: Value, inherits: Value) -> Value {
    input(json!({ "id": id, "permissions": permissions, "inherits": inherits }))
}

#[test]
fn an_admin_cannot_become_create_or_change_an_owner() {
    in_world(async |world| {
        let World {
            team: Team { admin, .. },
            owner_id,
            admin_id,
            member_id,
            ..
        } = world;
        world
            .assert_refused(vec![
                (
                    "becomes one",
                    admin,
                    UPDATE_MEMBER,
                    member_role(admin_id, "OWNER"),
                ),
                (
                    "promotes one",
                    admin,
                    UPDATE_MEMBER,
                    member_role(member_id, "OWNER"),
                ),
                (
                    "demotes one",
                    admin,
                    UPDATE_MEMBER,
                    member_role(owner_id, "ADMIN"),
                ),
                (
                    "leaves one as is",
                    admin,
                    UPDATE_MEMBER,
                    member_role(owner_id, "OWNER"),
                ),
                (
                    "removes one",
                    admin,
                    DELETE_MEMBER,
                    json!({ "id": owner_id }),
                ),
                ("invites one", admin, INVITE, invite(FRIEND, "OWNER")),
                ("deletes the tenant", admin, DELETE_ACME, Value::Null),
            ])
            .await;
    });
}

#[test]
fn nobody_creates_a_role_that_is_stronger_than_they_are() {
    in_world(async |world| {
        let World {
            team: Team { admin, .. },
            closer,
            above,
            ..
        } = world;
        let beyond = role("New", &["delete_tenant"], &[]);
        let from_owner = role("New", &[], &["owner"]);
        let from_stronger = role("New", &[], &[closer]);
        let from_above = role("New", &["read_project"], &[above]);
        world
            .assert_refused(vec![
                (
                    "with a permission beyond theirs",
                    admin,
                    CREATE_ROLE,
                    beyond,
                ),
                ("that inherits from owner", admin, CREATE_ROLE, from_owner),
                (
                    "that inherits from a stronger role",
                    admin,
                    CREATE_ROLE,
                    from_stronger,
                ),
                (
                    "that inherits from owner by another role",
                    admin,
                    CREATE_ROLE,
                    from_above,
                ),
            ])
            .await;
    });
}

#[test]
fn nobody_makes_a_role_stronger_than_they_are_or_changes_a_stronger_one() {
    in_world(async |world| {
        let World {
            team: Team { admin, .. },
            closer,
            above,
            own,
            ..
        } = world;
        let raised = change(own, json!(["delete_tenant"]), Value::Null);
        let from_owner = change(own, Value::Null, json!(["owner"]));
        let from_above = change(own, Value::Null, json!([above]));
        let renamed = input(json!({ "id": closer, "name": "Harmless" }));
        let emptied = change(above, json!([]), json!([]));
        world
            .assert_refused(vec![
                ("a permission is added", admin, UPDATE_ROLE, raised),
                (
                    "it is to inherit from owner",
                    admin,
                    UPDATE_ROLE,
                    from_owner,
                ),
                (
                    "it is to inherit from a stronger role",
                    admin,
                    UPDATE_ROLE,
                    from_above,
                ),
                ("a stronger role is renamed", admin, UPDATE_ROLE, renamed),
                ("a stronger role is emptied", admin, UPDATE_ROLE, emptied),
                (
                    "a stronger role is deleted",
                    admin,
                    DELETE_ROLE,
                    json!({ "id": closer }),
                ),
            ])
            .await;
    });
}

#[test]
fn nobody_assigns_or_unassigns_a_role_that_is_stronger_than_they_are() {
    in_world(async |world| {
        let World {
            team: Team { admin, .. },
            admin_id,
            member_id,
            guest_id,
            closer,
            above,
            ..
        } = world;
        world
            .assert_refused(vec![
                (
                    "to oneself",
                    admin,
                    ASSIGN_ROLE,
                    assignment(admin_id, closer),
                ),
                (
                    "to another",
                    admin,
                    ASSIGN_ROLE,
                    assignment(member_id, above),
                ),
                (
                    "from another",
                    admin,
                    UNASSIGN_ROLE,
                    assignment(guest_id, closer),
                ),
            ])
            .await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_manages_others_cannot_raise_anybody_above_themselves() {
    let world = World::start().await;
    let World {
        team: Team { member, .. },
        ..
    } = &world;
    let World {
        admin_id,
        member_id,
        guest_id,
        closer,
        recruiter,
        ..
    } = &world;
    let raised = change(
        recruiter,
        json!(["delete_member", "create_member"]),
        Value::Null,
    );
    let inheriting = change(recruiter, Value::Null, json!(["developer"]));
    world
        .assert_refused(vec![
            (
                "becomes an admin",
                member,
                UPDATE_MEMBER,
                member_role(member_id, "ADMIN"),
            ),
            (
                "becomes a developer",
                member,
                UPDATE_MEMBER,
                member_role(member_id, "DEVELOPER"),
            ),
            (
                "demotes an admin",
                member,
                UPDATE_MEMBER,
                member_role(admin_id, "GUEST"),
            ),
            (
                "invites a developer",
                member,
                INVITE,
                invite(FRIEND, "DEVELOPER"),
            ),
            ("raises the own role", member, UPDATE_ROLE, raised),
            ("lets the own role inherit", member, UPDATE_ROLE, inheriting),
            (
                "takes a stronger role",
                member,
                ASSIGN_ROLE,
                assignment(member_id, closer),
            ),
            (
                "removes a guest",
                member,
                DELETE_MEMBER,
                json!({ "id": guest_id }),
            ),
        ])
        .await;
    let invited = member.data(INVITE, invite(FRIEND, "GUEST")).await;
    assert!(
        invited["member"]["invite"]["id"].is_string(),
        "what is allowed succeeds"
    );
}

#[test]
fn nobody_creates_a_token_with_scopes_beyond_their_own_permissions() {
    in_world(async |world| {
        let Team {
            admin,
            developer,
            member,
            ..
        } = &world.team;
        let beyond = scopes(&["read_project", "update_tenant"]);
        world
            .assert_refused(vec![
                ("a developer", developer, CREATE_TOKEN, beyond),
                ("an admin", admin, CREATE_TOKEN, scopes(&["delete_tenant"])),
                ("a member", member, CREATE_TOKEN, scopes(&["read_project"])),
            ])
            .await;
    });
}

#[test]
fn developers_and_guests_manage_neither_people_nor_roles_nor_the_tenant() {
    in_world(async |world| {
        let World {
            team: Team {
                developer, guest, ..
            },
            member_id,
            guest_id,
            own,
            ..
        } = world;
        let mut attempts: Vec<Attempt<'_>> = vec![(
            "a guest's project",
            guest,
            CREATE_PROJECT,
            input(json!({ "name": "No" })),
        )];
        for lower in [developer, guest] {
            attempts.extend([
                ("an invitation", lower, INVITE, invite(FRIEND, "GUEST")),
                (
                    "a role is created",
                    lower,
                    CREATE_ROLE,
                    role("New", &[], &[]),
                ),
                (
                    "a role is assigned",
                    lower,
                    ASSIGN_ROLE,
                    assignment(guest_id, own),
                ),
                (
                    "a role is changed",
                    lower,
                    UPDATE_MEMBER,
                    member_role(guest_id, "ADMIN"),
                ),
                (
                    "a member is removed",
                    lower,
                    DELETE_MEMBER,
                    json!({ "id": member_id }),
                ),
                ("the tenant is renamed", lower, RENAME_TENANT, Value::Null),
            ]);
        }
        world.assert_refused(attempts).await;
    });
}

#[test]
fn nobody_changes_deletes_or_assigns_a_built_in_role() {
    in_world(async |world| {
        let World {
            team: Team { owner, .. },
            guest_id,
            ..
        } = world;
        let mut attempts: Vec<Attempt<'_>> = Vec::new();
        for built_in in ["owner", "admin", "developer", "member", "guest"] {
            attempts.extend([
                (
                    "changed",
                    owner,
                    UPDATE_ROLE,
                    change(built_in, json!([]), Value::Null),
                ),
                ("deleted", owner, DELETE_ROLE, json!({ "id": built_in })),
                (
                    "assigned",
                    owner,
                    ASSIGN_ROLE,
                    assignment(guest_id, built_in),
                ),
            ]);
        }
        world.assert_refused(attempts).await;
    });
}

#[test]
fn an_admin_cannot_remove_a_member_whose_role_only_an_owner_can_assign() {
    in_world(async |world| {
        // With the member, the role would go.
        let answer = world
            .team
            .admin
            .gql(DELETE_MEMBER, json!({ "id": world.guest_id }))
            .await;
        assert_eq!(code_of(&answer), "FORBIDDEN", "{answer}");
        let roles = "query($id: ID!) { member(id: $id) { roles { id } } }";
        let left = world
            .team
            .owner
            .data(roles, json!({ "id": world.guest_id }))
            .await;
        assert_eq!(left["member"]["roles"], json!([{ "id": world.closer }]));
    });
}
