//! The servers, and the two releases that run on them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use async_nats::{ConnectOptions, jetstream};
use clap::{Args, Command as Arguments, FromArgMatches};
use event_store::{MongoOptions, Monitor, NatsOptions};
use events_schema::CommitSummary;
use futures_util::TryStreamExt as _;
use local::mailbox::Mailbox;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use servers::{Layout, Role, Servers};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    task::JoinHandle,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::support::{DEADLINE, eventually};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// nats-server, mongod, and a mailbox that catches all mail.
pub struct Platform {
    servers: Servers,
    smtp: SocketAddr,
    pub mail_url: String,
}

impl Platform {
    pub async fn start() -> Self {
        let servers = Servers::ephemeral(Layout::Single).await.unwrap();
        let (mailbox, shutdown) = (Mailbox::new(), CancellationToken::new());
        let (smtp, pages) = (listen().await, listen().await);
        let platform = Self {
            servers,
            smtp: smtp.local_addr().unwrap(),
            mail_url: format!("http://{}", pages.local_addr().unwrap()),
        };
        tokio::spawn(mailbox.clone().serve_smtp(smtp, shutdown.clone()));
        tokio::spawn(mailbox.serve_pages(pages, shutdown));
        platform
    }

    /// The options that both programs share, and those of the role.
    fn options(&self, role: Role) -> Vec<(&'static str, String)> {
        let mut options = vec![
            ("--nats-url", self.servers.nats_url(role)),
            ("--mongo-url", self.servers.mongo_url(role)),
            ("--secret", SECRET.to_owned()),
        ];
        if role == Role::Workers {
            options.push(("--smtp-url", format!("smtp://{}", self.smtp)));
        }
        options
    }

    async fn operator(&self) -> jetstream::Context {
        let password = self.servers.passwords.of(Role::Operator).to_owned();
        let options = ConnectOptions::with_user_and_password("operator".to_owned(), password);
        let options = options.custom_inbox_prefix("_INBOX_operator");
        let client = options.connect(self.servers.nats_url(Role::Operator)).await;
        jetstream::new(client.unwrap())
    }

    /// Returns when no consumer has anything left to do.
    pub async fn until_settled(&self) {
        let operator = self.operator().await;
        eventually("idle consumers", || async {
            for stream in ["COMMANDS", "EVENTS"] {
                let stream = operator.get_stream(stream).await.unwrap();
                let consumers: Vec<_> = stream.consumers().try_collect().await.unwrap();
                if consumers
                    .iter()
                    .any(|info| info.num_pending > 0 || info.num_ack_pending > 0)
                {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// Returns the last revision of each object of an area, in the log.
    pub async fn revisions(&self, area: &str) -> BTreeMap<String, u64> {
        let commits = self.commits(area).await.into_iter();
        commits
            .map(|commit| (commit.id.to_string(), commit.revision))
            .collect()
    }

    /// Whether a commit of a project has this event.
    pub async fn has_event(&self, name: &str) -> bool {
        let commits = self.commits("project").await;
        let mut events = commits.iter().flat_map(|commit| &commit.events);
        events.any(|event| event.name == name)
    }

    /// Returns all commits of an area, in order.
    async fn commits(&self, area: &str) -> Vec<CommitSummary> {
        let operator = self.operator().await;
        let mut events = operator.get_stream("EVENTS").await.unwrap();
        let last = events.info().await.unwrap().state.last_sequence;
        let mut commits = Vec::new();
        for sequence in 1..=last {
            let message = events.get_raw_message(sequence).await.unwrap();
            if message.subject.contains(&format!(".{area}.")) && message.subject.starts_with("evt.")
            {
                let commit: CommitSummary = serde_json::from_slice(&message.payload).unwrap();
                commits.push(commit);
            }
        }
        commits
    }

    pub async fn nothing_is_dead(&self) {
        let dead = self.operator().await.get_stream("DEAD").await.unwrap();
        assert_eq!(dead.get_info().await.unwrap().state.messages, 0);
    }
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Returns when the gateway at this URL is ready.
async fn until_ready(url: &str) {
    let start = Instant::now();
    loop {
        let answer = reqwest::get(format!("{url}/readyz")).await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "{url} is not ready");
        sleep(Duration::from_millis(50)).await;
    }
}

/// The previous release, as processes.
pub struct Previous {
    pub url: String,
    processes: [Child; 2],
}

impl Previous {
    pub async fn start(platform: &Platform) -> Self {
        let folder = std::env::var_os("PREVIOUS_RELEASE").expect("PREVIOUS_RELEASE is not set");
        let folder = PathBuf::from(folder);
        // The program takes an address, not a listener, so the port is free for a moment.
        let address = listen().await.local_addr().unwrap();
        let migrated = Command::new(folder.join("workers"))
            .arg("migrate")
            .env("UB_NATS_URL", platform.servers.nats_url(Role::Migrator))
            .env("UB_MONGO_URL", platform.servers.mongo_url(Role::Migrator))
            .status();
        assert!(migrated.await.unwrap().success());
        let process = |program: &str, role, further: &[&str]| {
            let options = platform.options(role).into_iter();
            let options = options.flat_map(|(name, value)| [name.to_owned(), value]);
            let process = Command::new(folder.join(program))
                .args(if role == Role::Workers {
                    &["run"][..]
                } else {
                    &[]
                })
                .args(options)
                .args(further)
                .env("RUST_LOG", "error")
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .spawn();
            process.unwrap()
        };
        let workers = process("workers", Role::Workers, &[]);
        let listen = address.to_string();
        let gateway = process("gateway", Role::Gateway, &["--listen", &listen]);
        let previous = Self {
            url: format!("http://{address}"),
            processes: [workers, gateway],
        };
        until_ready(&previous.url).await;
        previous
    }

    /// Stops both programs as an operator does.
    pub async fn stop(mut self) {
        for process in &mut self.processes {
            let pid = Pid::from_raw(process.id().unwrap().try_into().unwrap());
            kill(pid, Signal::SIGTERM).unwrap();
            process.wait().await.unwrap();
        }
    }
}

/// This release, in this process.
pub struct Next {
    pub url: String,
    shutdown: CancellationToken,
    parts: [JoinHandle<anyhow::Result<()>>; 2],
}

impl Next {
    pub async fn start(platform: &Platform) -> Self {
        let migrator = NatsOptions {
            nats_url: platform.servers.nats_url(Role::Migrator),
            ..NatsOptions::default()
        };
        let mongo = MongoOptions {
            mongo_url: platform.servers.mongo_url(Role::Migrator),
            ..MongoOptions::default()
        };
        workers::migrate(&migrator, &mongo, 1).await.unwrap();
        let shutdown = CancellationToken::new();
        let listener = listen().await;
        let url = format!("http://{}", listener.local_addr().unwrap());
        let workers = parse(platform.options(Role::Workers));
        let gateway = parse(platform.options(Role::Gateway));
        let workers = workers::run(workers, Monitor::default(), shutdown.clone());
        let gateway = gateway::run(gateway, listener, Monitor::default(), shutdown.clone());
        let next = Self {
            url,
            shutdown,
            parts: [tokio::spawn(workers), tokio::spawn(gateway)],
        };
        until_ready(&next.url).await;
        next
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        for part in self.parts {
            part.await.unwrap().unwrap();
        }
    }
}

/// Parses options as the programs do.
fn parse<C: Args + FromArgMatches>(options: Vec<(&'static str, String)>) -> C {
    let words = options
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value]);
    let arguments = C::augment_args(Arguments::new("test").no_binary_name(true));
    C::from_arg_matches(&arguments.get_matches_from(words)).unwrap()
}
