//! Custom roles: what they grant, what they inherit, and which are refused.

use serde_json::{Value, json};

use crate::support::{
    ASSIGN_ROLE, Browser, CREATE_ROLE, DELETE_PROJECT, DELETE_ROLE, MISSING, Team, UNASSIGN_ROLE,
    UPDATE_ROLE, assignment, bad_input, code_of, create_project, create_role, eventually,
    guest_permissions, input, list, operator, role, text,
};

const ROLE: &str = "query($id: ID!) { role(id: $id) { name builtIn inherits } }";

#[tokio::test(flavor = "multi_thread")]
async fn a_created_role_is_answered_with_what_it_grants() {
    let team = Team::start().await;
    for (name, by) in [
        ("Keyed", team.owner.with_idempotency_key("k")),
        ("Plain", team.owner.clone()),
    ] {
        let created = by
            .data(CREATE_ROLE, role(name, &["read_project"], &["guest"]))
            .await;
        let created = &created["role"]["create"];
        assert_eq!(
            created["effectivePermissions"],
            json!(guest_permissions()),
            "{name}"
        );
        let shown = team
            .owner
            .data(ROLE, json!({ "id": text(created, "/id") }))
            .await;
        let expected = json!({ "name": name, "builtIn": false, "inherits": ["guest"] });
        assert_eq!(shown["role"], expected);
    }
}

