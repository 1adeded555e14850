//! Who hears of a tenant's connections: its administrators in the audit log, its owners by mail.

use serde_json::{Value, json};

use crate::{
    sso::{ADA, CREATE, DELETE, World, connection},
    support::{Browser, input, list},
};

const AUDIT: &str = "
    query($where: AuditFilter, $first: Int, $after: String) {
        auditLog(where: $where, first: $first, after: $after) {
            edges { cursor node { area events actor { kind } } }
            pageInfo { hasNextPage }
        }
    }";
const UPDATE: &str = "
    mutation($input: UpdateConnectionInput!) {
        sso { update(input: $input) { id } }
    }";
const RENAME: &str = r#"
    mutation { tenant { update(input: { name: "Acme Inc." }) { id } } }"#;

/// The events of entries about connections, the latest first.
async fn events(browser: &Browser, variables: Value) -> Vec<Value> {
    let shown = browser.data(AUDIT, variables).await;
    let entries = list(&shown["auditLog"]["edges"]).iter();
    let entries = entries.map(|edge| &edge["node"]);
    let of_connections = entries.filter(|entry| entry["area"] == "CONNECTION");
    of_connections
        .map(|entry| entry["events"][0].clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_of_a_tenant_shows_the_changes_of_its_own_connections() {
    let world = World::start().await;
    let (ada, id) = world.owner(ADA, "acme").await;
    world.owner("eve@example.com", "other").await;
    let update = json!({ "id": id, "role": "MEMBER" });
    ada.data(UPDATE, input(update)).await;
    ada.data(DELETE, json!({ "id": id })).await;
    let expected = ["deleted", "updated", "created"];
    assert_eq!(events(&ada, json!({})).await, expected);
    let of_area = json!({ "where": { "area": ["CONNECTION"] } });
    assert_eq!(events(&ada, of_area).await, expected);
    let of_members = json!({ "where": { "area": ["MEMBER"] } });
    assert_eq!(events(&ada, of_members).await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_the_audit_log_hold_each_change_once_and_in_order() {
    let world = World::start().await;
    let (ada, id) = world.owner(ADA, "acme").await;
    ada.data(RENAME, ()).await;
    ada.data(DELETE, json!({ "id": id })).await;
    let whole = ada.data(AUDIT, json!({ "first": 100 })).await;
    let whole = list(&whole["auditLog"]["edges"]);
    let (mut paged, mut after) = (Vec::new(), Value::Null);
    loop {
        let shown = ada.data(AUDIT, json!({ "first": 1, "after": after })).await;
        let page = &shown["auditLog"];
        let edges = list(&page["edges"]);
        paged.extend(edges.iter().map(|edge| edge["node"].clone()));
        if page["pageInfo"]["hasNextPage"] != true {
            break;
        }
        after = edges[0]["cursor"].clone();
    }
    let whole: Vec<_> = whole.iter().map(|edge| edge["node"].clone()).collect();
    assert!(whole.len() >= 4, "{whole:?}");
    assert_eq!(paged, whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owners_hear_of_each_change_of_who_gets_in() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    ada.mail(ADA, "connection Acme was created", 1).await;
    ada.mail(ADA, "corp.example was verified", 1).await;
    let other = ada.data(CREATE, connection(&world.issuer.url)).await;
    ada.mail(ADA, "connection Acme was created", 2).await;
    let update = json!({ "id": id, "name": "Corp", "role": "MEMBER" });
    ada.data(UPDATE, input(update)).await;
    ada.mail(ADA, "connection Corp was changed", 1).await;
    let rename = json!({ "id": other["sso"]["create"]["id"], "name": "Quiet" });
    ada.data(UPDATE, input(rename)).await;
    ada.data(DELETE, json!({ "id": id })).await;
    ada.mail(ADA, "connection Corp was deleted", 1).await;
    // A new name lets nobody in.
    assert!(ada.mails_to(ADA, "Quiet").await.is_empty());
}
