//! A tenant that requires a second factor of its members.

use serde_json::json;

use crate::{
    revocation::soon,
    support::{
        Browser, Gateway, PROJECTS, ada_and_bob, add_second_factor, eventually, start, succeeded,
    },
};

const REQUIRE: &str = "
    mutation($required: Boolean!) {
        tenant { requireSecondFactor(required: $required) { requiresSecondFactor } }
    }";
const ACME: &str = r#"{
    tenant(normalizedName: "acme") { requiresSecondFactor settings { key } }
}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_requires_two_factors_of_its_members_and_of_no_machine_until_it_does_not() {
    let backend = start().await;
    let (ada, bob) = ada_and_bob(&backend).await;
    ada.create_tenant("acme").await;
    let (ada, bob) = (ada.in_tenant("acme"), bob.in_tenant("acme"));
    ada.add_member(&bob, "bob@example.com", "DEVELOPER").await;
    let (robot, _) = ada.create_machine(&backend, &["read_project"]).await;
    let phone = Browser::new(&backend).in_tenant("acme");
    phone.log_in("bob@example.com").await;
    let second_gateway = Gateway::start(&backend, |_| {}).await;
    let elsewhere = phone.at_gateway(&second_gateway);
    elsewhere.data(PROJECTS, ()).await;
    let required = json!({ "required": true });
    let refused = ada.error(REQUIRE, &required).await;
    assert_eq!(refused, json!({ "code": "SECOND_FACTOR_REQUIRED" }));
    assert_eq!(robot.code(REQUIRE, &required).await, "FORBIDDEN");

    add_second_factor(&ada).await;
    let answer = ada.data(REQUIRE, &required).await;
    let changed = &answer["tenant"]["requireSecondFactor"];
    assert_eq!(changed["requiresSecondFactor"], true);
    ada.data(PROJECTS, ()).await;
    robot.data(PROJECTS, ()).await;
    let refused = phone.error(PROJECTS, ()).await;
    assert_eq!(refused, json!({ "code": "SECOND_FACTOR_REQUIRED" }));
    soon("the refusal elsewhere", || async {
        elsewhere.gql(PROJECTS, ()).await["errors"][0]["extensions"] == refused
    })
    .await;
    bob.create_tenant("bobs").await;
    bob.in_tenant("bobs").data(PROJECTS, ()).await;

    add_second_factor(&bob).await;
    bob.data(PROJECTS, ()).await;
    let methods = json!(["Totp", "RecoveryCode"]);
    let refused = phone.error(PROJECTS, ()).await;
    assert_eq!(
        refused,
        json!({ "code": "STEP_UP_REQUIRED", "methods": methods })
    );
    ada.data(REQUIRE, json!({ "required": false })).await;
    phone.data(PROJECTS, ()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_such_a_tenant_is_hidden_whichever_tenant_the_request_names() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    ada.create_tenant("acme").await;
    let phone = Browser::new(&backend);
    phone.log_in("ada@example.com").await;
    assert!(succeeded(&phone.gql(ACME, ()).await));
    add_second_factor(&ada).await;
    let required = json!({ "required": true });
    ada.in_tenant("acme").data(REQUIRE, required).await;
    eventually("the refusal", || async {
        let answer = phone.gql(ACME, ()).await;
        let shown = &answer["data"]["tenant"]["requiresSecondFactor"];
        *shown == true && answer["errors"][0]["path"] == json!(["tenant", "settings"])
    })
    .await;
    assert!(succeeded(&ada.gql(ACME, ()).await));
}
