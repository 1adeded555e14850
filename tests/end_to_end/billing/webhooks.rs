//! The limit of webhooks, which are objects within one aggregate.

use super::*;
use crate::webhooks::{CREATE_WEBHOOK, DELETE_WEBHOOK, UPDATE_WEBHOOK};

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_count_against_a_limit_and_those_beyond_it_stay() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let webhook = input(json!({ "url": "http://127.0.0.1:9/", "eventTypes": ["project.*"] }));
    let created = ada.data(CREATE_WEBHOOK, webhook.clone()).await;
    let first = text(&created, "/webhook/create/webhook/id");
    let small = set_default(&root, free("Small", &features(), &[("webhooks", 2)])).await;
    create_plan(&root, free("Large", &[], &[])).await;
    let others = (0..8).map(|_| ada.gql(CREATE_WEBHOOK, webhook.clone()));
    let created = join_all(others).await;
    let created = created.iter().filter(|answer| succeeded(answer));
    assert_eq!(created.count(), 1);
    let expected = json!({
        "code": "LIMIT_REACHED", "limit": "webhooks", "allowed": 2, "used": 2, "plans": ["Large"],
    });
    assert_eq!(ada.error(CREATE_WEBHOOK, webhook.clone()).await, expected);
    let expected = json!({ "name": "webhooks", "value": 2, "used": 2 });
    assert_eq!(limit(&ada, "webhooks").await, expected);

    let smaller = json!([{ "name": "webhooks", "value": 1 }]);
    let change = json!({ "id": small, "limits": smaller });
    root.data(UPDATE_PLAN, input(change)).await;
    let renamed = input(json!({ "id": first, "description": "Mine" }));
    ada.data(UPDATE_WEBHOOK, renamed).await;
    for _ in 0..2 {
        assert_eq!(
            ada.code(CREATE_WEBHOOK, webhook.clone()).await,
            "LIMIT_REACHED"
        );
        let all = ada.data("{ webhooks { id } }", ()).await;
        let last = list(&all["webhooks"]).last().unwrap();
        ada.data(DELETE_WEBHOOK, json!({ "id": last["id"] })).await;
    }
    assert_eq!(limit(&ada, "webhooks").await["used"], 0);
    ada.data(CREATE_WEBHOOK, webhook).await;
}
