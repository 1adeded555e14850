//! A private nats-server, run as in production: with the repository's `nats.conf`.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    Layout,
    find::NATS_SERVER,
    process::{Cleanup, Launch, Process, on_free_ports},
    roles::{Passwords, Role, random_name},
    server::{Kind, Server},
};

/// Embedded, so that a binary works away from the repository.
const CONFIG: &str = include_str!("../../../nats.conf");
/// The name of every cluster.
const CLUSTER: &str = "ultimate-backend";
/// An address where nobody listens.
const NOWHERE: &str = "127.0.0.1:1";
/// Time limit of the greeting. A running server greets within a millisecond.
const GREETING_LIMIT: Duration = Duration::from_secs(1);

/// A private nats-server.
pub type NatsServer = Server<Nats>;

/// The parts of a private server that are specific to nats-server.
pub struct Nats {
    /// The server's own name, which distinguishes it from another one that took the port first. A
    /// cluster knows its servers by their names.
    name: String,
    passwords: Passwords,
    routes: Option<Routes>,
}

/// How a server reaches the others of its cluster.
#[derive(Clone)]
struct Routes {
    /// Where the others reach this server.
    port: u16,
    /// Where it reaches the others.
    others: Vec<u16>,
    /// Whether the others learn its port from it. If not, every connection is one of `others`.
    is_advertised: bool,
}

impl NatsServer {
    /// Finds or fetches the server and starts it on a free port. Configuration, log and storage are
    /// in `dir`, which must exist; what `dir/jetstream` holds is served again.
    ///
    /// # Errors
    /// If the server cannot be found or started.
    pub async fn start(dir: &Path, passwords: &Passwords) -> Result<Self> {
        let program = NATS_SERVER.find().await?;
        let (dirs, cleanup) = ([dir.to_owned()], Cleanup::default());
        let started = Self::start_all(&program, &dirs, Layout::Single, passwords, &cleanup);
        started.await?.pop().context("one server was started")
    }

    /// Starts a server in each of these folders; several are a cluster.
    pub(crate) async fn start_all(
        program: &Path,
        dirs: &[PathBuf],
        layout: Layout,
        passwords: &Passwords,
        cleanup: &Cleanup,
    ) -> Result<Vec<Self>> {
        on_free_ports(2 * dirs.len(), async |ports| {
            let (ports, routes) = ports.split_at(dirs.len());
            let start = async |index: usize| {
                let dir = &dirs[index];
                let kind = Nats {
                    name: kept_name(&dir.join("nats-server.name"))?,
                    passwords: passwords.clone(),
                    routes: Routes::of(index, routes, layout),
                };
                Self::start_one(program, dir, ports[index], kind, cleanup).await
            };
            try_join_all((0..dirs.len()).map(start)).await
        })
        .await
    }

    async fn start_one(
        program: &Path,
        dir: &Path,
        port: u16,
        kind: Nats,
        cleanup: &Cleanup,
    ) -> Result<Self> {
        let config = dir.join("nats.conf");
        fs::write(&config, CONFIG)
            .with_context(|| format!("could not write {}", config.display()))?;
        let launch = Launch {
            name: NATS_SERVER.name,
            program: program.to_owned(),
            args: arguments(&config, dir, &kind, port),
            envs: kind.passwords.variables(),
            log: dir.join("nats-server.log"),
            cleanup: cleanup.clone(),
        };
        Self::launch(kind, port, launch).await
    }

    /// Returns the URL with user and password. async-nats 0.51 ignores these in a URL: pass them to
    /// its options, too.
    pub fn url(&self, role: Role) -> String {
        format!(
            "nats://{}:{}@127.0.0.1:{}",
            role.as_str(),
            self.kind.passwords.of(role),
            self.port()
        )
    }
}

impl Kind for Nats {
    async fn ready(&self, process: &mut Process, port: u16) -> Result<()> {
        let started = Instant::now();
        let name = format!("\"server_name\":\"{}\"", self.name);
        while !greeting(port)
            .await
            .is_some_and(|greeting| greeting.contains(&name))
        {
            process.pause_while_it_starts(started).await?;
        }
        Ok(())
    }
}

impl Routes {
    /// Returns the routes of a server, if there are other ones. `free` has a port for each server.
    fn of(index: usize, free: &[u16], layout: Layout) -> Option<Self> {
        let (port, mut others, is_advertised) = match layout {
            Layout::Single => return None,
            Layout::Cluster => (free[index], free.to_vec(), true),
            Layout::ClusterThrough { routes, links } => {
                (routes[index], links[index].to_vec(), false)
            }
        };
        others.remove(index);
        Some(Self {
            port,
            others,
            is_advertised,
        })
    }

    fn arguments(&self) -> Vec<OsString> {
        let url = |port: &u16| format!("nats://127.0.0.1:{port}");
        let others: Vec<String> = self.others.iter().map(url).collect();
        let mut words = vec![
            "--cluster_name".to_owned(),
            CLUSTER.to_owned(),
            "--cluster".to_owned(),
            url(&self.port),
            "--routes".to_owned(),
            others.join(","),
        ];
        if !self.is_advertised {
            words.extend(["--cluster_advertise".to_owned(), NOWHERE.to_owned()]);
        }
        words.into_iter().map(Into::into).collect()
    }
}

fn arguments(config: &Path, dir: &Path, kind: &Nats, port: u16) -> Vec<OsString> {
    // Monitoring takes any free port. The server itself adds `jetstream` to the storage folder.
    let port = port.to_string();
    let words = ["-a", "127.0.0.1", "-p", &port, "-m", "-1", "-n", &kind.name];
    let mut arguments: Vec<OsString> = words.map(Into::into).into();
    arguments.extend(["-c".into(), config.into(), "-sd".into(), dir.into()]);
    arguments.extend(kind.routes.iter().flat_map(Routes::arguments));
    arguments
}

/// Returns the name in this file, which is created at the first start.
fn kept_name(file: &Path) -> Result<String> {
    if let Ok(name) = fs::read_to_string(file) {
        return Ok(name);
    }
    let name = random_name('n')?;
    fs::write(file, &name).with_context(|| format!("could not write {}", file.display()))?;
    Ok(name)
}

/// Reads the line that a server sends to every new connection.
async fn greeting(port: u16) -> Option<String> {
    let greet = async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.ok()?;
        Some(line)
    };
    timeout(GREETING_LIMIT, greet).await.ok().flatten()
}
