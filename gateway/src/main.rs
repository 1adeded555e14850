//! The program `gateway`: a shell around the library.

use anyhow::Context as _;
use clap::Parser;
use event_store::{Monitor, Telemetry, program};
use gateway::Config;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let telemetry = Telemetry::start("gateway", config.posture.is_production(), "info")?;
    let shutdown = program::stop_on_signal()?;
    let listener = TcpListener::bind(config.listen).await;
    let listener = listener.with_context(|| format!("listening on {}", config.listen))?;
    let monitor = Monitor::bind(config.monitor.monitor_listen).await?;
    let result = gateway::run(config, listener, monitor, shutdown).await;
    telemetry.stop().await;
    result
}
