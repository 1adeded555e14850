//! Changes of a plan that is paid for: when they come, and codes that make them cheaper.

use serde_json::{Value, json};

use super::{
    BILLING, CANCEL, CHANGE, INVOICES, PREVIEW, RESUME, attach, back, control, pending, priced,
    root, stripe, tried,
};
use crate::support::{Browser, ada_in_acme, bad_input, code_of, eventually, input, list, start};

const SHOWN: &str = "{
    billing {
        plan { id }
        subscription {
            price { amount { amount } } status currentPeriodEnd
            discount { name percentOff amountOff { amount } endsAt }
        }
        pendingChange { kind status plan { id } price { amount { amount } } takesEffectAt }
        upcomingInvoice { subtotal { amount } tax { amount } total { amount } due { amount } dueAt }
    }
}";
const UPDATE_PLAN: &str = "
    mutation($input: UpdatePlanInput!) { plan { update(input: $input) { id } } }";
const DELETE_PLAN: &str = "mutation($id: ID!) { plan { delete(id: $id) { success } } }";
const SET_DEFAULT: &str = "mutation($id: ID!) { card { setDefault(id: $id) { id } } }";
const WHEN: &str = "
    query($input: ChangeSubscriptionInput!) {
        billing { previewChange(input: $input) { dueNow { amount } takesEffectAt } }
    }";

async fn shown(ada: &Browser) -> Value {
    ada.data(SHOWN, ()).await["billing"].clone()
}

/// Waits until the pending change has this status; null for none.
async fn settled(ada: &Browser, status: Value) -> Value {
    eventually("the change", || async {
        shown(ada).await["pendingChange"]["status"] == status
    })
    .await;
    shown(ada).await
}

async fn subscribe(ada: &Browser, choice: &Value) {
    ada.data(CHANGE, input(choice.clone())).await;
    pending(ada, Value::Null).await;
}

async fn totals(ada: &Browser) -> Vec<i64> {
    let invoices = ada.data(INVOICES, ()).await;
    let invoices = list(&invoices["billing"]["invoices"]).iter();
    let totals = invoices.map(|invoice| invoice["total"]["amount"].as_i64().unwrap());
    totals.collect()
}

