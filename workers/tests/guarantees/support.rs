//! A private nats-server and mongod for one test, worker processes to kill, and a client that sends
//! commands as the gateway does. No part of the product is replaced here.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use async_nats::{
    Client, ConnectOptions, Subscriber,
    jetstream::{self, Context},
};
use bytes::Bytes;
use event_store::{MongoOptions, NatsOptions};
use events_schema::{
    AccountId, Actor, AreaName, Command, CommandId, CommitSummary, EmailAddress, Id, Outcome,
    PasswordHash, Permissions, PersonName, TenantId, Time, account,
};
use futures_util::StreamExt;
use mongodb::bson::{Document, doc};
use serde::de::DeserializeOwned;
use servers::{Layout, Role, Servers};
use tokio::process::{Child, Command as Process};

/// Far more than any step here takes: only a broken one reaches it.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Loops that need no mail server.
pub const COMMANDS_AND_VIEWS: &[&str] = &["--loops", "commands,views"];
pub const WITHOUT_EFFECTS: &[&str] = &["--loops", "commands,views,reactions"];
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The servers, and what talks to them. `S` is [`Servers`], unless the test holds them apart.
pub struct World<S = Servers> {
    pub servers: S,
    nats_url: String,
    migrator_url: String,
    mongo_url: String,
    migrator_mongo_url: String,
    replicas: usize,
    pub gateway: Client,
    pub operator: Context,
    pub views: mongodb::Database,
    /// Where workers find NATS, if not at the server itself.
    pub worker_nats_url: Option<String>,
}

impl World {
    /// Starts one server of each kind.
    pub async fn start() -> Self {
        Self::start_as(Layout::Single).await
    }

    /// Starts servers in this layout.
    pub async fn start_as(layout: Layout) -> Self {
        let servers = Servers::ephemeral(layout).await.unwrap();
        let migrator = NatsOptions {
            nats_url: servers.nats_url(Role::Migrator),
            ..NatsOptions::default()
        };
        let mongo = MongoOptions {
            mongo_url: servers.mongo_url(Role::Migrator),
            ..MongoOptions::default()
        };
        workers::migrate(&migrator, &mongo, servers.members())
            .await
            .unwrap();
        let gateway = connect(&servers, Role::Gateway, "_INBOX_gateway").await;
        let operator = jetstream::new(connect(&servers, Role::Operator, "_INBOX_operator").await);
        let views = mongodb::Client::with_uri_str(servers.mongo_url(Role::Operator))
            .await
            .unwrap()
            .database("ultimate_backend");
        Self {
            nats_url: servers.nats_url(Role::Workers),
            migrator_url: migrator.nats_url,
            mongo_url: servers.mongo_url(Role::Workers),
            migrator_mongo_url: servers.mongo_url(Role::Migrator),
            replicas: servers.members(),
            servers,
            gateway,
            operator,
            views,
            worker_nats_url: None,
        }
    }

    /// Returns the servers apart, to restart them while clients run.
    pub fn split(self) -> (World<()>, Servers) {
        let world = World {
            servers: (),
            nats_url: self.nats_url,
            migrator_url: self.migrator_url,
            mongo_url: self.mongo_url,
            migrator_mongo_url: self.migrator_mongo_url,
            replicas: self.replicas,
            gateway: self.gateway,
            operator: self.operator,
            views: self.views,
            worker_nats_url: self.worker_nats_url,
        };
        (world, self.servers)
    }
}

impl<S> World<S> {
    /// Subscribes to announcements of view documents.
    pub async fn announced(&self, subject: &str) -> Subscriber {
        let operator = self.operator.client();
        operator.subscribe(subject.to_owned()).await.unwrap()
    }

    /// Starts a worker process, which may not be ready yet.
    pub fn spawn_worker(&self, arguments: &[&str]) -> Child {
        self.process(&[&["run"], arguments].concat())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Runs a command of an operator to its end.
    pub async fn run(&self, arguments: &[&str]) {
        self.run_with(arguments, &[]).await;
    }

    /// Runs a command of an operator with further environment variables to its end.
    pub async fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) {
        let mut process = self.process(arguments);
        let status = process.envs(environment.iter().copied()).status().await;
        assert!(status.unwrap().success(), "{arguments:?}");
    }

