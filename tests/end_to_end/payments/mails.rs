//! Mails to owners about their plan.

use local::Local;
use serde_json::{Value, json};

use super::{CANCEL, CHANGE, attach, control, pending, priced, root};
use crate::{
    billing::{free, set_default},
    support::{ada_in_acme, documents_of, eventually, input, start, text},
};

const DAY: i64 = 24 * 60 * 60;

/// How many mails of this kind are asked for.
async fn asked(backend: &Local, kind: &str) -> usize {
    let mails = documents_of(backend, "email").await;
    let kinds = mails
        .iter()
        .map(|mail| &mail["view"]["template"]["notice"]["type"]);
    kinds.filter(|found| **found == kind).count()
}

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
    eventually("the mail about the restriction", || async {
        asked(&backend, "restricted").await > 0
    })
    .await;
    assert_eq!(asked(&backend, "payment_failed").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_learns_once_that_the_plan_has_ended() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    set_default(&root, free("Free", &[], &[])).await;
    let team = priced(&root, &ada, 900, "EUR").await;
    attach(&backend, &ada, "pm_card_visa").await;
    ada.data(CHANGE, input(team)).await;
    pending(&ada, Value::Null).await;
    ada.data(CANCEL, ()).await;
    pending(&ada, Value::Null).await;
    assert_eq!(asked(&backend, "ended").await, 0);
    control(&backend, "clock", json!({ "advance": 32 * DAY })).await;
    let mail = ada.mail("ada@example.com", "The plan of", 1).await;
    assert_eq!(text(&mail, "/subject"), "Your plan has ended");
    let named = text(&mail, "/text");
    assert!(named.to_lowercase().contains("acme"), "{named}");
    assert_eq!(asked(&backend, "ended").await, 1);
    let standing = ada.data("{ billing { standing } }", ()).await;
    assert_eq!(standing["billing"]["standing"], "ENDED");
}
