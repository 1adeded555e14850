//! Each attempt sends what is still to be done, and records what Stripe has then.

use std::time::Duration;

use events_schema::{
    CommandId, Currency, Id, Money, Name, PlanId, PlanVersion, PriceId, StripeCustomerId,
    StripeItemId, StripePriceId, StripeSubscriptionId, Time,
    billing::{ChangeTime, Paid, PaidStatus, Wanted},
    plan::{Interval, Per, Plan, Version},
};
use serde_json::{Value, json};

use super::*;
use crate::{
    domain::testing::given,
    stripe::{
        StripeOptions, StripeTax, Timestamp,
        testing::{Act, Server, json as ok, status as answer},
    },
};

mod costs;
mod failures;
mod taxes;
mod trials;
mod usage;

const TENANT: TenantKey = TenantKey(Id::from_bytes([7; 16]));
const REQUEST: CommandId = CommandId(Id::from_bytes([9; 16]));
const OTHER: CommandId = CommandId(Id::from_bytes([1; 16]));
const TEAM: PlanVersion = PlanVersion {
    plan: PlanId(Id::from_bytes([2; 16])),
    number: 1,
};
const COMPANY: PlanVersion = PlanVersion {
    plan: PlanId(Id::from_bytes([4; 16])),
    number: 1,
};
const ASKED: Time = Time(1_795_000_000_000);
const MONTHLY: PriceId = PriceId(Id::from_bytes([3; 16]));

fn wanted() -> Wanted {
    Wanted {
        plan: TEAM,
        price: MONTHLY,
        stripe_price: StripePriceId::parse("price_1").unwrap(),
        quantity: 3,
        name: Name::parse("Weavers").unwrap(),
        proration_date: None,
        at: ChangeTime::Now,
        once_paid: false,
        promotion_code: None,
    }
}

/// A tenant of these events asks for something.
fn task(events: impl IntoIterator<Item = Event>, asked: Event) -> Task {
    let billing = given::<Billing>(events).and([asked]);
    ChangeSubscription::pending(billing.state()).unwrap()
}

fn known() -> Event {
    let customer = StripeCustomerId::parse("cus_1").unwrap();
    Event::CustomerRecorded { customer }
}

/// The tenant pays for the plan.
fn pays() -> Event {
    Event::SubscriptionRecorded {
        plan: TEAM,
        price: MONTHLY,
        subscription: paid(PaidStatus::Active),
        past_due_since: None,
        request: None,
    }
}

fn wants() -> Event {
    wants_trial(None)
}

/// The tenant wants the plan, and gets a trial of so many days.
fn wants_trial(days: Option<u16>) -> Event {
    Event::ChangeRequested {
        request: REQUEST,
        at: ASKED,
        wanted: wanted(),
        trial_end: days.map(|days| ASKED + Duration::from_secs(24 * 60 * 60) * days.into()),
    }
}

fn subscribe() -> Task {
    task([known(), pays()], wants())
}

fn cancel() -> Task {
    let (request, at) = (REQUEST, ASKED);
    task([known(), pays()], Event::CancelRequested { request, at })
}

fn resume() -> Task {
    let (request, at) = (REQUEST, ASKED);
    task([known(), pays()], Event::ResumeRequested { request, at })
}

fn price() -> plan::Price {
    plan::Price {
        amount: Money::new(2_900, Currency::parse("EUR").unwrap()).unwrap(),
        interval: Interval::Month,
        per: Per::Tenant,
    }
}

/// A catalogue whose only plan costs `price_2` at Stripe.
fn catalogue() -> plan::View {
    let version = Version {
        prices: vec![price()],
        ..Version::default()
    };
    let plan = Plan {
        name: Name::parse("Company").unwrap(),
        versions: vec![version],
        archived: false,
        created_at: Time(0),
        updated_at: Time(0),
    };
    let at_stripe = StripePriceId::parse("price_2").unwrap();
    plan::View {
        plans: [(COMPANY.plan, plan)].into(),
        default: None,
        stripe_account: None,
        stripe_prices: [(COMPANY.price_id(&price()), at_stripe)].into(),
    }
}

fn paid(status: PaidStatus) -> Paid {
    Paid {
        id: StripeSubscriptionId::parse("sub_1").unwrap(),
        item: StripeItemId::parse("si_1").unwrap(),
        status,
        price: StripePriceId::parse("price_1").unwrap(),
        quantity: 3,
        period_end: Time(1_797_000_000_000),
        trial_end: None,
        cancel_at: None,
    }
}

fn done(status: PaidStatus) -> Command {
    Command::RecordSubscription {
        plan: TEAM,
        price: MONTHLY,
        subscription: paid(status),
        past_due_since: None,
        request: Some(REQUEST),
    }
}

