//! Restricted fields, and who sees them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    Browser, Team, ada_and_bob, input, make_administrator, start, succeeded, text,
};

const TABLE: &str = include_str!("../../gateway/src/access/operations.txt");
/// The rows of fields, and a document with each of them.
const PROBES: [(&str, &str, &str); 4] = [
    (
        "tenant { settings }",
        "{ me { tenant { name settings { key value } } } }",
        "/me/tenant",
    ),
    (
        "tenant { database }",
        "{ me { tenant { name database { kind host } } } }",
        "/me/tenant",
    ),
    (
        "billing { portal_link }",
        r#"{ billing { standing portalLink(returnPath: "/settings") { url } } }"#,
        "/billing",
    ),
    (
        "member { email }",
        "mutation($id: ID!) { member { update(input: { id: $id, role: GUEST }) { id email } } }",
        "/member/update",
    ),
];

/// Whether the field is shown: not null, and no error. If not, it is null, the error is `FORBIDDEN`
/// at its path, and the rest of the object is shown.
async fn shows(browser: &Browser, document: &str, variables: Value, path: &str) -> bool {
    let answer = browser.gql(document, variables).await;
    let object = answer["data"].pointer(path).cloned().unwrap_or_default();
    let object = object.as_object().unwrap_or_else(|| panic!("{answer}"));
    let (refused, shown): (Vec<_>, Vec<_>) = object.iter().partition(|(_, value)| value.is_null());
    if refused.is_empty() {
        assert!(succeeded(&answer), "{answer}");
        return true;
    }
    assert_eq!((refused.len(), shown.len()), (1, 1), "{answer}");
    let error = &answer["errors"][0];
    assert_eq!(error["extensions"]["code"], "FORBIDDEN", "{answer}");
    assert_eq!(
        error["path"].as_array().unwrap().last().unwrap(),
        refused[0].0
    );
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_and_token_sees_the_fields_that_the_reviewed_table_says_and_no_others() {
    let team = Team::start().await;
    let rows = TABLE.lines().filter_map(|line| line.split_once(": "));
    let rows = Vec::from_iter(rows.filter(|(name, _)| name.contains(" { ")));
    let probed: BTreeSet<_> = PROBES.iter().map(|(row, ..)| *row).collect();
    assert_eq!(
        rows.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(),
        probed
    );
    let people = [
        ("owner", &team.owner),
        ("admin", &team.admin),
        ("developer", &team.developer),
        ("member", &team.member),
        ("guest", &team.guest),
    ];
    let id = json!({ "id": team.guest.member_id().await });
    for (row, document, path) in PROBES {
        let (_, who) = rows.iter().find(|(name, _)| *name == row).unwrap();
        // Further conditions follow, such as `in person`.
        let who = who.split("; ").next().unwrap_or_default();
        let (roles, permission) = who.rsplit_once(" (").unwrap();
        let (roles, permission) = (roles.replace("or ", ""), permission.trim_end_matches(')'));
        let may_read: BTreeSet<_> = roles.split(", ").collect();
        for (role, person) in people {
            // The other roles cannot change a member or read the billing, so they see no such object.
            let is_for_admins = ["member { email }", "billing { portal_link }"].contains(&row);
            if !is_for_admins || role == "owner" || role == "admin" {
                let shown = shows(person, document, id.clone(), path).await;
                assert_eq!(shown, may_read.contains(role), "{row} {role}");
            }
        }
        // What it takes to change a guest and to read the billing.
        let few = [
            "read_project",
            "read_task",
            "read_tenant",
            "update_member",
            "read_billing",
        ];
        for (scopes, expected) in [
            (few.to_vec(), false),
            ([&few[..], &[permission]].concat(), true),
        ] {
            let (machine, _) = team.owner.create_machine(&team.backend, &scopes).await;
            let shown = shows(&machine, document, id.clone(), path).await;
            assert_eq!(shown, expected, "{row} {scopes:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_their_own_address_and_a_token_needs_a_scope_for_that_of_its_creator() {
    let team = Team::start().await;
    let own = "{ me { member { id email } } }";
    assert!(shows(&team.guest, own, Value::Null, "/me/member").await);
    for (scopes, expected) in [(["read_project"], false), (["read_member"], true)] {
        let (machine, _) = team.owner.create_machine(&team.backend, &scopes).await;
        let shown = shows(&machine, own, Value::Null, "/me/member").await;
        assert_eq!(shown, expected, "{scopes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_shown_by_the_permissions_in_their_tenant_whichever_the_request_names() {
    let backend = start().await;
    let (ada, bob) = ada_and_bob(&backend).await;
    let created = "mutation($input: CreateTenantInput!) {
        tenant { create(input: $input) { name settings { key } } }
    }";
    let mut ids = Vec::new();
    for (owner, guest, email, slug) in [
        (&ada, &bob, "bob@example.com", "acme"),
        (&bob, &ada, "ada@example.com", "burger"),
    ] {
        let tenant = input(json!({ "name": slug, "normalizedName": slug }));
        let founder = shows(owner, created, tenant, "/tenant/create").await;
        assert!(founder, "the founder sees the settings of a new tenant");
        let owner = owner.in_tenant(slug);
        ids.push(text(
            &owner.data("{ tenant { id } }", ()).await,
            "/tenant/id",
        ));
        owner.add_member(guest, email, "GUEST").await;
    }
    let by_id = "query($id: ID!) { tenant(id: $id) { name settings { key } } }";
    for browser in [ada.clone(), ada.in_tenant("acme"), ada.in_tenant("burger")] {
        for (id, expected) in ids.iter().zip([true, false]) {
            let shown = shows(&browser, by_id, json!({ "id": id }), "/tenant").await;
            assert_eq!(shown, expected);
        }
        let list = browser
            .gql("{ tenants { nodes { settings { key } } } }", ())
            .await;
        let nodes = &list["data"]["tenants"]["nodes"];
        assert_eq!(*nodes, json!([{ "settings": [] }, { "settings": null }]));
        let path = json!(["tenants", "nodes", 1, "settings"]);
        assert_eq!(list["errors"][0]["path"], path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_administrator_sees_where_the_data_of_a_tenant_is_and_not_its_settings() {
    let backend = start().await;
    let (ada, bob) = ada_and_bob(&backend).await;
    ada.create_tenant("acme").await;
    make_administrator(&backend, &bob, "bob@example.com").await;
    let path = "/platform/tenants/nodes/0";
    let database = "{ platform { tenants { nodes { name database { kind } } } } }";
    assert!(shows(&bob, database, Value::Null, path).await);
    let settings = "{ platform { tenants { nodes { name settings { key } } } } }";
    assert!(!shows(&bob, settings, Value::Null, path).await);
}
