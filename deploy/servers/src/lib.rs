//! Private servers for one machine: finds or fetches, starts and stops nats-server and mongod.
//! `cargo dev` runs on them, and every test binary on its own. No server outlives its owner,
//! however that ends.
//!
//! Not here: streams, consumers, collections and indexes, which the workers create; servers that
//! others share.

mod find;
mod mongod;
mod nats;
mod process;

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
    process::Care,
};
pub use crate::{
    mongod::Mongod,
    nats::{NatsServer, Passwords, Role},
};

/// After a crash the guardians need a moment to end the servers of the one before; somebody who
/// really is there stays longer.
const LOCK_LIMIT: Duration = Duration::from_secs(3);
/// How often the lock is tried meanwhile.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// Both servers, and what is needed to talk to them.
pub struct Servers {
    /// Commands and events.
    pub nats: NatsServer,
    /// Views.
    pub mongod: Mongod,
    /// New at every start.
    pub passwords: Passwords,
    dir: PathBuf,
    /// Removes the folder of ephemeral servers. Declared last, as fields are dropped in order.
    _folder: Option<TempDir>,
}

impl Servers {
    /// New and empty ones in a temporary folder, which goes when they go.
    pub async fn ephemeral() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("ultimate-backend-")
            .tempdir()?;
        let care = Care {
            remove: Some(folder.path().to_owned()),
            lock: None,
        };
        Self::start(folder.path(), &care).await.map(|servers| Self {
            _folder: Some(folder),
            ..servers
        })
    }

    /// Those whose data lies in `dir`, which is made if it is missing. An error if somebody else
    /// has them running.
    pub async fn in_dir(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("could not make {}", dir.display()))?;
        let dir = fs::canonicalize(dir)?;
        let care = Care {
            remove: None,
            lock: Some(Arc::new(lock(&dir).await?)),
        };
        Self::start(&dir, &care).await
    }

    async fn start(dir: &Path, care: &Care) -> Result<Self> {
        // One after the other: two progress bars would write over each other.
        let (nats_server, mongod) = (NATS_SERVER.find().await?, MONGOD.find().await?);
        let passwords = Passwords::random()?;
        let nats = NatsServer::start_program(nats_server, dir, &passwords, care);
        let (nats, mongod) = tokio::try_join!(nats, Mongod::start_program(mongod, dir, care))?;
        Ok(Self {
            nats,
            mongod,
            passwords,
            dir: dir.to_owned(),
            _folder: None,
        })
    }

    /// The folder of both servers: data, logs and configuration.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Stops both. Whatever goes wrong, neither runs afterwards.
    pub async fn stop(mut self) -> Result<()> {
        let (nats, mongod) = tokio::join!(self.nats.stop(), self.mongod.stop());
        nats.and(mongod)
    }
}

/// The lock is given up when its file is closed here and by the guardians.
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
