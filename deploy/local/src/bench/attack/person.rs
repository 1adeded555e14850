//! An honest person: signs in, writes, reads and listens.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::bench::{
    http::{Connection, post},
    listeners::Listeners,
    world::{CREATE, LOGIN, mailed_code},
};

const PASSWORD: &str = "correct horse battery";
const LIST: &str = "{ projects(first: 10) { nodes { id name } } }";
/// The pause between two requests of a person.
const PAUSE: Duration = Duration::from_millis(500);
/// Of so many requests, the first one is a login.
const LOGIN_EVERY: u64 = 20;
/// The cookie of a session over plain HTTP.
const SESSION: &str = "session";
/// How long the last event may take to arrive.
const HEARD_WITHIN: Duration = Duration::from_secs(10);

/// A person with an account and a tenant.
pub(super) struct Person {
    pub(super) email: String,
    gateway: SocketAddr,
    connection: Connection,
    /// The address of this person, a complete line.
    client: String,
    cookies: BTreeMap<String, String>,
    slug: String,
    requests: u64,
    listeners: Option<Listeners>,
}

/// What people do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Act {
    Login,
    Write,
    Read,
    /// Hear of a project of their own, from its answer on.
    Hear,
}

/// What people have seen.
#[derive(Default)]
pub(super) struct Seen {
    /// How long each act took, in microseconds.
    pub(super) micros: BTreeMap<Act, Vec<u32>>,
    /// Answers that told a person to wait.
    pub(super) limited: u64,
    /// Other errors.
    pub(super) errors: Vec<String>,
    /// Commits that people have caused.
    pub(super) commits: u64,
}

impl Seen {
    pub(super) fn add(&mut self, other: Self) {
        for (act, micros) in other.micros {
            self.micros.entry(act).or_default().extend(micros);
        }
        self.errors.extend(other.errors);
        self.limited += other.limited;
        self.commits += other.commits;
    }

    /// Returns how many requests of people were answered without an error.
    pub(super) fn requests(&self) -> usize {
        let of_act =
            |(act, micros): (&Act, &Vec<u32>)| if *act == Act::Hear { 0 } else { micros.len() };
        self.micros.iter().map(of_act).sum()
    }

    fn note(&mut self, act: Act, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.micros.entry(act).or_default().push(micros);
    }
}

impl Person {
    /// Registers, verifies the address, logs in and founds a tenant.
    pub(super) async fn sign_up(
        gateway: SocketAddr,
        mailbox: SocketAddr,
        number: u64,
    ) -> anyhow::Result<Self> {
        let mut person = Self {
            email: format!("person{number}@people.example"),
            gateway,
            connection: Connection::open(gateway).await?,
            client: format!("x-client: 10.0.{}.{}\r\n", number / 250, number % 250 + 1),
            cookies: BTreeMap::new(),
            slug: format!("team-{number}"),
            requests: 0,
            listeners: None,
        };
        let register =
            "mutation($input: RegisterInput!) { account { register(input: $input) { success } } }";
        let email = &person.email;
        let input = json!({
            "firstname": "Honest", "lastname": "Person", "email": email, "password": PASSWORD
        });
        person.must(register, json!({ "input": input })).await?;
        let code = mailed_code(mailbox, &person.email).await?;
        let verify = "mutation($input: VerifyAccountInput!) { account { verifyAccount(input: $input) { success } } }";
        let input = json!({ "email": person.email, "code": code });
        person.must(verify, json!({ "input": input })).await?;
        person.must(LOGIN, person.login()).await?;
        let create =
            "mutation($input: CreateTenantInput!) { tenant { create(input: $input) { id } } }";
        let input = json!({ "name": person.slug, "normalizedName": person.slug });
        person.must(create, json!({ "input": input })).await?;
        Ok(person)
    }

    /// Uses the backend until then.
    ///
    /// # Errors
    /// If a connection breaks, or an event does not arrive.
    pub(super) async fn live(mut self, until: Instant) -> anyhow::Result<(Self, Seen)> {
        let mut seen = Seen::default();
        // The gateway closes a connection that waits for long, as while others sign up.
        self.connection = Connection::open(self.gateway).await?;
        let mut listeners = match self.listeners.take() {
            Some(listeners) => listeners,
            None => Listeners::open(self.gateway, &self.headers(), 1, None).await?,
        };
        let mut created: HashMap<String, Instant> = HashMap::new();
        while Instant::now() < until {
            self.requests += 1;
            if self.requests % LOGIN_EVERY == 1 {
                // Beside the session that listens: a login ends the session that it is sent with.
                let session = self.cookies.remove(SESSION);
                if self
                    .timed(Act::Login, LOGIN, self.login(), &mut seen)
                    .await?
                    .is_some()
                {
                    seen.commits += 1;
                }
                self.cookies
                    .extend(session.map(|value| (SESSION.to_owned(), value)));
            } else if self.requests.is_multiple_of(2) {
                let input = json!({ "input": { "name": format!("Project {}", self.requests) } });
                if let Some(answer) = self.timed(Act::Write, CREATE, input, &mut seen).await? {
                    seen.commits += 1;
                    let id = answer["data"]["project"]["create"]["id"].as_str();
                    created.extend(id.map(|id| (id.to_owned(), Instant::now())));
                }
            } else {
                self.timed(Act::Read, LIST, Value::Null, &mut seen).await?;
            }
            sleep(PAUSE).await;
        }
        while !created.is_empty() {
            let heard = timeout(HEARD_WITHIN, listeners.next()).await;
            let heard = heard.context("a person has not heard of a project of their own")??;
            if let Some(answered) = created.remove(&heard.id) {
                seen.note(Act::Hear, heard.at.saturating_duration_since(answered));
            }
        }
        self.listeners = Some(listeners);
        Ok((self, seen))
    }

    /// Sends a request and notes its answer; `None` if it was refused.
    async fn timed(
        &mut self,
        act: Act,
        query: &str,
        variables: Value,
        seen: &mut Seen,
    ) -> anyhow::Result<Option<Value>> {
        let begun = Instant::now();
        let answer = self.ask(query, variables).await?;
        match answer["errors"][0]["extensions"]["code"].as_str() {
            None if answer["errors"].is_null() => {
                seen.note(act, begun.elapsed());
                return Ok(Some(answer));
            }
            Some("RATE_LIMITED") => seen.limited += 1,
            Some(_) | None => seen.errors.push(answer.to_string()),
        }
        Ok(None)
    }

    async fn must(&mut self, query: &str, variables: Value) -> anyhow::Result<Value> {
        let answer = self.ask(query, variables).await?;
        ensure!(answer["errors"].is_null(), "{answer}");
        Ok(answer)
    }

    async fn ask(&mut self, query: &str, variables: Value) -> anyhow::Result<Value> {
        let request = post(self.gateway, &self.headers(), query, &variables);
        let answer = self.connection.send(&request).await?;
        let cookies = answer.header("set-cookie");
        let pairs = cookies.filter_map(|cookie| cookie.split(';').next()?.split_once('='));
        for (name, value) in pairs {
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        Ok(serde_json::from_slice(answer.body)?)
    }

    fn headers(&self) -> String {
        let cookies = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let cookies = cookies.collect::<Vec<_>>().join("; ");
        format!(
            "{}x-tenant: {}\r\ncookie: {cookies}\r\n",
            self.client, self.slug
        )
    }

    fn login(&self) -> Value {
        let params = json!({ "email": self.email, "password": PASSWORD });
        json!({ "input": { "service": "Password", "params": params } })
    }
}
