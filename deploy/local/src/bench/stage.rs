//! A backend as an operator runs it: gateway and workers as processes of their own, beside the two
//! servers. Each can be measured, stopped and started alone.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use async_nats::jetstream::consumer::PullConsumer;
use events_schema::{AreaName, View as _, project, secret::ServerKey, subject::EVENTS};
use futures_util::{StreamExt as _, future::OptionFuture};
use mongodb::{Client as Mongo, Collection, bson::Document};
use serde::Serialize;
use servers::{Layout, Role, Servers};
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    limits::jetstream_of,
    processes::{UsedByOne, of_one},
    program::Program,
    world::{Size, World},
};
use crate::{
    is_ready, listen,
    mailbox::Mailbox,
    migrate,
    settings::Settings,
    stripe::{Stripe, WEBHOOK_SECRET},
};

/// Time limit from the start of the processes to the first answer to a command.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Pause between two checks of `/readyz`: the precision of a start.
const READY_POLL: Duration = Duration::from_millis(5);
/// Commits that are acknowledged at once, below the 10,000 that may be unacknowledged.
const ACKNOWLEDGED_AT_ONCE: usize = 5_000;
/// Links in mails begin with this address. Nobody follows them.
const LINKS: SocketAddr = SocketAddr::V4(std::net::SocketAddrV4::new(
    std::net::Ipv4Addr::LOCALHOST,
    9900,
));
/// The database that holds the views, which is the default of the programs.
const DATABASE: &str = "ultimate_backend";
/// The hidden commands of this program that run one part.
const GATEWAY: &str = "gateway";
const WORKERS: &str = "workers";
const REBUILD: &str = "rebuild-views";

/// What is known of each process.
#[derive(Clone, Copy, Default, Serialize)]
pub(super) struct Parts<T> {
    pub(super) gateway: T,
    pub(super) workers: T,
    pub(super) nats_server: T,
    pub(super) mongod: T,
}

impl<T> Parts<T> {
    /// Changes what is known of each process.
    pub(super) fn map<U>(self, change: impl Fn(T) -> U) -> Parts<U> {
        Parts {
            gateway: change(self.gateway),
            workers: change(self.workers),
            nats_server: change(self.nats_server),
            mongod: change(self.mongod),
        }
    }

    /// Pairs what is known of each process with something else.
    pub(super) fn zip<U>(self, other: Parts<U>) -> Parts<(T, U)> {
        Parts {
            gateway: (self.gateway, other.gateway),
            workers: (self.workers, other.workers),
            nats_server: (self.nats_server, other.nats_server),
            mongod: (self.mongod, other.mongod),
        }
    }

    /// Returns all in the order of the columns.
    pub(super) fn columns(self) -> [T; 4] {
        [self.gateway, self.workers, self.nats_server, self.mongod]
    }
}

/// Servers, and the processes that run on them.
pub(super) struct Stage {
    pub(super) servers: Servers,
    settings: Settings,
    mailbox: SocketAddr,
    gateway: Option<Program>,
    workers: Option<Program>,
    /// Receives mail, and answers as Stripe does, until it is dropped.
    beside: JoinSet<anyhow::Result<()>>,
}

impl Stage {
    /// Starts empty servers and a mailbox, and nothing else.
    ///
    /// # Errors
    /// If a server cannot be found, fetched or started.
    pub(super) async fn servers() -> anyhow::Result<Self> {
        Self::servers_with(None).await
    }