fn with(choice: &Value, name: &str, value: &str) -> Value {
    let mut choice = choice.clone();
    choice[name] = value.into();
    input(choice)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_smaller_plan_comes_with_the_next_period_and_a_larger_one_at_once() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let small = priced(&root, &ada, 900, "EUR").await;
    let large = priced(&root, &ada, 2_000, "EUR").await;
    attach(&backend, &ada, "pm_card_visa").await;
    subscribe(&ada, &large).await;
    let end = shown(&ada).await["subscription"]["currentPeriodEnd"].clone();
    let preview = ada.data(WHEN, input(small.clone())).await;
    let expected = json!({ "dueNow": { "amount": 0 }, "takesEffectAt": end });
    assert_eq!(preview["billing"]["previewChange"], expected);

    ada.data(CHANGE, input(small.clone())).await;
    let leaving = settled(&ada, json!("PLANNED")).await;
    let expected = json!({
        "kind": "SUBSCRIBE", "status": "PLANNED", "plan": { "id": small["plan"] },
        "price": { "amount": { "amount": 900 } }, "takesEffectAt": end,
    });
    assert_eq!(leaving["pendingChange"], expected);
    assert_eq!(leaving["plan"]["id"], large["plan"]);
    assert_eq!(leaving["subscription"]["price"]["amount"]["amount"], 2_000);
    assert_eq!(leaving["subscription"]["status"], "ACTIVE");
    assert_eq!(leaving["upcomingInvoice"]["total"]["amount"], 900);
    assert_eq!(leaving["upcomingInvoice"]["dueAt"], end);

    // What is planned can be withdrawn, and costs nothing.
    let refused = ada.gql(CHANGE, with(&small, "at", "NOW")).await;
    assert_eq!(code_of(&refused), "CONFLICT", "{refused}");
    ada.data(CHANGE, input(large.clone())).await;
    let stays = settled(&ada, Value::Null).await;
    assert_eq!(stays["plan"]["id"], large["plan"]);
    assert_eq!(stays["upcomingInvoice"]["total"]["amount"], 2_000);
    assert_eq!(totals(&ada).await, [2_000]);

    ada.data(CHANGE, input(small.clone())).await;
    settled(&ada, json!("PLANNED")).await;
    control(&backend, "clock", json!({ "advance": 32 * 24 * 60 * 60 })).await;
    let renewed = settled(&ada, Value::Null).await;
    assert_eq!(renewed["plan"]["id"], small["plan"], "{renewed}");
    assert_eq!(totals(&ada).await, [900, 2_000]);

    subscribe(&ada, &large).await;
    assert_eq!(shown(&ada).await["plan"]["id"], large["plan"]);
    assert!(totals(&ada).await[0] > 0, "the difference is paid at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_code_makes_previews_invoices_and_the_subscription_cheaper() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let team = priced(&root, &ada, 900, "EUR").await;
    attach(&backend, &ada, "pm_card_visa").await;
    let half = [
        ("id", "half"),
        ("percent_off", "50"),
        ("duration", "forever"),
        ("name", "Summer"),
    ];
    stripe(&backend, "/v1/coupons", &half).await;
    let code = [
        ("promotion[type]", "coupon"),
        ("promotion[coupon]", "half"),
        ("code", "SUMMER"),
    ];
    stripe(&backend, "/v1/promotion_codes", &code).await;

    for wrong in ["WINTER", "not a code!", ""] {
        let refused = ada
            .error(PREVIEW, with(&team, "promotionCode", wrong))
            .await;
        assert_eq!(refused, bad_input("promotionCode"), "{wrong}");
    }
    ada.data(CHANGE, with(&team, "promotionCode", "WINTER"))
        .await;
    let failed = pending(&ada, json!("FAILED")).await;
    assert_eq!(failed["pendingChange"]["code"], "promotion_code_unknown");

    let cheaper = with(&team, "promotionCode", "summer");
    let preview = ada.data(PREVIEW, cheaper.clone()).await;
    let preview = &preview["billing"]["previewChange"];
    assert_eq!(
        (&preview["dueNow"]["amount"], &preview["next"]["amount"]),
        (&json!(450), &json!(450))
    );
    ada.data(CHANGE, cheaper).await;
    let paid = settled(&ada, Value::Null).await;
    assert_eq!(totals(&ada).await, [450]);
    let expected = json!({
        "name": "Summer", "percentOff": 50.0, "amountOff": null, "endsAt": null,
    });
    assert_eq!(paid["subscription"]["discount"], expected);
    let upcoming = &paid["upcomingInvoice"];
    assert_eq!(
        (
            &upcoming["subtotal"]["amount"],
            &upcoming["total"]["amount"]
        ),
        (&json!(900), &json!(450))
    );
    ada.data(CANCEL, ()).await;
    let ending = settled(&ada, Value::Null).await;
    assert_eq!(ending["upcomingInvoice"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_larger_plan_for_the_next_period_never_comes_before_whatever_is_asked_for_meanwhile() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let small = priced(&root, &ada, 900, "EUR").await;
    let large = priced(&root, &ada, 2_000, "EUR").await;
    attach(&backend, &ada, "pm_card_visa").await;
    subscribe(&ada, &small).await;
    let away = json!({ "kind": "answer", "status": 500, "next": 1_000_000 });
    control(&backend, "faults", away).await;
    ada.data(CHANGE, with(&large, "at", "PERIOD_END")).await;
    for (document, variables) in [
        (RESUME, json!({})),
        (CANCEL, json!({})),
        (CHANGE, with(&large, "at", "NOW")),
        (CHANGE, input(small.clone())),
    ] {
        let refused = ada.gql(document, variables).await;
        let reason = &refused["errors"][0]["extensions"]["reason"];
        assert_eq!(*reason, "change_pending", "{document}: {refused}");
    }
    back(&backend).await;
    let planned = settled(&ada, json!("PLANNED")).await;
    assert_eq!(planned["plan"]["id"], small["plan"], "{planned}");
    assert_eq!(planned["pendingChange"]["plan"]["id"], large["plan"]);
    assert_eq!(totals(&ada).await, [900]);
    ada.data(CANCEL, ()).await;
    eventually("the end", || async {
        ada.data(BILLING, ()).await["billing"]["subscription"]["cancelAt"].is_string()
    })
    .await;
    assert_eq!(shown(&ada).await["plan"]["id"], small["plan"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn until_a_larger_plan_of_the_next_period_is_paid_a_tenant_keeps_the_one_before() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let small = priced(&root, &ada, 900, "EUR").await;
    let large = priced(&root, &ada, 2_000, "EUR").await;
    let pays = attach(&backend, &ada, "pm_card_visa").await;
    subscribe(&ada, &small).await;
    ada.data(CHANGE, with(&large, "at", "PERIOD_END")).await;
    settled(&ada, json!("PLANNED")).await;
    let fails = attach(&backend, &ada, "pm_card_chargeCustomerFail").await;
    ada.data(SET_DEFAULT, json!({ "id": fails["id"] })).await;
    let day = 24 * 60 * 60;
    control(&backend, "clock", json!({ "advance": 32 * day })).await;
    eventually("the missing payment", || async {
        ada.data(BILLING, ()).await["billing"]["standing"] == "GRACE"
    })
    .await;
    let late = shown(&ada).await;
    assert_eq!(late["plan"]["id"], small["plan"], "{late}");
    assert_eq!(late["pendingChange"]["status"], "PLANNED");
    assert_eq!(late["pendingChange"]["plan"]["id"], large["plan"]);
    for document in [PREVIEW, CHANGE] {
        let refused = ada.gql(document, input(small.clone())).await;
        let reason = &refused["errors"][0]["extensions"]["reason"];
        assert_eq!(*reason, "payment_missing", "{document}: {refused}");
    }

    ada.data(SET_DEFAULT, json!({ "id": pays["id"] })).await;
    control(&backend, "clock", json!({ "advance": 4 * day })).await;
    let begun = settled(&ada, Value::Null).await;
    assert_eq!(begun["plan"]["id"], large["plan"], "{begun}");
    assert_eq!(totals(&ada).await, [2_000, 900]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_change_is_taken_back_also_if_the_present_plan_is_archived() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let small = priced(&root, &ada, 900, "EUR").await;
    let large = priced(&root, &ada, 2_000, "EUR").await;
    attach(&backend, &ada, "pm_card_visa").await;
    subscribe(&ada, &large).await;
    ada.data(CHANGE, input(small)).await;
    settled(&ada, json!("PLANNED")).await;
    let dearer = json!([{ "amount": { "amount": 3_000, "currency": "EUR" }, "interval": "MONTH" }]);
    let update = json!({ "id": large["plan"], "prices": dearer });
    root.data(UPDATE_PLAN, input(update)).await;
    root.data(DELETE_PLAN, json!({ "id": large["plan"] })).await;
    ada.data(CHANGE, input(large.clone())).await;
    let stays = settled(&ada, Value::Null).await;
    assert_eq!(stays["plan"]["id"], large["plan"], "{stays}");
    assert_eq!(stays["upcomingInvoice"]["total"]["amount"], 2_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_during_a_trial_shows_what_the_change_costs() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let tried = tried(&root, &ada, 900, 14).await;
    let large = priced(&root, &ada, 2_000, "EUR").await;
    attach(&backend, &ada, "pm_card_visa").await;
    let due_now = async |choice: &Value| {
        let preview = ada.data(PREVIEW, input(choice.clone())).await;
        preview["billing"]["previewChange"]["dueNow"]["amount"].clone()
    };
    assert_eq!(due_now(&tried).await, 0);
    subscribe(&ada, &tried).await;
    assert_eq!(totals(&ada).await, [0]);
    // A trial does not carry over to another plan.
    assert_eq!(due_now(&large).await, 2_000);
    subscribe(&ada, &large).await;
    assert_eq!(totals(&ada).await, [2_000, 0]);
}
