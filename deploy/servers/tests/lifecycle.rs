//! Real servers are found, started, stopped and killed.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{
    io::{BufRead, BufReader},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use async_nats::{ConnectOptions, ServerAddr, jetstream};
use mongodb::bson::{Document, doc};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use servers::{Layout, Mongod, NatsServer, Passwords, Role, Servers};

/// A loaded machine needs a few seconds for what takes milliseconds.
const LIMIT: Duration = Duration::from_secs(20);

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_open(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

async fn jetstream_of(nats: &NatsServer) -> jetstream::Context {
    let address: ServerAddr = nats.url(Role::Operator).parse().unwrap();
    let (user, password) = (
        address.username().unwrap().to_owned(),
        address.password().unwrap().to_owned(),
    );
    jetstream::new(
        ConnectOptions::with_user_and_password(user, password)
            .connect(address)
            .await
            .unwrap(),
    )
}

async fn publish_to_new_stream(nats: &NatsServer) {
    let config = jetstream::stream::Config {
        name: "KEPT".into(),
        subjects: vec!["kept".into()],
        ..Default::default()
    };
    let jetstream = jetstream_of(nats).await;
    jetstream.create_stream(config).await.unwrap();
    jetstream
        .publish("kept", "a".into())
        .await
        .unwrap()
        .await
        .unwrap();
}

async fn messages(nats: &NatsServer) -> u64 {
    jetstream_of(nats)
        .await
        .get_stream("KEPT")
        .await
        .unwrap()
        .get_info()
        .await
        .unwrap()
        .state
        .messages
}

fn passwords() -> Passwords {
    Passwords::random().unwrap()
}

async fn collection(mongod: &Mongod) -> mongodb::Collection<Document> {
    mongodb::Client::with_uri_str(mongod.uri(Role::Operator))
        .await
        .unwrap()
        .database("test")
        .collection("kept")
}

async fn documents(mongod: &Mongod) -> u64 {
    collection(mongod)
        .await
        .count_documents(doc! {})
        .await
        .unwrap()
}

#[tokio::test]
async fn ephemeral_servers_answer_and_leave_nothing_behind() {
    let started = Instant::now();
    // Spawned, since callers do that: the future must be `Send`.
    let servers = tokio::spawn(Servers::ephemeral(Layout::Single))
        .await
        .unwrap()
        .unwrap();
    eprintln!("both started in {:?}", started.elapsed());
    publish_to_new_stream(&servers.nats[0]).await;
    let client = mongodb::Client::with_uri_str(servers.mongods[0].uri(Role::Operator))
        .await
        .unwrap();
    let mut session = client.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    client
        .database("test")
        .collection("kept")
        .insert_one(doc! { "_id": 1 })
        .session(&mut session)
        .await
        .unwrap();
    session.commit_transaction().await.unwrap();
    assert_eq!(documents(&servers.mongods[0]).await, 1);

    let (nats, mongod) = (servers.nats[0].port(), servers.mongods[0].port());
    let folder = folder_of(servers.mongods[0].pid().unwrap());
    let started = Instant::now();
    servers.stop().await.unwrap();
    eprintln!("both stopped in {:?}", started.elapsed());
    assert!(!is_open(nats) && !is_open(mongod) && !folder.exists());
}

/// The temporary folder, read from the command line of its mongod.
fn folder_of(pid: u32) -> PathBuf {
    let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    let data = arguments
        .split('\0')
        .find(|argument| argument.ends_with("/mongod") && argument.contains("ultimate-backend-"));
    Path::new(data.unwrap()).parent().unwrap().to_owned()
}

#[tokio::test]
async fn a_killed_nats_server_comes_back_with_its_port_and_data() {
    let dir = tempfile::tempdir().unwrap();
    let mut nats = NatsServer::start(dir.path(), &passwords()).await.unwrap();
    publish_to_new_stream(&nats).await;
    let (port, pid) = (nats.port(), nats.pid());
    nats.kill().await.unwrap();
    assert!(!is_open(port));
    nats.restart().await.unwrap();
    assert_eq!((nats.port(), messages(&nats).await), (port, 1));
    assert_ne!(nats.pid(), pid);
    assert!(nats.log_tail().contains("Server is ready"));
    nats.stop().await.unwrap();

    let again = NatsServer::start(dir.path(), &passwords()).await.unwrap();
    assert_eq!(messages(&again).await, 1);
}

#[tokio::test]
async fn a_killed_mongod_comes_back_with_its_port_and_data() {
    let dir = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let mut mongod = Mongod::start(dir.path(), &passwords()).await.unwrap();
    eprintln!("fresh mongod in {:?}", started.elapsed());
    collection(&mongod)
        .await
        .insert_one(doc! { "_id": 1 })
        .await
        .unwrap();
    let port = mongod.port();
    mongod.kill().await.unwrap();
    assert!(!is_open(port));
    mongod.restart().await.unwrap();
    assert_eq!((mongod.port(), documents(&mongod).await), (port, 1));
    let started = Instant::now();
    mongod.stop().await.unwrap();
    eprintln!("mongod stopped in {:?}", started.elapsed());

    let started = Instant::now();
    let again = Mongod::start(dir.path(), &passwords()).await.unwrap();
    eprintln!("mongod on its data in {:?}", started.elapsed());
    assert_eq!((again.port(), documents(&again).await), (port, 1));
}

#[tokio::test]
async fn a_mongod_whose_port_was_taken_moves_to_another_with_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let mut mongod = Mongod::start(dir.path(), &passwords()).await.unwrap();
    collection(&mongod)
        .await
        .insert_one(doc! { "_id": 1 })
        .await
        .unwrap();
    mongod.stop().await.unwrap();
    let taken = std::net::TcpListener::bind(("127.0.0.1", mongod.port())).unwrap();
    // Closes every connection: mongod opens one to find itself.
    std::thread::spawn(move || taken.incoming().for_each(drop));
    let started = Instant::now();
    let moved = Mongod::start(dir.path(), &passwords()).await.unwrap();
    eprintln!("mongod moved in {:?}", started.elapsed());
    assert_ne!(moved.port(), mongod.port());
    assert_eq!(documents(&moved).await, 1);
    collection(&moved)
        .await
        .insert_one(doc! { "_id": 2 })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_server_that_ends_by_itself_is_detected() {
    let dir = tempfile::tempdir().unwrap();
    let mut nats = NatsServer::start(dir.path(), &passwords()).await.unwrap();
    let cancelled = tokio::time::timeout(Duration::from_millis(10), nats.exited()).await;
    assert!(cancelled.is_err());
    kill(
        Pid::from_raw(nats.pid().unwrap().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    tokio::time::timeout(LIMIT, nats.exited())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(nats.pid(), None);
    nats.stop().await.unwrap();
}

#[tokio::test]
async fn a_folder_in_use_is_refused_to_a_second_owner() {
    let dir = tempfile::tempdir().unwrap();
    let first = Servers::in_dir(dir.path(), Layout::Single).await.unwrap();
    let message = Servers::in_dir(dir.path(), Layout::Single)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        message.contains(dir.path().to_str().unwrap()) && message.contains("--data-dir"),
        "{message}"
    );
    first.stop().await.unwrap();
    Servers::in_dir(dir.path(), Layout::Single)
        .await
        .unwrap()
        .stop()
        .await
        .unwrap();
}

/// Not a test: the owner that [`no_server_outlives_an_owner_that_was_killed`] kills.
#[tokio::test]
#[ignore = "runs until it is killed"]
async fn an_owner() {
    let servers = match std::env::var_os("OWNED_DIR") {
        Some(dir) => Servers::in_dir(Path::new(&dir), Layout::Single)
            .await
            .unwrap(),
        None => Servers::ephemeral(Layout::Single).await.unwrap(),
    };
    println!(
        "owned {} {}",
        servers.nats[0].pid().unwrap(),
        servers.mongods[0].pid().unwrap()
    );
    std::future::pending::<()>().await;
}

/// Starts an owner, gives the process id of its mongod to `look`, and kills the owner.
async fn kill_an_owner<T>(dir: Option<&Path>, look: impl FnOnce(u32) -> T) -> T {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "an_owner", "--nocapture"])
        .stdout(Stdio::piped());
    if let Some(dir) = dir {
        command.env("OWNED_DIR", dir);
    }
    let mut owner = command.spawn().unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let pids: Vec<u32> = lines
        .filter_map(|line| {
            line.split_once("owned ")
                .map(|(_, pids)| pids.split(' ').map(|pid| pid.parse().unwrap()).collect())
        })
        .next()
        .unwrap();
    assert!(pids.iter().all(|&pid| runs(pid)));
    let seen = look(pids[1]);
    owner.kill().unwrap();
    owner.wait().unwrap();
    until("both servers have ended", || {
        !pids.iter().any(|&pid| runs(pid))
    })
    .await;
    seen
}

