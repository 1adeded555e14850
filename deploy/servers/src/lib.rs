//! Private servers for one machine: finds or fetches, starts and stops nats-server and mongod, for
//! `cargo dev` and for tests. No server outlives its owner, however that ends.
//!
//! Not here: streams, consumers, collections and indexes, which the workers create.

mod find;
mod mongod;
mod nats;
mod process;
mod server;

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    find::{MONGOD, NATS_SERVER},
    process::Cleanup,
};
pub use crate::{
    mongod::{Mongo, Mongod},
    nats::{Nats, NatsServer, Passwords, Role},
    server::Server,
};

/// How long to wait for the lock of a folder. After a crash the guardians need a moment to kill the
/// old servers; a living owner holds the lock for longer.
const LOCK_LIMIT: Duration = Duration::from_secs(3);
/// Pause between two tries to lock.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// Both servers.
pub struct Servers {
    /// Holds commands and events.
    pub nats: NatsServer,
    /// Holds views.
    pub mongod: Mongod,
    /// The passwords of nats-server's users. Each start makes new ones.
    pub passwords: Passwords,
    dir: PathBuf,
    /// Removes the folder of ephemeral servers. Declared last, as fields are dropped in order.
    _folder: Option<TempDir>,
}

impl Servers {
    /// Starts empty servers in a temporary folder, which is removed at the end.
    ///
    /// # Errors
    /// If a server cannot be found, fetched or started.
    pub async fn ephemeral() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("ultimate-backend-")
            .tempdir()?;
        let cleanup = Cleanup {
            folder: Some(folder.path().to_owned()),
            lock: None,
        };
        Self::start(folder.path(), &cleanup)
            .await
            .map(|servers| Self {
                _folder: Some(folder),
                ..servers
            })
    }

    /// Starts servers with their data in `dir`, which is created if it is missing.
    ///
    /// # Errors
    /// If a server cannot be found, fetched or started, or another process uses the folder.
    pub async fn in_dir(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("could not make {}", dir.display()))?;
        let dir = fs::canonicalize(dir)?;
        let cleanup = Cleanup {
            folder: None,
            lock: Some(Arc::new(lock(&dir).await?)),
        };
        Self::start(&dir, &cleanup).await
    }

    async fn start(dir: &Path, cleanup: &Cleanup) -> Result<Self> {
        // One after the other: two progress bars would overwrite each other.
        let (nats_server, mongod) = (NATS_SERVER.find().await?, MONGOD.find().await?);
        let passwords = Passwords::random()?;
        let nats = NatsServer::start_program(nats_server, dir, &passwords, cleanup);
        let (nats, mongod) = tokio::try_join!(nats, Mongod::start_program(mongod, dir, cleanup))?;
        Ok(Self {
            nats,
            mongod,
            passwords,
            dir: dir.to_owned(),
            _folder: None,
        })
    }

    /// Returns the folder of both servers, with their data, logs and configuration.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Stops both servers. Even after an error, neither runs any more.
    ///
    /// # Errors
    /// If a process cannot be killed.
    pub async fn stop(mut self) -> Result<()> {
        let (nats, mongod) = tokio::join!(self.nats.stop(), self.mongod.stop());
        nats.and(mongod)
    }
}

/// Locks a folder until the file is closed in this process and in the guardians.
///
/// # Errors
/// If another process uses the folder.
async fn lock(dir: &Path) -> Result<File> {
    let file = File::create(dir.join("lock"))
        .with_context(|| format!("could not write in {}", dir.display()))?;
    let until = Instant::now() + LOCK_LIMIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(LOCK_POLL).await,
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "{} is in use by another process: stop that one, or choose another folder with --data-dir",
                    dir.display()
                )
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("could not lock {}", dir.display()));
            }
        }
    }
}
