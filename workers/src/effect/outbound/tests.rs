//! On real sockets: HTTP and TLS servers and a DNS server on loopback addresses.

use event_store::{WebhookOptions, outbound::Resolver};
use events_schema::IpNetwork;

use self::{dns::Dns, servers::Server};
use super::*;

pub(crate) mod dns;
mod hostile;
mod servers;
mod tls;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const CLOSING: &str = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";

fn options(allowed: &[&str], dns: Option<SocketAddr>) -> OutboundOptions {
    let networks = allowed.iter().map(|text| IpNetwork::parse(text).unwrap());
    OutboundOptions {
        webhook: WebhookOptions {
            webhook_allow: networks.collect(),
        },
        webhook_dns: dns,
    }
}

/// A client that may reach these networks and asks this DNS server, or one that nobody runs.
fn client(allowed: &[&str], dns: Option<&Dns>) -> Outbound {
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let dns = dns.map_or(nobody, |dns| dns.address);
    Outbound::new(&options(allowed, Some(dns))).unwrap()
}

fn request(url: &str) -> Request {
    Request {
        url: WebhookUrl::parse(url).unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
        until: Deadline::now() + EXCHANGE_TIMEOUT,
    }
}

async fn answered(client: &Outbound, url: &str) -> Answer {
    client.post(request(url)).await.outcome.unwrap()
}

async fn failed(client: &Outbound, url: &str) -> Failure {
    client.post(request(url)).await.outcome.unwrap_err()
}

fn blocked() -> Failure {
    Failure::Blocked(Invalid("must lead to public addresses only"))
}

#[tokio::test]
async fn a_request_arrives_as_it_was_given() {
    let server = Server::answers(OK).await;
    let client = client(&["127.0.0.1"], None);
    let mut request = request(&server.url("/hooks?a=b"));
    for (name, value) in [
        (HeaderName::from_static("webhook-id"), "msg_1"),
        (header::HOST, "elsewhere.example"),
        (header::CONTENT_LENGTH, "1"),
        (header::TRANSFER_ENCODING, "chunked"),
        (header::CONNECTION, "upgrade"),
    ] {
        request
            .headers
            .insert(name, HeaderValue::from_static(value));
    }
    request.body = Bytes::from_static(b"{\"a\":1}");

    let reply = client.post(request).await;

    let answer = reply.outcome.unwrap();
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (StatusCode::OK, "ok")
    );
    assert_eq!(answer.address, server.address);
    let received = server.requests();
    let (head, body) = received[0].split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.lines().collect();
    assert_eq!(lines.remove(0), "POST /hooks?a=b HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", server.address);
    let expected = [
        "content-length: 7",
        &host,
        "user-agent: ultimate-backend",
        "webhook-id: msg_1",
    ];
    assert_eq!(lines, expected);
    assert_eq!(body, "{\"a\":1}");
}

#[tokio::test]
async fn no_spelling_of_an_address_that_is_not_public_is_reached() {
    let client = client(&[], None);
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../events-schema/src/outbound/spellings.txt"
    );
    let spellings = std::fs::read_to_string(path).unwrap();
    let hosts: Vec<&str> = spellings
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert!(hosts.len() >= 60, "{}", hosts.len());
    for host in hosts {
        let failure = failed(&client, &format!("https://{host}/")).await;
        assert_eq!(failure, blocked(), "{host}");
    }
}

#[tokio::test]
async fn a_name_is_refused_if_one_of_its_addresses_is_not_allowed() {
    let trap = Server::answers(OK).await;
    for addresses in [
        &["127.0.0.1", "10.0.0.1"][..],
        &["10.0.0.1", "127.0.0.1"],
        &["127.0.0.1", "::1"],
        &["127.0.0.1", "93.184.216.34", "::ffff:169.254.169.254"],
        &["169.254.169.254"],
    ] {
        let dns = Dns::answers(&[addresses]).await;
        let client = client(&["127.0.0.1"], Some(&dns));
        let failure = failed(&client, &trap.named_url("https", "hooks.example")).await;
        assert_eq!(failure, blocked(), "{addresses:?}");
    }
    assert_eq!(trap.connections(), 0);
}

#[tokio::test]
async fn a_name_that_leads_to_a_public_address_needs_tls() {
    let dns = Dns::answers(&[&["93.184.216.34"]]).await;
    let client = client(&["127.0.0.0/8"], Some(&dns));
    let failure = failed(&client, "http://hooks.example/").await;
    assert_eq!(
        failure,
        Failure::Blocked(Invalid("must begin with https://"))
    );
}

#[tokio::test]
async fn a_name_that_changes_its_address_gains_nothing() {
    let trap = Server::answers(OK).await;
    let port = trap.address.port();
    let server = Server::listens(([127, 0, 0, 2], port), CLOSING).await;
    let dns = Dns::answers(&[&["127.0.0.2"], &["127.0.0.1"]]).await;
    let client = client(&["127.0.0.2"], Some(&dns));
    let url = server.named_url("http", "hooks.example");

    // The address that was checked is the one that is used: the name is looked up once.
    assert_eq!(answered(&client, &url).await.address, server.address);
    assert_eq!(dns.lookups(), 1);
    assert_eq!(failed(&client, &url).await, blocked());
    assert_eq!(dns.lookups(), 2);
    assert_eq!(trap.connections(), 0);
}

