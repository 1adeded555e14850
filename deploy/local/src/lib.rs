//! The whole backend on one machine, in one process beside its two servers: for development, and
//! for the tests that go the way a user goes.
//!
//! Nothing here is needed in production, where the same `workers` and `gateway` run as processes of
//! their own.

use std::{
    fs,
    future::Future,
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use servers::{Role, Servers};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

mod cli;
pub mod mailbox;

pub use cli::main;

use mailbox::Mailbox;

/// How long the parts may take to finish what they began; with the servers' own second or two, the
/// whole stop stays below five.
const DRAIN: Duration = Duration::from_millis(2_500);
/// A server that dies more often than this within [`DEATHS_WITHIN`] is ill: its log says more than
/// another start would.
const DEATHS: usize = 3;
/// See [`DEATHS`].
const DEATHS_WITHIN: Duration = Duration::from_secs(60);
/// How long the first command may take to be answered after everything has started.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How often readiness is looked at until then.
const READY_POLL: Duration = Duration::from_millis(20);

/// How to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the gateway listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the mailbox's page listens; port 0 takes a free one.
    pub mail_listen: SocketAddr,
    /// Where data is kept between runs; none for a temporary folder.
    pub data_dir: Option<PathBuf>,
    /// How often a mail is tried before it is given up.
    pub mail_attempts: i64,
    /// Further options of the gateway, such as `--tenant-databases` and `hybrid`.
    pub gateway: Vec<String>,
}

/// A backend that runs.
pub struct Local {
    /// The two servers.
    pub servers: Servers,
    /// What was mailed.
    pub mailbox: Mailbox,
    address: SocketAddr,
    mail_address: SocketAddr,
    gateway: gateway::config::Config,
    parts: JoinSet<anyhow::Result<()>>,
    shutdown: CancellationToken,
}

