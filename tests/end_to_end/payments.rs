//! Payments: subscriptions, cards and invoices, against the development Stripe.

mod bounds;
mod cards;
mod changes;
mod failing;
mod mails;
mod objects;
mod outages;
mod privacy;
mod process;
mod replays;
mod seats;
mod taxes;
mod upgrades;

use local::Local;
use serde_json::{Value, json};

use crate::{
    billing::root,
    support::{
        Browser, CREATE_PROJECT, ada_in_acme, create_project, eventually, input, list, start,
        start_without_stripe, text,
    },
};

const CREATE_PLAN: &str = "
    mutation($input: CreatePlanInput!) {
        plan { create(input: $input) { id prices { id } } }
    }";
const CHANGE: &str = "
    mutation($input: ChangeSubscriptionInput!) {
        billing { changeSubscription(input: $input) { pendingChange { status } } }
    }";
const CANCEL: &str = "mutation { billing { cancelSubscription { standing } } }";
const RESUME: &str = "mutation { billing { resumeSubscription { standing } } }";
const BILLING: &str = "{
    billing {
        plan { name } standing features
        subscription { status quantity currentPeriodEnd cancelAt }
        pendingChange { kind status code message clientSecret }
    }
}";
const INVOICES: &str = "{
    billing {
        invoices {
            id number status subtotal { amount } tax { amount }
            total { amount currency decimals } pdfUrl hostedUrl createdAt
        }
    }
}";
const PREVIEW: &str = "
    query($input: ChangeSubscriptionInput!) {
        billing {
            previewChange(input: $input) {
                dueNow { amount currency } next { amount } exceeded { name value used }
            }
        }
    }";
const SETUP: &str = "mutation { card { createSetupIntent { clientSecret publishableKey } } }";
const ATTACH: &str = "
    mutation($id: ID!) { card { attach(setupIntent: $id) { id brand last4 isDefault } } }";
const CARDS: &str = "{ cards { id last4 isDefault } }";

/// Creates a plan with webhooks, at this price per month and named after it; returns the input that
/// chooses it, once Stripe knows the price.
async fn priced(root: &Browser, ada: &Browser, amount: i64, currency: &str) -> Value {
    let money = json!({ "amount": amount, "currency": currency });
    created(root, ada, plan_for(&money)).await
}

/// Creates a plan for so many cents, with a trial.
async fn tried(root: &Browser, ada: &Browser, amount: i64, trial_days: u16) -> Value {
    let mut plan = plan_for(&json!({ "amount": amount, "currency": "EUR" }));
    plan["trialDays"] = trial_days.into();
    created(root, ada, plan).await
}

fn plan_for(money: &Value) -> Value {
    json!({
        "name": format!("Team {} {}", money["amount"], text(money, "/currency")),
        "features": ["webhooks"], "limits": [{ "name": "projects", "value": 1 }],
        "prices": [{ "amount": money, "interval": "MONTH" }],
    })
}

async fn created(root: &Browser, ada: &Browser, plan: Value) -> Value {
    let created = root.data(CREATE_PLAN, input(plan)).await;
    let id = text(&created, "/plan/create/id");
    let choice = json!({ "plan": id, "price": text(&created, "/plan/create/prices/0/id") });
    offered(ada, &choice).await;
    choice
}

/// Waits until Stripe knows the price of a choice.
async fn offered(ada: &Browser, choice: &Value) {
    eventually("a price that Stripe knows", || async {
        let preview = ada.gql(PREVIEW, input(choice.clone())).await;
        preview["errors"].is_null()
    })
    .await;
}

/// Sends a form to the development Stripe.
pub async fn stripe(backend: &Local, path: &str, form: &[(&str, &str)]) -> Value {
    let url = format!("{}{path}", backend.stripe_url().unwrap());
    let request = reqwest::Client::new().post(url);
    let request = request.basic_auth(local::stripe::SECRET_KEY, Some(""));
    let answer = request.form(form).send().await.unwrap();
    answer.json().await.unwrap()
}

/// The objects of a list of the development Stripe, the latest first.
async fn listed(backend: &Local, list: &str) -> Vec<Value> {
    let url = format!("{}/v1/{list}", backend.stripe_url().unwrap());
    let request = reqwest::Client::new().get(url);
    let request = request.basic_auth(local::stripe::SECRET_KEY, Some(""));
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    answer["data"].as_array().unwrap().clone()
}

/// Asks something of the development Stripe that only tests can.
pub async fn control(backend: &Local, path: &str, body: Value) {
    let url = format!("{}/_test/{path}", backend.stripe_url().unwrap());
    let sent = reqwest::Client::new().post(url).json(&body).send().await;
    let answer = sent.unwrap();
    assert!(answer.status().is_success(), "{:?}", answer.text().await);
}

/// Ends the faults of the development Stripe.
async fn back(backend: &Local) {
    let url = format!("{}/_test/faults", backend.stripe_url().unwrap());
    let answer = reqwest::Client::new().delete(url).send().await.unwrap();
    assert!(answer.status().is_success());
}

