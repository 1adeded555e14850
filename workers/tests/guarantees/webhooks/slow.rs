//! Answers that never end, or come a byte a second: they cost a worker bounded time and memory.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::Child,
    time::sleep,
};

use super::{
    LOOPS,
    customer::{Customer, settings},
};
use crate::support::{World, eventually};

/// How long an exchange takes at most.
const EXCHANGE: Duration = Duration::from_secs(15);
/// The memory in MiB that endless answers may cost a worker.
const MOST_MIB: u64 = 40;

/// How a server answers.
#[derive(Clone, Copy)]
enum Answers {
    /// With a body that has a byte in a second.
    Slowly,
    /// With a body that is sent as fast as it is read, without an end.
    Endlessly,
    /// With a header that has no end.
    WithEndlessHeader,
}

/// A server that reads requests one after the other.
#[derive(Clone)]
struct Server {
    url: String,
    came: Arc<Mutex<Vec<Instant>>>,
}

impl Server {
    async fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            url: format!("http://{}/", listener.local_addr().unwrap()),
            came: Arc::default(),
        };
        let came = server.came.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, answers, came.clone()));
            }
        });
        server
    }

    fn came(&self) -> Vec<Instant> {
        self.came.lock().unwrap().clone()
    }
}

/// Answers one request until the sender has enough.
async fn answer(mut stream: TcpStream, answers: Answers, came: Arc<Mutex<Vec<Instant>>>) {
    let mut request = [0; 4096];
    if !matches!(stream.read(&mut request).await, Ok(1..)) {
        return;
    }
    came.lock().unwrap().push(Instant::now());
    let (begin, piece, pause): (&str, Vec<u8>, _) = match answers {
        Answers::Slowly => (
            "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n",
            b"x".to_vec(),
            Duration::from_secs(1),
        ),
        Answers::Endlessly => (
            "HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n",
            vec![b'x'; 64 * 1024],
            Duration::ZERO,
        ),
        Answers::WithEndlessHeader => (
            "HTTP/1.1 200 OK\r\nx-long: ",
            vec![b'x'; 64 * 1024],
            Duration::ZERO,
        ),
    };
    let mut is_read = stream.write_all(begin.as_bytes()).await.is_ok();
    while is_read {
        is_read = stream.write_all(&piece).await.is_ok();
        sleep(pause).await;
    }
}

/// Returns the most memory in MiB that a process has taken so far.
fn peak_mib(process: &Child) -> u64 {
    let status = format!("/proc/{}/status", process.id().unwrap());
    let status = fs::read_to_string(status).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_ends_after_fifteen_seconds() {
    let world = World::start().await;
    let _worker = world.workers::<1>(LOOPS).await;
    let acme = Customer::new(&world).await;
    let server = Server::start(Answers::Slowly).await;
    let mut one_at_a_time = settings(&server.url);
    one_at_a_time.concurrency = 1;
    acme.webhook(one_at_a_time).await;
    tokio::join!(acme.project(), acme.project());
    eventually("the second request", || async { server.came().len() == 2 }).await;
    let came = server.came();
    let time = came[1] - came[0];
    let expected = EXCHANGE.mul_f64(0.95)..EXCHANGE.mul_f64(1.15);
    assert!(expected.contains(&time), "the slot was free after {time:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_answers_cost_no_memory() {
    let world = World::start().await;
    let [worker] = world.workers(LOOPS).await;
    let acme = Customer::new(&world).await;
    let kinds = [Answers::Endlessly, Answers::WithEndlessHeader];
    let servers = kinds.iter().cycle().take(16).copied().map(Server::start);
    let servers = join_all(servers).await;
    for server in &servers {
        acme.webhook(settings(&server.url)).await;
    }
    let all = |requests: usize| {
        let servers = &servers;
        eventually("requests to each server", move || async move {
            servers.iter().all(|server| server.came().len() >= requests)
        })
    };
    let before = peak_mib(&worker);
    for batch in 1..=10 {
        join_all((0..10).map(|_| acme.project())).await;
        all(10 * batch).await;
        let peak = peak_mib(&worker);
        assert!(peak < before + MOST_MIB, "from {before} to {peak} MiB");
    }
}
