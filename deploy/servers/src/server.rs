//! A running private server, nats-server or mongod.

use std::process::ExitStatus;

use anyhow::Result;
use futures_util::future::select_all;

use crate::process::{Launch, Process};

/// A private server on a loopback port. Dropping it kills it, and so does the death of this
/// process.
pub struct Server<K> {
    process: Process,
    port: u16,
    pub(crate) kind: K,
}

/// How to find out that a server is ready. This differs between the servers.
pub trait Kind: Sync {
    /// Waits until the server on this port is ready.
    ///
    /// # Errors
    /// If the server ends, or is not ready in time.
    fn ready(&self, process: &mut Process, port: u16) -> impl Future<Output = Result<()>> + Send;
}

impl<K: Kind> Server<K> {
    pub(crate) async fn launch(kind: K, port: u16, launch: Launch) -> Result<Self> {
        let mut process = Process::start(launch)?;
        kind.ready(&mut process, port).await?;
        Ok(Self {
            process,
            port,
            kind,
        })
    }

    /// Returns the port on 127.0.0.1. It stays the same when the server is restarted.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills the server, as a power loss would.
    ///
    /// # Errors
    /// If the process cannot be killed.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Kills the server if it runs, and starts it with the same port, passwords and data.
    ///
    /// # Errors
    /// If the server ends, or is not ready in time.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.restart().await?;
        self.kind.ready(&mut self.process, self.port).await
    }

    /// Stops the server, and kills it if that takes longer than 15 seconds.
    ///
    /// # Errors
    /// If the process cannot be killed.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.stop().await
    }

    /// Waits until the server has ended by itself. Can be cancelled and called again.
    ///
    /// # Errors
    /// If the process cannot be waited for.
    pub async fn exited(&mut self) -> Result<ExitStatus> {
        self.process.exited().await
    }

    /// Waits until one of these servers has ended by itself. Returns its index. Can be cancelled
    /// and called again.
    pub async fn first_exit(servers: &mut [Self]) -> usize {
        let exits = servers.iter_mut().map(|server| Box::pin(server.exited()));
        select_all(exits).await.1
    }

    /// Returns the process id; `None` after the server has ended.
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// Returns the last 20 lines of the log; an empty text if the log cannot be read.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}
