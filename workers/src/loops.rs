//! The loops that run the rules: consume, decode, load, append, settle. They hold no rule of any
//! area.

mod cache;
pub mod command;
pub mod consumers;
mod dead_letter;
pub mod delivery;
pub mod effect;
pub mod history;
pub(crate) mod limit;
mod parking;
mod place_queue;
mod pulls;
pub mod reaction;
pub mod retry;
pub mod slots;
pub mod view;

pub use pulls::Pulls;

/// What every loop of a process gets.
#[derive(Clone)]
pub struct Shared {
    pub client: async_nats::Client,
    pub pulls: Pulls,
    /// Changes each time that the connection to NATS is restored.
    pub reconnects: tokio::sync::watch::Receiver<u64>,
    pub shutdown: tokio_util::sync::CancellationToken,
}
