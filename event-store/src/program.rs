//! The start of both programs: the allocator, signals and the limit of open files.

use anyhow::Context as _;
use mimalloc::MiMalloc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
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

/// Raises this process's limit of open files as far as it may. Returns the limit. A failure is
/// logged, and the limit is then as low as it usually is.
pub fn raise_open_files() -> u64 {
    raise().unwrap_or_else(|error| {
        tracing::warn!(%error, "the limit of open files is not known");
        1_024
    })
}

fn raise() -> nix::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}