/// The id of the object to which a client secret belongs.
fn id_of(secret: &str) -> &str {
    secret.split_once("_secret_").unwrap().0
}

/// Saves a card as a browser does; returns the setup intent.
async fn save(backend: &Local, ada: &Browser, card: &str) -> String {
    let setup = ada.data(SETUP, ()).await;
    let setup = &setup["card"]["createSetupIntent"];
    assert_eq!(setup["publishableKey"], "pk_test_development");
    let id = id_of(setup["clientSecret"].as_str().unwrap()).to_owned();
    let path = format!("/v1/setup_intents/{id}/confirm");
    let confirmed = stripe(backend, &path, &[("payment_method", card)]).await;
    if confirmed["status"] == "requires_action" {
        let by_owner = json!({ "id": id, "succeeds": true });
        control(backend, "authenticate", by_owner).await;
    } else {
        assert_eq!(confirmed["status"], "succeeded", "{confirmed}");
    }
    id
}

pub async fn attach(backend: &Local, ada: &Browser, card: &str) -> Value {
    let id = save(backend, ada, card).await;
    let attached = ada.data(ATTACH, json!({ "id": id })).await;
    attached["card"]["attach"].clone()
}

/// Chooses a plan that costs money.
pub async fn change(ada: &Browser, choice: Value) {
    ada.data(CHANGE, input(choice)).await;
}

