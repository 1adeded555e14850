//! The connection to NATS.

use std::{
    future::{Ready, ready},
    sync::{Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, ensure};
use async_nats::{
    Client, ConnectOptions, ReconnectToServer, Server, ServerAddr, ServerInfo, connection::State,
};
use bytes::Bytes;
use events_schema::subject::{EVENTS, inbox_of, stream_info};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{NatsOptions, posture::is_loopback, random_bytes};

/// A silent server counts as lost after two of these.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// How often the connection is looked at.
const CONNECTION_POLL: Duration = Duration::from_millis(20);

/// How often [`leave_isolated_server`] asks whether JetStream answers, and how long that may take.
const PROBE_EVERY: Duration = Duration::from_millis(500);
const PROBE_WITHIN: Duration = Duration::from_secs(1);
/// A server where JetStream does not work for this long, and in so many probes, is left. If the
/// whole cluster elects a leader meanwhile, the new connection changes nothing. So the time doubles
/// each time that leaving has not helped.
const ISOLATED_AFTER: Duration = Duration::from_secs(2);
const ISOLATED_PROBES: u32 = 3;
/// The longest time before the next server is left.
const LONGEST_PATIENCE: Duration = Duration::from_secs(30);

/// A leader hears of its replicas each second.
const HEARD_WITHIN_NS: u64 = 2_500_000_000;

/// Connects to NATS for this program. A connection that is lost later is restored, however long
/// that takes. The inbox is the one that `nats.conf` gives to the user in the URL.
///
/// # Errors
/// If a URL is malformed, the URLs have no user or different ones, or no server can be reached or
/// trusted. No error shows a password.
pub async fn connect(options: &NatsOptions, program: &str) -> anyhow::Result<Client> {
    let servers = parse(&options.nats_url)?;
    let (user, password) = credentials(&servers)?;
    let inbox = inbox_of(&user);
    let mut hosts = servers.iter().map(ServerAddr::host);
    let only_here = !is_tls(options, &servers) && hosts.all(|host| is_loopback(Some(host)));
    let connection = ConnectOptions::with_user_and_password(user, password);
    with_tls(connection, options, &servers)
        .name(program)
        .custom_inbox_prefix(inbox)
        .max_reconnects(None)
        .ping_interval(PING_INTERVAL)
        .reconnect_to_server_callback(another_server(only_here))
        .connect(servers)
        .await
        .context("NATS cannot be reached or trusted; check UB_NATS_URL and UB_NATS_…_FILE")
}

/// Whether all connections must use TLS. Servers of a cluster name each other without a scheme, so
/// one URL decides for all.
pub(crate) fn is_tls(options: &NatsOptions, servers: &[ServerAddr]) -> bool {
    options.nats_ca_file.is_some() || servers.iter().any(ServerAddr::tls_required)
}

fn with_tls(
    connection: ConnectOptions,
    options: &NatsOptions,
    servers: &[ServerAddr],
) -> ConnectOptions {
    let mut connection = connection.require_tls(is_tls(options, servers));
    if let Some(file) = &options.nats_ca_file {
        connection = connection.add_root_certificates(file.clone());
    }
    if let (Some(certificate), Some(key)) = (&options.nats_certificate_file, &options.nats_key_file)
    {
        connection = connection.add_client_certificate(certificate.clone(), key.clone());
    }
    connection
}

/// Returns a function that chooses the server to reconnect to: not the one that was used or tried
/// last, if there are others; of these, a random one of those that failed least.
///
/// The servers of a cluster name each other. With `only_here`, those on other machines are left out:
/// they would get the password without TLS.
fn another_server(
    only_here: bool,
) -> impl Fn(Vec<Server>, ServerInfo) -> Ready<Option<ReconnectToServer>> {
    let last_chosen = Mutex::new(None);
    move |servers, last| {
        if last.server_id.is_empty() {
            // The first connection: the client tries one after the other.
            return ready(None);
        }
        let mut last_chosen = last_chosen.lock().unwrap_or_else(PoisonError::into_inner);
        let place = |server: &Server| (server.addr.host().to_owned(), server.addr.port());
        if last_chosen.is_none() {
            // The client itself has chosen the first one.
            *last_chosen = servers.iter().find(|server| server.did_connect).map(place);
        }
        let draw = usize::from(random_bytes::<1>().map_or(0, |[byte]| byte));
        let may_use = |server: &&Server| !only_here || is_loopback(Some(server.addr.host()));
        let mut others: Vec<&Server> = servers.iter().filter(may_use).collect();
        let by = draw % others.len().max(1);
        others.rotate_left(by);
        others.sort_by_key(|server| {
            (
                last_chosen.as_ref() == Some(&place(server)),
                server.failed_attempts,
            )
        });
        let chosen = others.first();
        *last_chosen = chosen.map(|server| place(server));
        ready(chosen.map(|server| ReconnectToServer {
            addr: server.addr.clone(),
            delay: None,
        }))
    }
}

/// Returns what changes each time that a lost connection is restored. A server that was restarted
/// has forgotten the streams that it kept in memory, and their consumers.
pub fn reconnects(client: &Client) -> watch::Receiver<u64> {
    let statistics = client.statistics();
    let (sender, receiver) = watch::channel(statistics.connects.load(Ordering::Relaxed));
    tokio::spawn(async move {
        while !sender.is_closed() {
            sleep(CONNECTION_POLL).await;
            let connects = statistics.connects.load(Ordering::Relaxed);
            sender.send_if_modified(|known| std::mem::replace(known, connects) != connects);
        }
    });
    receiver
}

/// Leaves a server that accepts this connection while it is cut off from the majority of its
/// cluster: JetStream does not work there. The client then chooses among all servers again. Runs
/// for ever.
pub async fn leave_isolated_server(client: Client, options: NatsOptions) {
    let mut has_others = options.nats_url.contains(',');
    let (mut works, mut failures) = (Instant::now(), 0);
    let mut patience = ISOLATED_AFTER;
    loop {
        sleep(PROBE_EVERY).await;
        has_others |= client.server_info().connect_urls.len() > 1;
        let is_connected = client.connection_state() == State::Connected;
        if !has_others || !is_connected {
            (works, failures) = (Instant::now(), 0);
        } else if jetstream_works(&client).await {
            (works, failures, patience) = (Instant::now(), 0, ISOLATED_AFTER);
        } else {
            failures += 1;
            if failures < ISOLATED_PROBES || works.elapsed() < patience {
                continue;
            }
            let server = client.server_info().server_name;
            tracing::warn!(
                server,
                "JetStream does not work on this server; reconnecting"
            );
            // It fails only if the client has ended.
            _ = client.force_reconnect().await;
            // If that does not help, the cluster has no majority, and must not be flooded.
            patience = (2 * patience).min(LONGEST_PATIENCE);
            (works, failures) = (Instant::now(), 0);
        }
    }
}

/// Whether the leader of the log answers and hears of a majority.
async fn jetstream_works(client: &Client) -> bool {
    let answer = client.request(stream_info(EVENTS), Bytes::new());
    let answer = timeout(PROBE_WITHIN, answer).await;
    matches!(answer, Ok(Ok(answer)) if has_majority(&answer.payload))
}

/// Whether a stream's state comes from a leader that has heard from a majority recently. Another
/// server may answer for a stream without a leader, and a leader that is cut off still considers
/// itself the leader for ten seconds. An answer in an unexpected form counts if it has a state.
pub fn has_majority(info: &[u8]) -> bool {
    let Ok(info) = serde_json::from_slice::<StreamInfo>(info) else {
        let info = serde_json::from_slice::<Value>(info);
        return info.is_ok_and(|info| info.get("state").is_some());
    };
    let heard = |replica: &&Replica| replica.current && replica.active_ns < HEARD_WITHIN_NS;
    info.cluster.is_none_or(|cluster| {
        let replicas = cluster.replicas.len();
        let heard = cluster.replicas.iter().filter(heard).count();
        cluster.leader.is_some() && 2 * (1 + heard) > 1 + replicas
    })
}

/// The part of a stream's state that tells about its leader. An error has no `state`.
#[derive(Deserialize)]
struct StreamInfo {
    #[serde(rename = "state")]
    _state: IgnoredAny,
    /// Absent on a server without a cluster.
    cluster: Option<Cluster>,
}

#[derive(Deserialize)]
struct Cluster {
    leader: Option<String>,
    #[serde(default)]
    replicas: Vec<Replica>,
}

#[derive(Deserialize)]
struct Replica {
    current: bool,
    /// Nanoseconds since the leader has heard of it.
    #[serde(rename = "active")]
    active_ns: u64,
}

pub(crate) fn parse(urls: &str) -> anyhow::Result<Vec<ServerAddr>> {
    let servers = urls.split(',').map(|url| url.trim().parse());
    // The client's own error would show the URL with its password.
    let servers: Result<Vec<ServerAddr>, _> = servers.collect();
    servers.map_err(|_| anyhow!("UB_NATS_URL must be a list of nats://USER:PASSWORD@HOST:PORT"))
}

/// Returns the user and password of all servers. The client accepts one pair for all of them, and
/// only in its options.
pub(crate) fn credentials(servers: &[ServerAddr]) -> anyhow::Result<(String, String)> {
    let mut pairs = servers
        .iter()
        .filter_map(|server| server.username().zip(server.password()));
    let (user, password) = pairs.next().context(
        "UB_NATS_URL must have a user and a password, as in nats://workers:PASSWORD@host:4222",
    )?;
    ensure!(
        pairs.all(|pair| pair == (user, password)),
        "UB_NATS_URL must have the same user and password for all servers"
    );
    Ok((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn credentials_of(urls: &str) -> Result<(String, String), String> {
        let parsed = parse(urls).and_then(|servers| credentials(&servers));
        parsed.map_err(|error| format!("{error:#}"))
    }

    fn server_at(host: &str, port: u16) -> Server {
        Server {
            addr: format!("nats://{host}:{port}").parse().unwrap(),
            failed_attempts: 0,
            did_connect: port == 2,
            is_discovered: false,
            last_error: None,
        }
    }

    fn connected() -> ServerInfo {
        ServerInfo {
            server_id: "N".to_owned(),
            ..ServerInfo::default()
        }
    }

    #[tokio::test]
    async fn a_program_beside_its_server_goes_to_no_other_machine_without_tls() {
        let hosts = ["127.0.0.1", "10.0.0.1", "localhost"];
        for (only_here, expected) in [(true, false), (false, true)] {
            let choose = another_server(only_here);
            let mut went_away = false;
            for _ in 0..50 {
                let servers = hosts.iter().map(|host| server_at(host, 1)).collect();
                let chosen = choose(servers, connected()).await.unwrap();
                went_away |= chosen.addr.host() == "10.0.0.1";
            }
            assert_eq!(went_away, expected);
        }
    }

    #[tokio::test]
    async fn a_server_that_was_left_is_not_chosen_next() {
        let (server, connected) = (|port| server_at("127.0.0.1", port), connected());
        let choose = another_server(false);
        let choose = async |ports: &[u16], info: &ServerInfo| {
            let servers = ports.iter().map(|port| server(*port)).collect();
            let chosen = choose(servers, info.clone()).await;
            chosen.map(|chosen| chosen.addr.port())
        };
        assert_eq!(choose(&[1, 2, 3], &ServerInfo::default()).await, None);
        let mut left = Some(2);
        for _ in 0..50 {
            let next = choose(&[1, 2, 3], &connected).await;
            assert!(next.is_some() && next != left);
            left = next;
        }
        assert_eq!(choose(&[4], &connected).await, Some(4));
        assert_eq!(choose(&[4], &connected).await, Some(4));
    }

    #[test]
    fn a_leader_without_a_majority_does_not_count() {
        let replica = |current, seconds: f64| json!({ "name": "n", "current": current, "active": (seconds * 1e9) as u64 });
        let works = |cluster| {
            let info = json!({ "state": { "last_seq": 7 }, "cluster": cluster });
            has_majority(info.to_string().as_bytes())
        };
        let (heard, silent, lost) = (replica(true, 0.4), replica(true, 2.6), replica(false, 0.0));
        assert!(works(json!({ "leader": "a", "replicas": [heard, heard] })));
        assert!(works(json!({ "leader": "a", "replicas": [heard, lost] })));
        assert!(works(json!({ "leader": "a" })));
        assert!(!works(
            json!({ "leader": "a", "replicas": [silent, silent] })
        ));
        assert!(!works(json!({ "leader": "a", "replicas": [silent, lost] })));
        assert!(!works(json!({ "replicas": [heard, heard] })));
        assert!(has_majority(br#"{ "state": { "last_seq": 7 } }"#));
        assert!(has_majority(
            br#"{ "state": {}, "cluster": { "replicas": 3 } }"#
        ));
        assert!(!has_majority(br#"{ "error": { "code": 503 } }"#));
    }

    #[test]
    fn any_server_of_a_cluster_may_carry_the_credentials() {
        let expected = Ok(("workers".to_owned(), "secret".to_owned()));
        for urls in [
            "nats://workers:secret@a:4222",
            "nats://a:4222, nats://workers:secret@b:4222",
            "nats://workers:secret@a,nats://workers:secret@b",
        ] {
            assert_eq!(credentials_of(urls), expected, "{urls}");
        }
    }

    #[test]
    fn missing_or_different_credentials_are_refused_without_showing_a_password() {
        for urls in [
            "",
            "nats://a:4222",
            "nats://workers:hunter2@a:port",
            "nats://workers:hunter2@a,nats://workers:hunter3@b",
        ] {
            let error = credentials_of(urls).unwrap_err();
            assert!(
                error.contains("UB_NATS_URL") && !error.contains("hunter"),
                "{error}"
            );
        }
    }
}
