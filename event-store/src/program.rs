//! The start of both programs: the allocator, logging and signals.

use anyhow::Context as _;
use mimalloc::MiMalloc;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterExt as _, filter_fn},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// A request makes hundreds of small allocations, which the C library's allocator spends a quarter
/// of its time on.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Starts logging to standard error, as text or as JSON lines. `RUST_LOG` chooses what is logged.
pub fn start_logging(json: bool) {
    let filter = EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
    let filter = filter.and(filter_fn(shows_no_password));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if json {
        let lines = lines.json().flatten_event(true);
        lines.with_filter(filter).boxed()
    } else {
        lines.with_filter(filter).boxed()
    };
    tracing_subscriber::registry().with(lines).init();
}

/// The debug lines of the NATS client show the password that it connects with.
fn shows_no_password(line: &Metadata<'_>) -> bool {
    let is_detailed = *line.level() > Level::INFO;
    !(is_detailed && line.target().starts_with("async_nats"))
}

/// Returns a token that SIGINT or SIGTERM cancels.
///
/// # Errors
/// If the signals cannot be listened for.
pub fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping after the work in progress");
        stop.cancel();
    });
    Ok(shutdown)
}
