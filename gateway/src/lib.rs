//! The door: authenticates, parses, publishes commands, awaits their outcomes and reads views.
//!
//! No business rule lives here: what may happen is decided by the workers. [`run`] is the whole
//! program; [`app`] is its HTTP part, for whoever brings a server.

mod access;
mod backend;
pub mod config;
mod error;
mod graphql;
mod http;
mod identity;
mod trace;

use std::{sync::Arc, time::SystemTime};

use anyhow::Context;
use axum::Router;
use events_schema::Time;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use http::app;

use crate::{
    access::rights::Rights, backend::commands::Commands, backend::log::Log, backend::views::Views,
    http::readiness::Readiness, identity::login_throttle::LoginThrottle,
    identity::passwords::Passwords, identity::token_uses::TokenUses,
};
pub use identity::tenancy::Resolver;

/// What every request shares: connections, bounded pools, configuration.
#[derive(Debug)]
pub struct State {
    pub(crate) config: Config,
    pub(crate) commands: Commands,
    pub(crate) views: Views,
    pub(crate) passwords: Passwords,
    pub(crate) logins: LoginThrottle,
    pub(crate) readiness: Readiness,
    pub(crate) rights: Rights,
    pub(crate) token_uses: TokenUses,
    pub(crate) log: Log,
    pub(crate) nats: async_nats::Client,
    /// Cancelled when the gateway is to stop.
    pub(crate) closing: CancellationToken,
}

impl State {
    /// Connects to NATS, which must be there, and to MongoDB, which may come later.
    pub async fn connect(config: Config, closing: CancellationToken) -> anyhow::Result<Arc<Self>> {
        let nats = backend::commands::connect(&config.nats_url).await?;
        let views = Views::connect(&config, nats.clone()).await?;
        let commands = Commands::new(nats.clone(), config.command_timeout());
        let passwords = Passwords::new(config.password_min_length).await?;
        let jetstream = backend::commands::jetstream(nats.clone());
        let logins = LoginThrottle::new(jetstream.clone(), config.secret.clone());
        let (rights, token_uses) = (Rights::new(), TokenUses::new(jetstream));
        let (log, readiness) = (Log::new(nats.clone()), Readiness::default());
        Ok(Arc::new(Self {
            config,
            commands,
            views,
            passwords,
            logins,
            readiness,
            rights,
            token_uses,
            log,
            nats,
            closing,
        }))
    }
}

/// Serves on `listener` until `shutdown`, then lets requests under way finish for a bounded time.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    run_with_pages(config, listener, Router::new(), shutdown).await
}

/// Like [`run`], with further pages, which are not served in production.
pub async fn run_with_pages(
    config: Config,
    listener: TcpListener,
    development: Router,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let state = State::connect(config, shutdown.clone()).await?;
    let address = listener
        .local_addr()
        .context("reading the listening address")?;
    tracing::info!(%address, public_url = state.config.public_url, "gateway listening");
    http::serve::serve(listener, app(state, development)?, shutdown).await;
    tracing::info!("gateway stopped");
    Ok(())
}

/// The time by this machine's clock.
pub(crate) fn now() -> Time {
    Time::from(SystemTime::now())
}
