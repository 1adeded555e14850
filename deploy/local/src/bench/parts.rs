//! The programs of a backend, each as a process that `bench` can measure.

use clap::Args;
use event_store::{MongoOptions, Monitor, NatsOptions};
use events_schema::AreaName;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The options of a rebuild.
#[derive(Args)]
pub(crate) struct Rebuild {
    #[command(flatten)]
    nats: NatsOptions,
    #[command(flatten)]
    mongo: MongoOptions,
    /// Areas whose views to rebuild.
    #[arg(long, value_delimiter = ',', value_parser = AreaName::parse)]
    areas: Vec<AreaName>,
}

/// Runs a gateway until `stop`. Passes its URL to `ready` as soon as it listens.
///
/// # Errors
/// If it cannot listen, or NATS cannot be reached.
pub(crate) async fn gateway(
    config: gateway::Config,
    ready: impl FnOnce(&str) -> anyhow::Result<()>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.listen).await?;
    ready(&format!("http://{}/graphql", listener.local_addr()?))?;
    gateway::run(config, listener, Monitor::default(), cancelled_by(stop)).await
}

/// Runs workers until `stop`.
///
/// # Errors
/// If a server cannot be reached, or a loop ends.
pub(crate) async fn workers(
    config: workers::config::Config,
    ready: impl FnOnce(&str) -> anyhow::Result<()>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    ready("workers")?;
    workers::run(config, Monitor::default(), cancelled_by(stop)).await
}

/// Rebuilds views, and then waits for `stop`, so that what it has used can be read.
///
/// # Errors
/// If a server does not answer.
pub(crate) async fn rebuild(
    options: Rebuild,
    ready: impl FnOnce(&str) -> anyhow::Result<()>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let Rebuild { nats, mongo, areas } = options;
    let memory_mib = workers::REBUILD_MEMORY_MIB;
    workers::rebuild_views(&nats, &mongo, &areas, memory_mib, &|_, _| {}).await?;
    ready("rebuilt")?;
    stop.await;
    Ok(())
}

fn cancelled_by(stop: impl Future<Output = ()> + Send + 'static) -> CancellationToken {
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        stop.await;
        cancel.cancel();
    });
    token
}
