//! Plans and subscriptions reach Stripe, and what becomes of them reaches the log.
//!
//! Stripe is a server that keeps what it is told. The development Stripe is stricter; it is in a
//! crate that needs this one.

mod reconciling;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{StatusCode, header::RETRY_AFTER},
    routing::{get, post},
};
use event_store::CommandSender;
use events_schema::{
    Actor, Area, Command, CommandId, Commit, Currency, Money, Name, PlanId, PlanVersion,
    StripePriceId, TenantId, TenantKey, Time,
    billing::{self, ChangeTime, Wanted},
    plan::{self, CATALOGUE, Interval, Per, Price, Version},
};
use mongodb::bson::{DateTime, Document, doc};
use serde_json::{Value, json};
use servers::Role;
use tokio::net::TcpListener;
use url::form_urlencoded;

use crate::support::{COMMANDS_AND_VIEWS, World, connect, eventually, id};

/// What Stripe has: objects by their list, and how often each was created.
type Kept = Arc<Mutex<HashMap<&'static str, Vec<Value>>>>;

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_plan_is_created_and_subscribed_to_at_stripe_once() {
    let kept = Kept::default();
    let url = serve(kept.clone()).await;
    let world = World::start().await;
    let options = ["--stripe-key", "sk_test_1", "--stripe-url", &url];
    let _workers = world.workers::<2>(&options).await;
    let plan = create_plan(&world).await;
    let recorded = || async {
        let commits: Vec<(u64, Commit<plan::Area>)> = world.commits(plan::Area::NAME).await;
        let events = commits.iter().flat_map(|(_, commit)| &commit.events);
        let is_recorded = |event| matches!(event, &plan::Event::PricesRecorded { .. });
        events.filter(|event| is_recorded(*event)).count() == 1
    };
    eventually("the price", recorded).await;

    let tenant = TenantKey(id());
    let request = subscribe(&world, tenant, plan, 1).await;
    let events = || async {
        let commits: Vec<(u64, Commit<billing::Area>)> = world.commits(billing::Area::NAME).await;
        let events = commits.into_iter().flat_map(|(_, commit)| commit.events);
        events.collect::<Vec<_>>()
    };
    eventually("the subscription", || async { events().await.len() == 3 }).await;
    let events = events().await;
    assert!(matches!(
        &events[1],
        billing::Event::CustomerRecorded { .. }
    ));
    let billing::Event::SubscriptionRecorded { request: of, .. } = &events[2] else {
        panic!("{events:?}");
    };
    assert_eq!(*of, Some(request));
    for (list, created) in kept.lock().unwrap().iter() {
        assert_eq!(created.len(), 1, "{list}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_loop_of_a_process_asks_stripe_while_it_wants_no_request() {
    let asked = Arc::new(AtomicUsize::new(0));
    let url = serve_limited(asked.clone()).await;
    let world = World::start().await;
    let options = ["--stripe-key", "sk_test_1", "--stripe-url", &url];
    let _worker = world.workers::<1>(&options).await;
    let plan = create_plan(&world).await;
    let waits = async |effect: &str| {
        let reason = doc! { "$regex": "wants no request" };
        let waits = doc! { "effect": effect, "reason": reason };
        let outbox = world.views.collection::<Document>("outbox");
        outbox.count_documents(waits).await.unwrap() == 1
    };
    eventually("the price to wait", || waits("record_prices")).await;
    subscribe(&world, TenantKey(id()), plan, 1).await;
    eventually("the change to wait", || waits("change_subscription")).await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_request_does_not_wait_for_the_next_attempt_of_the_one_before() {
    let kept = Kept::default();
    let url = serve(kept.clone()).await;
    let world = World::start().await;
    let _deciding = world.workers::<1>(COMMANDS_AND_VIEWS).await;
    let plan = create_plan(&world).await;
    let worker = |url: &str| {
        let stripe = ["--stripe-key", "sk_test_1", "--stripe-url", url];
        world.spawn_worker(&[["--loops", "effects"].as_slice(), &stripe].concat())
    };
    let tenant = TenantKey(id());
    let mut without_stripe = worker("http://127.0.0.1:9");
    subscribe(&world, tenant, plan, 1).await;
    let outbox = world.views.collection::<Document>("outbox");
    let entry = doc! { "effect": "change_subscription", "reason": { "$exists": true } };
    eventually("an attempt that fails", || async {
        outbox.count_documents(entry.clone()).await.unwrap() == 1
    })
    .await;
    without_stripe.kill().await.unwrap();
    // As if it had failed often.
    let in_an_hour = DateTime::from_system_time(SystemTime::now() + Duration::from_secs(60 * 60));
    let wait = doc! { "$set": { "due_at": in_an_hour, "attempts": 20_i64 } };
    let changed = outbox.update_one(entry, wait).await.unwrap();
    assert_eq!(changed.matched_count, 1);
    // The price does not wait for the end of a claim.
    let price = doc! { "effect": "record_prices" };
    let due = doc! { "$set": { "due_at": DateTime::now() } };
    outbox.update_many(price, due).await.unwrap();
    let _worker = worker(&url);
    let has = |list: &'static str| kept.lock().unwrap().contains_key(list);
    eventually("the price", || async { has("prices") }).await;
    assert!(!has("customers"));
    // The same choice is a new request once the first one counts as lost, after a minute.
    tokio::time::sleep(Duration::from_secs(61)).await;
    subscribe(&world, tenant, plan, 1).await;
    eventually("the subscription", || async { has("subscriptions") }).await;
}

/// Creates a plan with a price; returns its version.
async fn create_plan(world: &World) -> PlanVersion {
    let version = Version {
        prices: vec![price()],
        ..Version::default()
    };
    let name = Name::parse("Team").unwrap();
    let created = CommandId(id());
    let create = plan::Command::Create { name, version };
    send::<plan::Area>(world, TenantId::Platform, CATALOGUE, created, create).await;
    PlanVersion {
        plan: PlanId(created.0),
        number: 1,
    }
}

fn price() -> Price {
    Price {
        amount: Money::new(900, Currency::parse("EUR").unwrap()).unwrap(),
        interval: Interval::Month,
        per: Per::Tenant,
    }
}

/// Asks for a plan with a price; returns the request.
async fn subscribe(
    world: &World,
    tenant: TenantKey,
    plan: PlanVersion,
    quantity: u64,
) -> CommandId {
    let wanted = Wanted {
        plan,
        price: plan.price_id(&price()),
        stripe_price: StripePriceId::parse("price_1").unwrap(),
        quantity,
        name: Name::parse("Weavers").unwrap(),
        proration_date: None,
        at: ChangeTime::Now,
        once_paid: false,
        promotion_code: None,
    };
    let request = CommandId(id());
    let subscribe = billing::Command::Subscribe {
        wanted,
        trial_days: 0,
    };
    send::<billing::Area>(world, TenantId::Tenant(tenant), tenant, request, subscribe).await;
    request
}

async fn send<A: Area>(
    world: &World,
    tenant: TenantId,
    aggregate: A::Id,
    id: CommandId,
    payload: A::Command,
) {
    send_as::<A>(world, Role::Gateway, tenant, aggregate, id, payload).await;
}

async fn send_as<A: Area>(
    world: &World,
    role: Role,
    tenant: TenantId,
    aggregate: A::Id,
    id: CommandId,
    payload: A::Command,
) {
    let inbox = format!("_INBOX_{}", role.as_str());
    let client = connect(&world.servers, role, &inbox).await;
    let sender = CommandSender::start(client).await.unwrap();
    let now = Time::from(SystemTime::now());
    let mut command = Command::<A>::by_system(id, tenant, aggregate, now, payload);
    command.actor = Actor::Anonymous;
    let deadline = tokio::time::Instant::now() + crate::support::DEADLINE;
    let sent = sender.send(command, event_store::Trace::begin(), deadline);
    let outcome = sent.await.unwrap();
    let is_done = matches!(outcome, events_schema::Outcome::Committed { .. });
    assert!(is_done, "{outcome:?}");
}

/// Starts a server in the place of Stripe, and returns its URL.
async fn serve(kept: Kept) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = Router::new()
        .route("/v1/account", get(account))
        .route("/v1/products", post(create_product))
        .route("/v1/prices", get(prices).post(create_price))
        .route("/v1/customers", get(customers).post(create_customer))
        .route("/v1/customers/{id}", get(customer))
        .route(
            "/v1/subscriptions",
            get(subscriptions).post(create_subscription),
        )
        .route("/v1/subscriptions/sub_1", get(subscription));
    tokio::spawn(axum::serve(listener, routes.with_state(kept)).into_future());
    url
}

/// Starts a server that wants no request for a minute, and returns its URL.
async fn serve_limited(asked: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let refuse = move || async move {
        asked.fetch_add(1, Ordering::SeqCst);
        (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "60")])
    };
    tokio::spawn(axum::serve(listener, Router::new().fallback(refuse)).into_future());
    url
}

