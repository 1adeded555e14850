//! The whole backend on one machine, for development and for end-to-end tests: one process, and the
//! two servers beside it.
//!
//! Production does not use this crate. There `workers` and `gateway` run as processes of their own.

use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use event_store::{MongoOptions, Monitor, NatsOptions};
use servers::{Layout, Role, Server, Servers};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

mod bench;
mod cli;
pub mod mailbox;
mod settings;
mod shell;
mod start_page;
pub mod stripe;

pub use cli::main;

use crate::{
    mailbox::Mailbox,
    settings::Settings,
    start_page::Links,
    stripe::{Stripe, WEBHOOK_SECRET},
};

/// Time for the parts to finish their work at the end. The servers need another second or two, so
/// that the whole stop takes less than five.
const DRAIN: Duration = Duration::from_millis(2_500);
/// A server that dies more often than this within [`DEATHS_WITHIN`] is not started again, since
/// another start would not help. The error shows its log.
const DEATHS: usize = 3;
/// The time in which [`DEATHS`] are counted.
const DEATHS_WITHIN: Duration = Duration::from_secs(60);
/// Time limit from the start of the parts to the first answer to a command.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// Pause between two checks of `/readyz` until then.
const READY_POLL: Duration = Duration::from_millis(20);

/// How to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address of the gateway. Port 0 chooses a free port.
    pub listen: SocketAddr,
    /// Address of the mailbox page. Port 0 chooses a free port.
    pub mail_listen: SocketAddr,
    /// Address of the development Stripe. Port 0 chooses a free port. `None` starts none: then the
    /// environment says which Stripe to use, if any.
    pub stripe_listen: Option<SocketAddr>,
    /// Address that answers probes and shows metrics. Port 0 chooses a free port.
    pub monitor_listen: Option<SocketAddr>,
    /// Folder that keeps data between runs. `None` uses a temporary folder.
    pub data_dir: Option<PathBuf>,
    /// One server of each kind, or a cluster.
    pub layout: Layout,
    /// How often the workers try to send a mail before they give up, 1 to 50.
    pub mail_attempts: i64,
    /// Further options of the gateway, such as `--tenant-databases` and `hybrid`.
    pub gateway: Vec<String>,
    /// Further options of the workers, such as `--usage-interval-s` and `1`.
    pub workers: Vec<String>,
}

/// A running backend.
pub struct Local {
    /// nats-server and mongod, or three of each.
    pub servers: Servers,
    /// All mail that the backend has sent.
    pub mailbox: Mailbox,
    address: SocketAddr,
    mail_address: SocketAddr,
    stripe_url: Option<String>,
    monitor_address: Option<SocketAddr>,
    gateway: gateway::config::Config,
    parts: JoinSet<anyhow::Result<()>>,
    shutdown: CancellationToken,
}