    /// Starts empty servers and a mailbox. Programs ask the development Stripe at this URL, if there
    /// is one.
    async fn servers_with(stripe_url: Option<String>) -> anyhow::Result<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let smtp = listen(any, "a mail port").await?;
        let pages = listen(any, "a mailbox port").await?;
        let servers = Servers::ephemeral(Layout::Single).await?;
        migrate(&servers, DATABASE).await?;
        let settings = Settings::new(&servers, LINKS, smtp.local_addr()?)?;
        let settings = settings.with_stripe(stripe_url);
        let mailbox = pages.local_addr()?;
        let (received, mut mail) = (Mailbox::new(), JoinSet::new());
        // Both end when the stage is dropped.
        let forever = CancellationToken::new();
        mail.spawn(received.clone().serve_smtp(smtp, forever.clone()));
        mail.spawn(received.serve_pages(pages, forever));
        Ok(Self {
            servers,
            settings,
            mailbox,
            gateway: None,
            workers: None,
            beside: mail,
        })
    }

    /// Starts empty servers with a gateway and workers, and makes tenants. Returns the backend and
    /// what was made.
    ///
    /// # Errors
    /// If something cannot be started or made.
    pub(super) async fn with_world(tenants: usize) -> anyhow::Result<(Self, World)> {
        let mut stage = Self::servers().await?;
        stage.start().await?;
        let world = stage.world(tenants).await?;
        Ok((stage, world))
    }

    /// Does the same with a development Stripe. Returns its address, too.
    ///
    /// # Errors
    /// If something cannot be started or made.
    pub(super) async fn with_payments(tenants: usize) -> anyhow::Result<(Self, World, SocketAddr)> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = listen(any, "a port for the development Stripe").await?;
        let address = listener.local_addr()?;
        let url = format!("http://{address}");
        let stripe = Stripe::new(&url);
        let mut stage = Self::servers_with(Some(url)).await?;
        let serve = stripe.clone().serve(listener, CancellationToken::new());
        stage.beside.spawn(serve);
        stage.start().await?;
        let hooks = format!("http://{}/webhooks/stripe", stage.address()?);
        stripe.add_webhook(&hooks, WEBHOOK_SECRET);
        let world = stage.world(tenants).await?;
        Ok((stage, world, address))
    }

    /// Makes tenants.
    async fn world(&self, tenants: usize) -> anyhow::Result<World> {
        let size = Size {
            tenants,
            projects: 0,
            listed: 0,
        };
        let world = World::make(self.address()?, self.mailbox, size).await;
        world.context("could not make tenants")
    }

    /// Starts gateway and workers. Returns how long it took until commands were answered.
    ///
    /// # Errors
    /// If one of them ends, or no command is answered within a minute.
    pub(super) async fn start(&mut self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let gateway = self.variables(Role::Gateway);
        let gateway = Program::start(&[GATEWAY, "--listen", "127.0.0.1:0"], &gateway);
        let (gateway, workers) = tokio::try_join!(gateway, self.workers())?;
        let address = gateway.address()?;
        self.gateway = Some(gateway);
        self.workers = Some(workers);
        until_ready(address, started).await
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// If they end, or the gateway sees no command answered within a minute.
    pub(super) async fn start_workers(&mut self) -> anyhow::Result<()> {
        self.workers = Some(self.workers().await?);
        until_ready(self.address()?, Instant::now()).await?;
        Ok(())
    }

    /// Stops the workers, so that nothing reads the log.
    ///
    /// # Errors
    /// If they report one.
    pub(super) async fn stop_workers(&mut self) -> anyhow::Result<()> {
        match self.workers.take() {
            Some(workers) => workers.stop().await,
            None => Ok(()),
        }
    }

    /// Stops gateway and workers.
    ///
    /// # Errors
    /// If one of them reports one.
    pub(super) async fn stop_programs(&mut self) -> anyhow::Result<()> {
        let gateway = self.gateway.take();
        let gateway = OptionFuture::from(gateway.map(Program::stop));
        let (gateway, workers) = tokio::join!(gateway, self.stop_workers());
        gateway.unwrap_or(Ok(())).and(workers)
    }

    /// Stops everything.
    ///
    /// # Errors
    /// If a process reports one.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.stop_programs().await?;
        self.servers.stop().await
    }

    /// Returns the address of the gateway.
    ///
    /// # Errors
    /// If it does not run.
    pub(super) fn address(&self) -> anyhow::Result<SocketAddr> {
        let gateway = self.gateway.as_ref();
        gateway.context("the gateway does not run")?.address()
    }

    /// Reads what each process has used until now; `None` for one that does not run.
    pub(super) fn used(&self) -> Parts<Option<UsedByOne>> {
        let of_program = |program: &Option<Program>| of_one(program.as_ref()?.id().ok()?);
        Parts {
            gateway: of_program(&self.gateway),
            workers: of_program(&self.workers),
            nats_server: self.servers.nats[0].pid().and_then(of_one),
            mongod: self.servers.mongods[0].pid().and_then(of_one),
        }
    }

    /// Returns what seals the secrets of webhooks.
    ///
    /// # Errors
    /// If the secret of the backend is malformed.
    pub(super) fn server_key(&self) -> anyhow::Result<ServerKey> {
        self.settings.server_key()
    }

    /// Connects to JetStream as the operator.
    ///
    /// # Errors
    /// If nats-server does not answer.
    pub(super) async fn jetstream(&self) -> anyhow::Result<async_nats::jetstream::Context> {
        jetstream_of(&self.servers.nats_url(Role::Operator)).await
    }

    /// Returns a collection of the database that holds the views.
    ///
    /// # Errors
    /// If the URL of mongod is wrong.
    pub(super) async fn collection(&self, name: &str) -> anyhow::Result<Collection<Document>> {
        let mongo = Mongo::with_uri_str(self.servers.mongo_url(Role::Operator)).await?;
        Ok(mongo.database(DATABASE).collection(name))
    }

    /// Rebuilds the view of projects in a process of its own, which runs until it is stopped.
    ///
    /// # Errors
    /// If the process ends with an error.
    pub(super) async fn rebuild(&self) -> anyhow::Result<Program> {
        let variables = self.settings.variables(&self.servers, Role::Migrator);
        let area = AreaName::Project.as_str();
        Program::start(&[REBUILD, "--areas", area], &variables).await
    }

    /// Builds the view of projects, and acknowledges the commits that it was built from, since
    /// their documents are there. No workers may run meanwhile.
    ///
    /// # Errors
    /// If a server does not answer.
    pub(super) async fn build_view(&self) -> anyhow::Result<()> {
        self.rebuild().await?.stop().await?;
        let mut consumer = self.view_consumer().await?;
        loop {
            let info = consumer.info().await?;
            if info.num_pending == 0 && info.num_ack_pending == 0 {
                return Ok(());
            }
            let batch = consumer.fetch().max_messages(ACKNOWLEDGED_AT_ONCE);
            let mut messages = batch.messages().await?;
            while let Some(message) = messages.next().await {
                let acknowledged = message.map_err(anyhow::Error::from_boxed)?.ack().await;
                acknowledged.map_err(anyhow::Error::from_boxed)?;
            }
        }
    }

    /// Returns the consumer whose commits the workers apply to the view of projects.
    ///
    /// # Errors
    /// If no workers have created it yet.
    pub(super) async fn view_consumer(&self) -> anyhow::Result<PullConsumer> {
        let log = self.jetstream().await?.get_stream_no_info(EVENTS).await?;
        let name = format!("views_{}", project::View::NAME);
        let consumer = log.get_consumer(&name).await;
        consumer.map_err(anyhow::Error::from_boxed)
    }

    async fn workers(&self) -> anyhow::Result<Program> {
        let variables = self.variables(Role::Workers);
        Program::start(&[WORKERS], &variables).await
    }

    /// Returns the environment variables of the program of a role.
    fn variables(&self, role: Role) -> Vec<(&'static str, String)> {
        let own = self.settings.variables(&self.servers, role).into_iter();
        own.chain(self.settings.stripe_variables()).collect()
    }
}

/// Waits until a gateway answers that commands are answered. Returns the time since `started`.
async fn until_ready(address: SocketAddr, started: Instant) -> anyhow::Result<Duration> {
    while !is_ready(address).await {
        let elapsed = started.elapsed();
        ensure!(elapsed < READY_WITHIN, "not ready within {READY_WITHIN:?}");
        sleep(READY_POLL).await;
    }
    Ok(started.elapsed())
}
