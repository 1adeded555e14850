//! A price per seat counts the seats in use.

use local::Local;
use serde_json::{Value, json};

use super::{BILLING, CHANGE, CREATE_PLAN, PREVIEW, attach, listed, pending, root, stripe};
use crate::support::{Browser, INVITE, ada_in_acme, eventually, input, invite, start, text};

const DELETE: &str = "mutation($id: ID!) { member { delete(id: $id) { success } } }";

/// Creates a plan with this price per month for each seat; returns the input that chooses it.
pub(super) async fn per_seat(root: &Browser, ada: &Browser, cents: u64) -> Value {
    let amount = json!({ "amount": cents, "currency": "EUR" });
    let price = json!({ "amount": amount, "interval": "MONTH", "per": "SEAT" });
    let plan = json!({
        "name": format!("Seats {cents}"), "features": [], "limits": [{ "name": "seats", "value": 3 }],
        "prices": [price],
    });
    let created = root.data(CREATE_PLAN, input(plan)).await;
    let id = text(&created, "/plan/create/id");
    let choice = json!({ "plan": id, "price": text(&created, "/plan/create/prices/0/id") });
    eventually("a price that Stripe knows", || async {
        let preview = ada.gql(PREVIEW, input(choice.clone())).await;
        preview["errors"].is_null()
    })
    .await;
    choice
}

/// The item of the only subscription at Stripe.
async fn item(backend: &Local) -> Value {
    listed(backend, "subscriptions").await[0]["items"]["data"][0].clone()
}

/// Waits until the tenant pays for so many seats, and Stripe counts as many.
pub(super) async fn seats(backend: &Local, ada: &Browser, expected: u64) {
    eventually("the seats", || async {
        let billing = ada.data(BILLING, ()).await;
        billing["billing"]["subscription"]["quantity"] == expected
    })
    .await;
    let item = item(backend).await;
    assert_eq!(item["quantity"], expected, "{item}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stripe_counts_members_and_pending_invitations_whoever_comes_and_goes() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let choice = per_seat(&root, &ada, 500).await;
    attach(&backend, &ada, "pm_card_visa").await;
    let first = ada.data(INVITE, invite("bob@example.com", "GUEST")).await;
    let preview = ada.data(PREVIEW, input(choice.clone())).await;
    let preview = &preview["billing"]["previewChange"];
    assert_eq!(
        (&preview["dueNow"]["amount"], &preview["next"]["amount"]),
        (&json!(1_000), &json!(1_000))
    );
    ada.data(CHANGE, input(choice)).await;
    pending(&ada, Value::Null).await;
    seats(&backend, &ada, 2).await;
    let eve = ada.data(INVITE, invite("eve@example.com", "GUEST")).await;
    seats(&backend, &ada, 3).await;
    for invited in [first, eve] {
        let id = text(&invited, "/member/invite/id");
        ada.data(DELETE, json!({ "id": id })).await;
    }
    seats(&backend, &ada, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seats_that_somebody_sets_in_the_dashboard_are_counted_again() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let choice = per_seat(&root, &ada, 500).await;
    attach(&backend, &ada, "pm_card_visa").await;
    ada.data(CHANGE, input(choice)).await;
    pending(&ada, Value::Null).await;
    seats(&backend, &ada, 1).await;
    let item_before = item(&backend).await;
    let (id, path) = (
        text(&item_before, "/id"),
        format!("/v1/subscriptions/{}", text(&item_before, "/subscription")),
    );
    let nine = [("items[0][id]", id.as_str()), ("items[0][quantity]", "9")];
    let changed = stripe(&backend, &path, &nine).await;
    assert_eq!(changed["items"]["data"][0]["quantity"], 9, "{changed}");
    eventually("the seats in use", || async {
        item(&backend).await["quantity"] == 1
    })
    .await;
    seats(&backend, &ada, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_cheaper_plan_comes_no_further_seat_is_used_and_who_stays_pays_for_it() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let dear = per_seat(&root, &ada, 1_000).await;
    let cheap = per_seat(&root, &ada, 500).await;
    attach(&backend, &ada, "pm_card_visa").await;
    ada.data(CHANGE, input(dear.clone())).await;
    pending(&ada, Value::Null).await;
    seats(&backend, &ada, 1).await;
    ada.data(CHANGE, input(cheap)).await;
    pending(&ada, json!("PLANNED")).await;
    let refused = ada.error(INVITE, invite("bob@example.com", "GUEST")).await;
    assert_eq!(
        (&refused["code"], &refused["limit"], &refused["allowed"]),
        (&json!("LIMIT_REACHED"), &json!("seats"), &json!(1))
    );

    ada.data(CHANGE, input(dear)).await;
    pending(&ada, Value::Null).await;
    ada.data(INVITE, invite("bob@example.com", "GUEST")).await;
    seats(&backend, &ada, 2).await;
    let upcoming = "{ billing { upcomingInvoice { subtotal { amount } } } }";
    let upcoming = ada.data(upcoming, ()).await;
    // Two seats of the next period, and nearly all of this one for the second seat.
    let subtotal = &upcoming["billing"]["upcomingInvoice"]["subtotal"]["amount"];
    assert!(
        (2_900..=3_000).contains(&subtotal.as_i64().unwrap()),
        "{subtotal}"
    );
}
