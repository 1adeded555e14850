//! A private nats-server, run as in production: with the repository's `nats.conf`.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
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
    process::{Care, Launch, Process, on_free_port},
};

/// Embedded, so that a binary works away from the repository.
const CONFIG: &str = include_str!("../../../nats.conf");
/// A server that is up greets in a millisecond; one that does not is asked again.
const GREETING_LIMIT: Duration = Duration::from_secs(1);

/// As whom to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Asks and reads.
    Gateway,
    /// Decides and writes.
    Workers,
    /// May do everything.
    Operator,
}

impl Role {
    /// Every role there is.
    pub const ALL: [Self; 3] = [Self::Gateway, Self::Workers, Self::Operator];

    /// The user name; its inbox prefix is `_INBOX_` and this.
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
    /// Of [`Role::Gateway`].
    pub gateway: String,
    /// Of [`Role::Workers`].
    pub workers: String,
    /// Of [`Role::Operator`].
    pub operator: String,
}

impl Passwords {
    /// New ones, of 128 bits each, in the form that `nats.conf` asks for. Fails if the system gives
    /// no randomness.
    pub fn random() -> Result<Self> {
        Ok(Self {
            gateway: random_name('p')?,
            workers: random_name('p')?,
            operator: random_name('p')?,
        })
    }

    /// The password of a role.
    pub fn of(&self, role: Role) -> &str {
        match role {
            Role::Gateway => &self.gateway,
            Role::Workers => &self.workers,
            Role::Operator => &self.operator,
        }
    }
}

/// A private nats-server on a loopback port. Dropping it has it killed, as does the death of this
/// process.
pub struct NatsServer {
    process: Process,
    port: u16,
    name: String,
    passwords: Passwords,
}

impl NatsServer {
    /// Finds or fetches the server and starts it on a free port. Configuration, log and storage lie
    /// in `dir`, which must exist; what `dir/jetstream` holds already is served again.
    pub async fn start(dir: &Path, passwords: &Passwords) -> Result<Self> {
        Self::start_program(NATS_SERVER.find().await?, dir, passwords, &Care::default()).await
    }

    pub(crate) async fn start_program(
        program: PathBuf,
        dir: &Path,
        passwords: &Passwords,
        care: &Care,
    ) -> Result<Self> {
        let config = dir.join("nats.conf");
        fs::write(&config, CONFIG)
            .with_context(|| format!("could not write {}", config.display()))?;
        on_free_port(|port| Self::start_on(port, &program, dir, &config, passwords, care)).await
    }

    async fn start_on(
        port: u16,
        program: &Path,
        dir: &Path,
        config: &Path,
        passwords: &Passwords,
        care: &Care,
    ) -> Result<Self> {
        let (port_text, name) = (port.to_string(), random_name('n')?);
        // Monitoring goes to any free port; storage to `dir/jetstream`: the server adds that name
        // itself.
        let args = [
            "-a",
            "127.0.0.1",
            "-p",
            &port_text,
            "-m",
            "-1",
            "-n",
            &name,
            "-sd",
        ]
        .map(OsString::from);
        let launch = Launch {
            name: NATS_SERVER.name,
            program: program.to_owned(),
            args: ["-c".into(), config.into()]
                .into_iter()
                .chain(args)
                .chain([dir.into()])
                .collect(),
            envs: vec![
                ("UB_NATS_GATEWAY_PASSWORD", passwords.gateway.clone()),
                ("UB_NATS_WORKERS_PASSWORD", passwords.workers.clone()),
                ("UB_NATS_OPERATOR_PASSWORD", passwords.operator.clone()),
            ],
            log: dir.join("nats-server.log"),
            care: care.clone(),
        };
        let mut server = Self {
            process: Process::start(launch)?,
            port,
            name,
            passwords: passwords.clone(),
        };
        server.ready().await?;
        Ok(server)
    }

    async fn ready(&mut self) -> Result<()> {
        let started = Instant::now();
        let name = format!("\"server_name\":\"{}\"", self.name);
        while !greeting(self.port)
            .await
            .is_some_and(|greeting| greeting.contains(&name))
        {
            self.process.wait_for_it(started).await?;
        }
        Ok(())
    }

    /// Where it listens on 127.0.0.1; the same for its whole life.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address, with user and password. async-nats 0.51 does not take these from there: hand
    /// them to its options too.
    pub fn url(&self, role: Role) -> String {
        format!(
            "nats://{}:{}@127.0.0.1:{}",
            role.as_str(),
            self.passwords.of(role),
            self.port
        )
    }

    /// Ends it at once, as a power loss would.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Starts it again with the same port, passwords and storage, after killing it if it runs.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.restart().await?;
        self.ready().await
    }

    /// Asks it to end, and kills it if it does not.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.stop().await
    }

    /// Waits until it has ended by itself. May be cancelled and called again.
    pub async fn exited(&mut self) -> Result<ExitStatus> {
        self.process.exited().await
    }

    /// The process id; none once it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// The last 20 lines of its log.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}

/// What a server says to whoever connects: it tells ours from another that was faster to take the
/// port.
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