fn failed(code: &str, message: &str) -> Command {
    Command::RecordFailure {
        request: REQUEST,
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

/// A subscription at Stripe to this price.
fn subscription(status: &str, price: &str, request: CommandId) -> Value {
    json!({
        "id": "sub_1", "customer": "cus_1", "status": status, "latest_invoice": "in_1",
        "metadata": { "ub_request": request.to_string() },
        "items": { "data": [{
            "id": "si_1", "quantity": 3, "current_period_end": 1_797_000_000,
            "price": { "id": price, "product": "ub_1", "currency": "eur", "unit_amount": 900 }
        }] }
    })
}

/// A change to this price that waits for its payment.
fn pending_update(price: &str) -> Value {
    let price = json!({ "id": price, "product": "ub_1", "currency": "eur", "unit_amount": 900 });
    json!({ "expires_at": 1, "subscription_items": [{ "price": price, "quantity": 3 }] })
}

fn present(status: &str) -> Act {
    ok(&subscription(status, "price_1", REQUEST).to_string())
}

fn list(data: &[Value]) -> Act {
    ok(&json!({ "data": data, "has_more": false }).to_string())
}

fn declined(code: &str) -> Act {
    let error = json!({ "error": { "code": code, "message": "No." } });
    answer("402 Payment Required", "", &error.to_string())
}

fn invoice(payment: Value) -> Act {
    let payments = json!({ "data": [{
        "is_default": true, "payment": { "payment_intent": payment }
    }] });
    ok(&json!({
        "id": "in_1", "currency": "eur", "subtotal": 900, "total": 900, "created": 1,
        "payments": payments
    })
    .to_string())
}

/// Performs a task while Stripe answers this. Returns what is recorded, and the requests.
async fn perform<const N: usize>(
    task: &Task,
    acts: [Act; N],
) -> (Result<Command, Failure>, Vec<String>) {
    perform_with(&catalogue(), task, acts).await
}

async fn perform_with<const N: usize>(
    catalogue: &plan::View,
    task: &Task,
    acts: [Act; N],
) -> (Result<Command, Failure>, Vec<String>) {
    let server = Server::acts(acts).await;
    let options = StripeOptions {
        stripe_key: "sk_test_1".parse().unwrap(),
        stripe_url: server.url().parse().unwrap(),
        stripe_tax: StripeTax::None,
        stripe_rate: 100,
    };
    let stripe = Stripe::new(&options).unwrap().unwrap();
    let recorded = attempt(stripe, catalogue, TENANT, task).await;
    (recorded, server.requests())
}

/// The method and path of a request.
fn line(request: &str) -> &str {
    let line = request.lines().next().unwrap();
    let (line, _) = line.rsplit_once(' ').unwrap();
    line.split('?').next().unwrap()
}

async fn records<const N: usize>(task: &Task, acts: [Act; N], command: Command, sent: &[&str]) {
    let (recorded, requests) = perform(task, acts).await;
    assert_eq!(recorded.unwrap(), command);
    let lines: Vec<&str> = requests.iter().map(|it| line(it)).collect();
    assert_eq!(lines, sent);
}

const LIST: &str = "GET /v1/subscriptions";
const CREATE: &str = "POST /v1/subscriptions";
const READ: &str = "GET /v1/subscriptions/sub_1";
const CHANGE: &str = "POST /v1/subscriptions/sub_1";
const INVOICE: &str = "GET /v1/invoices/in_1";
const VOID: &str = "POST /v1/invoices/in_1/void";

#[tokio::test]
async fn a_customer_is_created_once() {
    let task = task([], wants());
    let recorded = || Command::RecordCustomer {
        customer: StripeCustomerId::parse("cus_1").unwrap(),
    };
    let own = json!({ "id": "cus_1", "metadata": { "ub_tenant": TENANT.to_string() } });
    let other = json!({ "id": "cus_2", "metadata": { "ub_tenant": "else" } });
    let acts = [list(&[other.clone(), own.clone()]), ok(&own.to_string())];
    let sent = ["GET /v1/customers", "GET /v1/customers/cus_1"];
    records(&task, acts, recorded(), &sent).await;
    let acts = [list(&[other]), ok(r#"{"id": "cus_1"}"#)];
    let sent = ["GET /v1/customers", "POST /v1/customers"];
    records(&task, acts, recorded(), &sent).await;
}

#[tokio::test]
async fn a_subscription_is_created_once() {
    let acts = [list(&[]), present("active"), present("active")];
    let sent = [LIST, CREATE, READ];
    records(&subscribe(), acts, done(PaidStatus::Active), &sent).await;
    let own = subscription("trialing", "price_1", REQUEST);
    let acts = [list(&[own]), present("trialing")];
    records(
        &subscribe(),
        acts,
        done(PaidStatus::Trialing),
        &[LIST, READ],
    )
    .await;
}

#[tokio::test]
async fn a_subscription_that_lasts_is_changed() {
    let lasting = subscription("active", "price_0", OTHER);
    let acts = [list(&[lasting]), present("active"), present("active")];
    let sent = [LIST, CHANGE, READ];
    records(&subscribe(), acts, done(PaidStatus::Active), &sent).await;
    let changed = subscription("past_due", "price_1", OTHER);
    let acts = [list(&[changed]), present("past_due")];
    records(&subscribe(), acts, done(PaidStatus::PastDue), &[LIST, READ]).await;
}

#[tokio::test]
async fn a_subscription_that_would_end_goes_on_when_it_is_changed() {
    let mut ending = subscription("active", "price_0", OTHER);
    ending["cancel_at"] = json!(1_797_000_000);
    let acts = [list(&[ending]), present("active")];
    let sent = [LIST, CHANGE, CHANGE, READ];
    records(&subscribe(), acts, done(PaidStatus::Active), &sent).await;
}

#[tokio::test]
async fn an_incomplete_subscription_gives_way_to_another() {
    let mut incomplete = subscription("incomplete", "price_0", OTHER);
    incomplete["id"] = json!("sub_0");
    let gone = json!({ "error": { "code": "resource_missing" } }).to_string();
    let gone = answer("404 Not Found", "", &gone);
    let acts = [
        list(&[incomplete]),
        invoice(json!({ "status": "canceled" })),
        gone,
        present("active"),
        present("active"),
    ];
    let ended = "DELETE /v1/subscriptions/sub_0";
    let sent = [LIST, VOID, ended, CREATE, READ];
    records(&subscribe(), acts, done(PaidStatus::Active), &sent).await;
}

#[tokio::test]
async fn cancelling_and_resuming_are_repeatable() {
    let mut ending = subscription("active", "price_1", OTHER);
    ending["cancel_at"] = json!(1_797_000_000);
    let ending = || ok(&ending.to_string());
    let ends = || Command::RecordSubscription {
        plan: TEAM,
        price: MONTHLY,
        subscription: Paid {
            cancel_at: Some(Time(1_797_000_000_000)),
            ..paid(PaidStatus::Active)
        },
        past_due_since: None,
        request: Some(REQUEST),
    };
    let acts = [present("active"), ending(), ending()];
    records(&cancel(), acts, ends(), &[READ, CHANGE, READ]).await;
    records(&cancel(), [ending()], ends(), &[READ, READ]).await;
    let acts = [ending(), present("active")];
    records(
        &resume(),
        acts,
        done(PaidStatus::Active),
        &[READ, CHANGE, READ],
    )
    .await;
}

#[tokio::test]
async fn a_subscription_that_was_deleted_at_stripe_has_ended() {
    let mut ended = subscription("canceled", "price_1", OTHER);
    ended["ended_at"] = json!(1_796_000_000);
    let expected = Command::RecordSubscription {
        plan: TEAM,
        price: MONTHLY,
        subscription: Paid {
            cancel_at: Some(Time(1_796_000_000_000)),
            ..paid(PaidStatus::Ended)
        },
        past_due_since: None,
        request: Some(REQUEST),
    };
    records(&cancel(), [ok(&ended.to_string())], expected, &[READ, READ]).await;
}

#[tokio::test]
async fn a_price_that_somebody_has_changed_at_stripe_tells_the_plan() {
    let ends = |price: &str| {
        let mut ending = subscription("active", price, OTHER);
        ending["cancel_at"] = json!(1_797_000_000);
        ok(&ending.to_string())
    };
    for (at_stripe, (plan, price)) in [
        ("price_2", (COMPANY, COMPANY.price_id(&price()))),
        ("price_of_no_plan", (TEAM, MONTHLY)),
    ] {
        let expected = Command::RecordSubscription {
            plan,
            price,
            subscription: Paid {
                price: StripePriceId::parse(at_stripe).unwrap(),
                cancel_at: Some(Time(1_797_000_000_000)),
                ..paid(PaidStatus::Active)
            },
            past_due_since: None,
            request: Some(REQUEST),
        };
        records(&cancel(), [ends(at_stripe)], expected, &[READ, READ]).await;
    }
}

#[tokio::test]
async fn a_change_of_an_earlier_request_that_waits_is_dropped_and_not_taken_for_the_present_one() {
    let mut waiting = subscription("active", "price_0", OTHER);
    waiting["pending_update"] = pending_update("price_7");
    let voided = || invoice(json!({ "status": "canceled" }));
    let acts = [
        list(&[waiting.clone()]),
        voided(),
        present("active"),
        present("active"),
    ];
    let sent = [LIST, VOID, CHANGE, READ];
    records(&subscribe(), acts, done(PaidStatus::Active), &sent).await;

    let mut own = subscription("active", "price_1", OTHER);
    own["pending_update"] = pending_update("price_7");
    let acts = [list(&[own.clone()]), voided(), present("active")];
    let sent = [LIST, VOID, READ];
    records(&subscribe(), acts, done(PaidStatus::Active), &sent).await;

    own["cancel_at"] = json!(1_797_000_000);
    let expected = Command::RecordSubscription {
        plan: TEAM,
        price: MONTHLY,
        subscription: Paid {
            cancel_at: Some(Time(1_797_000_000_000)),
            ..paid(PaidStatus::Active)
        },
        past_due_since: None,
        request: Some(REQUEST),
    };
    let acts = [ok(&own.to_string())];
    records(&cancel(), acts, expected, &[READ, READ]).await;
}