impl Local {
    /// Starts everything and returns when a command is answered.
    ///
    /// # Errors
    /// If a port is taken, a server cannot be found or fetched, or the folder is in use.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        // The ports first: who starts a second copy by mistake learns it at once.
        let listener = listen(options.listen, "--listen").await?;
        let mail_listener = listen(options.mail_listen, "--mail-listen").await?;
        let smtp_listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), "the SMTP port").await?;
        let (address, mail_address) = (listener.local_addr()?, mail_listener.local_addr()?);
        let (servers, secret) = match &options.data_dir {
            Some(folder) => (Servers::in_dir(folder).await?, kept_secret(folder)?),
            None => (Servers::ephemeral().await?, random_secret()?),
        };

        let public_url = format!("http://{address}");
        let shutdown = CancellationToken::new();
        let mailbox = Mailbox::new();
        let smtp_url = format!("smtp://{}", smtp_listener.local_addr()?);
        let mut parts = JoinSet::new();
        parts.spawn(mailbox.clone().serve_smtp(smtp_listener, shutdown.clone()));
        let (pages, stop) = (mailbox.router(), shutdown.clone());
        parts.spawn(async move {
            Ok(axum::serve(mail_listener, pages)
                .with_graceful_shutdown(stop.cancelled_owned())
                .await?)
        });

        let shared = [
            ("--mongo-url", servers.mongod.uri()),
            // A second name for the same server, to try out tenants with a host of their own.
            ("--mongo-hosts", format!("other={}", servers.mongod.uri())),
            ("--public-url", public_url),
            ("--secret", secret),
        ];
        let own = [
            ("--nats-url", servers.nats.url(Role::Workers)),
            ("--smtp-url", smtp_url),
            (
                "--mail-from",
                "Ultimate Backend <no-reply@backend.local>".to_owned(),
            ),
            ("--mail-attempts", options.mail_attempts.to_string()),
        ];
        let words = |pairs: &[(&str, String)]| {
            pairs
                .iter()
                .flat_map(|(name, value)| [(*name).to_owned(), value.clone()])
                .collect::<Vec<_>>()
        };
        let workers: workers::config::Config = parse([words(&own), words(&shared)].concat())?;
        let own = words(&[("--nats-url", servers.nats.url(Role::Gateway))]);
        let gateway: gateway::config::Config =
            parse([own, words(&shared), options.gateway].concat())?;
        parts.spawn(workers::run(workers, shutdown.clone()));
        parts.spawn(gateway::run(gateway.clone(), listener, shutdown.clone()));
        let mut local = Self {
            servers,
            mailbox,
            address,
            mail_address,
            gateway,
            parts,
            shutdown,
        };
        local.ready().await?;
        Ok(local)
    }

    /// Where the gateway answers, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where the mailbox answers, without a slash at the end.
    pub fn mail_url(&self) -> String {
        format!("http://{}", self.mail_address)
    }

    /// How the gateway was configured: to start more of them.
    pub fn gateway(&self) -> &gateway::config::Config {
        &self.gateway
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while !is_ready(self.address).await {
            if let Some(ended) = self.parts.try_join_next() {
                ended
                    .context("a part panicked")?
                    .context("a part ended while starting")?;
                bail!("a part ended while starting");
            }
            if Instant::now() > deadline {
                bail!(
                    "not ready within {READY_WITHIN:?}; {}/readyz tells which part is missing",
                    self.url()
                );
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Ok(())
    }

    /// Runs until `stop`; a server that dies is started again, a part that ends is an error. Then
    /// stops everything, in order.
    ///
    /// # Errors
    /// If a part ends by itself, or a server dies again and again; the error carries its last log
    /// lines.
    pub async fn run_until(mut self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let result = tokio::select! {
            () = stop => Ok(()),
            result = self.supervise() => result,
        };
        let stopped = self.stop().await;
        result.and(stopped)
    }

    async fn supervise(&mut self) -> anyhow::Result<()> {
        let (mut nats_deaths, mut mongod_deaths) = (Vec::new(), Vec::new());
        loop {
            tokio::select! {
                _ = self.servers.nats.exited() => {
                    died("nats-server", &mut nats_deaths, &self.servers.nats.log_tail())?;
                    self.servers.nats.restart().await?;
                }
                _ = self.servers.mongod.exited() => {
                    died("mongod", &mut mongod_deaths, &self.servers.mongod.log_tail())?;
                    self.servers.mongod.restart().await?;
                }
                Some(ended) = self.parts.join_next() => {
                    ended.context("a part panicked")?.context("a part ended")?;
                    bail!("a part ended by itself");
                }
            }
        }
    }

    /// Lets every part finish what it began, then stops the servers.
    ///
    /// # Errors
    /// If a server cannot be stopped.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        let drained = tokio::time::timeout(DRAIN, async {
            while let Some(ended) = self.parts.join_next().await {
                if let Ok(Err(error)) = ended {
                    tracing::warn!(error = format!("{error:#}"), "a part did not end well");
                }
            }
        });
        if drained.await.is_err() {
            tracing::warn!(
                "not everything was finished within {DRAIN:?}; what was begun is done at the next start"
            );
            self.parts.abort_all();
        }
        self.servers.stop().await
    }
}

fn died(name: &str, deaths: &mut Vec<Instant>, log: &str) -> anyhow::Result<()> {
    deaths.retain(|at| at.elapsed() < DEATHS_WITHIN);
    deaths.push(Instant::now());
    if deaths.len() > DEATHS {
        bail!(
            "{name} died {} times within {DEATHS_WITHIN:?}; its last log lines:\n{log}",
            deaths.len()
        );
    }
    tracing::warn!("{name} died and is started again");
    Ok(())
}

async fn listen(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{address} cannot be listened on; choose another by {option}"))
}

/// Through the same parser as the binaries, so that defaults and limits are theirs.
fn parse<C: clap::Args + clap::FromArgMatches>(options: Vec<String>) -> anyhow::Result<C> {
    let matches = C::augment_args(clap::Command::new("local").no_binary_name(true))
        .try_get_matches_from(options)?;
    Ok(C::from_arg_matches(&matches)?)
}

async fn is_ready(address: SocketAddr) -> bool {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream
            .write_all(
                format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
                    .as_bytes(),
            )
            .await?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await?;
        std::io::Result::Ok(&status == b"HTTP/1.1 200")
    };
    ask.await.unwrap_or(false)
}

fn random_secret() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("reading random bytes")?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}

/// Kept beside the data: codes and links that were mailed before a restart stay valid.
fn kept_secret(folder: &Path) -> anyhow::Result<String> {
    let path = folder.join("secret");
    if let Ok(secret) = fs::read_to_string(&path) {
        return Ok(secret);
    }
    let secret = random_secret()?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    file.write_all(secret.as_bytes())?;
    Ok(secret)
}