/// Whether a process is alive. A zombie is not.
fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn no_server_outlives_an_owner_that_was_killed() {
    let folder = kill_an_owner(None, folder_of).await;
    until("the temporary folder is removed", || !folder.exists()).await;
}

#[tokio::test]
async fn the_folder_of_an_owner_that_was_killed_can_be_used_at_once() {
    let dir = tempfile::tempdir().unwrap();
    kill_an_owner(Some(dir.path()), |_| ()).await;
    Servers::in_dir(dir.path(), Layout::Single)
        .await
        .unwrap()
        .stop()
        .await
        .unwrap();
}

/// Not a test: [`a_wrong_variable_is_named`] runs it with a variable set. A process with many
/// threads must not set its own.
#[tokio::test]
#[ignore = "needs a variable"]
async fn an_error() {
    println!(
        "error: {:#}",
        Servers::ephemeral(Layout::Single).await.err().unwrap()
    );
}

#[test]
fn a_wrong_variable_is_named() {
    for (variable, file) in [
        ("NATS_SERVER_BIN", "/bin/false"),
        ("MONGOD_BIN", "/nowhere/mongod"),
        ("MONGOD_BIN", "/bin/true"),
    ] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let output = command
            .args(["--ignored", "--exact", "an_error", "--nocapture"])
            .env(variable, file)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            text.contains(&format!(
                "error: {variable} names {file}, which is no usable"
            )),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mongod_decompresses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mongod = Mongod::start(dir.path(), &passwords()).await.unwrap();
    let client = mongodb::Client::with_uri_str(mongod.uri(Role::Operator))
        .await
        .unwrap();
    let offer = doc! { "hello": 1, "compression": ["snappy", "zstd", "zlib"] };
    let hello = client.database("admin").run_command(offer).await.unwrap();
    assert!(!hello.contains_key("compression"), "{hello}");
}
