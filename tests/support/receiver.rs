//! A customer's server that receives webhooks.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use events_schema::webhook_signature::{Message, VerifyingKey, verify};
use serde_json::Value;
use tokio::net::TcpListener;

use super::{eventually, text};

/// It listens as long as the process lives.
#[derive(Clone)]
pub struct Receiver {
    url: String,
    received: Arc<Mutex<Vec<Received>>>,
    answer: Arc<Mutex<(StatusCode, &'static str)>>,
}

/// A request that has arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub headers: HeaderMap,
    pub body: String,
}

impl Receiver {
    /// Starts a server that accepts everything.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            url: format!("http://{}/hooks", listener.local_addr().unwrap()),
            received: Arc::default(),
            answer: Arc::new(Mutex::new((StatusCode::OK, ""))),
        };
        let app = Router::new().fallback(receive).with_state(receiver.clone());
        tokio::spawn(axum::serve(listener, app).into_future());
        receiver
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers all further requests like this.
    pub fn answer(&self, status: StatusCode, body: &'static str) {
        *self.answer.lock().unwrap() = (status, body);
    }

    /// What has arrived so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The n-th request, counted from 1; waits for it.
    pub async fn nth(&self, nth: usize) -> Received {
        let what = format!("request {nth} to {}", self.url);
        eventually(&what, || async { self.received().len() >= nth }).await;
        self.received().swap_remove(nth - 1)
    }
}

async fn receive(
    State(receiver): State<Receiver>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, &'static str) {
    let request = Received { headers, body };
    receiver.received.lock().unwrap().push(request);
    *receiver.answer.lock().unwrap()
}

impl Received {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn event_type(&self) -> String {
        text(&self.json(), "/type")
    }

    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        let value = value.unwrap_or_else(|| panic!("no header {name} in {:?}", self.headers));
        value.to_str().unwrap()
    }

    /// Whether the request is signed by this key, as a library of Standard Webhooks checks it.
    pub fn is_signed_by(&self, key: &str) -> bool {
        let timestamp = self.header("webhook-timestamp").parse().unwrap();
        let message = Message {
            id: self.header("webhook-id"),
            timestamp,
            body: self.body.as_bytes(),
        };
        let keys = [VerifyingKey::parse(key).unwrap()];
        let now = jiff::Timestamp::now().as_second();
        verify(self.header("webhook-signature"), &keys, &message, now).is_ok()
    }
}