    /// Prepares a `workers` process with these arguments for these servers.
    pub fn process(&self, arguments: &[&str]) -> Process {
        let (nats_url, mongo_url) = if arguments.first() == Some(&"run") {
            (&self.nats_url, &self.mongo_url)
        } else {
            (&self.migrator_url, &self.migrator_mongo_url)
        };
        let nats_url = self.worker_nats_url.as_ref().unwrap_or(nats_url);
        let mut process = process(nats_url, mongo_url);
        process.env("UB_REPLICAS", self.replicas.to_string());
        process.args(arguments);
        process
    }

    /// Starts worker processes, and returns when they answer commands.
    pub async fn workers<const N: usize>(&self, arguments: &[&str]) -> [Child; N] {
        let workers = std::array::from_fn(|_| self.spawn_worker(arguments));
        self.answering().await;
        workers
    }

    /// Returns when a command is answered.
    pub async fn answering(&self) {
        let harmless = account::Command::RevokeSessions;
        eventually("an answer", || async {
            self.send(AccountId(id()), CommandId(id()), &harmless)
                .await
                .is_some()
        })
        .await;
    }

    /// Sends a command to an account as the gateway does; `None` if there is no answer within two
    /// seconds.
    pub async fn send(
        &self,
        account: AccountId,
        command: CommandId,
        payload: &account::Command,
    ) -> Option<Outcome> {
        let reply = self.gateway.new_inbox();
        let mut answers = self.gateway.subscribe(reply.clone()).await.ok()?;
        let (subject, body) = message(account, command, payload, reply);
        let context = jetstream::new(self.gateway.clone());
        let answered = async {
            context.publish(subject, body).await.ok()?.await.ok()?;
            serde_json::from_slice(&answers.next().await?.payload).ok()
        };
        let answered = tokio::time::timeout(Duration::from_secs(2), answered);
        answered.await.ok()?
    }

    /// Sends a command to an account until it is answered, as a client with an idempotency key
    /// would.
    pub async fn send_to(
        &self,
        account: AccountId,
        command: CommandId,
        payload: &account::Command,
    ) -> Outcome {
        let start = Instant::now();
        loop {
            if let Some(outcome) = self.send(account, command, payload).await {
                return outcome;
            }
            assert!(start.elapsed() < DEADLINE, "no answer to {command}");
        }
    }

    /// Returns how many commands wait to be decided or acknowledged.
    pub async fn queued_commands(&self) -> u64 {
        let commands = self.operator.get_stream("COMMANDS").await.unwrap();
        commands.get_info().await.unwrap().state.messages
    }

    /// Registers an account.
    pub async fn register(&self, email: &str) -> AccountId {
        let command = id();
        let outcome = self
            .send_to(AccountId(command), CommandId(command), &register(email))
            .await;
        assert_eq!(outcome.revision(), Ok(1));
        AccountId(command)
    }

    /// Registers an account, and asks for a mail to set a new password.
    pub async fn register_and_mail(&self, email: &str) -> AccountId {
        let account = self.register(email).await;
        let reset = account::Command::RequestPasswordReset;
        let outcome = self.send_to(account, CommandId(id()), &reset).await;
        assert_eq!(outcome.revision(), Ok(2));
        account
    }

    /// Returns all commits of an area, in order, with their sequences.
    pub async fn commits<C: DeserializeOwned>(&self, area: AreaName) -> Vec<(u64, C)> {
        let mut stream = self.operator.get_stream("EVENTS").await.unwrap();
        let last = stream.info().await.unwrap().state.last_sequence;
        let mut commits = Vec::new();
        for sequence in 1..=last {
            let message = stream.get_raw_message(sequence).await.unwrap();
            let of_area = message.subject.starts_with("evt.")
                && message.subject.contains(&format!(".{area}."));
            if let (true, Ok(commit)) = (of_area, serde_json::from_slice(&message.payload)) {
                commits.push((sequence, commit));
            }
        }
        commits
    }

