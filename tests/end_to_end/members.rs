//! Members: their roles, who may leave, and how they are listed.

use local::Local;
use serde_json::{Value, json};

use crate::support::{
    Browser, DELETE_MEMBER, INVITE, MEMBERS, PERMISSIONS, PROJECTS, UPDATE_MEMBER, ada_and_bob,
    bad_input, emails, eventually, input, invite, start, stored_owners,
};

fn role(id: &str, role: &str) -> Value {
    input(json!({ "id": id, "role": role }))
}

/// Ada owns acme, where Bob is an admin.
struct World {
    backend: Local,
    ada: Browser,
    ada_id: String,
    bob: Browser,
    bob_id: String,
}

impl World {
    async fn start() -> Self {
        let backend = start().await;
        let (ada, bob) = ada_and_bob(&backend).await;
        ada.create_tenant("acme").await;
        let (ada, bob) = (ada.in_tenant("acme"), bob.in_tenant("acme"));
        let ada_id = ada.member_id().await;
        let bob_id = ada.add_member(&bob, "bob@example.com", "ADMIN").await;
        Self {
            backend,
            ada,
            ada_id,
            bob,
            bob_id,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_owner_can_neither_leave_nor_give_up_the_role() {
    let world = World::start().await;
    // An owner who is only invited does not count.
    world
        .ada
        .data(INVITE, invite("cyd@example.com", "OWNER"))
        .await;
    let code = world
        .ada
        .code(DELETE_MEMBER, json!({ "id": world.ada_id }))
        .await;
    assert_eq!(code, "CONFLICT");
    for lower in ["ADMIN", "GUEST"] {
        assert_eq!(
            world
                .ada
                .code(UPDATE_MEMBER, role(&world.ada_id, lower))
                .await,
            "CONFLICT"
        );
    }
    let same = world
        .ada
        .data(UPDATE_MEMBER, role(&world.ada_id, "OWNER"))
        .await;
    assert_eq!(
        same["member"]["update"]["revision"], 1,
        "nothing was changed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_changed_only_at_the_revision_that_the_client_has_seen() {
    let world = World::start().await;
    let update =
        |revision: i64| input(json!({ "id": world.bob_id, "role": "OWNER", "revision": revision }));
    assert_eq!(world.ada.code(UPDATE_MEMBER, update(1)).await, "CONFLICT");
    assert_eq!(
        world.ada.error(UPDATE_MEMBER, update(-1)).await["field"],
        "revision"
    );
    let me = world.bob.data("{ me { member { role } } }", ()).await;
    assert_eq!(me["me"]["member"]["role"], "ADMIN");
    let promoted = world.ada.data(UPDATE_MEMBER, update(2)).await;
    let expected = json!({
        "id": world.bob_id, "role": "OWNER", "status": "ACCEPTED", "revision": 3,
    });
    assert_eq!(promoted["member"]["update"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_leaves_when_there_is_another() {
    let world = World::start().await;
    let World {
        backend,
        ada,
        ada_id,
        bob,
        bob_id,
    } = &world;
    ada.data(UPDATE_MEMBER, role(bob_id, "OWNER")).await;
    let left = ada.data(DELETE_MEMBER, json!({ "id": ada_id })).await;
    assert_eq!(left["member"]["delete"]["success"], true);
    assert_eq!(ada.code(PERMISSIONS, ()).await, "NOT_FOUND");
    let nowhere = Browser::new(backend);
    nowhere.log_in("ada@example.com").await;
    eventually("the end of a membership", || async {
        nowhere.data("{ tenants { totalCount } }", ()).await["tenants"]["totalCount"] == 0
    })
    .await;
    let query = r#"{ tenant(normalizedName: "acme") { id } }"#;
    assert_eq!(nowhere.code(query, ()).await, "NOT_FOUND");
    let code = bob.code(DELETE_MEMBER, json!({ "id": bob_id })).await;
    assert_eq!(code, "CONFLICT", "now Bob is the last");

    let guest = bob.add_member(ada, "ada@example.com", "GUEST").await;
    assert_ne!(guest, *ada_id, "a person who comes back is a new member");
    assert_eq!(stored_owners(backend).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_may_leave() {
    let world = World::start().await;
    world
        .ada
        .data(UPDATE_MEMBER, role(&world.bob_id, "GUEST"))
        .await;
    let left = world
        .bob
        .data(DELETE_MEMBER, json!({ "id": world.bob_id }))
        .await;
    assert_eq!(left["member"]["delete"]["success"], true);
}

/// Acme with members and invitations; another tenant has an invitation, too.
async fn people(backend: &Local) -> Browser {
    let mia = Browser::signed_up(backend, "mia@example.com").await;
    let bob = Browser::signed_up(backend, "bob@example.com").await;
    mia.create_tenant("acme").await;
    mia.create_tenant("apex").await;
    mia.in_tenant("apex")
        .data(INVITE, invite("other@example.com", "ADMIN"))
        .await;
    let mia = mia.in_tenant("acme");
    mia.add_member(&bob, "bob@example.com", "ADMIN").await;
    for (email, role) in [
        ("zoe@example.com", "GUEST"),
        ("cyd@example.com", "GUEST"),
        ("dan@example.com", "DEVELOPER"),
    ] {
        mia.data(INVITE, invite(email, role)).await;
    }
    mia
}

fn addresses(names: &[&str]) -> Vec<String> {
    names
        .iter()
        .map(|name| format!("{name}@example.com"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_ordered() {
    let backend = start().await;
    let mia = people(&backend).await;
    for (order, expected) in [
        ("CREATED_AT_ASC", ["mia", "bob", "zoe", "cyd", "dan"]),
        ("CREATED_AT_DESC", ["dan", "cyd", "zoe", "bob", "mia"]),
        ("EMAIL_ASC", ["bob", "cyd", "dan", "mia", "zoe"]),
        ("EMAIL_DESC", ["zoe", "mia", "dan", "cyd", "bob"]),
    ] {
        let listed = emails(&mia, json!({ "orderBy": order })).await;
        assert_eq!(listed, addresses(&expected), "{order}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_filtered() {
    let backend = start().await;
    let mia = people(&backend).await;
    for (filter, expected) in [
        (json!({ "status": "ACCEPTED" }), &["bob", "mia"][..]),
        (
            json!({ "status": ["PENDING", "REJECTED"] }),
            &["cyd", "dan", "zoe"],
        ),
        (
            json!({ "role": ["GUEST", "OWNER"] }),
            &["cyd", "mia", "zoe"],
        ),
        (json!({ "role": "GUEST", "status": "ACCEPTED" }), &[]),
        (json!({ "email": " DAN@example.com" }), &["dan"]),
        (json!({ "email": "other@example.com" }), &[]),
        (json!({ "status": [] }), &[]),
        (json!({}), &["bob", "cyd", "dan", "mia", "zoe"]),
    ] {
        let listed = emails(&mia, json!({ "where": filter, "orderBy": "EMAIL_ASC" })).await;
        assert_eq!(listed, addresses(expected), "{filter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_is_refused_by_name() {
    let backend = start().await;
    let ada = crate::support::ada_in_acme(&backend).await;
    for wrong in ["", "no address", r#"{"$ne":null}"#, "a@b"] {
        let filter = json!({ "where": { "email": wrong } });
        assert_eq!(ada.error(MEMBERS, filter).await, bad_input("email"));
        assert_eq!(
            ada.error(INVITE, invite(wrong, "GUEST")).await,
            bad_input("email")
        );
    }
}

pub const SUSPEND: &str = "mutation($id: ID!) { member { suspend(id: $id) { status role } } }";
const RESTORE: &str = "mutation($id: ID!) { member { restore(id: $id) { status role } } }";

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_member_has_no_access_until_they_are_restored() {
    let backend = start().await;
    let (ada, bob) = ada_and_bob(&backend).await;
    ada.create_tenant("acme").await;
    let (ada, bob) = (ada.in_tenant("acme"), bob.in_tenant("acme"));
    let id = ada.add_member(&bob, "bob@example.com", "DEVELOPER").await;
    let (robot, _) = bob.create_machine(&backend, &["read_project"]).await;
    let id = json!({ "id": id });
    let suspended = ada.data(SUSPEND, &id).await;
    let expected = json!({ "status": "SUSPENDED", "role": "DEVELOPER" });
    assert_eq!(suspended["member"]["suspend"], expected);
    assert_eq!(bob.code(PROJECTS, ()).await, "NOT_FOUND");
    assert_eq!(robot.code(PROJECTS, ()).await, "UNAUTHENTICATED");
    let tenants = "{ tenants { totalCount } }";
    eventually("no tenant", || async {
        bob.data(tenants, ()).await["tenants"]["totalCount"] == 0
    })
    .await;

    ada.data(RESTORE, &id).await;
    bob.data(PROJECTS, ()).await;
    robot.data(PROJECTS, ()).await;
    eventually("the tenant", || async {
        bob.data(tenants, ()).await["tenants"]["totalCount"] == 1
    })
    .await;
    let own = json!({ "id": ada.member_id().await });
    assert_eq!(ada.code(SUSPEND, &own).await, "CONFLICT", "an owner");
    assert_eq!(bob.code(SUSPEND, &own).await, "FORBIDDEN");
}
