//! Events reach the webhooks: signed, and as tests ask for.

use std::sync::Arc;

use axum::{Router, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use ring::hmac;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Duration, timeout},
};

use super::running::{Running, id, text};

type Received = (String, String);

/// A customer's server that takes everything.
struct Endpoint {
    url: String,
    received: UnboundedReceiver<Received>,
}

async fn take(
    State(sender): State<Arc<UnboundedSender<Received>>>,
    headers: HeaderMap,
    body: String,
) -> StatusCode {
    let signature = headers["stripe-signature"].to_str().unwrap().to_owned();
    sender.send((signature, body)).unwrap();
    StatusCode::OK
}

impl Endpoint {
    async fn start() -> Self {
        let (sender, received) = unbounded_channel();
        let router = Router::new()
            .route("/", post(take))
            .with_state(Arc::new(sender));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, received }
    }

    async fn next(&mut self) -> Received {
        let received = timeout(Duration::from_secs(10), self.received.recv());
        received.await.unwrap().unwrap()
    }

    async fn next_event(&mut self) -> Value {
        serde_json::from_str(&self.next().await.1).unwrap()
    }
}

async fn endpoint(stripe: &Running, enabled: &str) -> (Endpoint, String) {
    let endpoint = Endpoint::start().await;
    let form = format!("url={}&enabled_events[]={enabled}", endpoint.url);
    let created = stripe.ok("/v1/webhook_endpoints", &form).await;
    let listed = stripe.read("/v1/webhook_endpoints").await;
    assert!(listed["data"][0]["secret"].is_null());
    (endpoint, text(&created["secret"]))
}

#[tokio::test]
async fn an_event_is_signed_as_stripe_signs_it() {
    let stripe = Running::start().await;
    let (mut endpoint, secret) = endpoint(&stripe, "customer.*").await;
    stripe.ok("/v1/products", "name=Pro").await;
    let customer = stripe.ok("/v1/customers", "name=W%C3%B6rk").await;
    let (signature, body) = endpoint.next().await;
    let event: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(event["type"], "customer.created");
    assert_eq!(event["data"]["object"], customer);

    let (timestamp, signed) = signature.split_once(",v1=").unwrap();
    let timestamp = timestamp.strip_prefix("t=").unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signed = data_encoding::HEXLOWER.decode(signed.as_bytes()).unwrap();
    let payload = format!("{timestamp}.{body}");
    hmac::verify(&key, payload.as_bytes(), &signed).unwrap();
}

#[tokio::test]
async fn signatures_have_the_machines_time_though_tests_advance_the_clock() {
    let stripe = Running::start().await;
    let (mut endpoint, _) = endpoint(&stripe, "*").await;
    let before = stripe.now().await;
    stripe.pass_days(100).await;
    stripe.ok("/v1/products", "name=Pro").await;
    let (signature, _) = endpoint.next().await;
    let timestamp = signature.strip_prefix("t=").unwrap();
    let timestamp: i64 = timestamp.split(',').next().unwrap().parse().unwrap();
    assert!((before..before + 60).contains(&timestamp));
}

#[tokio::test]
async fn held_events_come_in_any_order_and_number() {
    let stripe = Running::start().await;
    let (mut endpoint, _) = endpoint(&stripe, "*").await;
    stripe.control("delivery", json!({ "mode": "hold" })).await;
    let mut products = Vec::new();
    for _ in 0..10 {
        products.push(id(&stripe.ok("/v1/products", "name=Pro").await));
    }
    let asked = json!({ "shuffle": 7, "times": 3 });
    let delivered = stripe.control("deliver", asked).await;
    assert_eq!(delivered.as_array().unwrap().len(), 30);
    assert!(
        delivered
            .as_array()
            .unwrap()
            .iter()
            .all(|sent| sent["status"] == 200)
    );
    let mut received = Vec::new();
    for _ in 0..30 {
        received.push(id(&endpoint.next_event().await["data"]["object"]));
    }
    for product in &products {
        let count = received.iter().filter(|found| *found == product).count();
        assert_eq!(count, 3);
    }
    assert_ne!(
        received,
        [products.clone(), products.clone(), products].concat()
    );
    // They are held once.
    assert_eq!(stripe.control("deliver", json!({})).await, json!([]));
}

#[tokio::test]
async fn omitted_events_are_listed_and_can_be_replayed() {
    let stripe = Running::start().await;
    let (mut endpoint, _) = endpoint(&stripe, "*").await;
    stripe.control("delivery", json!({ "mode": "omit" })).await;
    stripe.ok("/v1/products", "name=Omitted").await;
    stripe.control("delivery", json!({ "mode": "send" })).await;
    stripe.ok("/v1/products", "name=Sent").await;
    assert_eq!(
        endpoint.next_event().await["data"]["object"]["name"],
        "Sent"
    );
    let events = stripe.read("/v1/events").await;
    let omitted = &events["data"][1];
    stripe
        .control("deliver", json!({ "events": [omitted["id"]] }))
        .await;
    assert_eq!(
        endpoint.next_event().await["data"]["object"]["name"],
        "Omitted"
    );
}