/// Returns the billing once its pending change has this status.
pub async fn pending(ada: &Browser, status: Value) -> Value {
    eventually("the change at Stripe", || async {
        ada.data(BILLING, ()).await["billing"]["pendingChange"]["status"] == status
    })
    .await;
    ada.data(BILLING, ()).await["billing"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_a_card_subscribes_cancels_and_resumes() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let team = priced(&root, &ada, 900, "EUR").await;
    let card = attach(&backend, &ada, "pm_card_visa").await;
    assert_eq!(
        (&card["last4"], &card["isDefault"]),
        (&json!("4242"), &json!(true))
    );
    assert_eq!(list(&ada.data(CARDS, ()).await["cards"]).len(), 1);
    create_project(&ada, "1").await;
    create_project(&ada, "2").await;
    let preview = ada.data(PREVIEW, input(team.clone())).await;
    let expected = json!({
        "dueNow": { "amount": 900, "currency": "EUR" }, "next": { "amount": 900 },
        "exceeded": [{ "name": "projects", "value": 1, "used": 2 }],
    });
    assert_eq!(preview["billing"]["previewChange"], expected);
    let asked = ada.data(CHANGE, input(team.clone())).await;
    let asked = &asked["billing"]["changeSubscription"]["pendingChange"];
    assert!(asked.is_null() || asked["status"] == "PENDING", "{asked}");
    let billing = pending(&ada, Value::Null).await;
    assert_eq!(billing["plan"]["name"], "Team 900 EUR", "{billing}");
    assert_eq!(billing["features"], json!(["webhooks"]));
    let paid = &billing["subscription"];
    assert_eq!(
        (&paid["status"], &paid["quantity"]),
        (&json!("ACTIVE"), &json!(1))
    );
    let invoices = ada.data(INVOICES, ()).await["billing"]["invoices"].clone();
    let invoice = &invoices[0];
    assert_eq!(
        (&invoice["status"], &invoice["total"]["amount"]),
        (&json!("PAID"), &json!(900))
    );
    assert!(invoice["hostedUrl"].is_string() && invoice["number"].is_string());
    ada.data(CANCEL, ()).await;
    let cancelled = pending(&ada, Value::Null).await["subscription"].clone();
    assert_eq!(cancelled["cancelAt"], paid["currentPeriodEnd"]);
    ada.data(RESUME, ()).await;
    let resumed = pending(&ada, Value::Null).await["subscription"].clone();
    assert_eq!(resumed["cancelAt"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_card_fails_the_change_and_the_plan_before_stays() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let team = priced(&root, &ada, 900, "EUR").await;
    attach(&backend, &ada, "pm_card_chargeCustomerFail").await;
    ada.data(CHANGE, input(team)).await;
    let billing = pending(&ada, json!("FAILED")).await;
    let failed = &billing["pendingChange"];
    assert_eq!(
        (&failed["kind"], &failed["clientSecret"]),
        (&json!("SUBSCRIBE"), &Value::Null)
    );
    assert!(
        failed["code"].as_str().unwrap().contains("decline"),
        "{failed}"
    );
    assert_eq!(
        (&billing["plan"], &billing["subscription"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_without_a_card_is_told_to_save_one() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let team = priced(&root, &ada, 900, "EUR").await;
    ada.data(CHANGE, input(team)).await;
    let failed = pending(&ada, json!("FAILED")).await["pendingChange"].clone();
    assert_eq!(failed["code"], "card_missing", "{failed}");
    assert_eq!(failed["message"], "Save a card first.");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_asks_for_its_owner_pays_once_they_have_confirmed() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let team = priced(&root, &ada, 900, "EUR").await;
    attach(&backend, &ada, "pm_card_authenticationRequired").await;
    ada.data(CHANGE, input(team.clone())).await;
    let billing = pending(&ada, json!("ACTION_REQUIRED")).await;
    assert_eq!(billing["subscription"], Value::Null);
    let secret = text(&billing, "/pendingChange/clientSecret");
    let confirm = json!({ "id": id_of(&secret), "succeeds": true });
    control(&backend, "authenticate", confirm).await;
    ada.data(CHANGE, input(team)).await;
    let billing = pending(&ada, Value::Null).await;
    assert_eq!(billing["subscription"]["status"], "ACTIVE", "{billing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_stripe_is_away_questions_are_unavailable_changes_wait_and_projects_work() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let team = priced(&root, &ada, 900, "EUR").await;
    attach(&backend, &ada, "pm_card_visa").await;
    let away = json!({ "kind": "answer", "status": 500, "next": 1_000_000 });
    control(&backend, "faults", away).await;
    let refused = ada.error(CARDS, ()).await;
    assert_eq!(refused["code"], "UNAVAILABLE");
    assert!(refused["retryAfter"].as_u64().unwrap() > 0);
    ada.data(CHANGE, input(team)).await;
    let billing = ada.data(BILLING, ()).await["billing"].clone();
    assert_eq!(billing["pendingChange"]["status"], "PENDING");
    let name = input(json!({ "name": "Fly" }));
    ada.data(CREATE_PROJECT, name).await;
    back(&backend).await;
    let billing = pending(&ada, Value::Null).await;
    assert_eq!(billing["subscription"]["status"], "ACTIVE", "{billing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cards_and_invoices_of_another_tenant_do_not_exist() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let team = priced(&root, &ada, 900, "EUR").await;
    let card = attach(&backend, &ada, "pm_card_visa").await;
    ada.data(CHANGE, input(team)).await;
    pending(&ada, Value::Null).await;
    let bob = Browser::signed_up(&backend, "bob@example.com").await;
    bob.create_tenant("burger").await;
    let bob = bob.in_tenant("burger");
    let intent = save(&backend, &ada, "pm_card_mastercard").await;
    let invoices = ada.data(INVOICES, ()).await;
    let invoice = json!({ "id": text(&invoices, "/billing/invoices/0/id") });
    let (by_id, after) = (
        "query($id: ID!) { billing { invoice(id: $id) { number } } }",
        "query($id: ID!) { billing { invoices(after: $id) { number } } }",
    );
    let set = "mutation($id: ID!) { card { setDefault(id: $id) { id } } }";
    let delete = "mutation($id: ID!) { card { delete(id: $id) { success } } }";
    ada.data(by_id, invoice.clone()).await;
    // Before Bob's tenant is a customer, and afterwards.
    for _ in 0..2 {
        for (document, variables) in [
            (by_id, invoice.clone()),
            (after, invoice.clone()),
            (ATTACH, json!({ "id": intent })),
            (set, json!({ "id": card["id"] })),
            (delete, json!({ "id": card["id"] })),
        ] {
            assert_eq!(
                bob.code(document, variables).await,
                "NOT_FOUND",
                "{document}"
            );
        }
        attach(&backend, &bob, "pm_card_visa").await;
    }
    assert_eq!(
        ada.data(CARDS, ()).await["cards"][0]["isDefault"],
        json!(false)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn amounts_of_any_decimals_and_up_to_the_largest_one_are_invoiced_as_they_are() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    attach(&backend, &ada, "pm_card_visa").await;
    let bob = Browser::signed_up(&backend, "bob@example.com").await;
    bob.create_tenant("burger").await;
    let bob = bob.in_tenant("burger");
    attach(&backend, &bob, "pm_card_visa").await;
    let eve = Browser::signed_up(&backend, "eve@example.com").await;
    eve.create_tenant("cinema").await;
    let eve = eve.in_tenant("cinema");
    attach(&backend, &eve, "pm_card_visa").await;
    for (owner, amount, currency, decimals) in [
        (&ada, 900, "JPY", 0),
        (&bob, 12_340, "KWD", 3),
        (&eve, (1 << 53) - 1, "USD", 2),
    ] {
        let plan = priced(&root, owner, amount, currency).await;
        let preview = owner.data(PREVIEW, input(plan.clone())).await;
        let due_now = json!({ "amount": amount, "currency": currency });
        assert_eq!(preview["billing"]["previewChange"]["dueNow"], due_now);
        owner.data(CHANGE, input(plan)).await;
        pending(owner, Value::Null).await;
        let invoices = owner.data(INVOICES, ()).await;
        let expected = json!({ "amount": amount, "currency": currency, "decimals": decimals });
        assert_eq!(invoices["billing"]["invoices"][0]["total"], expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_nobody_asks_stripe() {
    let backend = start_without_stripe().await;
    let ada = ada_in_acme(&backend).await;
    let refused = ada.gql(CARDS, ()).await;
    let expected = json!({ "code": "CONFLICT", "reason": "payments_not_set_up" });
    assert_eq!(refused["errors"][0]["extensions"], expected);
}