/// The id of a role in a tenant of somebody else's.
async fn foreign_role(team: &Team) -> String {
    let eve = Browser::signed_up(&team.backend, "eve@example.com").await;
    eve.create_tenant("other").await;
    create_role(
        &eve.in_tenant("other"),
        role("Theirs", &["read_project"], &[]),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_cannot_inherit_from_itself_or_from_an_unknown_role() {
    let team = Team::start().await;
    let theirs = foreign_role(&team).await;
    let first = team.create_role("First", &["read_project"], &[]).await;
    let second = team.create_role("Second", &[], &[&first]).await;
    let third = team.create_role("Third", &[], &[&second, "guest"]).await;
    let before = team.snapshot().await;
    let missing = "0".repeat(32);
    for (id, from) in [
        (&first, &[first.as_str()][..]),
        (&first, &[&second]),
        (&first, &[&third]),
        (&second, &[&first, &third]),
        (&third, &[&theirs]),
        (&third, &[&missing]),
    ] {
        let inherit = input(json!({ "id": id, "inherits": from }));
        assert_eq!(
            team.owner.code(UPDATE_ROLE, inherit).await,
            "CONFLICT",
            "{from:?}"
        );
    }
    assert_eq!(team.snapshot().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_needs_a_name_that_is_valid_and_free() {
    let team = Team::start().await;
    team.create_role("First", &[], &[]).await;
    let before = team.snapshot().await;
    for (name, code) in [
        ("first", "CONFLICT"),
        ("OWNER", "CONFLICT"),
        ("", "BAD_USER_INPUT"),
        ("a\u{202E}b", "BAD_USER_INPUT"),
    ] {
        assert_eq!(
            team.owner.code(CREATE_ROLE, role(name, &[], &[])).await,
            code,
            "{name:?}"
        );
    }
    assert_eq!(team.snapshot().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_an_unknown_permission_is_refused() {
    let team = Team::start().await;
    let before = team.snapshot().await;
    for wrong in [
        "create_tenant",
        "*",
        "read_*",
        "READ_PROJECT",
        "read_project,delete_tenant",
        "",
    ] {
        let wrong_role = role("Wrong", &["read_project", wrong], &[]);
        let error = team.owner.error(CREATE_ROLE, wrong_role).await;
        assert_eq!(error, bad_input("permissions"), "{wrong}");
    }
    assert_eq!(team.snapshot().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_of_another_tenant_is_not_found() {
    let team = Team::start().await;
    let theirs = foreign_role(&team).await;
    for document in [DELETE_ROLE, ROLE] {
        let foreign = team.owner.gql(document, json!({ "id": theirs })).await;
        assert_eq!(code_of(&foreign), "NOT_FOUND", "{foreign}");
        assert_eq!(
            foreign,
            team.owner
                .gql(document, json!({ "id": "0".repeat(32) }))
                .await
        );
    }
    let guest = team.guest.member_id().await;
    assert_eq!(
        team.owner
            .code(ASSIGN_ROLE, assignment(&guest, &theirs))
            .await,
        "NOT_FOUND"
    );
}

async fn try_to_delete(by: &Browser, project: &str) -> Value {
    let answer = by
        .gql(DELETE_PROJECT, input(json!({ "id": project })))
        .await;
    code_of(&answer).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assigned_role_grants_what_it_inherits_until_that_role_is_deleted() {
    let team = Team::start().await;
    let Team { owner, guest, .. } = &team;
    let (one, two) = (
        team.create_project("One").await,
        team.create_project("Two").await,
    );
    assert_eq!(try_to_delete(guest, &one).await, "FORBIDDEN");
    let middle = team.create_role("Middle", &[], &["developer"]).await;
    let top = team.create_role("Top", &[], &[&middle]).await;
    owner
        .data(ASSIGN_ROLE, assignment(&guest.member_id().await, &top))
        .await;
    assert_eq!(try_to_delete(guest, &one).await, Value::Null);
    let query = "{
        me {
            permissions
            member { role roles { name permissions effectivePermissions } }
        }
    }";
    let me = guest.data(query, ()).await["me"].clone();
    assert_eq!(me["member"]["role"], "GUEST");
    assert_eq!(me["member"]["roles"][0]["permissions"], json!([]));
    assert_eq!(
        me["permissions"],
        me["member"]["roles"][0]["effectivePermissions"]
    );

    owner.data(DELETE_ROLE, json!({ "id": middle })).await;
    assert_eq!(try_to_delete(guest, &two).await, "FORBIDDEN");
    let change = input(json!({ "id": top, "permissions": ["delete_project"] }));
    owner.data(UPDATE_ROLE, change).await;
    assert_eq!(try_to_delete(guest, &two).await, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unassigned_or_deleted_role_grants_nothing() {
    let team = Team::start().await;
    let Team { owner, guest, .. } = &team;
    let project = team.create_project("One").await;
    let role = team.create_role("Cleaner", &["delete_project"], &[]).await;
    let assigned = assignment(&guest.member_id().await, &role);
    owner.data(ASSIGN_ROLE, &assigned).await;
    owner.data(UNASSIGN_ROLE, &assigned).await;
    assert_eq!(try_to_delete(guest, &project).await, "FORBIDDEN");
    owner.data(ASSIGN_ROLE, &assigned).await;
    owner.data(DELETE_ROLE, json!({ "id": role })).await;
    assert_eq!(try_to_delete(guest, &project).await, "FORBIDDEN");
    let me = guest
        .data("{ me { permissions member { roles { name } } } }", ())
        .await;
    let expected = json!({ "permissions": guest_permissions(), "member": { "roles": [] } });
    assert_eq!(me["me"], expected);
}

/// Gives a role further permissions, as a worker of a newer release would.
async fn store_permissions(team: &Team, role: &str, permissions: &[&str]) {
    let operator = operator(&team.backend).await;
    let events = operator.get_stream("EVENTS").await.unwrap();
    let last = events.get_last_raw_message_by_subject("evt.*.role.*");
    let last = last.await.unwrap();
    let mut commit: Value = serde_json::from_slice(&last.payload).unwrap();
    commit["revision"] = json!(commit["revision"].as_u64().unwrap() + 1);
    commit["command"] = json!(MISSING);
    commit["events"] = json!([{
        "type": "updated", "role": role, "name": "Pilot", "permissions": permissions,
        "inherits": [],
    }]);
    let stored = operator.publish(last.subject.to_string(), commit.to_string().into());
    stored.await.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_of_a_newer_release_is_shown_and_breaks_nothing() {
    let team = Team::start().await;
    let role = team.create_role("Pilot", &["read_project"], &[]).await;
    let me = "{ me { member { id } permissions } }";
    let guest = text(&team.guest.data(me, ()).await, "/me/member/id");
    team.owner
        .data(ASSIGN_ROLE, assignment(&guest, &role))
        .await;
    let permissions = ["delete_project", "fly_moon"];
    store_permissions(&team, &role, &permissions).await;
    eventually("the permission", || async {
        let me = team.guest.data(me, ()).await;
        let held = list(&me["me"]["permissions"]);
        permissions
            .iter()
            .all(|permission| held.contains(&json!(permission)))
    })
    .await;
    // This worker still decides about roles. Nobody here holds fly_moon, so nobody may change the
    // role that grants it.
    team.create_role("Captain", &[], &[]).await;
    let change = input(json!({ "id": role, "name": "Captain" }));
    assert_eq!(team.owner.code(UPDATE_ROLE, change).await, "FORBIDDEN");
    let shown = team
        .owner
        .data(
            "query($id: ID!) { role(id: $id) { name permissions } }",
            json!({ "id": role }),
        )
        .await;
    let expected = json!({ "name": "Pilot", "permissions": permissions });
    assert_eq!(shown["role"], expected);
    let project = create_project(&team.owner, "Rocket").await;
    team.guest
        .data(DELETE_PROJECT, input(json!({ "id": project })))
        .await;
}
