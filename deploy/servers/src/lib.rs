//! Private servers for one machine: finds or fetches, starts and stops nats-server and mongod, for
//! `cargo dev` and for tests. No server outlives its owner, however that ends.
//!
//! Not here: streams and indexes, which `workers migrate` creates, and consumers, which the workers
//! create.

mod find;
mod mongo_users;
mod mongod;
mod nats;
mod private_file;
mod process;
mod roles;
mod server;

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    find::{MONGOD, NATS_SERVER},
    process::Cleanup,
};
pub use crate::{
    mongod::{Mongo, Mongod},
    nats::{Nats, NatsServer},
    private_file::write_private,
    roles::{Passwords, Role},
    server::Server,
};

/// How long to wait for the lock of a folder. After a crash the guardians need a moment to kill the
/// old servers; a living owner holds the lock for longer.
const LOCK_LIMIT: Duration = Duration::from_secs(3);
/// Pause between two tries to lock.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// Finds or fetches the programs nats-server and mongod.
///
/// # Errors
/// If one cannot be found or fetched.
pub async fn programs() -> Result<(PathBuf, PathBuf)> {
    // One after the other: two progress bars would overwrite each other.
    Ok((NATS_SERVER.find().await?, MONGOD.find().await?))
}

/// How many servers of each kind run, and how the nats-servers reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One of each kind.
    Single,
    /// Three of each kind.
    Cluster,
    /// Three of each kind. The nats-servers reach each other only through a test, which can cut
    /// their connections.
    ClusterThrough {
        /// The port where each nats-server listens for the others.
        routes: [u16; MEMBERS],
        /// nats-server `i` reaches nats-server `j` at port `[i][j]`.
        links: [[u16; MEMBERS]; MEMBERS],
    },
}

/// Servers of each kind in a cluster: the smallest number that survives the loss of one.
pub const MEMBERS: usize = 3;

/// Servers of both kinds: one of each, or a cluster.
pub struct Servers {
    /// Hold commands and events.
    pub nats: Vec<NatsServer>,
    /// Hold views.
    pub mongods: Vec<Mongod>,
    /// The passwords of the servers' users. Each start makes new ones.
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
    pub async fn ephemeral(layout: Layout) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("ultimate-backend-")
            .tempdir()?;
        let cleanup = Cleanup {
            folder: Some(folder.path().to_owned()),
            lock: None,
        };
        Self::start(folder.path(), layout, &cleanup)
            .await
            .map(|servers| Self {
                _folder: Some(folder),
                ..servers
            })
    }

    /// Starts servers with their data in `dir`, which is created if it is missing. Each layout has
    /// data of its own there.
    ///
    /// # Errors
    /// If a server cannot be found, fetched or started, or another process uses the folder.
    pub async fn in_dir(dir: &Path, layout: Layout) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("could not make {}", dir.display()))?;
        let dir = fs::canonicalize(dir)?;
        let cleanup = Cleanup {
            folder: None,
            lock: Some(Arc::new(lock(&dir).await?)),
        };
        Self::start(&dir, layout, &cleanup).await
    }

    async fn start(dir: &Path, layout: Layout, cleanup: &Cleanup) -> Result<Self> {
        let (nats_server, mongod) = programs().await?;
        let passwords = Passwords::random()?;
        let dirs = layout.folders(dir);
        for dir in &dirs {
            fs::create_dir_all(dir).with_context(|| format!("could not make {}", dir.display()))?;
        }
        let (nats, mongods) = tokio::try_join!(
            NatsServer::start_all(&nats_server, &dirs, layout, &passwords, cleanup),
            Mongod::start_all(&mongod, &dirs, &passwords, cleanup),
        )?;
        Ok(Self {
            nats,
            mongods,
            passwords,
            dir: dir.to_owned(),
            _folder: None,
        })
    }

    /// Returns the URLs of all nats-servers with user and password, separated by commas.
    pub fn nats_url(&self, role: Role) -> String {
        let urls = self.nats.iter().map(|server| server.url(role));
        Vec::from_iter(urls).join(",")
    }

    /// Returns the URL of the replica set with user and password.
    pub fn mongo_url(&self, role: Role) -> String {
        let first = self.mongods.first();
        first.map(|mongod| mongod.uri(role)).unwrap_or_default()
    }

    /// Returns how many servers of each kind there are.
    pub fn members(&self) -> usize {
        self.nats.len()
    }

    /// Returns the folder of all servers, with their data, logs and configuration.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Stops all servers. Even after an error, none runs any more.
    ///
    /// # Errors
    /// If a process cannot be killed.
    pub async fn stop(mut self) -> Result<()> {
        let nats = join_all(self.nats.iter_mut().map(Server::stop));
        let mongods = join_all(self.mongods.iter_mut().map(Server::stop));
        let (nats, mongods) = tokio::join!(nats, mongods);
        nats.into_iter().chain(mongods).collect()
    }
}

impl Layout {
    /// Returns the folder of each member.
    fn folders(self, dir: &Path) -> Vec<PathBuf> {
        match self {
            Self::Single => vec![dir.to_owned()],
            Self::Cluster | Self::ClusterThrough { .. } => {
                let member = |number: usize| dir.join(format!("member-{number}"));
                (1..=MEMBERS).map(member).collect()
            }
        }
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
