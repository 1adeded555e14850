//! The `workers` binary: a shell around the library.

use clap::{Parser, Subcommand};
use events_schema::{Area, HostName, Place};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use workers::config::{Config, Mongo, Nats};

/// Stateless workers: decide commands, keep views, react to events, send mail.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Log lines as JSON.
    #[arg(long, env = "UB_PRODUCTION", global = true)]
    production: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Work until told to stop; any number of copies may run.
    Run(Box<Config>),
    /// Build views anew from the log, beside the old ones, and put them in their place.
    RebuildViews {
        /// Where NATS is.
        #[command(flatten)]
        nats: Nats,
        /// Where MongoDB is.
        #[command(flatten)]
        mongo: Mongo,
        /// The areas whose views are rebuilt.
        #[arg(long, value_delimiter = ',', default_values_t = Area::ALL, value_parser = |text: &str| Area::parse(text))]
        areas: Vec<Area>,
    },
    /// Move the views of a tenant to another place while everything runs; takes half a minute and
    /// the time to read its log.
    MoveTenant {
        /// Where NATS is.
        #[command(flatten)]
        nats: Nats,
        /// Where MongoDB is.
        #[command(flatten)]
        mongo: Mongo,
        /// The tenant's slug or id.
        tenant: String,
        /// Where its views are to live.
        #[arg(long)]
        to: Target,
        /// On which of UB_MONGO_HOSTS; by default the platform's.
        #[arg(long, value_parser = |text: &str| HostName::parse(text))]
        host: Option<HostName>,
    },
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Target {
    /// The platform's database, beside other tenants.
    Shared,
    /// A database of its own.
    Database,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if options.production {
        log.json().init()
    } else {
        log.init()
    }
    match options.command {
        Command::Run(config) => workers::run(*config, stop_on_signal()?).await,
        Command::RebuildViews { nats, mongo, areas } => {
            workers::rebuild_views(&nats, &mongo, &areas, |view, read, sequence| {
                tracing::info!(
                    view,
                    commits_read = read,
                    next_sequence = sequence,
                    "rebuilding"
                );
            })
            .await
        }
        Command::MoveTenant {
            nats,
            mongo,
            tenant,
            to,
            host,
        } => {
            let place = match (to, host) {
                (Target::Database, host) => Place::Database { host },
                (Target::Shared, None) => Place::Shared,
                (Target::Shared, Some(_)) => anyhow::bail!(
                    "--host goes with --to database: the shared database is on the platform's host"
                ),
            };
            workers::move_tenant(&nats, &mongo, &tenant, place, |step| {
                tracing::info!(tenant, "{step}")
            })
            .await
        }
    }
}

fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        tracing::info!("stopping: finishing what was begun");
        stop.cancel();
    });
    Ok(shutdown)
}