fn parameters(form: &str) -> HashMap<String, String> {
    let pairs = form_urlencoded::parse(form.as_bytes());
    pairs.into_owned().collect()
}

fn list(kept: &Kept, name: &str) -> Json<Value> {
    let kept = kept.lock().unwrap();
    let data = kept.get(name).cloned().unwrap_or_default();
    Json(json!({ "object": "list", "data": data, "has_more": false }))
}

fn keep(kept: &Kept, name: &'static str, object: Value) -> Json<Value> {
    let mut kept = kept.lock().unwrap();
    kept.entry(name).or_default().push(object.clone());
    Json(object)
}

async fn customer(Path(id): Path<String>) -> Json<Value> {
    Json(json!({ "id": id, "metadata": {} }))
}

async fn account() -> Json<Value> {
    Json(json!({ "id": "acct_1" }))
}

async fn prices(State(kept): State<Kept>) -> Json<Value> {
    list(&kept, "prices")
}

async fn customers(State(kept): State<Kept>) -> Json<Value> {
    list(&kept, "customers")
}

async fn subscriptions(
    State(kept): State<Kept>,
    Query(wanted): Query<HashMap<String, String>>,
) -> Json<Value> {
    let Json(mut all) = list(&kept, "subscriptions");
    let data = all["data"].as_array_mut().unwrap();
    data.retain(|found| found["customer"] == wanted["customer"]);
    Json(all)
}

