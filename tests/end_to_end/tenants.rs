//! A tenant and the people, machines and projects in it.

use local::Local;
use serde_json::{Value, json};

use crate::support::{
    Browser, CREATE_PROJECT, CREATE_TENANT, DELETE_ACME, PASSWORD, PERMISSIONS, PROJECTS,
    ada_and_bob, ada_in_acme, code_of, eventually, input, list, make_administrator, permissions,
    set_platform_admin, start, start_with, succeeded, text,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_founder_of_a_tenant_owns_it_and_holds_every_permission() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    let acme = ada.create_tenant("acme").await;
    assert_eq!(acme["normalizedName"], "acme");
    assert_eq!(acme["database"]["kind"], "SHARED");
    let query = "{ tenants { totalCount nodes { normalizedName founder { firstname } } } }";
    let expected = json!({ "normalizedName": "acme", "founder": { "firstname": "Ada" } });
    let tenants = ada.data(query, ()).await["tenants"].clone();
    assert_eq!(tenants, json!({ "totalCount": 1, "nodes": [expected] }));

    let query = "{ me { tenant { id } member { role email } permissions } }";
    let me = ada.in_tenant("acme").data(query, ()).await["me"].clone();
    assert_eq!(me["tenant"]["id"], acme["id"]);
    assert_eq!(
        me["member"],
        json!({ "role": "OWNER", "email": "ada@example.com" })
    );
    let mut held: Vec<String> = list(&me["permissions"])
        .iter()
        .map(|one| text(one, ""))
        .collect();
    held.sort();
    assert_eq!(held, permissions());
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_tenant_see_each_others_projects() {
    let backend = start().await;
    let (ada, bob) = ada_and_bob(&backend).await;
    let acme = text(&ada.create_tenant("acme").await, "/id");
    let ada = ada.in_tenant("acme");
    ada.add_member(&bob, "bob@example.com", "MEMBER").await;
    let project = input(json!({ "name": "Rocket" }));
    let created = bob.in_tenant(&acme).data(CREATE_PROJECT, project).await;
    let created = &created["project"]["create"];
    assert_eq!(created["status"], "ACTIVE");
    assert_eq!(
        created["createdBy"]["firstname"], "Ada",
        "everybody signs up by that name"
    );
    assert_eq!(created["tenant"]["normalizedName"], "acme");
    let query = "{
        projects { nodes { name } }
        members { nodes { email role status user { firstname } } }
    }";
    let seen = ada.data(query, ()).await;
    assert_eq!(seen["projects"]["nodes"], json!([{ "name": "Rocket" }]));
    assert_eq!(list(&seen["members"]["nodes"]).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_does_not_exist_for_a_stranger() {
    let backend = start().await;
    ada_in_acme(&backend).await;
    let eve = Browser::signed_up(&backend, "eve@example.com").await;
    for eve in [eve.in_tenant("acme"), eve.in_tenant("nowhere")] {
        for query in [PROJECTS, PERMISSIONS, "{ tenant { id } }"] {
            assert_eq!(eve.code(query, ()).await, "NOT_FOUND", "{query}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_names_no_tenant_is_refused_even_to_a_member_of_one() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    ada.create_tenant("acme").await;
    for query in [PROJECTS, PERMISSIONS] {
        let answer = ada.gql(query, ()).await;
        assert!(code_of(&answer).is_string(), "{query}: {answer}");
        assert!(
            answer["data"]
                .as_object()
                .unwrap()
                .values()
                .all(Value::is_null),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_field_is_null_beside_those_that_are_answered() {
    let backend = start().await;
    let (ada, bob) = ada_and_bob(&backend).await;
    ada.create_tenant("acme").await;
    ada.in_tenant("acme")
        .add_member(&bob, "bob@example.com", "MEMBER")
        .await;
    let query = "{ profile { email } accessTokens { nodes { id } } }";
    let answer = bob.in_tenant("acme").gql(query, ()).await;
    let expected = json!({ "profile": { "email": "bob@example.com" }, "accessTokens": null });
    assert_eq!(answer["data"], expected, "{answer}");
    assert_eq!(answer["errors"][0]["extensions"]["code"], "FORBIDDEN");
    assert_eq!(answer["errors"][0]["path"], json!(["accessTokens"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_may_do_what_its_scopes_name_and_nothing_else() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    ada.data(CREATE_PROJECT, input(json!({ "name": "Rocket" })))
        .await;
    let (robot, _) = ada.create_machine(&backend, &["read_project"]).await;
    let seen = robot.data(PROJECTS, ()).await;
    assert_eq!(seen["projects"]["nodes"], json!([{ "name": "Rocket" }]));
    let code = robot
        .code(CREATE_PROJECT, input(json!({ "name": "No" })))
        .await;
    assert_eq!(code, "FORBIDDEN");
    assert_eq!(robot.code("{ profile { id } }", ()).await, "FORBIDDEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_tenant_is_gone_for_everybody_and_its_slug_rests() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let (robot, _) = ada.create_machine(&backend, &["read_project"]).await;
    let eve = Browser::signed_up(&backend, "eve@example.com").await;
    ada.data(DELETE_ACME, ()).await;
    assert_eq!(ada.code(PROJECTS, ()).await, "NOT_FOUND");
    assert_eq!(robot.code(PROJECTS, ()).await, "UNAUTHENTICATED");
    let own = "{ tenants { totalCount nodes { id } } }";
    let none = json!({ "tenants": { "totalCount": 0, "nodes": [] } });
    assert_eq!(ada.data(own, ()).await, none);
    let available = r#"{ tenantAvailable(identifier: "acme") }"#;
    assert_eq!(eve.data(available, ()).await["tenantAvailable"], false);
    let again = input(json!({ "name": "Acme", "normalizedName": "acme" }));
    assert_eq!(eve.code(CREATE_TENANT, again).await, "CONFLICT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_takes_back_the_slug_that_it_gave_up() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let rename = |slug: &str| input(json!({ "normalizedName": slug }));
    ada.data(RENAME, rename("apex")).await;
    let ada = ada.in_tenant("apex");
    ada.data(RENAME, rename("acme")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_founds_a_limited_number_of_tenants() {
    let backend = start_with(&["--tenants-per-account", "2"]).await;
    let ada = ada_in_acme(&backend).await;
    let tenant = |slug: &str| input(json!({ "name": slug, "normalizedName": slug }));
    // At once: one of them takes the last place.
    let create = async |slug: &str| ada.gql(CREATE_TENANT, tenant(slug)).await;
    let (first, second) = tokio::join!(create("first"), create("second"));
    let refused = if succeeded(&first) { &second } else { &first };
    assert!(succeeded(&first) != succeeded(&second), "{first} {second}");
    assert_eq!(code_of(refused), "LIMIT_REACHED", "{refused}");
    ada.data(DELETE_ACME, ()).await;
    ada.create_tenant("third").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_no_link_for_a_name() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let name = "Win at evil.example";
    let create = input(json!({ "name": name, "normalizedName": "apex" }));
    assert_eq!(ada.error(CREATE_TENANT, create).await["field"], "name");
    let update = input(json!({ "name": name }));
    assert_eq!(ada.error(RENAME, update).await["field"], "name");
}

const RENAME: &str = "
    mutation($input: UpdateTenantInput!) {
        tenant { update(input: $input) { name normalizedName } }
    }";
const PLATFORM: &str = r#"{
    platform {
        tenants { totalCount nodes { normalizedName } }
        accounts(email: "ada@example.com") { nodes { email } }
    }
}"#;

/// Makes the account of `root@example.com` an administrator of the platform.
async fn grant(backend: &Local, root: &Browser) {
    make_administrator(backend, root, "root@example.com").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_administrators_see_the_platform() {
    let backend = start().await;
    let root = Browser::signed_up(&backend, "root@example.com").await;
    assert_eq!(root.code(PLATFORM, ()).await, "FORBIDDEN");
    grant(&backend, &root).await;
    let ada = ada_in_acme(&backend).await;
    let seen: Value = root.data(PLATFORM, ()).await["platform"].clone();
    let tenants = json!({ "totalCount": 1, "nodes": [{ "normalizedName": "acme" }] });
    assert_eq!(seen["tenants"], tenants);
    assert_eq!(
        seen["accounts"]["nodes"],
        json!([{ "email": "ada@example.com" }])
    );
    assert_eq!(ada.code(PLATFORM, ()).await, "FORBIDDEN");
    assert_eq!(
        Browser::new(&backend).code(PLATFORM, ()).await,
        "UNAUTHENTICATED"
    );
    set_platform_admin(&backend, "root@example.com", false)
        .await
        .unwrap();
    eventually("an ordinary account", || async {
        code_of(&root.gql(PLATFORM, ()).await) == "FORBIDDEN"
    })
    .await;
    let unknown = set_platform_admin(&backend, "nobody@example.com", true).await;
    assert!(
        unknown
            .unwrap_err()
            .to_string()
            .contains("register it first")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_of_the_platform_sees_nothing_inside_a_tenant() {
    let backend = start().await;
    let root = Browser::signed_up(&backend, "root@example.com").await;
    grant(&backend, &root).await;
    ada_in_acme(&backend).await;
    assert_eq!(root.in_tenant("acme").code(PROJECTS, ()).await, "NOT_FOUND");
}

const ADMINISTER: [&str; 3] = ["disableAccount", "enableAccount", "endSessions"];

fn administer(change: &str) -> String {
    format!("mutation($id: ID!) {{ platform {{ {change}(id: $id) {{ email disabled }} }} }}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_disables_and_enables_an_account_and_ends_its_sessions() {
    let backend = start().await;
    let root = Browser::signed_up(&backend, "root@example.com").await;
    grant(&backend, &root).await;
    let ada = ada_in_acme(&backend).await;
    let (machine, _) = ada.create_machine(&backend, &["read_project"]).await;
    let profile = ada.data("{ profile { id } }", ()).await;
    let id = json!({ "id": text(&profile, "/profile/id") });

    let disabled = root.data(&administer("disableAccount"), &id).await;
    let expected = json!({ "email": "ada@example.com", "disabled": true });
    assert_eq!(disabled["platform"]["disableAccount"], expected);
    assert!(!ada.is_logged_in().await);
    assert_eq!(machine.code(PROJECTS, ()).await, "UNAUTHENTICATED");
    let refused = ada.login("ada@example.com", PASSWORD).await;
    assert_eq!(code_of(&refused), "UNAUTHENTICATED", "{refused}");

    root.data(&administer("enableAccount"), &id).await;
    ada.log_in("ada@example.com").await;
    assert_eq!(
        machine.code(PROJECTS, ()).await,
        "UNAUTHENTICATED",
        "a token from before is not restored"
    );
    root.data(&administer("endSessions"), &id).await;
    assert!(!ada.is_logged_in().await);
    ada.log_in("ada@example.com").await;

    let own = root.data("{ profile { id } }", ()).await;
    let own = json!({ "id": text(&own, "/profile/id") });
    for change in ADMINISTER {
        assert_eq!(ada.code(&administer(change), &own).await, "FORBIDDEN");
        assert_eq!(root.code(&administer(change), &own).await, "FORBIDDEN");
    }
}
