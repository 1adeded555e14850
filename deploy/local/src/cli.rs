//! The command line of `cargo dev`.

use std::{io::Write as _, net::SocketAddr, path::PathBuf};

use crate::{Local, Options};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Starts the whole backend on this machine: nats-server, mongod, workers, a gateway, and a mailbox
/// that catches all mail.
#[derive(Parser)]
#[command(name = "cargo dev", version)]
struct Arguments {
    /// Address of the gateway.
    #[arg(long, default_value = "127.0.0.1:9900")]
    listen: SocketAddr,
    /// Address of the mailbox page, which shows the mail that the backend sends.
    #[arg(long, default_value = "127.0.0.1:9901")]
    mail_listen: SocketAddr,
    /// Folder that keeps data between runs. Each start also writes the file `env` there, for
    /// `workers`, `nats` and `mongosh`.
    #[arg(long, default_value = ".local", conflicts_with = "ephemeral")]
    data_dir: PathBuf,
    /// Keep nothing: use a temporary folder and remove it at the end.
    #[arg(long)]
    ephemeral: bool,
    /// How often the workers try to send a mail before they give up, 1 to 50. `PUT /refuse` on the
    /// mailbox makes it refuse mail.
    #[arg(long, default_value_t = 12)]
    mail_attempts: i64,
}

/// Runs `cargo dev` until it receives SIGINT or SIGTERM.
///
/// # Errors
/// If a part cannot be started, or ends by itself.
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
        // Other settings come from the environment: `UB_TENANT_DATABASES=hybrid cargo dev`.
        gateway: Vec::new(),
    };
    let local = tokio::select! {
        () = &mut stop => return Ok(()),
        started = Local::start(options) => started?,
    };
    let mut out = std::io::stdout();
    write!(out, "{}", addresses(&local))?;
    out.flush()?;
    local.run_until(stop).await
}

/// Returns the addresses to print. Scripts wait for the last line.
fn addresses(local: &Local) -> String {
    let (url, mail_url) = (local.url(), local.mail_url());
    let env = local.env_file();
    format!(
        "\n\
         start page  {url}/\n\
         GraphiQL    {url}/graphql\n\
         mailbox     {mail_url}/\n\
         operate     . {env} && cargo run --bin workers -- --help\n\
         stop        Ctrl-C\n\
         \n\
         ready {url}/graphql\n"
    )
}
