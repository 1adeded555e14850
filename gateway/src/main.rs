//! The program `gateway`: a shell around the library.

use anyhow::Context as _;
use clap::Parser;
use event_store::program;
use gateway::Config;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    program::start_logging(config.production);
    let shutdown = program::stop_on_signal()?;
    let listener = TcpListener::bind(config.listen).await;
    let listener = listener.with_context(|| format!("listening on {}", config.listen))?;
    gateway::run(config, listener, shutdown).await
}
