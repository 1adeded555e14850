//! What an error contains: a code, a reason and a remedy, but in production nothing about the
//! schema.

use event_store::{Exception, Mode};
use serde_json::{Value, json};

use crate::support::{
    Browser, CREATE_PROJECT, CREATE_ROLE, CREATE_TENANT, DELETE_MEMBER, Gateway, INVITE, MEMBERS,
    PERMISSIONS, PROJECTS, ada_in_acme, code_of, create_role, input, invite, list, role, start,
    text,
};

const UPDATE_SETTINGS: &str = "
    mutation($input: UpdateTenantInput!) {
        tenant { update(input: $input) { settings { key value } } }
    }";

/// Code and reason of the first error.
async fn code_and_reason(browser: &Browser, document: &str, variables: Value) -> [Value; 2] {
    let answer = browser.gql(document, variables).await;
    let extensions = &answer["errors"][0]["extensions"];
    [extensions["code"].clone(), extensions["reason"].clone()]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_directive_is_refused() {
    let backend = start().await;
    let eve = Browser::new(&backend);
    for document in [
        "{ __typename @aa }",
        "query @aa { __typename }",
        "{ profile @aa { id } }",
        "{ ... @aa { __typename } }",
        "{ ...f @aa } fragment f on Query { __typename }",
        "{ ...f } fragment f on Query @aa { __typename }",
    ] {
        let answer = eve.gql(document, ()).await;
        assert_eq!(code_of(&answer), "BAD_USER_INPUT", "{document}: {answer}");
        assert!(answer["data"].is_null(), "{document}: {answer}");
    }
    let known = eve
        .gql("{ __typename @include(if: true) @skip(if: false) }", ())
        .await;
    assert_eq!(known["data"], json!({ "__typename": "Query" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_error_suggests_a_name_in_production() {
    let backend = start().await;
    let production = Gateway::start(&backend, |config| {
        config.posture.mode = Some(Mode::Production);
        config.posture.allow = vec![Exception::OpenMongo, Exception::OldMongo];
    })
    .await;
    let eve = Browser::new(&backend).at_gateway(&production);
    let login =
        "mutation($input: LoginInput!) { account { login(input: $input) { user { id } } } }";
    let params = json!({ "emial": "a@b.cd", "password": "x" });
    for (document, variables) in [
        ("{ profil { id } }", json!({})),
        ("{ profile { emial } }", json!({})),
        ("{ tenantAvailable(identifer: \"x\") }", json!({})),
        (
            "{ projects(where: { nam: \"x\" }) { totalCount } }",
            json!({}),
        ),
        ("{ projects(orderBy: NAME_AS) { totalCount } }", json!({})),
        ("{ profile { ... on Usr { id } } }", json!({})),
        ("{ profile @includ(if: true) { id } }", json!({})),
        ("mutation { accont { logout { success } } }", json!({})),
        (
            "mutation($input: LoginInpt!) { account { login(input: $input) { user { id } } } }",
            { json!({ "input": {} }) },
        ),
        (
            login,
            input(json!({ "service": "Passwrd", "params": params })),
        ),
        (
            login,
            input(json!({ "service": "Password", "params": params })),
        ),
    ] {
        let answer = eve.gql(document, variables).await;
        assert!(answer["errors"].is_array(), "{document}: {answer}");
        let text = answer.to_string().to_lowercase();
        assert!(!text.contains("did you mean"), "{document}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_string_in_a_document_is_no_enum_value() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    for document in [
        r#"mutation {
            member { invite(input: { email: "x@example.com", role: "GUEST" }) { id } }
        }"#,
        r#"mutation { project { create(input: { name: "Rocket", status: "ACTIVE" }) { id } } }"#,
        r#"{ projects(orderBy: "NAME_ASC") { totalCount } }"#,
        r#"{ members(where: { role: ["GUEST"] }) { totalCount } }"#,
    ] {
        assert_eq!(ada.code(document, ()).await, "BAD_USER_INPUT", "{document}");
    }
    assert_eq!(ada.data(MEMBERS, ()).await["members"]["totalCount"], 1);
    // JSON has no enum values: in variables they are strings.
    ada.data(INVITE, invite("x@example.com", "GUEST")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_enum_value_is_answered_with_the_right_ones() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let in_document =
        r#"mutation { member { invite(input: { email: "x@example.com", role: KING }) { id } } }"#;
    for (document, variables) in [
        (in_document, Value::Null),
        (INVITE, invite("x@example.com", "KING")),
        (INVITE, invite("x@example.com", "guest")),
    ] {
        let answer = ada.gql(document, variables).await;
        assert_eq!(code_of(&answer), "BAD_USER_INPUT", "{answer}");
        assert_eq!(
            answer["errors"][0]["extensions"]["field"], "role",
            "{answer}"
        );
        let message = text(&answer, "/errors/0/message");
        for role in ["OWNER", "ADMIN", "DEVELOPER", "MEMBER", "GUEST"] {
            assert!(message.contains(role), "{role} is not in {message}");
        }
    }
}

/// Asserts that these texts stand in `body` one behind the other.
fn assert_in_order(body: &str, texts: &[&str]) {
    let mut rest = body;
    for text in texts {
        let found = rest.split_once(text);
        (_, rest) = found.unwrap_or_else(|| panic!("{text} is not where it should be in {body}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_answered_in_the_order_of_the_request_even_if_one_fails() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    // No tenant is named, so that the fields of one fail; each time in another position.
    let (failing, working) = (
        "me { permissions }",
        "profile { verified email id firstname }",
    );
    for (document, expected) in [
        (
            format!("{{ sessions {{ current }} {failing} {working} }}"),
            [
                r#""sessions":["#,
                r#""me":null"#,
                r#""profile":{"verified":"#,
            ],
        ),
        (
            format!("{{ {failing} {working} sessions {{ current }} }}"),
            [
                r#""me":null"#,
                r#""profile":{"verified":"#,
                r#""sessions":["#,
            ],
        ),
        (
            format!("{{ {working} sessions {{ current }} {failing} }}"),
            [
                r#""profile":{"verified":"#,
                r#""sessions":["#,
                r#""me":null"#,
            ],
        ),
    ] {
        let body = ada.post(&document, ()).await.text().await.unwrap();
        assert_in_order(&body, &expected);
        let of_profile = [
            r#""verified":"#,
            r#""email":"#,
            r#""id":"#,
            r#""firstname":"#,
        ];
        assert_in_order(&body, &of_profile);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_names_no_tenant_is_told_how_to_name_one() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    ada.create_tenant("acme").await;
    for query in [PROJECTS, PERMISSIONS] {
        let answer = ada.gql(query, ()).await;
        let message = text(&answer, "/errors/0/message");
        assert!(message.contains("x-tenant"), "{message}");
        assert!(message.contains("/t/<slug>/graphql"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_tenant_is_not_found() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    for query in [PROJECTS, PERMISSIONS] {
        let answer = ada.in_tenant("nowhere").gql(query, ()).await;
        assert_eq!(code_of(&answer), "NOT_FOUND", "{answer}");
        assert_eq!(answer["errors"][0]["message"], "Not found.");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_has_its_reason() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let id = json!({ "id": ada.member_id().await });
    let last_owner = code_and_reason(&ada, DELETE_MEMBER, id).await;
    assert_eq!(last_owner, ["CONFLICT", "last_owner"]);
    let acme = input(json!({ "name": "Acme", "normalizedName": "acme" }));
    assert_eq!(
        code_and_reason(&ada, CREATE_TENANT, acme).await,
        ["CONFLICT", "slug_taken"]
    );
    ada.data(CREATE_ROLE, role("Auditor", &[], &[])).await;
    let name_taken = code_and_reason(&ada, CREATE_ROLE, role("auditor", &[], &[])).await;
    assert_eq!(name_taken, ["CONFLICT", "name_taken"]);
    // Only the domain rejects: what the gateway refuses by itself has no reason.
    let wrong = code_and_reason(&ada, CREATE_PROJECT, input(json!({ "name": "" }))).await;
    assert_eq!(wrong, [json!("BAD_USER_INPUT"), Value::Null]);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_settings_or_roles_are_refused_with_a_limit() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let setting = |at| json!({ "key": format!("key-{at}"), "value": "x" });
    let settings: Vec<_> = (0..=events_schema::tenant::MAX_SETTINGS)
        .map(setting)
        .collect();
    let settings = input(json!({ "settings": settings }));
    let answer = code_and_reason(&ada, UPDATE_SETTINGS, settings).await;
    assert_eq!(answer, ["LIMIT_REACHED", "too_many_settings"]);

    for at in 0..events_schema::role::MAX_ROLES {
        ada.data(CREATE_ROLE, role(&format!("Role {at}"), &[], &[]))
            .await;
    }
    let answer = code_and_reason(&ada, CREATE_ROLE, role("One more", &[], &[])).await;
    assert_eq!(answer, ["LIMIT_REACHED", "too_many_roles"]);
    let roles = ada.data("{ roles { builtIn } }", ()).await;
    let custom = list(&roles["roles"])
        .iter()
        .filter(|role| role["builtIn"] == false)
        .count();
    assert_eq!(custom, events_schema::role::MAX_ROLES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_inherits_from_too_many_others_is_refused_with_a_limit() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let mut last = create_role(&ada, role("First", &[], &[])).await;
    for at in 0..events_schema::role::MAX_INHERITED {
        last = create_role(&ada, role(&format!("Role {at}"), &[], &[&last])).await;
    }
    let answer = code_and_reason(&ada, CREATE_ROLE, role("One more", &[], &[&last])).await;
    assert_eq!(answer, ["LIMIT_REACHED", "too_many_inherited"]);
}
