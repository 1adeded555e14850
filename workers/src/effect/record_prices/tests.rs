//! Prices are created once, whatever was done before.

use events_schema::{Currency, Id, Money, StripeAccountId, plan::Per};
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

fn at_stripe(id: &str, price: &plan::Price) -> Value {
    json!({
        "id": id, "product": "ub_1", "lookup_key": lookup_key(TEAM, price),
        "currency": currency(price), "unit_amount": price.amount.amount(),
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

/// Creates the prices of a catalogue in this account. The first request is for the own account, and
/// is not returned.
async fn perform_in<const N: usize>(
    account: Option<StripeAccount>,
    name: &str,
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
    let name = Name::parse(name).unwrap();
    let prices = [price(900, "EUR"), price(9_007_199_254_740_991, "KWD")];
    let prices = prices.map(|price| (TEAM, name.clone(), price));
    let task = Task {
        prices: prices.to_vec(),
        account,
    };
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
