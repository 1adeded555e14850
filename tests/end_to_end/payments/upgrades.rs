//! Changes of a plan that is paid for, and what becomes of them if the payment is not made.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    CHANGE, CREATE_PLAN, INVOICES, PREVIEW, attach, control, id_of, listed, offered, pending,
    priced, root,
};
use crate::support::{Browser, ada_in_acme, input, list, start, text};

const SHOWN: &str = "{
    billing {
        plan { name }
        subscription { price { interval amount { amount } } status currentPeriodEnd }
        upcomingInvoice { total { amount } }
    }
}";
const SET_DEFAULT: &str = "mutation($id: ID!) { card { setDefault(id: $id) { id } } }";

async fn shown(ada: &Browser) -> Value {
    ada.data(SHOWN, ()).await["billing"].clone()
}

/// The totals of all invoices that are paid, the latest first.
async fn paid(ada: &Browser) -> Vec<i64> {
    let invoices = ada.data(INVOICES, ()).await;
    let invoices = list(&invoices["billing"]["invoices"]).iter();
    let paid = invoices.filter(|invoice| invoice["status"] == "PAID");
    paid.map(|invoice| invoice["total"]["amount"].as_i64().unwrap())
        .collect()
}

async fn subscribe(ada: &Browser, choice: &Value) {
    ada.data(CHANGE, input(choice.clone())).await;
    pending(ada, Value::Null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_from_months_to_years_counts_at_once_and_credits_the_rest_of_the_month() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let amount = |amount: i64| json!({ "amount": amount, "currency": "EUR" });
    let plan = json!({
        "name": "Team", "features": [], "limits": [],
        "prices": [
            { "amount": amount(900), "interval": "MONTH" },
            { "amount": amount(9_000), "interval": "YEAR" },
        ],
    });
    let created = root.data(CREATE_PLAN, input(plan)).await;
    let created = &created["plan"]["create"];
    let [month, year] = [0, 1]
        .map(|number| json!({ "plan": created["id"], "price": created["prices"][number]["id"] }));
    for choice in [&month, &year] {
        offered(&ada, choice).await;
    }
    attach(&backend, &ada, "pm_card_visa").await;
    subscribe(&ada, &month).await;
    let later = input(json!({ "plan": year["plan"], "price": year["price"], "at": "PERIOD_END" }));
    assert_eq!(ada.code(CHANGE, later).await, "BAD_USER_INPUT");

    subscribe(&ada, &year).await;
    let billing = shown(&ada).await;
    let price = json!({ "interval": "YEAR", "amount": { "amount": 9_000 } });
    assert_eq!(billing["subscription"]["price"], price, "{billing}");
    let end: Timestamp = text(&billing, "/subscription/currentPeriodEnd")
        .parse()
        .unwrap();
    let left = end.duration_since(Timestamp::now());
    assert!(left > SignedDuration::from_hours(360 * 24), "{left}");
    let paid = paid(&ada).await;
    assert_eq!(paid.len(), 2, "{paid:?}");
    assert!((8_100..=8_110).contains(&paid[0]), "{paid:?}");
    assert_eq!(billing["upcomingInvoice"]["total"]["amount"], 9_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_upgrade_fails_with_the_code_of_stripe_and_the_old_plan_stays() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let small = priced(&root, &ada, 900, "EUR").await;
    let large = priced(&root, &ada, 2_000, "EUR").await;
    let pays = attach(&backend, &ada, "pm_card_visa").await;
    subscribe(&ada, &small).await;
    let fails = attach(&backend, &ada, "pm_card_chargeCustomerFail").await;
    ada.data(SET_DEFAULT, json!({ "id": fails["id"] })).await;
    ada.data(CHANGE, input(large.clone())).await;
    let failed = pending(&ada, json!("FAILED")).await;
    assert_eq!(failed["pendingChange"]["code"], "generic_decline");
    assert_eq!(
        failed["pendingChange"]["message"],
        "Your card was declined."
    );
    assert_eq!(failed["plan"]["name"], "Team 900 EUR", "{failed}");
    let billing = shown(&ada).await;
    assert_eq!(billing["subscription"]["status"], "ACTIVE");
    assert_eq!(billing["subscription"]["price"]["amount"]["amount"], 900);
    assert_eq!(billing["upcomingInvoice"]["total"]["amount"], 900);
    assert_eq!(paid(&ada).await, [900]);

    ada.data(SET_DEFAULT, json!({ "id": pays["id"] })).await;
    subscribe(&ada, &large).await;
    assert_eq!(shown(&ada).await["plan"]["name"], "Team 2000 EUR");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_asks_for_the_owner_of_the_card_counts_once_they_have_confirmed() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let small = priced(&root, &ada, 900, "EUR").await;
    let large = priced(&root, &ada, 2_000, "EUR").await;
    attach(&backend, &ada, "pm_card_visa").await;
    subscribe(&ada, &small).await;
    let asks = attach(&backend, &ada, "pm_card_authenticationRequired").await;
    ada.data(SET_DEFAULT, json!({ "id": asks["id"] })).await;
    ada.data(CHANGE, input(large)).await;
    let waiting = pending(&ada, json!("ACTION_REQUIRED")).await;
    assert_eq!(waiting["plan"]["name"], "Team 900 EUR", "{waiting}");
    assert_eq!(paid(&ada).await, [900]);
    let secret = text(&waiting, "/pendingChange/clientSecret");
    let confirm = json!({ "id": id_of(&secret), "succeeds": true });
    control(&backend, "authenticate", confirm).await;
    // The events of Stripe tell it.
    let billing = pending(&ada, Value::Null).await;
    assert_eq!(billing["plan"]["name"], "Team 2000 EUR", "{billing}");
    let paid = paid(&ada).await;
    assert_eq!(paid.len(), 2, "{paid:?}");
    assert!((1_090..=1_100).contains(&paid[0]), "{paid:?}");
    assert_eq!(listed(&backend, "subscriptions").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_refuses_a_free_plan_as_the_change_does_while_the_tenant_pays() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let small = priced(&root, &ada, 900, "EUR").await;
    let free = json!({ "name": "Free", "features": [], "limits": [], "prices": [] });
    let free = root.data(CREATE_PLAN, input(free)).await;
    let free = json!({ "plan": free["plan"]["create"]["id"] });
    ada.data(PREVIEW, input(free.clone())).await;
    attach(&backend, &ada, "pm_card_visa").await;
    subscribe(&ada, &small).await;
    for document in [PREVIEW, CHANGE] {
        let refused = ada.gql(document, input(free.clone())).await;
        let expected = json!({ "code": "CONFLICT", "reason": "cancel_first" });
        assert_eq!(refused["errors"][0]["extensions"], expected, "{document}");
    }
}
