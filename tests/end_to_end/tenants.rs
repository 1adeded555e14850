//! Tenants, members, roles, access tokens and projects as people and machines use them.

use crate::support::{Browser, start, start_with};
use serde_json::json;

const CREATE_PROJECT: &str = "mutation($input: CreateProjectInput!) { project { create(input: $input) { id name status revision createdBy { firstname } tenant { normalizedName } } } }";
const CREATE_TOKEN: &str = "mutation($input: CreateAccessTokenInput!) { accessToken { create(input: $input) { token accessToken { id name scopes } } } }";

#[tokio::test(flavor = "multi_thread")]
async fn two_people_share_a_tenant_and_nobody_else_sees_it() {
    let local = start().await;
    let (ada, bob, eve) = (
        Browser::new(&local),
        Browser::new(&local),
        Browser::new(&local),
    );
    for (browser, email) in [
        (&ada, "ada@example.com"),
        (&bob, "bob@example.com"),
        (&eve, "eve@example.com"),
    ] {
        browser.join(email).await;
    }
    let acme = ada.found("acme").await;
    assert_eq!(
        (&acme["normalizedName"], &acme["database"]["kind"]),
        (&json!("acme"), &json!("SHARED"))
    );
    let mine = ada
        .data(
            "{ tenants { totalCount nodes { normalizedName founder { firstname } } } }",
            json!({}),
        )
        .await;
    assert_eq!(
        mine["tenants"]["nodes"],
        json!([{ "normalizedName": "acme", "founder": { "firstname": "Ada" } }])
    );
    assert_eq!(mine["tenants"]["totalCount"], 1);

    let ada = ada.inside("acme");
    let me = ada
        .data(
            "{ me { tenant { id } member { role email } permissions } }",
            json!({}),
        )
        .await;
    assert_eq!(
        (
            &me["me"]["member"]["role"],
            me["me"]["permissions"].as_array().unwrap().len()
        ),
        (&json!("OWNER"), 19)
    );
    ada.take_in(&bob, "bob@example.com", "MEMBER").await;
    let bob = bob.inside(acme["id"].as_str().unwrap());
    let project = bob
        .data(CREATE_PROJECT, json!({ "input": { "name": "Rocket" } }))
        .await["project"]["create"]
        .clone();
    assert_eq!(
        (
            &project["status"],
            &project["createdBy"]["firstname"],
            &project["tenant"]["normalizedName"]
        ),
        (&json!("ACTIVE"), &json!("Ada"), &json!("acme"))
    );
    let seen = ada.data("{ projects { nodes { name } } members { nodes { email role status user { firstname } } } }", json!({})).await;
    assert_eq!(seen["projects"]["nodes"], json!([{ "name": "Rocket" }]));
    assert_eq!(seen["members"]["nodes"].as_array().unwrap().len(), 2);

    for eve in [eve.inside("acme"), eve.inside("nowhere"), eve.clone()] {
        for query in [
            "{ projects { nodes { name } } }",
            "{ me { permissions } }",
            "{ tenant { id } }",
        ] {
            assert_eq!(
                eve.error(query, json!({})).await["code"],
                "NOT_FOUND",
                "{query}"
            );
        }
    }
    let forbidden = bob
        .run(
            "{ profile { email } accessTokens { nodes { id } } }",
            json!({}),
        )
        .await;
    assert_eq!(
        forbidden["data"],
        json!({ "profile": { "email": "bob@example.com" }, "accessTokens": null }),
        "{forbidden}"
    );
    assert_eq!(forbidden["errors"][0]["extensions"]["code"], "FORBIDDEN");
    assert_eq!(forbidden["errors"][0]["path"], json!(["accessTokens"]));

    let made = ada
        .data(
            CREATE_TOKEN,
            json!({ "input": { "name": "CI", "scopes": ["read_project"] } }),
        )
        .await;
    let token = made["accessToken"]["create"]["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let robot = Browser::machine(&local, &token);
    assert_eq!(
        robot
            .data("{ projects { nodes { name } } }", json!({}))
            .await["projects"]["nodes"],
        json!([{ "name": "Rocket" }])
    );
    assert_eq!(
        robot
            .error(CREATE_PROJECT, json!({ "input": { "name": "No" } }))
            .await["code"],
        "FORBIDDEN"
    );
    assert_eq!(
        robot.error("{ profile { id } }", json!({})).await["code"],
        "FORBIDDEN"
    );

    ada.data(
        "mutation { tenant { delete(input: { normalizedName: \"acme\" }) { success } } }",
        json!({}),
    )
    .await;
    assert_eq!(
        ada.error("{ projects { nodes { name } } }", json!({}))
            .await["code"],
        "NOT_FOUND"
    );
    assert_eq!(
        robot
            .error("{ projects { nodes { name } } }", json!({}))
            .await["code"],
        "UNAUTHENTICATED"
    );
    assert_eq!(
        eve.found("acme").await["normalizedName"],
        "acme",
        "the name is free again"
    );
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_of_the_platform_are_those_whom_the_configuration_names() {
    let local = start_with(&["--platform-admins", "root@example.com,other@example.com"]).await;
    let (root, ada) = (Browser::new(&local), Browser::new(&local));
    tokio::join!(root.join("root@example.com"), ada.join("ada@example.com"));
    ada.found("acme").await;
    ada.inside("acme")
        .data(CREATE_PROJECT, json!({ "input": { "name": "Rocket" } }))
        .await;
    let all = "{ platform { tenants { totalCount nodes { normalizedName } } accounts(email: \"ada@example.com\") { nodes { email } } } }";
    let seen = root.data(all, json!({})).await["platform"].clone();
    assert_eq!(
        seen["tenants"],
        json!({ "totalCount": 1, "nodes": [{ "normalizedName": "acme" }] })
    );
    assert_eq!(
        seen["accounts"]["nodes"],
        json!([{ "email": "ada@example.com" }])
    );
    assert_eq!(
        root.inside("acme")
            .error("{ projects { nodes { name } } }", json!({}))
            .await["code"],
        "NOT_FOUND",
        "what is a tenant's is not the platform's"
    );
    assert_eq!(ada.error(all, json!({})).await["code"], "FORBIDDEN");
    assert_eq!(
        Browser::new(&local).error(all, json!({})).await["code"],
        "UNAUTHENTICATED"
    );
    local.stop().await.unwrap();
}
