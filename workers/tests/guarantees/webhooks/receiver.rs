//! A customer's server, which can fail, hang and count.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::Value;
use tokio::net::TcpListener;

type Answer = dyn Fn(&Message) -> StatusCode + Send + Sync;

/// A message as the server got it.
#[derive(Clone, Debug)]
pub struct Message {
    /// When it came.
    pub at: Instant,
    pub id: String,
    pub timestamp: String,
    pub signature: String,
    pub headers: HeaderMap,
    pub bytes: Bytes,
    pub body: Value,
}

impl Message {
    /// Returns the type of the event.
    pub fn event_type(&self) -> &str {
        self.body["type"].as_str().unwrap()
    }

    /// Returns the id of the changed object.
    pub fn object(&self) -> &str {
        self.body["subject"].as_str().unwrap()
    }

    /// Returns the revision of the object.
    pub fn revision(&self) -> u64 {
        self.body["data"]["revision"].as_u64().unwrap()
    }
}

/// A customer's server.
#[derive(Clone)]
pub struct Receiver {
    pub url: String,
    state: Arc<Mutex<Received>>,
}

struct Received {
    /// All messages, whatever the answer was, in the order of their arrival.
    messages: Vec<Message>,
    /// The messages that were accepted, in the order of the answers.
    accepted: Vec<Message>,
    answer: Arc<Answer>,
    delay: Duration,
    busy: HashMap<String, usize>,
    most_busy: usize,
    most_at_once: usize,
}

impl Receiver {
    /// Starts a server that accepts everything.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks", listener.local_addr().unwrap());
        let received = Received {
            messages: Vec::new(),
            accepted: Vec::new(),
            answer: Arc::new(|_| StatusCode::NO_CONTENT),
            delay: Duration::ZERO,
            busy: HashMap::new(),
            most_busy: 0,
            most_at_once: 0,
        };
        let state = Arc::new(Mutex::new(received));
        let receiver = Self { url, state };
        let app = Router::new()
            .route("/hooks", post(receive))
            .with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        receiver
    }

    /// Answers so from now on.
    pub fn answers(&self, answer: impl Fn(&Message) -> StatusCode + Send + Sync + 'static) {
        self.lock().answer = Arc::new(answer);
    }

    /// Takes so long for each message from now on.
    pub fn takes(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// Returns all messages, accepted or not.
    pub fn messages(&self) -> Vec<Message> {
        self.lock().messages.clone()
    }

    /// Forgets the messages so far.
    pub fn forget(&self) {
        let mut state = self.lock();
        state.messages.clear();
        state.accepted.clear();
    }

    /// Returns how many messages have come.
    pub fn count(&self) -> usize {
        self.lock().messages.len()
    }

    /// Returns the messages that were accepted.
    pub fn accepted(&self) -> Vec<Message> {
        self.lock().accepted.clone()
    }

    /// Returns the most messages about one object, and about all, that were in work at once.
    pub fn most_at_once(&self) -> (usize, usize) {
        let state = self.lock();
        (state.most_busy, state.most_at_once)
    }

    fn lock(&self) -> MutexGuard<'_, Received> {
        self.state.lock().unwrap()
    }

    fn begin(&self, message: &Message) -> (Arc<Answer>, Duration) {
        let mut state = self.lock();
        state.messages.push(message.clone());
        let busy = state.busy.entry(message.object().to_owned()).or_default();
        *busy += 1;
        let busy = *busy;
        let all: usize = state.busy.values().sum();
        state.most_busy = state.most_busy.max(busy);
        state.most_at_once = state.most_at_once.max(all);
        (state.answer.clone(), state.delay)
    }

    fn end(&self, message: Message, is_accepted: bool) {
        let mut state = self.lock();
        *state.busy.get_mut(message.object()).unwrap() -= 1;
        if is_accepted {
            state.accepted.push(message);
        }
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, bytes: Bytes) -> StatusCode {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let message = Message {
        at: Instant::now(),
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        body: serde_json::from_slice(&bytes).unwrap(),
        headers,
        bytes,
    };
    let (answer, delay) = receiver.begin(&message);
    // The sender may be killed meanwhile, which must not end this.
    let ended = tokio::spawn(async move {
        tokio::time::sleep(delay).await;
        let status = answer(&message);
        receiver.end(message, status.is_success());
        status
    });
    ended.await.unwrap()
}
