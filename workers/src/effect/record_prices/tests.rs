//! Prices are created once, whatever was done before.

use events_schema::{
    Currency, Id, Money, StripeAccountId,
    plan::{Per, UnitPrice},
    task::TASKS_CREATED,
};
use serde_json::{Value, json};

use super::*;
use crate::stripe::{
    StripeOptions, StripeTax,
    testing::{Act, Server, json as ok, status as answer},
};

const TEAM: PlanVersion = PlanVersion {
    plan: PlanId(Id::from_bytes([2; 16])),
    number: 1,
};

fn price(amount: i64, currency: &str) -> plan::Price {
    plan::Price {
        amount: Money::new(amount, Currency::parse(currency).unwrap()).unwrap(),
        interval: plan::Interval::Month,
        per: Per::Seat,
    }
}

fn unknown(price: &plan::Price) -> Unknown {
    named("Team", Charge::Plan(price))
}

fn named(name: &str, charge: Charge<'_>) -> Unknown {
    Unknown::new(TEAM, &Name::parse(name).unwrap(), charge)
}

fn at_stripe(id: &str, price: &plan::Price) -> Value {
    let unknown = unknown(price);
    json!({
        "id": id, "product": "ub_1", "lookup_key": lookup_key(unknown.id),
        "currency": unknown.currency, "unit_amount": price.amount.amount(),
        "recurring": { "interval": "month" }
    })
}

fn list(data: &[Value]) -> Act {
    ok(&json!({ "data": data, "has_more": false }).to_string())
}

async fn perform<const N: usize>(acts: [Act; N]) -> (Result<Command, Failure>, Vec<String>) {
    perform_for("Team", acts).await
}

/// Creates the prices of a plan with this name.
async fn perform_for<const N: usize>(
    name: &str,
    acts: [Act; N],
) -> (Result<Command, Failure>, Vec<String>) {
    perform_in(None, name, acts).await
}

/// The account of the key.
fn own() -> StripeAccount {
    StripeAccount {
        id: StripeAccountId::parse("acct_1").unwrap(),
        live: false,
    }
}

/// Creates the prices of a catalogue in this account.
async fn perform_in<const N: usize>(
    account: Option<StripeAccount>,
    name: &str,
    acts: [Act; N],
) -> (Result<Command, Failure>, Vec<String>) {
    let prices = [price(900, "EUR"), price(9_007_199_254_740_991, "KWD")];
    let prices = prices.iter().map(|price| named(name, Charge::Plan(price)));
    let prices = prices.collect();
    create(Task { prices, account }, acts).await
}