    /// Returns all documents of a view, by id.
    pub async fn documents(&self, area: AreaName) -> BTreeMap<String, Document> {
        let found = self
            .views
            .collection::<Document>(area.as_str())
            .find(doc! {})
            .await
            .unwrap();
        found
            .map(|document| document.unwrap())
            .map(|document| (document.get_str("_id").unwrap().to_owned(), document))
            .collect()
            .await
    }

    /// Returns when every document of the area has reached the last revision in the log. The log is
    /// read each time: a command that waited out a restart may be decided long after its sender has
    /// given up.
    pub async fn views_up_to_date(&self, area: AreaName) {
        eventually("the views", || async {
            let mut wanted = BTreeMap::new();
            for (_, commit) in self.commits::<CommitSummary>(area).await {
                wanted.insert(
                    commit.id.to_string(),
                    i64::try_from(commit.revision).unwrap(),
                );
            }
            let documents = self.documents(area).await;
            wanted
                == documents
                    .iter()
                    .map(|(id, document)| (id.clone(), document.get_i64("revision").unwrap()))
                    .collect()
        })
        .await;
    }

    /// Returns the subject and the reason of each message in DEAD.
    pub async fn dead(&self) -> Vec<(String, String)> {
        let mut stream = self.operator.get_stream("DEAD").await.unwrap();
        let last = stream.info().await.unwrap().state.last_sequence;
        let mut dead = Vec::new();
        for sequence in 1..=last {
            let message = stream.get_raw_message(sequence).await.unwrap();
            dead.push((
                message.subject.to_string(),
                message.headers.get("Ub-Reason").unwrap().to_string(),
            ));
        }
        dead
    }
}

/// Prepares a `workers` process without arguments.
pub fn process(nats_url: &str, mongo_url: &str) -> Process {
    let log = std::env::var("RUST_LOG").unwrap_or_else(|_| "error".to_owned());
    let mut process = Process::new(env!("CARGO_BIN_EXE_workers"));
    process
        .env("UB_NATS_URL", nats_url)
        .env("UB_MONGO_URL", mongo_url)
        // Nobody listens there: these tests send no mail.
        .env("UB_SMTP_URL", "smtp://127.0.0.1:9")
        .env("UB_SECRET", SECRET)
        .env("RUST_LOG", log)
        .stdin(Stdio::null());
    process
}

pub async fn connect(servers: &Servers, role: Role, inbox: &str) -> Client {
    let options = ConnectOptions::with_user_and_password(
        inbox.trim_start_matches("_INBOX_").to_owned(),
        servers.passwords.of(role).to_owned(),
    );
    let urls = servers.nats_url(role);
    let urls: Vec<&str> = urls.split(',').collect();
    let options = options.custom_inbox_prefix(inbox);
    options.connect(urls).await.unwrap()
}

/// Returns the subject and the body of a command to an account.
pub fn message(
    account: AccountId,
    command: CommandId,
    payload: &account::Command,
    reply: String,
) -> (String, Bytes) {
    message_of(SystemTime::now(), account, command, payload, reply)
}

/// Returns the subject and the body of a command that was made at this time.
pub fn message_of(
    time: SystemTime,
    account: AccountId,
    command: CommandId,
    payload: &account::Command,
    reply: String,
) -> (String, Bytes) {
    let command = Command::<account::Area> {
        id: command,
        tenant: TenantId::Platform,
        area: AreaName::Account,
        aggregate: account,
        actor: Actor::Anonymous,
        held: Permissions::new(),
        time: Time::from(time),
        expected: None,
        limit: None,
        origin: None,
        reply: Some(reply),
        payload: payload.clone(),
    };
    let subject = command.subject().unwrap().to_string();
    (subject, serde_json::to_vec(&command).unwrap().into())
}