async fn subscription(State(kept): State<Kept>) -> Json<Value> {
    Json(kept.lock().unwrap()["subscriptions"][0].clone())
}

async fn create_product(State(kept): State<Kept>, form: String) -> Json<Value> {
    let form = parameters(&form);
    keep(&kept, "products", json!({ "id": form["id"] }))
}

async fn create_price(State(kept): State<Kept>, form: String) -> Json<Value> {
    let form = parameters(&form);
    let amount: i64 = form["unit_amount"].parse().unwrap();
    let price = json!({
        "id": "price_1", "active": true, "product": form["product"], "lookup_key": form["lookup_key"],
        "currency": form["currency"], "unit_amount": amount,
        "recurring": { "interval": form["recurring[interval]"] }
    });
    keep(&kept, "prices", price)
}

async fn create_customer(State(kept): State<Kept>, form: String) -> Json<Value> {
    let form = parameters(&form);
    let metadata = json!({ "ub_tenant": form["metadata[ub_tenant]"] });
    keep(
        &kept,
        "customers",
        json!({ "id": "cus_1", "metadata": metadata }),
    )
}

async fn create_subscription(State(kept): State<Kept>, form: String) -> Json<Value> {
    let form = parameters(&form);
    let price = kept.lock().unwrap()["prices"][0].clone();
    let item = json!({
        "id": "si_1", "quantity": 1, "price": price, "current_period_end": 1_797_000_000
    });
    let subscription = json!({
        "id": "sub_1", "customer": form["customer"], "status": "active",
        "metadata": { "ub_request": form["metadata[ub_request]"] },
        "items": { "data": [item] }
    });
    keep(&kept, "subscriptions", subscription)
}