/// Creates prices. The first request is for the own account, and is not returned.
async fn create<const N: usize>(
    task: Task,
    acts: [Act; N],
) -> (Result<Command, Failure>, Vec<String>) {
    let acts = std::iter::once(ok(r#"{"id": "acct_1"}"#)).chain(acts);
    let server = Server::acts(acts).await;
    let options = StripeOptions {
        stripe_key: "sk_test_1".parse().unwrap(),
        stripe_url: server.url().parse().unwrap(),
        stripe_tax: StripeTax::None,
        stripe_rate: 100,
    };
    let effect = RecordPrices(Stripe::new(&options).unwrap().unwrap());
    let recorded = effect.perform(plan::CATALOGUE, &task).await;
    let mut requests = server.requests();
    assert!(requests.remove(0).starts_with("GET /v1/account "));
    (recorded, requests)
}

fn recorded(prices: BTreeMap<PriceId, StripePriceId>) -> Command {
    let account = Some(own());
    Command::RecordPrices { prices, account }
}

#[tokio::test]
async fn the_key_of_another_account_creates_no_price() {
    let other = StripeAccount {
        id: StripeAccountId::parse("acct_2").unwrap(),
        live: false,
    };
    let (refused, requests) = perform_in(Some(other), "Team", [Act::Cut]).await;
    assert!(matches!(refused, Err(Failure::Outage(..))), "{refused:?}");
    assert!(requests.is_empty(), "{requests:?}");
    let euros = at_stripe("price_1", &price(900, "EUR"));
    let dinars = at_stripe("price_2", &price(9_007_199_254_740_991, "KWD"));
    let acts = [list(&[euros, dinars])];
    let (recorded, _) = perform_in(Some(own()), "Team", acts).await;
    assert!(matches!(
        recorded,
        Ok(Command::RecordPrices { account: Some(account), .. }) if account == own()
    ));
}

#[tokio::test]
async fn only_prices_that_stripe_lacks_are_created() {
    let (euros, dinars) = (price(900, "EUR"), price(9_007_199_254_740_991, "KWD"));
    let there = json!({ "error": { "code": "resource_already_exists" } }).to_string();
    let (created, requests) = perform([
        list(&[at_stripe("price_1", &euros)]),
        answer("400 Bad Request", "", &there),
        ok(&at_stripe("price_2", &dinars).to_string()),
    ])
    .await;
    let id = |id| StripePriceId::parse(id).unwrap();
    let prices = BTreeMap::from([
        (TEAM.price_id(&euros), id("price_1")),
        (TEAM.price_id(&dinars), id("price_2")),
    ]);
    assert_eq!(created.unwrap(), recorded(prices));
    assert_eq!(requests.len(), 3);
    let created = &requests[2];
    assert!(created.starts_with("POST /v1/prices "), "{created}");
    for part in [
        "currency=kwd",
        "unit_amount=9007199254740991",
        "interval%5D=month",
    ] {
        assert!(created.contains(part), "{part:?} is not in {created}");
    }
}

#[tokio::test]
async fn a_lookup_key_of_another_price_is_noticed() {
    let mut other = at_stripe("price_1", &price(900, "EUR"));
    other["unit_amount"] = json!(100);
    let (recorded, _) = perform([list(&[other]), Act::Cut]).await;
    match recorded {
        Err(Failure::Temporary(error)) => assert_eq!(
            error.to_string(),
            "price_1 at Stripe has the lookup key of another price"
        ),
        other => panic!("{other:?}"),
    }
}

/// The key by which Stripe recognizes a repetition.
fn key_of(request: &str) -> &str {
    let mut lines = request.lines();
    let key = lines.find_map(|line| line.strip_prefix("idempotency-key: "));
    key.unwrap()
}

#[tokio::test]
async fn a_renamed_plan_is_another_request_for_its_product() {
    let mut keys = Vec::new();
    for name in ["Team", "Team", "Crew"] {
        let (_, requests) = perform_for(name, [list(&[]), Act::Cut]).await;
        assert!(requests[1].starts_with("POST /v1/products "));
        keys.push(key_of(&requests[1]).to_owned());
    }
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[1], keys[2]);
}

#[tokio::test]
async fn what_was_created_is_recorded_although_the_rest_fails() {
    let (euros, dinars) = (price(900, "EUR"), price(9_007_199_254_740_991, "KWD"));
    let recorded = |price: &plan::Price, id| {
        let prices = BTreeMap::from([(TEAM.price_id(price), StripePriceId::parse(id).unwrap())]);
        recorded(prices)
    };
    let product = || ok(r#"{"id": "ub_1"}"#);
    let created = |id, price| ok(&at_stripe(id, price).to_string());
    let acts = [list(&[]), product(), created("price_1", &euros), Act::Cut];
    let (partly, _) = perform(acts).await;
    assert_eq!(partly.unwrap(), recorded(&euros, "price_1"));
    let mut other = at_stripe("price_0", &euros);
    other["unit_amount"] = json!(100);
    let acts = [list(&[other]), product(), created("price_2", &dinars)];
    let (partly, _) = perform(acts).await;
    assert_eq!(partly.unwrap(), recorded(&dinars, "price_2"));
}

/// Half a cent for a task.
fn usage() -> UnitPrice {
    UnitPrice {
        meter: TASKS_CREATED,
        amount: Money::new(5, Currency::parse("EUR").unwrap()).unwrap(),
        units: 10,
    }
}

fn unknown_usage() -> Unknown {
    named("Team", Charge::Usage(&usage(), plan::Interval::Year))
}

fn usage_at_stripe(id: &str) -> Value {
    json!({
        "id": id, "product": "ub_meter_tasks_created", "currency": "eur",
        "lookup_key": lookup_key(unknown_usage().id),
        "unit_amount": null, "unit_amount_decimal": "0.5",
        "recurring": { "interval": "year", "meter": "mtr_1", "usage_type": "metered" }
    })
}

fn meter() -> Value {
    json!({ "id": "mtr_1", "event_name": "ub_tasks_created", "status": "active", "updated": 7 })
}

fn recorded_usage() -> Command {
    let id = StripePriceId::parse("price_1").unwrap();
    recorded(BTreeMap::from([(unknown_usage().id, id)]))
}

/// The only price that Stripe does not know is one for usage.
fn usage_task() -> Task {
    Task {
        prices: vec![unknown_usage()],
        account: None,
    }
}

#[tokio::test]
async fn a_price_for_usage_is_created_with_its_meter_and_a_product_of_its_own() {
    let acts = [
        list(&[]),
        list(&[]),
        ok(&meter().to_string()),
        ok(r#"{"id": "ub_meter_tasks_created"}"#),
        ok(&usage_at_stripe("price_1").to_string()),
    ];
    let (created, requests) = create(usage_task(), acts).await;
    assert_eq!(created.unwrap(), recorded_usage());
    for (request, parts) in [
        (
            2,
            &["POST /v1/billing/meters ", "event_name=ub_tasks_created"][..],
        ),
        (3, &["POST /v1/products ", "name=Tasks+created"]),
        (
            4,
            &[
                "POST /v1/prices ",
                "unit_amount_decimal=0.5",
                "usage_type%5D=metered",
                "meter%5D=mtr_1",
                "interval%5D=year",
            ],
        ),
    ] {
        for part in parts {
            let sent = &requests[request];
            assert!(sent.contains(part), "{part:?} is not in {sent}");
        }
    }
}

#[tokio::test]
async fn a_price_for_usage_that_stripe_has_is_recorded_unless_it_counts_otherwise() {
    let acts = |price: Value| [list(&[price]), list(&[meter()])];
    let (recorded, _) = create(usage_task(), acts(usage_at_stripe("price_1"))).await;
    assert_eq!(recorded.unwrap(), recorded_usage());
    for (pointer, value) in [
        ("/unit_amount_decimal", json!("5")),
        ("/recurring/meter", json!("mtr_2")),
        ("/recurring/meter", Value::Null),
        ("/recurring/interval", json!("month")),
    ] {
        let mut other = usage_at_stripe("price_1");
        *other.pointer_mut(pointer).unwrap() = value;
        let (refused, _) = create(usage_task(), acts(other)).await;
        let Err(Failure::Temporary(error)) = refused else {
            panic!("{refused:?}");
        };
        assert!(error.to_string().contains("another price"), "{error}");
    }
}
