//! The start of both programs: the allocator and signals.

use anyhow::Context as _;
use mimalloc::MiMalloc;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A request makes hundreds of small allocations, which the C library's allocator spends a quarter
/// of its time on.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

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
