//! Mails to owners about their plan.

use serde_json::{Value, json};

use super::{CHANGE, attach, control, pending, priced, root};
use crate::support::{ada_in_acme, documents_of, eventually, input, start, text};

const DAY: i64 = 24 * 60 * 60;

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_learns_once_that_a_payment_has_failed() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let team = priced(&root, &ada, 900, "EUR").await;
    attach(&backend, &ada, "pm_card_visa").await;
    ada.data(CHANGE, input(team)).await;
    pending(&ada, Value::Null).await;
    let fails = attach(&backend, &ada, "pm_card_chargeCustomerFail").await;
    let set = "mutation($id: ID!) { card { setDefault(id: $id) { id } } }";
    ada.data(set, json!({ "id": fails["id"] })).await;
    // The renewal fails, and so do two further attempts of Stripe.
    for days in [32, 4, 6] {
        control(&backend, "clock", json!({ "advance": days * DAY })).await;
    }
    let mail = ada.mail("ada@example.com", "payment for the plan", 1).await;
    let named = text(&mail, "/text");
    assert!(named.to_lowercase().contains("acme"), "{named}");
    let is_asked_for = |kind: &'static str| {
        let backend = &backend;
        async move {
            let mails = documents_of(backend, "email").await;
            let kinds = mails
                .iter()
                .map(|mail| &mail["view"]["template"]["notice"]["type"]);
            kinds.filter(|found| **found == kind).count()
        }
    };
    eventually("the mail about the restriction", || async {
        is_asked_for("restricted").await > 0
    })
    .await;
    assert_eq!(is_asked_for("payment_failed").await, 1);
}