/// Polls until the condition holds, and fails after [`DEADLINE`].
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let start = Instant::now();
    while !holds().await {
        assert!(
            start.elapsed() < DEADLINE,
            "{what} did not come within {DEADLINE:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Returns an id that no other call has returned.
pub fn id() -> Id {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    Id::from_bytes(bytes)
}

pub fn register(email: &str) -> account::Command {
    account::Command::CompleteRegistration {
        email: EmailAddress::parse(email).unwrap(),
        firstname: PersonName::parse("Ada").unwrap(),
        lastname: PersonName::parse("Lovelace").unwrap(),
        password_hash: PasswordHash::parse("$argon2id$test").unwrap(),
    }
}

pub fn rename(lastname: &str) -> account::Command {
    account::Command::UpdateProfile {
        firstname: None,
        lastname: Some(PersonName::parse(lastname).unwrap()),
    }
}

/// Asserts that every answered command is in the log as it was answered.
pub fn assert_stored(commits: &[(u64, CommitSummary)], answered: &[(CommandId, u64)]) {
    let stored: BTreeMap<CommandId, u64> = commits
        .iter()
        .map(|(_, commit)| (commit.command, commit.revision))
        .collect();
    for (command, revision) in answered {
        assert_eq!(stored.get(command), Some(revision));
    }
}

/// Clients that update accounts until they are stopped.
#[derive(Clone, Default)]
pub struct Load {
    pub stop: Arc<AtomicBool>,
    pub done: Arc<AtomicU64>,
}

impl Load {
    /// Repeats each command until it is answered; returns all of them.
    pub async fn run<S>(self, world: Arc<World<S>>, account: AccountId) -> Vec<(CommandId, u64)> {
        let mut answered = Vec::new();
        while !self.stop.load(Ordering::SeqCst) {
            let command = CommandId(id());
            let update = rename(&command.to_string());
            let outcome = world.send_to(account, command, &update).await;
            answered.push((command, outcome.revision().unwrap()));
            self.done.fetch_add(1, Ordering::SeqCst);
        }
        answered
    }

    /// Sends each command once; returns those that were answered.
    pub async fn run_without_repeats(
        &self,
        world: &World,
        account: AccountId,
    ) -> Vec<(CommandId, u64)> {
        let mut answered = Vec::new();
        while !self.stop.load(Ordering::SeqCst) {
            let command = CommandId(id());
            let update = rename(&command.to_string());
            let outcome = world.send(account, command, &update).await;
            if let Some(outcome) = outcome {
                answered.push((command, outcome.revision().unwrap()));
                self.done.fetch_add(1, Ordering::SeqCst);
            }
        }
        answered
    }

    /// Returns when this many commands are answered.
    pub async fn reaches(&self, wanted: u64) {
        eventually("progress under load", || async {
            self.done.load(Ordering::SeqCst) >= wanted
        })
        .await;
    }
}

/// Asserts that each aggregate has the revisions 1, 2, 3 … and that no command was done twice.
pub fn assert_sound(commits: &[(u64, CommitSummary)]) {
    let mut revisions: BTreeMap<Id, u64> = BTreeMap::new();
    let mut commands = BTreeSet::new();
    for (sequence, commit) in commits {
        let last = revisions.entry(commit.id).or_default();
        assert_eq!(commit.revision, *last + 1, "at sequence {sequence}");
        *last = commit.revision;
        assert!(
            commands.insert(commit.command),
            "{} was done twice",
            commit.command
        );
    }
}

/// Reads the revisions of a view again and again until `done`. Fails if one goes down.
pub async fn no_revision_goes_down(world: &World, area: AreaName, done: &AtomicBool) {
    let mut highest: BTreeMap<String, i64> = BTreeMap::new();
    while !done.load(Ordering::SeqCst) {
        let documents = world.documents(area).await;
        for (id, highest) in &highest {
            let shown = documents
                .get(id)
                .map(|document| document.get_i64("revision"));
            assert!(
                shown
                    .clone()
                    .is_some_and(|shown| shown.unwrap() >= *highest),
                "{id} was shown at revision {highest}, then at {shown:?}"
            );
        }
        highest.extend(
            documents
                .into_iter()
                .map(|(id, document)| (id, document.get_i64("revision").unwrap())),
        );
    }
}