impl Local {
    /// Starts everything, and returns when commands are answered.
    ///
    /// # Errors
    /// If a port is taken, a server cannot be found, fetched or started, the folder is in use, or
    /// commands are not answered within 20 seconds.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        // Binds the ports first, so that a second copy that is started by mistake fails at once.
        let listener = listen(options.listen, "--listen").await?;
        let mail_listener = listen(options.mail_listen, "--mail-listen").await?;
        let smtp_listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), "the SMTP port").await?;
        let stripe_listener = match options.stripe_listen {
            Some(address) => Some(listen(address, "--stripe-listen").await?),
            None => None,
        };
        let monitor = Monitor::bind(options.monitor_listen).await?;
        let monitor_address = monitor.address();
        let (address, mail_address) = (listener.local_addr()?, mail_listener.local_addr()?);
        let stripe_address = stripe_listener.as_ref().map(TcpListener::local_addr);
        let stripe_url = stripe_address.transpose()?.map(url);
        let servers = match &options.data_dir {
            Some(folder) => Servers::in_dir(folder, options.layout).await?,
            None => Servers::ephemeral(options.layout).await?,
        };
        let settings = Settings::new(&servers, address, smtp_listener.local_addr()?)?;
        let settings = settings.with_stripe(stripe_url.clone());
        let gateway = settings.gateway(&servers, options.gateway)?;
        let workers = settings.workers(&servers, options.mail_attempts, options.workers)?;
        migrate(&servers, &workers.mongo.mongo_database).await?;
        let env_file = servers.dir().join("env");
        servers::write_private(&env_file, &settings.for_a_shell(&servers))?;
        let (mail_url, monitor_url) = (url(mail_address), monitor_address.map(url));
        let monitor_url = monitor_url.unwrap_or_default();
        let links = Links {
            mailbox: &mail_url,
            stripe: stripe_url.as_deref(),
            monitor: &monitor_url,
        };
        let start_page = start_page::router(&links, &shown(&env_file));

        let (mailbox, shutdown) = (Mailbox::new(), CancellationToken::new());
        let mut parts = JoinSet::new();
        parts.spawn(mailbox.clone().serve_smtp(smtp_listener, shutdown.clone()));
        parts.spawn(mailbox.clone().serve_pages(mail_listener, shutdown.clone()));
        if let Some((listener, url)) = stripe_listener.zip(stripe_url.as_ref()) {
            let stripe = match &options.data_dir {
                Some(folder) => {
                    // Each layout has data of its own.
                    let file = match options.layout {
                        Layout::Single => "stripe.journal",
                        Layout::Cluster | Layout::ClusterThrough { .. } => "stripe-cluster.journal",
                    };
                    Stripe::kept(url, &folder.join(file))?
                }
                None => Stripe::new(url),
            };
            let webhooks = format!("{}/webhooks/stripe", self::url(address));
            stripe.add_webhook(&webhooks, WEBHOOK_SECRET);
            parts.spawn(stripe.serve(listener, shutdown.clone()));
        }
        parts.spawn(workers::run(workers, Monitor::default(), shutdown.clone()));
        parts.spawn(gateway::run_with_pages(
            gateway.clone(),
            listener,
            monitor,
            start_page,
            shutdown.clone(),
        ));
        let mut local = Self {
            servers,
            mailbox,
            address,
            mail_address,
            stripe_url,
            monitor_address,
            gateway,
            parts,
            shutdown,
        };
        local.ready().await?;
        Ok(local)
    }

    /// Returns the URL of the gateway, without a slash at the end.
    pub fn url(&self) -> String {
        url(self.address)
    }

    /// Returns the URL of the mailbox page, without a slash at the end.
    pub fn mail_url(&self) -> String {
        url(self.mail_address)
    }

    /// Returns the URL of the development Stripe, without a slash at the end, if there is one.
    pub fn stripe_url(&self) -> Option<&str> {
        self.stripe_url.as_deref()
    }

    /// Returns the URL of the monitor, without a slash at the end, if there is one.
    pub fn monitor_url(&self) -> Option<String> {
        self.monitor_address.map(url)
    }

    /// Returns the path of the file with settings for operators' commands, as a word for a shell.
    pub fn env_file(&self) -> String {
        shown(&self.servers.dir().join("env"))
    }

    /// Returns the gateway's configuration, to start more gateways with.
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
                    "not ready within {READY_WITHIN:?}; {}/readyz names the missing part",
                    self.url()
                );
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Ok(())
    }

    /// Runs until `stop`, then stops everything in order. A server that dies is started again.
    ///
    /// # Errors
    /// If a part ends by itself, or a server dies more than three times within a minute. The error
    /// has the last lines of its log.
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
                dead = Server::first_exit(&mut self.servers.nats) => {
                    let dead = &mut self.servers.nats[dead];
                    count_death("nats-server", &mut nats_deaths, &dead.log_tail())?;
                    dead.restart().await?;
                }
                dead = Server::first_exit(&mut self.servers.mongods) => {
                    let dead = &mut self.servers.mongods[dead];
                    count_death("mongod", &mut mongod_deaths, &dead.log_tail())?;
                    dead.restart().await?;
                }
                Some(ended) = self.parts.join_next() => {
                    ended.context("a part panicked")?.context("a part ended")?;
                    bail!("a part ended by itself");
                }
            }
        }
    }

    /// Lets every part finish its work for a bounded time, then stops the servers.
    ///
    /// # Errors
    /// If a server cannot be stopped.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        let drained = tokio::time::timeout(DRAIN, async {
            while let Some(ended) = self.parts.join_next().await {
                if let Ok(Err(error)) = ended {
                    tracing::warn!(error = format!("{error:#}"), "a part ended with an error");
                }
            }
        });
        if drained.await.is_err() {
            tracing::warn!(
                "not all work was finished within {DRAIN:?}; the rest is done after the next start"
            );
            self.parts.abort_all();
        }
        self.servers.stop().await
    }
}

/// Prepares the servers for this release, with this database for the platform.
async fn migrate(servers: &Servers, database: &str) -> anyhow::Result<()> {
    let nats = NatsOptions {
        nats_url: servers.nats_url(Role::Migrator),
        ..NatsOptions::default()
    };
    let mongo = MongoOptions {
        mongo_url: servers.mongo_url(Role::Migrator),
        mongo_database: database.to_owned(),
        mongo_hosts: Vec::new(),
    };
    workers::migrate(&nats, &mongo, servers.members()).await
}

/// Counts a death of a server.
///
/// # Errors
/// If the server has died too often. The error has the last lines of its log.
fn count_death(name: &str, deaths: &mut Vec<Instant>, log: &str) -> anyhow::Result<()> {
    deaths.retain(|at| at.elapsed() < DEATHS_WITHIN);
    deaths.push(Instant::now());
    if deaths.len() > DEATHS {
        bail!(
            "{name} died {} times within {DEATHS_WITHIN:?}; its last log lines:\n{log}",
            deaths.len()
        );
    }
    tracing::warn!("{name} died and is restarted");
    Ok(())
}

async fn listen(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; choose another address with {option}")
    })
}

/// Whether `/readyz` answers 200. Written by hand, since an HTTP client would be a dependency for
/// this alone.
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

/// A path as a word for a shell, short if it is below the current folder.
fn shown(path: &Path) -> String {
    let current = std::env::current_dir().unwrap_or_default();
    shell::shell_word(path.strip_prefix(current).unwrap_or(path))
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}
