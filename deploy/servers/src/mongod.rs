//! A private mongod, run as a replica set of one member: transactions need a replica set.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use mongodb::{
    Client, Database,
    bson::{Document, doc},
    error::ErrorKind,
    options::{ClientOptions, ServerAddress},
};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    find::MONGOD,
    process::{Cleanup, Launch, Process, is_free, on_free_port},
    server::{Kind, Server},
};

const REPLICA_SET: &str = "rs0";
/// The server's answer while it does not know its replica set, or has not read it from its data
/// yet.
const NOT_YET_INITIALIZED: i32 = 94;
/// The server's answer when its data already names its replica set.
const ALREADY_INITIALIZED: i32 = 23;
/// Time limit of the election. A single member elects itself in milliseconds, but may have a long
/// journal to replay before.
const ELECTION_LIMIT: Duration = Duration::from_secs(60);
/// Pause between two checks of the election, which takes 100 ms.
const POLL: Duration = Duration::from_millis(5);
/// Time for the driver to close a client's few connections.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(1);
/// Time limit of an answer. A running server answers at once.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A private mongod.
pub type Mongod = Server<Mongo>;

/// The parts of a private server that are specific to mongod.
pub struct Mongo;

impl Mongod {
    /// Finds or fetches the server, starts it, and makes it a primary that accepts writes. Data and
    /// log are in `dir`, which must exist; data that is there is served again, on the same port if
    /// that is free.
    ///
    /// # Errors
    /// If the server cannot be found or started.
    pub async fn start(dir: &Path) -> Result<Self> {
        Self::start_program(MONGOD.find().await?, dir, &Cleanup::default()).await
    }

    pub(crate) async fn start_program(
        program: PathBuf,
        dir: &Path,
        cleanup: &Cleanup,
    ) -> Result<Self> {
        let data = dir.join("mongod");
        fs::create_dir_all(&data).with_context(|| format!("could not make {}", data.display()))?;
        let start = async |port| {
            let launch = Launch {
                name: MONGOD.name,
                program: program.clone(),
                args: arguments(&data, port),
                envs: Vec::new(),
                log: dir.join("mongod.log"),
                cleanup: cleanup.clone(),
            };
            Self::launch(Mongo, port, launch).await
        };
        // The data names its member by address, so the same port saves a slow reconfiguration.
        let file = dir.join("mongod.port");
        let mongod = match last_port(&file).filter(|&port| is_free(port)) {
            Some(port) => start(port).await?,
            None => on_free_port(start).await?,
        };
        fs::write(&file, mongod.port().to_string())?;
        Ok(mongod)
    }

    /// Returns the URL. The connection is direct, since there are no other members to discover.
    pub fn uri(&self) -> String {
        format!(
            "mongodb://127.0.0.1:{}/?directConnection=true&replicaSet={REPLICA_SET}",
            self.port()
        )
    }
}

impl Kind for Mongo {
    async fn ready(&self, process: &mut Process, port: u16) -> Result<()> {
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            process.pause_while_it_starts(started).await?;
        }
        let client = client(port)?;
        let admin = client.database("admin");
        let result = timeout(ELECTION_LIMIT, become_primary(&admin, process.pid(), port)).await;
        // Once in some hundred starts, the shutdown never returned. Dropping the client suffices
        // then.
        if timeout(SHUTDOWN_LIMIT, client.shutdown().immediate(true))
            .await
            .is_err()
        {
            tracing::debug!("the driver did not shut down in time");
        }
        result
            .context("mongod elected no primary")
            .flatten()
            .with_context(|| format!("mongod's log ends:\n{}", process.log_tail()))
    }
}

fn arguments(data: &Path, port: u16) -> Vec<OsString> {
    let port = port.to_string();
    let words = [
        "--bind_ip",
        "127.0.0.1",
        "--port",
        &port,
        "--replSet",
        REPLICA_SET,
        "--nounixsocket",
        // Bounds for a developer's machine: by default the cache takes half the memory, and the
        // oplog a twentieth of the disk.
        "--wiredTigerCacheSizeGB",
        "0.25",
        "--oplogSize",
        "256",
        // By default a primary waits 15 s for another member to take over before it stops.
        "--setParameter",
        "shutdownTimeoutMillisForSignaledShutdown=0",
        "--setParameter",
        "diagnosticDataCollectionEnabled=false",
    ];
    let mut arguments: Vec<OsString> = words.map(Into::into).into();
    arguments.extend(["--dbpath".into(), data.into()]);
    arguments
}

/// Reads the port of the last start.
fn last_port(file: &Path) -> Option<u16> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Waits until the server of this process accepts writes.
async fn become_primary(admin: &Database, pid: Option<u32>, port: u16) -> Result<()> {
    let status = doc! { "serverStatus": 1, "repl": 0, "metrics": 0 };
    let answering = admin.run_command(status).await?.get_i64("pid")?;
    if u32::try_from(answering).ok() != pid {
        bail!("address already in use: another mongod answers on port {port}");
    }
    while !configure(admin, &format!("127.0.0.1:{port}")).await? {
        sleep(POLL).await;
    }
    while !admin
        .run_command(doc! { "hello": 1 })
        .await?
        .get_bool("isWritablePrimary")?
    {
        sleep(POLL).await;
    }
    Ok(())
}

/// Makes the server a replica set with itself as the only member. Returns false while the server
/// still reads its old configuration from its data.
async fn configure(admin: &Database, host: &str) -> Result<bool> {
    match admin.run_command(doc! { "replSetGetConfig": 1 }).await {
        Ok(answer) => {
            let config = answer.get_document("config")?;
            if !names(config, host) {
                let version = config.get_i32("version")? + 1;
                admin
                    .run_command(
                        doc! { "replSetReconfig": set_of_one(host, version), "force": true },
                    )
                    .await?;
            }
            Ok(true)
        }
        Err(error) if code(&error) == Some(NOT_YET_INITIALIZED) => {
            match admin
                .run_command(doc! { "replSetInitiate": set_of_one(host, 1) })
                .await
            {
                Err(error) if code(&error) == Some(ALREADY_INITIALIZED) => Ok(false),
                result => Ok(result.map(|_| true)?),
            }
        }
        Err(error) => Err(error.into()),
    }
}

fn client(port: u16) -> Result<Client> {
    let address = ServerAddress::Tcp {
        host: "127.0.0.1".to_owned(),
        port: Some(port),
    };
    let options = ClientOptions::builder()
        .hosts(vec![address])
        .direct_connection(true)
        .server_selection_timeout(ANSWER_LIMIT)
        .build();
    Ok(Client::with_options(options)?)
}

fn set_of_one(host: &str, version: i32) -> Document {
    doc! { "_id": REPLICA_SET, "version": version, "members": [{ "_id": 0, "host": host }] }
}

fn names(config: &Document, host: &str) -> bool {
    let members = config
        .get_array("members")
        .map(Vec::as_slice)
        .unwrap_or_default();
    members.iter().any(|member| {
        member
            .as_document()
            .and_then(|member| member.get_str("host").ok())
            == Some(host)
    })
}

fn code(error: &mongodb::error::Error) -> Option<i32> {
    if let ErrorKind::Command(error) = &*error.kind {
        Some(error.code)
    } else {
        None
    }
}
