//! Who tries to become more than they are: each attempt is refused, and leaves everything as it
//! was.

use serde_json::{Value, json};

use crate::support::{Browser, INVITE, eventually, start, text};

const ROLE_CREATE: &str = "mutation($input: CreateRoleInput!) { role { create(input: $input) { id effectivePermissions } } }";
const ROLE_UPDATE: &str = "mutation($input: UpdateRoleInput!) { role { update(input: $input) { id effectivePermissions } } }";
const ROLE_DELETE: &str = "mutation($id: ID!) { role { delete(id: $id) { success } } }";
const ASSIGN: &str =
    "mutation($input: AssignRoleInput!) { role { assign(input: $input) { id roles { name } } } }";
const UNASSIGN: &str =
    "mutation($input: AssignRoleInput!) { role { unassign(input: $input) { id } } }";
const UPDATE: &str =
    "mutation($input: UpdateMemberInput!) { member { update(input: $input) { id role } } }";
const REMOVE: &str = "mutation($id: ID!) { member { delete(id: $id) { success } } }";
const TOKEN: &str = "mutation($input: CreateAccessTokenInput!) { accessToken { create(input: $input) { token accessToken { id scopes } } } }";
const TOKEN_DELETE: &str = "mutation($id: ID!) { accessToken { delete(id: $id) { success } } }";
const PROJECT: &str =
    "mutation($name: String!) { project { create(input: { name: $name }) { id } } }";
const PROJECT_DELETE: &str =
    "mutation($id: ID!) { project { delete(input: { id: $id }) { success } } }";
const PROJECTS: &str = "{ projects { totalCount } }";

/// A tenant with somebody of each built-in role.
struct World {
    local: local::Local,
    owner: Browser,
    admin: Browser,
    developer: Browser,
    member: Browser,
    guest: Browser,
}

impl World {
    async fn new() -> Self {
        let local = start().await;
        let owner = Browser::new(&local);
        owner.join("owner@example.com").await;
        owner.found("acme").await;
        let owner = owner.inside("acme");
        let mut others = Vec::new();
        for role in ["admin", "developer", "member", "guest"] {
            let (browser, email) = (Browser::new(&local), format!("{role}@example.com"));
            browser.join(&email).await;
            owner.take_in(&browser, &email, &role.to_uppercase()).await;
            others.push(browser.inside("acme"));
        }
        let [admin, developer, member, guest] = others.try_into().ok().unwrap();
        Self {
            local,
            owner,
            admin,
            developer,
            member,
            guest,
        }
    }

    /// Everything that an attempt could have changed.
    async fn all(&self) -> Value {
        let members = "members { nodes { id email role status revision roles { id } } }";
        let rest = "roles { id name permissions inherits } accessTokens { nodes { id scopes } } projects { nodes { id revision } } tenant { revision }";
        self.owner
            .data(&format!("{{ {members} {rest} }}"), json!({}))
            .await
    }

    async fn role(&self, name: &str, permissions: &[&str], inherits: &[&str]) -> String {
        let input =
            json!({ "input": { "name": name, "permissions": permissions, "inherits": inherits } });
        role(&self.owner, input).await
    }
}

/// Makes a role, said under a key as a careful client would; answers its id.
async fn role(by: &Browser, input: Value) -> String {
    let key = text(&input, "/input/name");
    text(
        &by.with_header("idempotency-key", &key)
            .data(ROLE_CREATE, input)
            .await,
        "/role/create/id",
    )
}

async fn me(browser: &Browser) -> String {
    text(
        &browser.data("{ me { member { id } } }", json!({})).await,
        "/me/member/id",
    )
}

fn update(id: &str, role: &str) -> Value {
    json!({ "input": { "id": id, "role": role } })
}

fn assign(member: &str, role: &str) -> Value {
    json!({ "input": { "member": member, "role": role } })
}

fn invite(role: &str) -> Value {
    json!({ "input": { "email": "friend@example.com", "role": role } })
}

fn scopes(scopes: &[&str]) -> Value {
    json!({ "input": { "name": "Robot", "scopes": scopes } })
}

