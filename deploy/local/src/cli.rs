//! The command line of `cargo dev`.

use std::{io::Write as _, net::SocketAddr, path::PathBuf};

use crate::{Local, Options};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Starts the whole backend on this machine: nats-server, mongod, workers, gateway and a mailbox
/// for its mail.
#[derive(Parser)]
#[command(name = "cargo dev", version)]
struct Arguments {
    /// Where the gateway listens.
    #[arg(long, default_value = "127.0.0.1:9900")]
    listen: SocketAddr,
    /// Where the mailbox page listens; mail that the backend sends ends up there.
    #[arg(long, default_value = "127.0.0.1:9901")]
    mail_listen: SocketAddr,
    /// Where data is kept between runs.
    #[arg(long, default_value = ".local", conflicts_with = "ephemeral")]
    data_dir: PathBuf,
    /// Keep nothing: use a temporary folder, and remove it at the end.
    #[arg(long)]
    ephemeral: bool,
    /// How often a mail is tried before it is given up; `PUT /refuse` on the mailbox makes it
    /// refuse.
    #[arg(long, default_value_t = 12)]
    mail_attempts: i64,
}

/// Runs `cargo dev` until it is told to stop.
///
/// # Errors
/// If something cannot be started, or ends by itself.
#[tokio::main]
pub async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,gateway=info,local=info,servers=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let stop = async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    };
    tokio::pin!(stop);

    let options = Options {
        listen: arguments.listen,
        mail_listen: arguments.mail_listen,
        data_dir: (!arguments.ephemeral).then_some(arguments.data_dir),
        mail_attempts: arguments.mail_attempts,
        // What else an operator may set, the environment says, as `UB_TENANT_DATABASES=hybrid cargo
        // dev`.
        gateway: Vec::new(),
    };
    let local = tokio::select! {
        () = &mut stop => return Ok(()),
        started = Local::start(options) => started?,
    };
    let mut out = std::io::stdout();
    writeln!(
        out,
        "mail  {}/\nready {}/graphql",
        local.mail_url(),
        local.url()
    )?;
    out.flush()?;
    local.run_until(stop).await
}
