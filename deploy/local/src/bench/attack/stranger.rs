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

    /// Sends requests until then; returns how many were answered.
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
        let (mut connection, mut sent, mut answered) = (None, 0_u64, 0);
        while !until.is_cancelled() {
            pace.tick().await;
            if connection.is_none() {
                connection = Connection::open(self.gateway).await.ok();
            }
            let Some(open) = &mut connection else {
                continue;
            };
            let at = sent * CONNECTIONS + number;
            let request = self.request(at);
            sent += 1;
            // The gateway may end the connection.
            match open.send(&request).await {
                Ok(_) => answered += 1,
                Err(_) => connection = None,
            }
        }
        answered
    }

    /// Returns one of the requests that strangers send, in turn.
    fn request(&self, at: u64) -> Vec<u8> {
        let index = usize::try_from(at).unwrap_or_default() % self.emails.len().max(1);
        let known = self
            .emails
            .get(index)
            .map_or("nobody@people.example", String::as_str);
        let unknown = format!("user{}@strangers{}.example", at / 8, at / 8 % 1_000);
        let login = |email: &str| {
            let params = json!({ "email": email, "password": "not the password at all" });
            json!({ "service": "Password", "params": params })
        };
        let code = json!({ "email": unknown, "code": "000000", "password": PASSWORD });
        let (query, input) = match at % 8 {
            0 => (LOGIN, login(known)),
            1 => (LOGIN, login(&unknown)),
            2 => (REGISTER, registration(&unknown)),
            3 => (REGISTER, registration(known)),
            4 => (RESET, json!({ "email": known })),
            5 => (VERIFY, code),
            6 => (DEEP, Value::Null),
            _ => return self.socket(),
        };
        post(
            self.gateway,
            &self.client,
            query,
            &json!({ "input": input }),
        )
    }

    /// Returns a request for a socket.
    fn socket(&self) -> Vec<u8> {
        let (host, client) = (self.gateway, &self.client);
        format!(
            "GET /graphql/ws HTTP/1.1\r\nhost: {host}\r\n{client}connection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             sec-websocket-protocol: graphql-transport-ws\r\n\r\n"
        )
        .into_bytes()
    }
}

pub(super) const PASSWORD: &str = "four words nobody guesses";

fn registration(email: &str) -> Value {
    json!({
        "firstname": "Win", "lastname": "A Prize", "email": email,
        "password": PASSWORD,
    })
}

pub(super) const LOGIN: &str =
    "mutation($input: LoginInput!) { account { login(input: $input) { user { id } } } }";
pub(super) const REGISTER: &str =
    "mutation($input: RegisterInput!) { account { register(input: $input) { success } } }";
pub(super) const RESET: &str = "mutation($input: EmailInput!) { account { sendResetPasswordEmail(input: $input) { success } } }";
const VERIFY: &str = "mutation($input: VerifyAccountInput!) { account { verifyAccount(input: $input) { success } } }";
const DEEP: &str = "{ a: projects(first: 100) { nodes { id tasks(first: 100) { nodes { id } } } } \
     b: projects(first: 100) { nodes { id tasks(first: 100) { nodes { id } } } } \
     c: projects(first: 100) { nodes { id tasks(first: 100) { nodes { id } } } } }";
