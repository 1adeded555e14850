//! `cargo dev` as a process: it starts, shows where everything is, keeps its data, stops in time,
//! restarts its servers and leaves no process behind.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use crate::support::{Browser, PASSWORD, eventually, succeeded};
use async_nats::{ConnectOptions, ServerAddr, jetstream};
use clap::{Args as _, FromArgMatches as _};
use events_schema::AreaName;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

const DEV: &str = env!("CARGO_BIN_EXE_dev");

pub struct Dev {
    pub process: Child,
    url: String,
    pub mail_url: String,
    pub monitor_url: String,
    /// All lines up to the one that says `ready`.
    printed: String,
}

impl Dev {
    async fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[]).await
    }

    pub async fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut program = Command::new(DEV);
        program.envs(variables.iter().copied());
        Self::start_as(program, arguments).await
    }

    /// Starts with data in this folder and these variables, and logs everything into this file.
    pub async fn start_logging(data: &Path, log: &Path, variables: &[(&str, &str)]) -> Self {
        let mut program = Command::new(DEV);
        program.envs(variables.iter().copied());
        program.env("RUST_LOG", "debug");
        program.stderr(std::fs::File::create(log).unwrap());
        Self::start_as(program, &["--data-dir", data.to_str().unwrap()]).await
    }

    /// Starts on a disk of its own, whose size is in the form of `mount`. The disk is where `dir`
    /// is, for these processes only; others find it below `/proc/<id>/root`.
    pub async fn start_on_disk(dir: &str, size: &str) -> Self {
        let script = r#"mount -t tmpfs -o size="$1" none "$2" && shift 2 && exec "$0" "$@""#;
        let mut program = Command::new("unshare");
        program.args([
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            script,
            DEV,
            size,
            dir,
        ]);
        Self::start_as(program, &["--data-dir", dir]).await
    }

    async fn start_as(mut program: Command, arguments: &[&str]) -> Self {
        let mut process = program
            .args(["--listen", "127.0.0.1:0", "--mail-listen", "127.0.0.1:0"])
            .args(["--stripe-listen", "127.0.0.1:0"])
            .args(["--monitor-listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (mut url, mut mail_url, mut monitor_url) = (None, None, None);
        let mut printed = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            printed += &format!("{line}\n");
            if let Some(address) = line.strip_prefix("mailbox ") {
                mail_url = Some(address.trim().trim_end_matches('/').to_owned());
            } else if let Some(address) = line.strip_prefix("metrics ") {
                monitor_url = Some(address.trim().trim_end_matches("/metrics").to_owned());
            } else if let Some(address) = line.strip_prefix("ready ") {
                url = Some(address.trim_end_matches("/graphql").to_owned());
                break;
            }
        }
        Self {
            process,
            url: url.expect("it ended before it was ready"),
            mail_url: mail_url.unwrap(),
            monitor_url: monitor_url.unwrap(),
            printed,
        }
    }

    /// An answer to GET that must be a success.
    pub async fn get(&self, address: &str) -> reqwest::Response {
        let url = match address.starts_with('/') {
            true => format!("{}{address}", self.url),
            false => address.to_owned(),
        };
        let response = reqwest::get(&url).await.unwrap();
        assert!(
            response.status().is_success(),
            "{url}: {}",
            response.status()
        );
        response
    }

    pub fn browser(&self) -> Browser {
        Browser::at(&self.url, &self.mail_url)
    }

    fn signal(&self, signal: Signal) {
        kill(
            Pid::from_raw(i32::try_from(self.process.id().unwrap()).unwrap()),
            signal,
        )
        .unwrap();
    }
}

/// A client of the operator at the nats-server of a backend with this folder.
pub async fn operator_of(data: &Path) -> jetstream::Context {
    let variables = std::fs::read_to_string(data.join("env")).unwrap();
    let (_, url) = variables.split_once("NATS_URL='nats://operator:").unwrap();
    let (password, address) = url.split('\'').next().unwrap().split_once('@').unwrap();
    let options = ConnectOptions::with_user_and_password("operator".into(), password.into());
    let options = options.custom_inbox_prefix("_INBOX_operator");
    jetstream::new(options.connect(format!("nats://{address}")).await.unwrap())
}