/// A machine with a new token of this person, and the token's id.
async fn machine(world: &World, of: &Browser, wanted: &[&str]) -> (Browser, String) {
    let made = of.data(TOKEN, scopes(wanted)).await;
    (
        Browser::machine(&world.local, &text(&made, "/accessToken/create/token")),
        text(&made, "/accessToken/create/accessToken/id"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_themselves_or_others_more_than_they_are() {
    let world = World::new().await;
    let World {
        owner,
        admin,
        developer,
        member,
        guest,
        ..
    } = &world;
    let (owner_id, admin_id, member_id, guest_id) = (
        me(owner).await,
        me(admin).await,
        me(member).await,
        me(guest).await,
    );
    let closer = world.role("Closer", &["delete_tenant"], &[]).await;
    let above = world.role("Above", &[], &["owner"]).await;
    let own = world.role("Own", &["read_project"], &[]).await;
    let recruiter = world
        .role(
            "Recruiter",
            &[
                "create_member",
                "update_member",
                "create_role",
                "update_role",
            ],
            &[],
        )
        .await;
    owner.data(ASSIGN, assign(&admin_id, &own)).await;
    owner.data(ASSIGN, assign(&member_id, &recruiter)).await;
    owner.data(ASSIGN, assign(&guest_id, &closer)).await;
    let to = |id: &str, permissions: Value, inherits: Value| json!({ "input": { "id": id, "permissions": permissions, "inherits": inherits } });
    let new = |permissions: &[&str], inherits: &[&str]| json!({ "input": { "name": "New", "permissions": permissions, "inherits": inherits } });

    let mut attempts: Vec<(&str, &Browser, &str, Value)> = vec![
        (
            "an admin becomes an owner",
            admin,
            UPDATE,
            update(&admin_id, "OWNER"),
        ),
        (
            "an admin makes an owner",
            admin,
            UPDATE,
            update(&member_id, "OWNER"),
        ),
        (
            "an admin demotes the owner",
            admin,
            UPDATE,
            update(&owner_id, "ADMIN"),
        ),
        (
            "an admin changes the owner to what they are",
            admin,
            UPDATE,
            update(&owner_id, "OWNER"),
        ),
        (
            "an admin removes the owner",
            admin,
            REMOVE,
            json!({ "id": owner_id }),
        ),
        ("an admin invites an owner", admin, INVITE, invite("OWNER")),
        (
            "an admin ends the tenant",
            admin,
            "mutation { tenant { delete(input: { normalizedName: \"acme\" }) { success } } }",
            json!({}),
        ),
        (
            "a role beyond its maker's rights",
            admin,
            ROLE_CREATE,
            new(&["delete_tenant"], &[]),
        ),
        (
            "a role that inherits from owner",
            admin,
            ROLE_CREATE,
            new(&[], &["owner"]),
        ),
        (
            "a role that inherits from a stronger one",
            admin,
            ROLE_CREATE,
            new(&[], &[&closer]),
        ),
        (
            "a role that inherits from one that inherits from owner",
            admin,
            ROLE_CREATE,
            new(&["read_project"], &[&above]),
        ),
        (
            "the role that one has is raised",
            admin,
            ROLE_UPDATE,
            to(&own, json!(["delete_tenant"]), Value::Null),
        ),
        (
            "the role that one has is to inherit from owner",
            admin,
            ROLE_UPDATE,
            to(&own, Value::Null, json!(["owner"])),
        ),
        (
            "the role that one has is to inherit from a stronger one",
            admin,
            ROLE_UPDATE,
            to(&own, Value::Null, json!([above])),
        ),
        (
            "a stronger role is changed",
            admin,
            ROLE_UPDATE,
            json!({ "input": { "id": closer, "name": "Harmless" } }),
        ),
        (
            "a stronger role is emptied",
            admin,
            ROLE_UPDATE,
            to(&above, json!([]), json!([])),
        ),
        (
            "a stronger role is ended",
            admin,
            ROLE_DELETE,
            json!({ "id": closer }),
        ),
        (
            "a stronger role is taken by oneself",
            admin,
            ASSIGN,
            assign(&admin_id, &closer),
        ),
        (
            "a stronger role is given away",
            admin,
            ASSIGN,
            assign(&member_id, &above),
        ),
        (
            "a stronger role is taken away",
            admin,
            UNASSIGN,
            assign(&guest_id, &closer),
        ),
        (
            "a recruiter becomes an admin",
            member,
            UPDATE,
            update(&member_id, "ADMIN"),
        ),
        (
            "a recruiter becomes a developer",
            member,
            UPDATE,
            update(&member_id, "DEVELOPER"),
        ),
        (
            "a recruiter demotes an admin",
            member,
            UPDATE,
            update(&admin_id, "GUEST"),
        ),
        (
            "a recruiter invites a developer",
            member,
            INVITE,
            invite("DEVELOPER"),
        ),
        (
            "a recruiter raises the own role",
            member,
            ROLE_UPDATE,
            to(
                &recruiter,
                json!(["delete_member", "create_member"]),
                Value::Null,
            ),
        ),
        (
            "a recruiter lets the own role inherit",
            member,
            ROLE_UPDATE,
            to(&recruiter, Value::Null, json!(["developer"])),
        ),
        (
            "a recruiter takes a stronger role",
            member,
            ASSIGN,
            assign(&member_id, &closer),
        ),
        (
            "a recruiter removes a guest",
            member,
            REMOVE,
            json!({ "id": guest_id }),
        ),
        (
            "a developer's key beyond the developer",
            developer,
            TOKEN,
            scopes(&["read_project", "update_tenant"]),
        ),
        (
            "an admin's key beyond the admin",
            admin,
            TOKEN,
            scopes(&["delete_tenant"]),
        ),
        ("a member's key", member, TOKEN, scopes(&["read_project"])),
        ("a guest's project", guest, PROJECT, json!({ "name": "No" })),
    ];
    for lower in [developer, guest] {
        attempts.push(("an invitation", lower, INVITE, invite("GUEST")));
        attempts.push(("a role", lower, ROLE_CREATE, new(&[], &[])));
        attempts.push(("a role is taken", lower, ASSIGN, assign(&guest_id, &own)));
        attempts.push((
            "a member is changed",
            lower,
            UPDATE,
            update(&guest_id, "ADMIN"),
        ));
        attempts.push((
            "a member is removed",
            lower,
            REMOVE,
            json!({ "id": member_id }),
        ));
        attempts.push((
            "the tenant is renamed",
            lower,
            "mutation { tenant { update(input: { name: \"Mine\" }) { id } } }",
            json!({}),
        ));
    }
    for built_in in ["owner", "admin", "developer", "member", "guest"] {
        attempts.push((
            "a built-in role is changed",
            owner,
            ROLE_UPDATE,
            to(built_in, json!([]), Value::Null),
        ));
        attempts.push((
            "a built-in role is ended",
            owner,
            ROLE_DELETE,
            json!({ "id": built_in }),
        ));
        attempts.push((
            "a built-in role is given beside another",
            owner,
            ASSIGN,
            assign(&guest_id, built_in),
        ));
    }
    let before = world.all().await;
    for (what, who, document, variables) in attempts {
        let answer = who.run(document, variables).await;
        assert_eq!(
            answer["errors"][0]["extensions"],
            json!({ "code": "FORBIDDEN" }),
            "{what}: {answer}"
        );
    }
    assert_eq!(world.all().await, before);
    assert!(
        member.data(INVITE, invite("GUEST")).await["member"]["invite"]["id"].is_string(),
        "what one may, one can"
    );
    world.local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_makes_a_role_is_answered_what_was_made() {
    let world = World::new().await;
    let input = |name: &str| json!({ "input": { "name": name, "permissions": ["read_project"], "inherits": ["guest"] } });
    for (name, by) in [
        ("Keyed", world.owner.with_header("idempotency-key", "k")),
        ("Plain", world.owner.clone()),
    ] {
        let made = by.run(ROLE_CREATE, input(name)).await;
        assert_eq!(
            made["data"]["role"]["create"]["effectivePermissions"],
            json!(["read_tenant", "read_project"]),
            "{name}: {made}"
        );
        let id = text(&made, "/data/role/create/id");
        let shown = world
            .owner
            .data(
                "query($id: ID!) { role(id: $id) { name builtIn inherits } }",
                json!({ "id": id }),
            )
            .await;
        assert_eq!(
            shown["role"],
            json!({ "name": name, "builtIn": false, "inherits": ["guest"] })
        );
    }
    world.local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_inherits_neither_from_itself_nor_from_what_is_not_there() {
    let world = World::new().await;
    let owner = &world.owner;
    let foreign = Browser::new(&world.local);
    foreign.join("eve@example.com").await;
    foreign.found("other").await;
    let theirs = json!({ "input": { "name": "Theirs", "permissions": ["read_project"] } });
    let theirs = role(&foreign.inside("other"), theirs).await;
    let first = world.role("First", &["read_project"], &[]).await;
    let second = world.role("Second", &[], &[&first]).await;
    let third = world.role("Third", &[], &[&second, "guest"]).await;
    let inherit = |id: &str, from: &[&str]| json!({ "input": { "id": id, "inherits": from } });
    let before = world.all().await;
    let missing = "0".repeat(32);
    for (id, from) in [
        (&first, &[first.as_str()][..]),
        (&first, &[&second]),
        (&first, &[&third]),
        (&second, &[&first, &third]),
        (&third, &[&theirs]),
        (&third, &[&missing]),
    ] {
        assert_eq!(
            owner.code(ROLE_UPDATE, inherit(id, from)).await,
            "CONFLICT",
            "{from:?}"
        );
    }
    for (name, code) in [
        ("first", "CONFLICT"),
        ("OWNER", "CONFLICT"),
        ("", "BAD_USER_INPUT"),
        ("a\u{202E}b", "BAD_USER_INPUT"),
    ] {
        assert_eq!(
            owner
                .code(
                    ROLE_CREATE,
                    json!({ "input": { "name": name, "permissions": [] } })
                )
                .await,
            code,
            "{name:?}"
        );
    }
    for wrong in [
        "create_tenant",
        "*",
        "read_*",
        "READ_PROJECT",
        "read_project,delete_tenant",
        "",
    ] {
        let input = json!({ "input": { "name": "Wrong", "permissions": ["read_project", wrong] } });
        assert_eq!(
            owner.error(ROLE_CREATE, input).await,
            json!({ "code": "BAD_USER_INPUT", "field": "permissions" }),
            "{wrong}"
        );
    }
    for document in [ROLE_DELETE, "query($id: ID!) { role(id: $id) { id } }"] {
        let answers = [
            owner.run(document, json!({ "id": theirs })).await,
            owner.run(document, json!({ "id": missing })).await,
        ];
        assert_eq!(
            (&answers[0]["errors"][0]["extensions"]["code"], &answers[0]),
            (&json!("NOT_FOUND"), &answers[1]),
            "another tenant's"
        );
    }
    assert_eq!(
        owner
            .code(ASSIGN, assign(&me(&world.guest).await, &theirs))
            .await,
        "NOT_FOUND"
    );
    assert_eq!(world.all().await, before);
    world.local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_may_what_an_inherited_role_grants_until_it_is_ended() {
    let world = World::new().await;
    let World { owner, guest, .. } = &world;
    let mut projects = Vec::new();
    for name in ["One", "Two", "Three"] {
        projects.push(text(
            &owner.data(PROJECT, json!({ "name": name })).await,
            "/project/create/id",
        ));
    }
    let delete = async |at: usize| {
        guest
            .run(PROJECT_DELETE, json!({ "id": projects[at] }))
            .await
    };
    let guest_id = me(guest).await;
    assert_eq!(
        delete(0).await["errors"][0]["extensions"]["code"],
        "FORBIDDEN"
    );
    let middle = world.role("Middle", &[], &["developer"]).await;
    let top = world.role("Top", &[], &[&middle]).await;
    owner.data(ASSIGN, assign(&guest_id, &top)).await;
    assert_eq!(
        delete(0).await["data"]["project"]["delete"]["success"],
        true
    );
    let shown = guest.data("{ me { permissions member { role roles { name permissions effectivePermissions } } } }", json!({})).await;
    assert_eq!(
        (
            &shown["me"]["member"]["role"],
            &shown["me"]["member"]["roles"][0]["permissions"]
        ),
        (&json!("GUEST"), &json!([]))
    );
    assert_eq!(
        shown["me"]["permissions"],
        shown["me"]["member"]["roles"][0]["effectivePermissions"]
    );

    owner.data(ROLE_DELETE, json!({ "id": middle })).await;
    assert_eq!(
        delete(1).await["errors"][0]["extensions"]["code"],
        "FORBIDDEN",
        "what it inherited from is gone"
    );
    owner
        .data(
            ROLE_UPDATE,
            json!({ "input": { "id": top, "permissions": ["delete_project"] } }),
        )
        .await;
    assert_eq!(
        delete(1).await["data"]["project"]["delete"]["success"],
        true
    );
    owner.data(UNASSIGN, assign(&guest_id, &top)).await;
    assert_eq!(
        delete(2).await["errors"][0]["extensions"]["code"],
        "FORBIDDEN"
    );
    owner.data(ASSIGN, assign(&guest_id, &top)).await;
    owner.data(ROLE_DELETE, json!({ "id": top })).await;
    assert_eq!(
        delete(2).await["errors"][0]["extensions"]["code"],
        "FORBIDDEN",
        "the role is gone"
    );
    let left = guest
        .data(
            "{ me { permissions member { roles { name } } } }",
            json!({}),
        )
        .await;
    assert_eq!(
        left["me"],
        json!({ "permissions": ["read_tenant", "read_project"], "member": { "roles": [] } })
    );
    world.local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_does_not_take_from_a_member_what_only_an_owner_can_give() {
    let world = World::new().await;
    let World {
        owner,
        admin,
        guest,
        ..
    } = &world;
    let (guest_id, closer) = (
        me(guest).await,
        world.role("Closer", &["delete_tenant"], &[]).await,
    );
    owner.data(ASSIGN, assign(&guest_id, &closer)).await;
    let before = world.all().await;
    assert_eq!(
        admin.code(UNASSIGN, assign(&guest_id, &closer)).await,
        "FORBIDDEN"
    );
    // Removing them takes the role away as well.
    assert_eq!(
        admin.run(REMOVE, json!({ "id": guest_id })).await["errors"][0]["extensions"]["code"],
        "FORBIDDEN"
    );
    assert_eq!(world.all().await, before);
    world.local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_what_its_scopes_and_its_creator_may_and_no_more() {
    let world = World::new().await;
    let World {
        owner, developer, ..
    } = &world;
    let project = text(
        &owner.data(PROJECT, json!({ "name": "One" })).await,
        "/project/create/id",
    );
    let (robot, _) = machine(
        &world,
        developer,
        &["read_project", "delete_project", "create_access_token"],
    )
    .await;
    let (narrow, narrow_id) = machine(&world, owner, &["read_project"]).await;
    for wanted in [
        &["read_project", "create_project"][..],
        &["read_access_token"],
        &["delete_tenant"],
    ] {
        assert_eq!(
            robot.code(TOKEN, scopes(wanted)).await,
            "FORBIDDEN",
            "{wanted:?}"
        );
    }
    assert_eq!(
        robot.data(TOKEN, scopes(&["read_project"])).await["accessToken"]["create"]["accessToken"]
            ["scopes"],
        json!(["read_project"])
    );
    for (document, variables) in [
        (PROJECT, json!({ "name": "No" })),
        (PROJECT_DELETE, json!({ "id": project })),
        (INVITE, invite("GUEST")),
        (TOKEN, scopes(&["read_project"])),
        (TOKEN_DELETE, json!({ "id": narrow_id })),
        (REMOVE, json!({ "id": me(owner).await })),
        (
            "mutation { tenant { delete(input: { normalizedName: \"acme\" }) { success } } }",
            json!({}),
        ),
        ("{ members { totalCount } }", json!({})),
        ("{ accessTokens { totalCount } }", json!({})),
    ] {
        assert_eq!(
            narrow.code(document, variables).await,
            "FORBIDDEN",
            "{document}"
        );
    }
    for operation in [
        "{ profile { id } }",
        "{ sessions { id } }",
        "{ tenants { totalCount } }",
        "{ tenant { id } }",
        "{ tenantAvailable(identifier: \"free\") }",
        "{ platform { tenants { totalCount } } }",
        "mutation { profile { update(input: { lastname: \"Robot\" }) { id } } }",
        "mutation { account { revokeAllSessions { success } } }",
        "mutation { account { revokeSession(id: \"00000000000000000000000000000000\") { success } } }",
        "mutation { account { changePassword(input: { oldPassword: \"x\", newPassword: \"y\" }) { success } } }",
        "mutation { tenant { create(input: { name: \"Robots\" }) { id } } }",
        "mutation { member { acceptInvitation(input: { token: \"x\" }) { id } } }",
        "mutation { member { rejectInvitation(input: { token: \"x\" }) { success } } }",
    ] {
        assert_eq!(
            robot.code(operation, json!({})).await,
            "FORBIDDEN",
            "{operation}"
        );
    }

    owner.found("apex").await;
    assert_eq!(
        narrow.inside("acme").data(PROJECTS, json!({})).await["projects"]["totalCount"],
        1
    );
    for elsewhere in ["apex", "nowhere", "NONSENSE", ""] {
        assert_eq!(
            narrow.inside(elsewhere).code(PROJECTS, json!({})).await,
            "NOT_FOUND",
            "{elsewhere}: also where its creator is at home"
        );
    }
    let (_, made) = machine(&world, owner, &["delete_project"]).await;
    // A session beside a token counts for nothing, be the token good or not.
    let secret = text(
        &owner.data(TOKEN, scopes(&["read_project"])).await,
        "/accessToken/create/token",
    );
    let both = owner.with_header("authorization", &format!("Bearer {secret}"));
    assert_eq!(
        both.code(TOKEN_DELETE, json!({ "id": made })).await,
        "FORBIDDEN"
    );
    for wrong in [&secret[1..], &secret[..66], "ub_", ""] {
        let both = owner.with_header("authorization", &format!("Bearer {wrong}"));
        assert_eq!(
            both.code(PROJECTS, json!({})).await,
            "UNAUTHENTICATED",
            "{wrong:?}"
        );
    }
    world.local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_falls_with_its_creator_its_time_and_its_deletion() {
    let world = World::new().await;
    let World {
        owner, developer, ..
    } = &world;
    let project = text(
        &owner.data(PROJECT, json!({ "name": "One" })).await,
        "/project/create/id",
    );
    let (robot, _) = machine(&world, developer, &["read_project", "delete_project"]).await;
    let developer_id = me(developer).await;
    owner.data(UPDATE, update(&developer_id, "GUEST")).await;
    assert_eq!(
        robot.code(PROJECT_DELETE, json!({ "id": project })).await,
        "FORBIDDEN",
        "its creator may not any more"
    );
    assert_eq!(
        robot.data(PROJECTS, json!({})).await["projects"]["totalCount"],
        1
    );
    owner.data(REMOVE, json!({ "id": developer_id })).await;
    assert_eq!(
        robot.code(PROJECTS, json!({})).await,
        "UNAUTHENTICATED",
        "its creator is gone"
    );

    let (robot, id) = machine(&world, owner, &["read_project"]).await;
    assert_eq!(
        robot.data(PROJECTS, json!({})).await["projects"]["totalCount"],
        1
    );
    owner.data(TOKEN_DELETE, json!({ "id": id })).await;
    assert_eq!(robot.code(PROJECTS, json!({})).await, "UNAUTHENTICATED");
    assert_eq!(
        owner.code(TOKEN_DELETE, json!({ "id": id })).await,
        "NOT_FOUND"
    );

    let until =
        |ms: i64| (jiff::Timestamp::now() + jiff::SignedDuration::from_millis(ms)).to_string();
    let expiring = |at: &str| json!({ "input": { "name": "Robot", "scopes": ["read_project"], "expiresAt": at } });
    for wrong in [
        until(-1),
        until(367 * 24 * 60 * 60 * 1000),
        "1970-01-01T00:00:00Z".to_owned(),
        "tomorrow".to_owned(),
    ] {
        assert_eq!(
            owner.code(TOKEN, expiring(&wrong)).await,
            "BAD_USER_INPUT",
            "{wrong}"
        );
    }
    assert_eq!(
        owner.code(TOKEN, scopes(&[])).await,
        "BAD_USER_INPUT",
        "it could do nothing"
    );
    let end = until(3_000);
    let robot = Browser::machine(
        &world.local,
        &text(
            &owner.data(TOKEN, expiring(&end)).await,
            "/accessToken/create/token",
        ),
    );
    assert_eq!(
        robot.data(PROJECTS, json!({})).await["projects"]["totalCount"],
        1
    );
    eventually("the end of a token", || async {
        robot.run(PROJECTS, json!({})).await["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    })
    .await;
    assert!(
        jiff::Timestamp::now()
            >= end
                .parse::<jiff::Timestamp>()
                .unwrap()
                .round(jiff::Unit::Millisecond)
                .unwrap(),
        "not before its time"
    );
    world.local.stop().await.unwrap();
}
