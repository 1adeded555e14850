//! A running server, whichever of the two it is.

use std::process::ExitStatus;

use anyhow::Result;

use crate::process::{Launch, Process};

/// A private server on a loopback port. Dropping it kills it, and so does the death of this process.
pub struct Server<K> {
    process: Process,
    port: u16,
    pub(crate) kind: K,
}

/// The difference between the servers: how to see that one is ready.
pub trait Kind: Sync {
    /// Waits until the server on this port is ready.
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

    /// The port on 127.0.0.1, which stays the same when the server is restarted.
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
    /// If it does not get ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.restart().await?;
        self.kind.ready(&mut self.process, self.port).await
    }

    /// Stops the server, and kills it if that takes too long.
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

    /// The process id; none after the end.
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// The last 20 lines of the log.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}
