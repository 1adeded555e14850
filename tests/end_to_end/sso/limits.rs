//! How often a tenant may change its connections: the owners get a mail about each change.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_changes_its_connections_fifty_times_a_day_and_may_always_delete_them() {
    let world = World::start().await;
    let (ada, id) = world.owner(ADA, "acme").await;
    let rename = |number: usize| input(json!({ "id": id, "name": format!("Acme {number}") }));
    for number in 1..50 {
        ada.data(UPDATE, rename(number)).await;
    }
    for (document, variables) in [
        (CREATE, connection(&world.issuer.url)),
        (UPDATE, rename(50)),
        (ADD, of(&id, "corp.example")),
    ] {
        let code = ada.code(document, variables).await;
        assert_eq!(code, "RATE_LIMITED", "{document}");
    }
    ada.data(DELETE, json!({ "id": id })).await;
    world.owner("eve@example.com", "other").await;
}
