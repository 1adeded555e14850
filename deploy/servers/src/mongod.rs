//! A private mongod, run as a replica set of one member: without one there are no transactions.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
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
    process::{Care, Launch, Process, is_free, on_free_port},
};

/// The replica set's name.
const REPLICA_SET: &str = "rs0";
/// The server's answer when it does not know, or not yet, which replica set it is.
const NOT_YET_INITIALIZED: i32 = 94;
/// The server's answer when its data says which replica set it is.
const ALREADY_INITIALIZED: i32 = 23;
/// A single member elects itself in milliseconds; a long journal to replay comes before.
const ELECTION_LIMIT: Duration = Duration::from_secs(60);
/// How often it is asked whether it has: short beside the 100 ms that it takes.
const POLL: Duration = Duration::from_millis(5);
/// How long the driver may take to close a client's few connections.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(1);
/// A running server answers at once.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A private mongod on a loopback port. Dropping it has it killed, as does the death of this
/// process.
pub struct Mongod {
    process: Process,
    port: u16,
}

impl Mongod {
    /// Finds or fetches the server, starts it, and makes it a primary that takes writes. Data and
    /// log lie in `dir`, which must exist; data that is there already is served again, on the same
    /// port if that is free.
    pub async fn start(dir: &Path) -> Result<Self> {
        Self::start_program(MONGOD.find().await?, dir, &Care::default()).await
    }

    pub(crate) async fn start_program(program: PathBuf, dir: &Path, care: &Care) -> Result<Self> {
        let data = dir.join("mongod");
        fs::create_dir_all(&data).with_context(|| format!("could not make {}", data.display()))?;
        // The data names its member by address, so the same port saves a reconfiguration, which
        // takes its time.
        let known = dir.join("mongod.port");
        let start = |port| Self::start_on(port, &program, dir, &data, care);
        let mongod = match fs::read_to_string(&known)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .filter(|&port| is_free(port))
        {
            Some(port) => start(port).await?,
            None => on_free_port(start).await?,
        };
        fs::write(&known, mongod.port.to_string())?;
        Ok(mongod)
    }

    async fn start_on(
        port: u16,
        program: &Path,
        dir: &Path,
        data: &Path,
        care: &Care,
    ) -> Result<Self> {
        let port_text = port.to_string();
        let args = [
            "--bind_ip",
            "127.0.0.1",
            "--port",
            &port_text,
            "--replSet",
            REPLICA_SET,
            "--nounixsocket",
        ];
        // Bounds for a developer's machine: by default it takes half the memory as cache and a
        // twentieth of the disk as oplog.
        let bounds = ["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "256"];
        // A primary waits 15 s for others to take over before it stops, and there are none; nobody
        // reads the diagnostics.
        let haste = [
            "shutdownTimeoutMillisForSignaledShutdown=0",
            "diagnosticDataCollectionEnabled=false",
        ];
        let haste = haste
            .iter()
            .flat_map(|parameter| ["--setParameter", parameter]);
        let launch = Launch {
            name: MONGOD.name,
            program: program.to_owned(),
            args: args
                .into_iter()
                .chain(bounds)
                .chain(haste)
                .map(Into::into)
                .chain(["--dbpath".into(), data.into()])
                .collect(),
            envs: Vec::new(),
            log: dir.join("mongod.log"),
            care: care.clone(),
        };
        let mut mongod = Self {
            process: Process::start(launch)?,
            port,
        };
        mongod.ready().await?;
        Ok(mongod)
    }

    async fn ready(&mut self) -> Result<()> {
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            self.process.wait_for_it(started).await?;
        }
        let client = client(self.port)?;
        let result = timeout(
            ELECTION_LIMIT,
            self.become_primary(&client.database("admin")),
        )
        .await;
        // Was seen to wait for ever, once in some hundred starts; what it would tidy up dies with
        // the client anyhow.
        if timeout(SHUTDOWN_LIMIT, client.shutdown().immediate(true))
            .await
            .is_err()
        {
            tracing::debug!("the driver did not shut down in time");
        }
        result
            .context("mongod elected no primary")
            .flatten()
            .with_context(|| format!("mongod's log ends:\n{}", self.log_tail()))
    }

    async fn become_primary(&self, admin: &Database) -> Result<()> {
        let status = admin
            .run_command(doc! { "serverStatus": 1, "repl": 0, "metrics": 0 })
            .await?;
        if status
            .get_i64("pid")
            .ok()
            .and_then(|pid| u32::try_from(pid).ok())
            != self.pid()
        {
            bail!(
                "address already in use: another mongod answers on port {}",
                self.port
            );
        }
        while !configure(admin, &format!("127.0.0.1:{}", self.port)).await? {
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

    /// Where it listens on 127.0.0.1; the same for its whole life.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address. Direct, since there are no other members to look for.
    pub fn uri(&self) -> String {
        format!(
            "mongodb://127.0.0.1:{}/?directConnection=true&replicaSet={REPLICA_SET}",
            self.port
        )
    }

    /// Ends it at once, as a power loss would.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Starts it again with the same port and data, after killing it if it runs.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.restart().await?;
        self.ready().await
    }

    /// Asks it to end, and kills it if it does not.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.stop().await
    }

    /// Waits until it has ended by itself. May be cancelled and called again.
    pub async fn exited(&mut self) -> Result<ExitStatus> {
        self.process.exited().await
    }

    /// The process id; none once it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// The last 20 lines of its log.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}

/// Makes it a replica set of itself. No, if it is still reading from its data what it was before.
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
