//! A stranger who floods the backend from one address.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::bench::http::{Connection, post};

/// Connections of a stranger.
const CONNECTIONS: u64 = 16;

pub(super) struct Stranger {
    gateway: SocketAddr,
    /// The address of the stranger, a complete line.
    client: String,
    rate: u64,
    /// The addresses of honest people.
    emails: Arc<[String]>,
}

impl Stranger {
    pub(super) fn new(
        gateway: SocketAddr,
        number: usize,
        rate: u64,
        emails: Arc<[String]>,
    ) -> Self {
        Self {
            gateway,
            client: format!("x-client: 6.6.6.{number}\r\n"),
            rate,
            emails,
        }
    }

    /// Sends requests until then; returns how many.
    pub(super) async fn flood(self, until: CancellationToken) -> u64 {
        let this = Arc::new(self);
        let connections = (0..CONNECTIONS).map(|number| {
            let (this, until) = (this.clone(), until.clone());
            tokio::spawn(async move { this.flood_over_one(number, until).await })
        });
        let mut sent = 0;
        for connection in connections.collect::<Vec<_>>() {
            sent += connection.await.unwrap_or_default();
        }
        sent
    }

    async fn flood_over_one(&self, number: u64, until: CancellationToken) -> u64 {
        let mut pace =
            interval(Duration::from_secs(1).mul_f64(CONNECTIONS as f64 / self.rate as f64));
        pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (mut connection, mut sent) = (None, 0_u64);
        while !until.is_cancelled() {
            pace.tick().await;
            if connection.is_none() {
                connection = Connection::open(self.gateway).await.ok();
            }
            let Some(open) = &mut connection else {
                continue;
            };
            let at = sent * CONNECTIONS + number;
            let (query, variables) = self.request(at);
            let request = post(self.gateway, &self.client, query, &variables);
            sent += 1;
            // The gateway may end the connection. That is no success.
            if open.send(&request).await.is_err() {
                connection = None;
            }
        }
        sent
    }

    /// Returns one of the requests that strangers send, in turn.
    fn request(&self, at: u64) -> (&'static str, Value) {
        let index = usize::try_from(at).unwrap_or_default() % self.emails.len().max(1);
        let known = self
            .emails
            .get(index)
            .map_or("nobody@people.example", String::as_str);
        let unknown = format!("user{at}@strangers{}.example", at % 1_000);
        let input = |value: Value| json!({ "input": value });
        let login = |email: &str| {
            let params = json!({ "email": email, "password": "not the password at all" });
            input(json!({ "service": "Password", "params": params }))
        };
        match at % 7 {
            0 => (LOGIN, login(known)),
            1 => (LOGIN, login(&unknown)),
            2 => (REGISTER, input(registration(&unknown))),
            3 => (REGISTER, input(registration(known))),
            4 => (RESET, input(json!({ "email": known }))),
            5 => (
                VERIFY,
                input(json!({ "email": known, "code": "000000", "password": "guess" })),
            ),
            _ => (DEEP, Value::Null),
        }
    }
}

fn registration(email: &str) -> Value {
    json!({
        "firstname": "Win", "lastname": "A Prize", "email": email,
        "password": "four words nobody guesses",
    })
}

const LOGIN: &str =
    "mutation($input: LoginInput!) { account { login(input: $input) { user { id } } } }";
const REGISTER: &str =
    "mutation($input: RegisterInput!) { account { register(input: $input) { success } } }";
const RESET: &str = "mutation($input: EmailInput!) { account { sendResetPasswordEmail(input: $input) { success } } }";
const VERIFY: &str = "mutation($input: VerifyAccountInput!) { account { verifyAccount(input: $input) { success } } }";
const DEEP: &str = "{ a: projects(first: 100) { nodes { id tasks(first: 100) { nodes { id } } } } \
     b: projects(first: 100) { nodes { id tasks(first: 100) { nodes { id } } } } \
     c: projects(first: 100) { nodes { id tasks(first: 100) { nodes { id } } } } }";