#[tokio::test]
async fn a_name_without_an_address_is_not_found() {
    let dns = Dns::answers(&[&[]]).await;
    let found = failed(&client(&[], Some(&dns)), "https://hooks.example/").await;
    assert_eq!(found, Failure::Dns("it has no address".to_owned()));
    let found = failed(&client(&[], None), "https://hooks.example/").await;
    assert_eq!(found, Failure::Dns("DNS does not answer".to_owned()));
}

#[tokio::test]
async fn the_texts_of_a_name_are_looked_up_each_time_and_each_is_joined() {
    let dns = Dns::answers(&[&[]]).await;
    let resolver = Resolver::forgetful(Some(dns.address)).unwrap();
    let (name, long) = ("_challenge.example.com", "x".repeat(300));
    let nothing = Vec::<String>::new();
    assert_eq!(resolver.texts(name).await.unwrap(), nothing);
    dns.publishes(name, "a");
    assert_eq!(resolver.texts(name).await.unwrap(), ["a"]);
    dns.publishes(name, &long);
    assert_eq!(resolver.texts(name).await.unwrap(), ["a", &long]);
    dns.withdraws(name);
    assert_eq!(resolver.texts(name).await.unwrap(), nothing);
    dns.falls_silent();
    let silent = Failure::Dns("DNS does not answer".to_owned());
    assert_eq!(resolver.texts(name).await.unwrap_err(), silent);
}

#[tokio::test]
async fn another_address_of_a_name_is_tried_if_one_refuses() {
    let server = Server::answers(OK).await;
    let dns = Dns::answers(&[&["127.0.0.3", "127.0.0.1"]]).await;
    let client = client(&["127.0.0.0/8"], Some(&dns));
    let url = server.named_url("http", "hooks.example");
    assert_eq!(answered(&client, &url).await.address, server.address);
}

#[tokio::test]
async fn a_server_that_does_not_listen_is_reported() {
    let server = Server::answers(OK).await;
    let url = server.url("/");
    server.stop().await;
    let failure = failed(&client(&["127.0.0.1"], None), &url).await;
    assert_eq!(
        failure.to_string(),
        "the connection failed: connection refused"
    );
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let target = Server::answers(OK).await;
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary",
        "308 Permanent",
    ] {
        let location = target.url("/");
        let head = format!("HTTP/1.1 {status}\r\nlocation: {location}\r\n");
        let server = Server::answers(&format!("{head}content-length: 0\r\n\r\n")).await;
        let answer = answered(&client(&["127.0.0.1"], None), &server.url("/")).await;
        assert!(answer.status.is_redirection(), "{answer:?}");
        assert_eq!(server.requests().len(), 1);
    }
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn a_server_says_when_it_wants_the_next_request() {
    for value in ["120", "Fri, 01 Jan 2100 00:00:00 GMT"] {
        let head = format!("HTTP/1.1 503 Busy\r\nretry-after: {value}\r\n");
        let server = Server::answers(&format!("{head}content-length: 0\r\n\r\n")).await;
        let answer = answered(&client(&["127.0.0.1"], None), &server.url("/")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(
            answer.retry_after >= Some(Duration::from_secs(120)),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let server = Server::answers(OK).await;
    let client = client(&["127.0.0.1"], None);
    for _ in 0..10 {
        answered(&client, &server.url("/")).await;
    }
    // Another one may be opened while the last one is still being returned.
    assert!(server.connections() < 10, "{}", server.connections());
}

#[tokio::test]
async fn a_connection_is_closed_if_too_many_are_open() {
    let server = Server::answers(OK).await;
    let client = client(&["127.0.0.1"], None);
    let open_ones = client.kept.try_acquire_many(MAX_KEPT as u32).unwrap();
    for _ in 0..10 {
        answered(&client, &server.url("/")).await;
    }
    drop(open_ones);
    assert_eq!(server.connections(), 10);
    let closes = |request: &String| request.contains("connection: close");
    assert!(server.requests().iter().all(closes));
}

#[tokio::test]
async fn control_characters_in_an_answer_are_replaced() {
    let body = "a\u{0}b\u{1b}[31mc\u{7f}d\u{85}e\tf\r\ng";
    let length = body.len();
    let answer = format!("HTTP/1.1 500 Oops\r\ncontent-length: {length}\r\n\r\n{body}");
    let server = Server::answers(&answer).await;
    let client = client(&["127.0.0.1"], None);
    let text = answered(&client, &server.url("/")).await.text;
    assert_eq!(text, "a\u{fffd}b\u{fffd}[31mc\u{fffd}d\u{fffd}e\tf\r\ng");
}
