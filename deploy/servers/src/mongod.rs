//! Private mongods, run as a replica set of one or three members: transactions need a replica set.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;
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
    mongo_users::{SYSTEM, SYSTEM_SOURCE, by_key, set_users},
    private_file::write_private,
    process::{Cleanup, Launch, Process, is_free, on_free_ports},
    roles::{Passwords, Role, random_name},
    server::{Kind, Server},
};

const REPLICA_SET: &str = "rs0";
/// The server's answer while it does not know its replica set, or has not read it from its data
/// yet.
const NOT_YET_INITIALIZED: i32 = 94;
/// The server's answer when its data already names its replica set.
const ALREADY_INITIALIZED: i32 = 23;
/// The answers while another member does not run yet.
const MEMBER_MISSING: [i32; 3] = [74, 93, 103];
/// How long the members of a set wait for a primary that is gone before they elect another one. By
/// default it is 10 s, and they ask each other only every 2 s.
const ELECTION_AFTER_MS: i32 = 2_000;
const HEARTBEAT_MS: i32 = 500;
/// Time limit of the election. A single member elects itself in milliseconds, but may have a long
/// journal to replay before. Further members copy the data first.
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
pub struct Mongo {
    /// The ports of all members of the replica set. The first member forms the set.
    members: Vec<u16>,
    /// The members know each other by this key, and this process configures them with it.
    key: String,
    passwords: Passwords,
}

impl Mongod {
    /// Finds or fetches the server, starts it, and makes it a primary that accepts writes. Data and
    /// log are in `dir`, which must exist; data that is there is served again, on the same port if
    /// that is free.
    ///
    /// # Errors
    /// If the server cannot be found or started.
    pub async fn start(dir: &Path, passwords: &Passwords) -> Result<Self> {
        let program = MONGOD.find().await?;
        let (dirs, cleanup) = ([dir.to_owned()], Cleanup::default());
        let started = Self::start_all(&program, &dirs, passwords, &cleanup);
        started.await?.pop().context("one server was started")
    }

    /// Starts a server in each of these folders; all are members of one replica set.
    pub(crate) async fn start_all(
        program: &Path,
        dirs: &[PathBuf],
        passwords: &Passwords,
        cleanup: &Cleanup,
    ) -> Result<Vec<Self>> {
        let key = random_name('k')?;
        let start = async |ports: Vec<u16>| {
            let start = async |index: usize| {
                let kind = Mongo {
                    members: ports.clone(),
                    key: key.clone(),
                    passwords: passwords.clone(),
                };
                Self::start_one(program, &dirs[index], ports[index], kind, cleanup).await
            };
            try_join_all((0..dirs.len()).map(start)).await
        };
        // The data names the members by address, so the same ports save a slow reconfiguration.
        let files: Vec<PathBuf> = dirs.iter().map(|dir| dir.join("mongod.port")).collect();
        let mongods = on_free_ports(dirs.len(), async |drawn| {
            let ports = files.iter().zip(drawn).map(|(file, drawn)| {
                let last = last_port(file).filter(|port| is_free(*port));
                last.unwrap_or(drawn)
            });
            start(ports.collect()).await
        })
        .await?;
        for (file, mongod) in files.iter().zip(&mongods) {
            fs::write(file, mongod.port().to_string())?;
        }
        if let Some(first) = mongods.first() {
            first.kind.set_users().await.context("creating users")?;
        }
        Ok(mongods)
    }

    async fn start_one(
        program: &Path,
        dir: &Path,
        port: u16,
        kind: Mongo,
        cleanup: &Cleanup,
    ) -> Result<Self> {
        let data = dir.join("mongod");
        fs::create_dir_all(&data).with_context(|| format!("could not make {}", data.display()))?;
        let key = dir.join("mongod.key");
        write_private(&key, &kind.key)?;
        let launch = Launch {
            name: MONGOD.name,
            program: program.to_owned(),
            args: arguments(&data, &key, port),
            envs: Vec::new(),
            log: dir.join("mongod.log"),
            cleanup: cleanup.clone(),
        };
        Self::launch(kind, port, launch).await
    }

    /// Returns the URL of the replica set with user and password.
    pub fn uri(&self, role: Role) -> String {
        let password = self.kind.passwords.of(role);
        self.kind.uri(role.as_str(), password, "admin")
    }
}

impl Kind for Mongo {
    async fn ready(&self, process: &mut Process, port: u16) -> Result<()> {
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            process.pause_while_it_starts(started).await?;
        }
        let client = client(port, &self.key)?;
        let admin = client.database("admin");
        let join = timeout(ELECTION_LIMIT, self.join(&admin, process.pid(), port));
        let result = tokio::select! {
            joined = join => joined.context("the replica set elected no primary").flatten(),
            ended = process.exited() => ended.and_then(|status| bail!("mongod ended ({status})")),
        };
        // Once in some hundred starts, the shutdown never returned. Dropping the client suffices
        // then.
        if timeout(SHUTDOWN_LIMIT, client.shutdown().immediate(true))
            .await
            .is_err()
        {
            tracing::debug!("the driver did not shut down in time");
        }
        result.with_context(|| format!("mongod's log ends:\n{}", process.log_tail()))
    }
}

fn arguments(data: &Path, key: &Path, port: u16) -> Vec<OsString> {
    let port = port.to_string();
    let words = [
        "--bind_ip",
        "127.0.0.1",
        "--port",
        &port,
        "--replSet",
        REPLICA_SET,
        "--nounixsocket",
        // Decompression has let strangers read the server's memory (CVE-2025-14847).
        "--networkMessageCompressors",
        "disabled",
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
        // The passwords are random, so slow hashes would protect nothing. This is the lowest number.
        "--setParameter",
        "scramSHA256IterationCount=5000",
    ];
    let mut arguments: Vec<OsString> = words.map(Into::into).into();
    arguments.extend(["--dbpath".into(), data.into()]);
    arguments.extend(["--keyFile".into(), key.into()]);
    arguments
}

