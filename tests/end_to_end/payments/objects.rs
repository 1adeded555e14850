//! What a tenant reads of Stripe by its id, and where links of Stripe lead back to.

use serde_json::{Value, json};

use super::{CANCEL, CHANGE, attach, control, listed, pending, priced, root};
use crate::support::{Browser, ada_in_acme, eventually, input, list, start, text};

const CARD: &str = "query($id: ID!) { card(id: $id) { id brand last4 isDefault } }";
const SUBSCRIPTIONS: &str = "{
    billing {
        subscriptions {
            plan { name } price { amount { amount } } status quantity currentPeriodEnd cancelAt
        }
    }
}";

#[tokio::test(flavor = "multi_thread")]
async fn a_card_is_read_by_its_id_and_one_of_another_tenant_does_not_exist() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let bob = Browser::signed_up(&backend, "bob@example.com").await;
    bob.create_tenant("burger").await;
    let bob = bob.in_tenant("burger");
    let first = attach(&backend, &ada, "pm_card_visa").await;
    let second = attach(&backend, &ada, "pm_card_mastercard").await;
    for card in [&first, &second] {
        let read = ada.data(CARD, json!({ "id": card["id"] })).await;
        assert_eq!(read["card"], *card);
    }
    // Before Bob's tenant is a customer, and afterwards.
    for _ in 0..2 {
        assert_eq!(
            bob.code(CARD, json!({ "id": first["id"] })).await,
            "NOT_FOUND"
        );
        attach(&backend, &bob, "pm_card_visa").await;
    }
    for wrong in ["", "pm_1/../../customers", "cus_1"] {
        assert_eq!(
            ada.code(CARD, json!({ "id": wrong })).await,
            "NOT_FOUND",
            "{wrong}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_tenant_has_paid_for_is_listed_the_latest_first() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let subscriptions = async || {
        let read = ada.data(SUBSCRIPTIONS, ()).await;
        list(&read["billing"]["subscriptions"]).to_vec()
    };
    assert_eq!(subscriptions().await, Vec::<Value>::new());
    let small = priced(&root, &ada, 900, "EUR").await;
    let large = priced(&root, &ada, 2_000, "EUR").await;
    attach(&backend, &ada, "pm_card_visa").await;
    ada.data(CHANGE, input(small)).await;
    pending(&ada, Value::Null).await;
    ada.data(CANCEL, ()).await;
    pending(&ada, Value::Null).await;
    control(&backend, "clock", json!({ "advance": 32 * 24 * 60 * 60 })).await;
    eventually("the end", || async {
        subscriptions().await[0]["status"] == "ENDED"
    })
    .await;
    eventually("the second subscription", || async {
        ada.gql(CHANGE, input(large.clone())).await;
        subscriptions().await.len() == 2
    })
    .await;
    pending(&ada, Value::Null).await;
    let all = subscriptions().await;
    let shown = |at: usize, name: &str| all[at][name].clone();
    assert_eq!(
        [0, 1].map(|at| (shown(at, "status"), shown(at, "price"), shown(at, "plan"))),
        [("ACTIVE", 2_000), ("ENDED", 900)].map(|(status, amount)| (
            json!(status),
            json!({ "amount": { "amount": amount } }),
            json!({ "name": format!("Team {amount} EUR") }),
        ))
    );
    assert!(
        all[0]["cancelAt"].is_null() && all[1]["cancelAt"].is_string(),
        "{all:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_stripe_lead_back_to_our_host_only() {
    const LINK: &str = "
        query($path: String!) { billing { portalLink(returnPath: $path) { url } } }";
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let ours = ada.url("/");
    let host = ours.trim_end_matches('/');
    for path in [
        "/settings",
        "//evil.example",
        "/\\evil.example",
        "/.//evil.example",
    ] {
        ada.data(LINK, json!({ "path": path })).await;
        let sessions = listed(&backend, "events?type=billing_portal.session.created").await;
        let url = text(&sessions[0], "/data/object/return_url");
        assert_eq!(url, format!("{host}{path}"));
        let parsed = reqwest::Url::parse(&url).unwrap();
        assert_eq!(
            parsed.origin(),
            reqwest::Url::parse(host).unwrap().origin(),
            "{url}"
        );
    }
    for path in ["https://evil.example", "evil.example", "@evil.example", ""] {
        let refused = ada.code(LINK, json!({ "path": path })).await;
        assert_eq!(refused, "BAD_USER_INPUT", "{path}");
    }
}
