//! Plans that cost money: without payments, a tenant can only try them.

use std::time::{Duration, SystemTime};

use events_schema::{
    Command, CommandId, Id, PlanId, PlanVersion, PriceId, TenantId, TenantKey, Time,
    billing::{self, Command::Change},
};
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::support::{PROJECTS, send_command};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Creates a plan for 9 euros per month; returns the input that chooses it.
async fn priced(root: &Browser, name: &str, trial_days: u16) -> Value {
    let amount = json!({ "amount": 900, "currency": "EUR" });
    let plan = json!({
        "name": name, "features": ["webhooks"], "trialDays": trial_days,
        "prices": [{ "amount": amount, "interval": "MONTH" }],
    });
    let created = root.data(CREATE_PLAN, input(plan)).await;
    let plan = text(&created, "/plan/create/id");
    json!({ "plan": plan, "price": text(&created, "/plan/create/prices/0/id") })
}

/// Why a plan cannot be chosen.
async fn reason(browser: &Browser, choice: &Value) -> Value {
    let answer = browser.gql(CHANGE, input(choice.clone())).await;
    answer["errors"][0]["extensions"]["reason"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_begins_once() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let free = set_default(&root, free("Free", &[], &[])).await;
    let team = priced(&root, "Team", 14).await;
    let chosen = ada.data(CHANGE, input(team.clone())).await;
    let expected = json!({ "plan": { "name": "Team", "version": 1 }, "standing": "TRIAL" });
    assert_eq!(chosen["billing"]["changeSubscription"], expected);
    let billing = ada.data(BILLING, ()).await["billing"].clone();
    assert_eq!(billing["features"], json!(["webhooks"]));
    let subscription = &billing["subscription"];
    assert_eq!(subscription["price"]["id"], team["price"]);
    let end: Timestamp = text(subscription, "/trialEnd").parse().unwrap();
    let left = end.duration_since(Timestamp::now());
    let days = |days: i64| SignedDuration::from_hours(24 * days);
    assert!(left > days(13) && left <= days(14), "{left}");
    // It ends when it would end anyway.
    let cancelled = ada.data(CANCEL, ()).await;
    let expected = json!({ "plan": { "name": "Team" }, "standing": "TRIAL" });
    assert_eq!(cancelled["billing"]["cancelSubscription"], expected);
    let cancelled = ada.data(BILLING, ()).await["billing"]["subscription"].clone();
    assert_eq!(cancelled["cancelAt"], subscription["trialEnd"]);
    ada.data(RESUME, ()).await;
    ada.data(CHANGE, input(json!({ "plan": free }))).await;
    assert_eq!(reason(&ada, &team).await, "payments_not_set_up");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_its_trial_a_tenant_has_the_default_plan() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    set_default(&root, free("Free", &[], &[("projects", 1)])).await;
    let team = priced(&root, "Team", 14).await;
    let id = |text: &Value| Id::parse(text.as_str().unwrap()).unwrap();
    let acme = TenantKey(id(&json!(tenant_id(&ada).await)));
    // A command of the system, as it was sent fifteen days ago.
    let change = Change {
        plan: PlanVersion {
            plan: PlanId(id(&team["plan"])),
            number: 1,
        },
        price: Some(PriceId(id(&team["price"]))),
        trial_days: 14,
    };
    let command = Command::<billing::Area>::by_system(
        CommandId(event_store::random_id().unwrap()),
        TenantId::Tenant(acme),
        acme,
        Time::from(SystemTime::now() - 15 * DAY),
        change,
    );
    send_command(&backend, command).await;
    eventually("the trial in its view", || async {
        !ada.data(BILLING, ()).await["billing"]["subscription"].is_null()
    })
    .await;
    let billing = ada.data(BILLING, ()).await["billing"].clone();
    assert_eq!(
        (&billing["plan"]["name"], &billing["standing"]),
        (&json!("Free"), &json!("ENDED"))
    );
    create_project(&ada, "1").await;
    assert_eq!(
        ada.code(CREATE_PROJECT, project("2")).await,
        "LIMIT_REACHED"
    );
    assert_eq!(reason(&ada, &team).await, "payments_not_set_up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_without_any_plan_left_may_read_and_delete_but_creates_nothing() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let plan = create_plan(&root, free("Free", &features(), &[])).await;
    ada.data(CHANGE, input(json!({ "plan": plan }))).await;
    let id = create_project(&ada, "1").await;
    ada.data(CANCEL, ()).await;
    assert_eq!(
        ada.data(BILLING, ()).await["billing"]["standing"],
        "RESTRICTED"
    );
    assert_eq!(
        ada.code(CREATE_PROJECT, project("2")).await,
        "PAYMENT_REQUIRED"
    );
    let task = input(json!({ "project": id, "title": "Fly" }));
    let create_task =
        "mutation($input: CreateTaskInput!) { task { create(input: $input) { id } } }";
    assert_eq!(ada.code(create_task, task).await, "PAYMENT_REQUIRED");
    assert_eq!(ada.data(PROJECTS, ()).await["projects"]["totalCount"], 1);
    ada.data(DELETE_PROJECT, input(json!({ "id": id }))).await;
    ada.data(CHANGE, input(json!({ "plan": plan }))).await;
    create_project(&ada, "2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_costs_money_needs_a_price_and_a_trial() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let free = create_plan(&root, free("Free", &[], &[])).await;
    let (team, large) = (
        priced(&root, "Team", 14).await,
        priced(&root, "Large", 0).await,
    );
    for wrong in [
        json!({ "plan": team["plan"] }),
        json!({ "plan": team["plan"], "price": large["price"] }),
        json!({ "plan": team["plan"], "price": MISSING }),
        json!({ "plan": free, "price": team["price"] }),
    ] {
        assert_eq!(ada.error(CHANGE, input(wrong)).await, bad_input("price"));
    }
    assert_eq!(reason(&ada, &large).await, "payments_not_set_up");
    assert_eq!(
        ada.data(BILLING, ()).await["billing"]["subscription"],
        Value::Null
    );
}
