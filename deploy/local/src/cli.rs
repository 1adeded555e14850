//! The command line of `cargo dev`.

use std::{io::Write as _, net::SocketAddr, path::PathBuf};

use crate::{
    Local, Options,
    bench::{self, bare, from_memory, parts},
    stripe::SECRET_KEY,
};
use clap::{Parser, Subcommand};
use event_store::Telemetry;
use futures_util::future::OptionFuture;
use servers::Layout;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// Starts the whole backend on this machine: nats-server, mongod, workers, a gateway, a mailbox that
/// catches all mail, and a small Stripe.
#[derive(Parser)]
#[command(name = "cargo dev", version, disable_help_subcommand = true)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Address of the gateway.
    #[arg(long, default_value = "127.0.0.1:9900")]
    listen: SocketAddr,
    /// Address of the mailbox page, which shows the mail that the backend sends.
    #[arg(long, default_value = "127.0.0.1:9901")]
    mail_listen: SocketAddr,
    /// Address of the development Stripe. It does not start if `UB_STRIPE_KEY` is set: then Stripe
    /// itself is used.
    #[arg(long, default_value = "127.0.0.1:9903")]
    stripe_listen: SocketAddr,
    /// Address that answers `/livez`, `/readyz` and `/metrics`, the metrics as Prometheus text.
    #[arg(long, default_value = "127.0.0.1:9902")]
    monitor_listen: SocketAddr,
    /// Folder that keeps data between runs. Each start also writes the file `env` there, for
    /// `workers`, `nats` and `mongosh`.
    #[arg(long, default_value = ".local", conflicts_with = "ephemeral")]
    data_dir: PathBuf,
    /// Keep nothing: use a temporary folder and remove it at the end.
    #[arg(long)]
    ephemeral: bool,
    /// Run three servers of each kind, as in production. They have data of their own.
    #[arg(long)]
    cluster: bool,
    /// How often the workers try to send a mail before they give up, 1 to 50. `PUT /refuse` on the
    /// mailbox makes it refuse mail.
    #[arg(long, default_value_t = 12)]
    mail_attempts: i64,
    /// Stop when the standard input ends, so also when the process that started this one dies.
    #[arg(long, hide = true)]
    until_input_ends: bool,
}

#[derive(Subcommand)]
enum Command {
    #[command(override_usage = "cargo run --release --bin local -- bench [OPTIONS]")]
    Bench(bench::Options),
    #[command(override_usage = "cargo run --release --bin local -- attack [OPTIONS]")]
    Attack(bench::attack::Options),
    #[command(override_usage = "cargo run --release --bin local -- tell-apart [OPTIONS]")]
    TellApart(bench::attack::pairs::Options),
    /// Answers one GraphQL query from memory. `bench` starts this.
    #[command(hide = true)]
    AnswerFromMemory,
    /// Sends the requests of a webhook and does nothing else. `bench` starts this.
    #[command(hide = true)]
    BareClient(bare::Bare),
    /// The program `gateway`. `bench` starts this.
    #[command(hide = true)]
    Gateway(Box<gateway::Config>),
    /// The program `workers run`. `bench` starts this.
    #[command(hide = true)]
    Workers(Box<workers::config::Config>),
    /// The program `workers rebuild-views`, which then waits to be measured. `bench` starts this.
    #[command(hide = true)]
    RebuildViews(parts::Rebuild),
}

impl Command {
    /// Whether `bench` starts this as a child process.
    const fn is_child(&self) -> bool {
        match self {
            Self::Bench(_) | Self::Attack(_) | Self::TellApart(_) => false,
            Self::AnswerFromMemory
            | Self::BareClient(_)
            | Self::Gateway(_)
            | Self::Workers(_)
            | Self::RebuildViews(_) => true,
        }
    }
}

