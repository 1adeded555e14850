//! A worker as a process of its own, built here so that tests can start and kill it.

use clap::{Args, FromArgMatches};
use event_store::Monitor;
use tokio_util::sync::CancellationToken;
use workers::config::Config;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let command = Config::augment_args(clap::Command::new("worker"));
    let config = Config::from_arg_matches(&command.get_matches())?;
    workers::run(config, Monitor::default(), CancellationToken::new()).await
}
