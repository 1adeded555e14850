//! A server in the place of Stripe that keeps reports of usage, and can be held while it handles
//! one. The development Stripe is stricter; it is in a crate that needs this one.

use std::{
    collections::{BTreeMap, HashMap},
    future::pending,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify};
use url::form_urlencoded;

/// What happens to the next report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    #[default]
    No,
    /// It is neither kept nor answered.
    Before,
    /// It is kept, and not answered.
    After,
}

#[derive(Default)]
struct Kept {
    meters: Vec<Value>,
    /// The quantity of each report, by its identifier.
    reports: BTreeMap<String, u64>,
    /// The identifier of each request, by its key.
    keys: HashMap<String, String>,
    /// How many reports were sent.
    requests: usize,
    hold: Hold,
}

#[derive(Clone, Default)]
pub struct Stripe {
    state: Arc<Mutex<Kept>>,
    held: Arc<Notify>,
    url: String,
}

impl Stripe {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stripe = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            ..Self::default()
        };
        let routes = Router::new()
            .route("/v1/billing/meters", get(meters).post(create_meter))
            .route("/v1/billing/meter_events", post(report));
        let routes = routes.with_state(stripe.clone());
        tokio::spawn(axum::serve(listener, routes).into_future());
        stripe
    }

    /// The options of workers that use it, and count each second.
    pub fn options(&self) -> [&str; 6] {
        let (key, url) = ("--stripe-key", "--stripe-url");
        [key, "sk_test_1", url, &self.url, "--usage-interval-s", "1"]
    }

    pub fn hold(&self, hold: Hold) {
        self.state.lock().unwrap().hold = hold;
    }

    /// Returns when a report is held.
    pub async fn held(&self) {
        let held = tokio::time::timeout(crate::support::DEADLINE, self.held.notified());
        held.await.expect("no report was sent");
    }

    /// Returns how many reports were sent, repetitions included.
    pub fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }

    /// Returns the quantity of each report, by its identifier.
    pub fn reports(&self) -> BTreeMap<String, u64> {
        self.state.lock().unwrap().reports.clone()
    }
}

fn parameters(form: &str) -> HashMap<String, String> {
    let pairs = form_urlencoded::parse(form.as_bytes());
    pairs.into_owned().collect()
}

async fn meters(State(stripe): State<Stripe>) -> Json<Value> {
    let data = stripe.state.lock().unwrap().meters.clone();
    Json(json!({ "object": "list", "data": data, "has_more": false }))
}

async fn create_meter(State(stripe): State<Stripe>, form: String) -> Json<Value> {
    let event_name = &parameters(&form)["event_name"];
    let meter = json!({
        "id": "mtr_1", "event_name": event_name, "status": "active", "updated": 7,
    });
    let mut state = stripe.state.lock().unwrap();
    state.meters.push(meter.clone());
    Json(meter)
}

async fn report(
    State(stripe): State<Stripe>,
    headers: HeaderMap,
    form: String,
) -> (StatusCode, Json<Value>) {
    let form = parameters(&form);
    let key = headers["idempotency-key"].to_str().unwrap();
    let hold = stripe.begin();
    let answer = (hold != Hold::Before).then(|| stripe.keep(key, &form));
    if hold != Hold::No {
        stripe.held.notify_one();
        pending::<()>().await;
    }
    answer.expect("it is held")
}

impl Stripe {
    fn begin(&self) -> Hold {
        let mut state = self.state.lock().unwrap();
        state.requests += 1;
        state.hold
    }

    fn keep(&self, key: &str, form: &HashMap<String, String>) -> (StatusCode, Json<Value>) {
        let (identifier, quantity) = (form["identifier"].clone(), &form["payload[value]"]);
        let mut state = self.state.lock().unwrap();
        if state.keys.get(key) == Some(&identifier) {
            return (StatusCode::OK, Json(json!({})));
        }
        if state.reports.contains_key(&identifier) {
            let error = json!({ "code": "duplicate", "message": "It exists." });
            return (StatusCode::BAD_REQUEST, Json(json!({ "error": error })));
        }
        state.keys.insert(key.to_owned(), identifier.clone());
        let quantity = quantity.parse().unwrap();
        state.reports.insert(identifier, quantity);
        (StatusCode::OK, Json(json!({})))
    }
}