/// Runs `cargo dev` until it receives SIGINT or SIGTERM.
///
/// # Errors
/// If a part cannot be started, or ends by itself.
#[tokio::main]
pub async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let is_child = arguments.command.as_ref().is_some_and(Command::is_child);
    let stop = stop(arguments.until_input_ends || is_child)?;
    let lines = match &arguments.command {
        None => "warn,gateway=info,local=info,servers=info",
        Some(_) => "warn",
    };
    let telemetry = Telemetry::start("ultimate-backend", false, lines)?;
    let result = match arguments.command {
        None => dev(arguments, stop).await,
        Some(Command::Bench(options)) => bench::run(options, stop).await,
        Some(Command::Attack(options)) => bench::attack::run(options, stop).await,
        Some(Command::TellApart(options)) => bench::attack::pairs::run(options, stop).await,
        Some(Command::AnswerFromMemory) => from_memory::serve(print_ready, stop).await,
        Some(Command::BareClient(bare)) => bare.send(print_ready, stop).await,
        Some(Command::Gateway(config)) => parts::gateway(*config, print_ready, stop).await,
        Some(Command::Workers(config)) => parts::workers(*config, print_ready, stop).await,
        Some(Command::RebuildViews(rebuild)) => parts::rebuild(rebuild, print_ready, stop).await,
    };
    telemetry.stop().await;
    result
}

/// Returns a future that ends with SIGINT or SIGTERM, or when the standard input ends.
fn stop(until_input_ends: bool) -> anyhow::Result<impl Future<Output = ()> + Send> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let input_end = until_input_ends.then(input_end);
    let input_end = async { OptionFuture::from(input_end).await.is_some() };
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            true = input_end => {}
        }
    })
}

/// Returns what comes when the standard input ends.
fn input_end() -> oneshot::Receiver<()> {
    let (ended, input_end) = oneshot::channel();
    // A thread of its own: at its end, the runtime would wait for a reader that it owns.
    std::thread::spawn(move || {
        _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        _ = ended.send(());
    });
    input_end
}

async fn dev(arguments: Arguments, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    tokio::pin!(stop);
    let options = Options {
        listen: arguments.listen,
        mail_listen: arguments.mail_listen,
        stripe_listen: (!has_stripe_key()).then_some(arguments.stripe_listen),
        monitor_listen: Some(arguments.monitor_listen),
        data_dir: (!arguments.ephemeral).then_some(arguments.data_dir),
        layout: if arguments.cluster {
            Layout::Cluster
        } else {
            Layout::Single
        },
        mail_attempts: arguments.mail_attempts,
        // Other settings come from the environment: `UB_TENANT_DATABASES=hybrid cargo dev`.
        gateway: Vec::new(),
        workers: Vec::new(),
    };
    let local = tokio::select! {
        () = &mut stop => return Ok(()),
        started = Local::start(options) => started?,
    };
    print(&addresses(&local))?;
    local.run_until(stop).await
}

/// Whether the programs are to use Stripe itself. A shell that has read `.local/env` has the key of
/// the development Stripe.
fn has_stripe_key() -> bool {
    std::env::var_os("UB_STRIPE_KEY").is_some_and(|key| !key.is_empty() && key != SECRET_KEY)
}

fn print_ready(url: &str) -> anyhow::Result<()> {
    print(&format!("ready {url}\n"))
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    write!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Returns the addresses to print. Scripts wait for the last line.
fn addresses(local: &Local) -> String {
    let (url, mail_url) = (local.url(), local.mail_url());
    let stripe = local.stripe_url().unwrap_or("https://api.stripe.com");
    let (monitor_url, env) = (local.monitor_url().unwrap_or_default(), local.env_file());
    format!(
        "\n\
         start page  {url}/\n\
         GraphiQL    {url}/graphql\n\
         mailbox     {mail_url}/\n\
         Stripe      {stripe}/\n\
         metrics     {monitor_url}/metrics\n\
         operate     . {env} && cargo run --bin workers -- --help\n\
         stop        Ctrl-C\n\
         \n\
         ready {url}/graphql\n"
    )
}
