//! A private nats-server, run as in production: with the repository's `nats.conf`.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use data_encoding::HEXLOWER;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    find::NATS_SERVER,
    process::{Cleanup, Launch, Process, on_free_port},
    server::{Kind, Server},
};

/// Embedded, so that a binary works away from the repository.
const CONFIG: &str = include_str!("../../../nats.conf");
/// Time limit of the greeting. A running server greets within a millisecond.
const GREETING_LIMIT: Duration = Duration::from_secs(1);

/// A user of `nats.conf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Publishes commands and reads.
    Gateway,
    /// Writes the log.
    Workers,
    /// May do everything; for a person.
    Operator,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Gateway, Self::Workers, Self::Operator];

    /// Returns the user name. The user's inbox prefix is `_INBOX_`, followed by this name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Workers => "workers",
            Self::Operator => "operator",
        }
    }
}

/// The password of each role.
#[derive(Clone)]
pub struct Passwords {
    /// The password of the user `gateway`.
    pub gateway: String,
    /// The password of the user `workers`.
    pub workers: String,
    /// The password of the user `operator`.
    pub operator: String,
}

impl Passwords {
    /// Makes random passwords of 128 bits each, in the form that `nats.conf` requires.
    ///
    /// # Errors
    /// If the operating system has no random bytes.
    pub fn random() -> Result<Self> {
        Ok(Self {
            gateway: random_name('p')?,
            workers: random_name('p')?,
            operator: random_name('p')?,
        })
    }

    /// Returns the password of a role.
    pub fn of(&self, role: Role) -> &str {
        match role {
            Role::Gateway => &self.gateway,
            Role::Workers => &self.workers,
            Role::Operator => &self.operator,
        }
    }
}

/// A private nats-server.
pub type NatsServer = Server<Nats>;

/// The parts of a private server that are specific to nats-server.
pub struct Nats {
    /// The server's own name, which distinguishes it from another one that took the port first.
    name: String,
    passwords: Passwords,
}

impl NatsServer {
    /// Finds or fetches the server and starts it on a free port. Configuration, log and storage are
    /// in `dir`, which must exist; what `dir/jetstream` holds is served again.
    ///
    /// # Errors
    /// If the server cannot be found or started.
    pub async fn start(dir: &Path, passwords: &Passwords) -> Result<Self> {
        let program = NATS_SERVER.find().await?;
        Self::start_program(program, dir, passwords, &Cleanup::default()).await
    }

    pub(crate) async fn start_program(
        program: PathBuf,
        dir: &Path,
        passwords: &Passwords,
        cleanup: &Cleanup,
    ) -> Result<Self> {
        let config = dir.join("nats.conf");
        fs::write(&config, CONFIG)
            .with_context(|| format!("could not write {}", config.display()))?;
        on_free_port(async |port| {
            let kind = Nats {
                name: random_name('n')?,
                passwords: passwords.clone(),
            };
            let launch = Launch {
                name: NATS_SERVER.name,
                program: program.clone(),
                args: arguments(&config, dir, &kind.name, port),
                envs: vec![
                    ("UB_NATS_GATEWAY_PASSWORD", passwords.gateway.clone()),
                    ("UB_NATS_WORKERS_PASSWORD", passwords.workers.clone()),
                    ("UB_NATS_OPERATOR_PASSWORD", passwords.operator.clone()),
                ],
                log: dir.join("nats-server.log"),
                cleanup: cleanup.clone(),
            };
            Self::launch(kind, port, launch).await
        })
        .await
    }

    /// Returns the URL with user and password. async-nats 0.51 ignores these in a URL: pass them to
    /// its options, too.
    pub fn url(&self, role: Role) -> String {
        format!(
            "nats://{}:{}@127.0.0.1:{}",
            role.as_str(),
            self.kind.passwords.of(role),
            self.port()
        )
    }
}

impl Kind for Nats {
    async fn ready(&self, process: &mut Process, port: u16) -> Result<()> {
        let started = Instant::now();
        let name = format!("\"server_name\":\"{}\"", self.name);
        while !greeting(port)
            .await
            .is_some_and(|greeting| greeting.contains(&name))
        {
            process.pause_while_it_starts(started).await?;
        }
        Ok(())
    }
}

fn arguments(config: &Path, dir: &Path, name: &str, port: u16) -> Vec<OsString> {
    // Monitoring takes any free port. The server itself adds `jetstream` to the storage folder.
    let port = port.to_string();
    let words = ["-a", "127.0.0.1", "-p", &port, "-m", "-1", "-n", name];
    let mut arguments: Vec<OsString> = words.map(Into::into).into();
    arguments.extend(["-c".into(), config.into(), "-sd".into(), dir.into()]);
    arguments
}

/// Reads the line that a server sends to every new connection.
async fn greeting(port: u16) -> Option<String> {
    let greet = async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.ok()?;
        Some(line)
    };
    timeout(GREETING_LIMIT, greet).await.ok().flatten()
}

fn random_name(letter: char) -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{letter}{}", HEXLOWER.encode(&bytes)))
}