/// Reads the port of the last start.
fn last_port(file: &Path) -> Option<u16> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

impl Mongo {
    /// Returns the URL of the replica set. The connection to a single member is direct, since there
    /// are no other members to discover.
    fn uri(&self, user: &str, password: &str, source: &str) -> String {
        let members = self.members.iter().map(|port| address(*port));
        let members = Vec::from_iter(members).join(",");
        let direct = match self.members.len() {
            1 => "directConnection=true&",
            _ => "",
        };
        format!(
            "mongodb://{user}:{password}@{members}/?{direct}replicaSet={REPLICA_SET}\
             &authSource={source}"
        )
    }

    /// Creates the users, or gives them the passwords of this start.
    async fn set_users(&self) -> Result<()> {
        let set = self.uri(SYSTEM, &self.key, SYSTEM_SOURCE);
        let client = Client::with_uri_str(set).await?;
        set_users(&client.database("admin"), &self.passwords).await
    }

    /// Waits until the server of this process is the primary of its set, or follows it.
    async fn join(&self, admin: &Database, pid: Option<u32>, port: u16) -> Result<()> {
        let answering = loop {
            let status = doc! { "serverStatus": 1, "repl": 0, "metrics": 0 };
            match admin.run_command(status).await {
                Ok(status) => break u32::try_from(status.get_i64("pid")?).ok(),
                // It does not know the key.
                Err(error) if matches!(&*error.kind, ErrorKind::Authentication { .. }) => {
                    break None;
                }
                // A server that reads its configuration closes connections.
                Err(error) if code(&error).is_none() => sleep(POLL).await,
                Err(error) => return Err(error.into()),
            }
        };
        if answering != pid {
            bail!("address already in use: another mongod answers on port {port}");
        }
        while !self.configure(admin, port).await? {
            sleep(POLL).await;
        }
        let hello = async || admin.run_command(doc! { "hello": 1 }).await;
        while !hello().await.is_ok_and(|hello| is_member(&hello)) {
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Makes the servers one replica set; only the first member does so. Returns false while the
    /// server still reads its old configuration from its data, or waits for other members.
    async fn configure(&self, admin: &Database, port: u16) -> Result<bool> {
        let forms_the_set = self.members.first() == Some(&port);
        match admin.run_command(doc! { "replSetGetConfig": 1 }).await {
            Ok(answer) => {
                let config = answer.get_document("config")?;
                if self.is_named_by(config) {
                    return Ok(true);
                }
                if forms_the_set {
                    let set = self.set(config.get_i32("version")? + 1);
                    let reconfigure = doc! { "replSetReconfig": set, "force": true };
                    match admin.run_command(reconfigure).await {
                        // The connection may be closed before the answer.
                        Err(error) if code(&error).is_none() => return Ok(false),
                        result => result?,
                    };
                }
                Ok(forms_the_set)
            }
            Err(error) if code(&error) == Some(NOT_YET_INITIALIZED) => {
                if !forms_the_set {
                    return Ok(false);
                }
                let initiate = doc! { "replSetInitiate": self.set(1) };
                match admin.run_command(initiate).await {
                    Err(error) if code(&error) == Some(ALREADY_INITIALIZED) => Ok(false),
                    Err(error) if code(&error).is_some_and(is_of_a_missing_member) => Ok(false),
                    result => Ok(result.map(|_| true)?),
                }
            }
            // A new configuration closes connections.
            Err(error) if code(&error).is_none_or(is_of_a_missing_member) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn set(&self, version: i32) -> Document {
        let members = (0..).zip(&self.members);
        let members =
            members.map(|(id, port): (i32, &u16)| doc! { "_id": id, "host": address(*port) });
        doc! {
            "_id": REPLICA_SET,
            "version": version,
            "members": Vec::from_iter(members),
            "settings": {
                "electionTimeoutMillis": ELECTION_AFTER_MS,
                "heartbeatIntervalMillis": HEARTBEAT_MS,
            },
        }
    }

    /// Whether a configuration names exactly these members.
    fn is_named_by(&self, config: &Document) -> bool {
        let members = config.get_array("members").map(Vec::as_slice);
        let members = members.unwrap_or_default().iter().map(|member| {
            let host = member.as_document().map(|member| member.get_str("host"));
            host.and_then(Result::ok).unwrap_or_default()
        });
        let own = self.members.iter().map(|port| address(*port));
        members.eq(own)
    }
}

/// Whether a server is a primary that accepts writes, or follows another one. For a moment, a new
/// primary still reports itself as a secondary.
fn is_member(hello: &Document) -> bool {
    let is = |field| hello.get_bool(field).unwrap_or_default();
    let [own, primary] = ["me", "primary"].map(|field| hello.get_str(field).ok());
    is("isWritablePrimary") || is("secondary") && primary.is_some() && primary != own
}

fn is_of_a_missing_member(code: i32) -> bool {
    MEMBER_MISSING.contains(&code)
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn client(port: u16, key: &str) -> Result<Client> {
    let address = ServerAddress::Tcp {
        host: "127.0.0.1".to_owned(),
        port: Some(port),
    };
    let options = ClientOptions::builder()
        .hosts(vec![address])
        .direct_connection(true)
        .credential(by_key(key))
        .server_selection_timeout(ANSWER_LIMIT)
        .build();
    Ok(Client::with_options(options)?)
}

fn code(error: &mongodb::error::Error) -> Option<i32> {
    if let ErrorKind::Command(error) = &*error.kind {
        Some(error.code)
    } else {
        None
    }
}