/// The values of an attribute in a page.
fn attributes<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    page.split(&format!(" {name}=\""))
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_link_of_the_start_page_leads_somewhere() {
    let dev = Dev::start(&["--ephemeral"]).await;
    let page = dev.get("/").await.text().await.unwrap();
    let links = attributes(&page, "href");
    assert!(links.contains(&"/graphql") && links.contains(&format!("{}/", dev.mail_url).as_str()));
    for link in links.iter().filter(|link| !link.starts_with("data:")) {
        dev.get(link).await;
    }
    for address in [format!("{}/\n", dev.url), format!("{}/graphql\n", dev.url)] {
        assert!(dev.printed.contains(&address), "{}", dev.printed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn graphiql_loads_everything_from_the_gateway() {
    let dev = Dev::start(&["--ephemeral"]).await;
    for address in ["/graphql", "/t/acme/graphql"] {
        let response = dev.get(address).await;
        let policy = response.headers()["content-security-policy"]
            .to_str()
            .unwrap();
        assert!(
            policy.contains("default-src 'none'; script-src 'self'; style-src 'self';")
                && !policy.contains("unsafe"),
            "{policy}"
        );
        let page = response.text().await.unwrap();
        assert!(!page.contains("://"), "{page}");
        let files = [attributes(&page, "src"), attributes(&page, "href")].concat();
        assert!(files.len() > 4, "{page}");
        for file in files.iter().filter(|file| !file.starts_with("data:")) {
            dev.get(file).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn production_has_no_page_for_developers() {
    let dev = Dev::start_with(
        &["--ephemeral"],
        &[
            ("UB_MODE", "production"),
            ("UB_ALLOW", "open-mongo,old-mongo"),
        ],
    )
    .await;
    for (path, status) in [("/", 404), ("/graphiql/index.js", 404), ("/graphql", 405)] {
        let response = reqwest::get(format!("{}{path}", dev.url)).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_gets_addresses_and_passwords_from_the_file_env() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let dev = Dev::start(&["--data-dir", data.to_str().unwrap()]).await;
    let file = data.canonicalize().unwrap().join("env");
    assert!(
        dev.printed.contains(&format!(". {} &&", file.display())),
        "{}",
        dev.printed
    );
    let value = async |name: &str| {
        let script = format!(". '{}' && printf %s \"${name}\"", file.display());
        let output = Command::new("sh")
            .args(["-c", &script])
            .output()
            .await
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };

    let address: ServerAddr = value("NATS_URL").await.parse().unwrap();
    let (user, password) = (address.username().unwrap(), address.password().unwrap());
    let options = ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned());
    let nats = jetstream::new(options.connect(address.clone()).await.unwrap());
    nats.get_stream("DEAD")
        .await
        .unwrap()
        .purge()
        .await
        .unwrap();

    let words = [
        format!("--nats-url={}", value("UB_NATS_URL").await),
        format!("--mongo-url={}", value("UB_MONGO_URL").await),
        format!("--mongo-hosts={}", value("UB_MONGO_HOSTS").await),
        format!("--smtp-url={}", value("UB_SMTP_URL").await),
        format!("--public-url={}", value("UB_PUBLIC_URL").await),
        format!("--secret={}", value("UB_SECRET").await),
    ];
    let parser = workers::config::Config::augment_args(clap::Command::new("workers"));
    let matches = parser
        .no_binary_name(true)
        .try_get_matches_from(words)
        .unwrap();
    let config = workers::config::Config::from_arg_matches(&matches).unwrap();
    workers::rebuild_views(
        &config.nats,
        &config.mongo,
        &[AreaName::Project],
        workers::REBUILD_MEMORY_MIB,
        &|_, _| {},
    )
    .await
    .unwrap();
}

/// The processes that have this folder on their command line.
fn processes_of(folder: &Path) -> Vec<(i32, String)> {
    let folder = folder.to_str().unwrap();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let command = std::fs::read(entry.path().join("cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            (command.contains(folder) && pid != i32::try_from(std::process::id()).unwrap())
                .then_some((pid, command))
        })
        .collect()
}

/// The process of this folder whose program's file name begins so.
pub fn server(folder: &Path, name: &str) -> i32 {
    let of_folder = processes_of(folder);
    let is_it = |command: &str| {
        let program = command.split_whitespace().next().map(Path::new);
        program
            .and_then(Path::file_name)
            .is_some_and(|file| file.to_string_lossy().starts_with(name))
    };
    of_folder
        .iter()
        .find(|(_, command)| is_it(command))
        .unwrap_or_else(|| panic!("no {name} among {of_folder:?}"))
        .0
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_kept_between_runs_and_a_stop_takes_less_than_five_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let arguments = ["--data-dir", data.to_str().unwrap()];
    let mut dev = Dev::start(&arguments).await;
    dev.browser().sign_up("ada@example.com").await;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let asked = Instant::now();
        dev.signal(signal);
        assert!(dev.process.wait().await.unwrap().success());
        assert!(
            asked.elapsed() < Duration::from_secs(5),
            "{signal} took {:?}",
            asked.elapsed()
        );
        assert_eq!(processes_of(folder.path()), [], "children included");
        dev = Dev::start(&arguments).await;
        assert!(dev.browser().login("ada@example.com", PASSWORD).await["errors"].is_null());
    }
    let second = Command::new(DEV)
        .args(["--listen", "127.0.0.1:0", "--mail-listen", "127.0.0.1:0"])
        .args(["--monitor-listen", "127.0.0.1:0"])
        .args(arguments)
        .output()
        .await
        .unwrap();
    assert!(!second.status.success());
    assert!(
        String::from_utf8_lossy(&second.stderr).contains("in use"),
        "{second:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_survives_a_killed_cargo_dev() {
    let mut dev = Dev::start(&["--ephemeral"]).await;
    let own = dev.process.id().unwrap().to_string();
    let children = || -> Vec<String> {
        let children = std::process::Command::new("ps")
            .args(["--ppid", &own, "-o", "pid="])
            .output()
            .unwrap();
        String::from_utf8(children.stdout)
            .unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    let children = children();
    assert!(children.len() >= 2, "{children:?}");
    dev.process.kill().await.unwrap();
    eventually("the end of all children", || async {
        children
            .iter()
            .all(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).is_err())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_servers_are_started_again_and_every_answered_mutation_is_still_there() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(&["--data-dir", folder.path().join("data").to_str().unwrap()]).await;
    let ada = dev.browser();
    ada.sign_up("ada@example.com").await;
    for (round, name) in ["nats-server", "mongod", "nats-server", "mongod"]
        .into_iter()
        .enumerate()
    {
        let update = "mutation($name: String!) { profile { update(input: { lastname: $name }) { lastname } } }";
        ada.data(update, json!({ "name": format!("Round {round}") }))
            .await;
        kill(Pid::from_raw(server(folder.path(), name)), Signal::SIGKILL).unwrap();
        eventually("an answer", || async {
            let body = ada.gql("{ profile { lastname } }", ()).await;
            body["data"]["profile"]["lastname"] == format!("Round {round}")
        })
        .await;
        eventually("readiness", || async {
            ada.http()
                .get(ada.url("/readyz"))
                .send()
                .await
                .is_ok_and(|response| response.status().is_success())
        })
        .await;
        // While a server starts, the answer may be that the change is not shown yet.
        eventually("a change", || async {
            let name = json!({ "name": format!("After {round}") });
            succeeded(&ada.gql(update, name).await)
        })
        .await;
    }
    dev.browser().sign_up("bob@example.com").await;
}
