//! The limits of clients without an account: how often they may do something, and how they learn of
//! it.

use futures_util::future::join_all;
use reqwest::{Response, header::HeaderMap};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpSocket};

use crate::support::{
    Browser, CREATE_PROJECT, LOGIN, OTHER_PASSWORD, VERIFY, ada_in_acme, code, code_of,
    credentials, eventually, input, start_with, succeeded,
};

/// A gateway that learns clients' addresses from the header `x-client`.
async fn start(limits: &[&str]) -> local::Local {
    start_with(&[&["--client-address-header", "x-client"], limits].concat()).await
}

fn client(backend: &local::Local, address: &str) -> Browser {
    Browser::new(backend).with_header("x-client", address)
}

async fn login(browser: &Browser, email: &str) -> (HeaderMap, Value) {
    let response: Response = browser
        .post(LOGIN, credentials(email, OTHER_PASSWORD))
        .await;
    (response.headers().clone(), response.json().await.unwrap())
}

fn number(headers: &HeaderMap, name: &str) -> u64 {
    headers[name].to_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_learns_from_headers_how_much_it_may_do() {
    let backend = start(&["--stranger-limit", "3/hour"]).await;
    let eve = client(&backend, "6.6.6.6");
    for remaining in [2, 1, 0] {
        let (headers, answer) = login(&eve, "nobody@example.com").await;
        assert_eq!(code_of(&answer), "UNAUTHENTICATED");
        assert_eq!(number(&headers, "ratelimit-limit"), 3);
        assert_eq!(number(&headers, "ratelimit-remaining"), remaining);
        assert_eq!(
            number(&headers, "ratelimit-reset"),
            (3 - remaining) * 20 * 60
        );
        assert!(headers.get("retry-after").is_none());
    }
    let (headers, answer) = login(&eve, "nobody@example.com").await;
    assert_eq!(code_of(&answer), "RATE_LIMITED");
    let seconds = answer["errors"][0]["extensions"]["retryAfter"].as_u64();
    assert_eq!(seconds, Some(number(&headers, "retry-after")));
    assert!(seconds.is_some_and(|seconds| (1_100..=1_200).contains(&seconds)));
    let (headers, _) = login(&client(&backend, "7.7.7.7"), "nobody@example.com").await;
    assert_eq!(number(&headers, "ratelimit-remaining"), 2, "another client");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_addresses_of_one_ipv6_network_are_one_client() {
    let backend = start(&["--stranger-limit", "1/hour"]).await;
    let ask = async |address: &str| {
        let (_, answer) = login(&client(&backend, address), "nobody@example.com").await;
        code_of(&answer).clone()
    };
    assert_eq!(ask("2001:db8::1").await, "UNAUTHENTICATED");
    assert_eq!(ask("2001:db8::ffff:2").await, "RATE_LIMITED");
    assert_eq!(ask("2001:db8:0:1::1").await, "UNAUTHENTICATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_for_an_address_too_often_locks_out_nobody_else() {
    let backend = start(&["--address-limit", "2/hour"]).await;
    let ask = async |address: &str| {
        let (_, answer) = login(&client(&backend, address), "ada@example.com").await;
        code_of(&answer).clone()
    };
    for expected in ["UNAUTHENTICATED", "UNAUTHENTICATED", "RATE_LIMITED"] {
        assert_eq!(ask("6.6.6.6").await, expected);
    }
    for number in 0..20 {
        // Refused requests count for nobody else.
        assert_eq!(ask("6.6.6.6").await, "RATE_LIMITED", "{number}");
    }
    assert_eq!(ask("7.7.7.7").await, "UNAUTHENTICATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_strangers_flood_an_address_and_a_known_device_still_logs_in() {
    let backend = start(&["--address-limit", "2/hour"]).await;
    let ada = client(&backend, "7.7.7.7");
    // She needs three requests: two of them would be too many.
    ada.register("ada@example.com").await;
    let code = code(&ada.mail("ada@example.com", "code", 1).await);
    let verify = input(json!({ "email": "ada@example.com", "code": code }));
    ada.data(VERIFY, verify).await;
    ada.with_header("x-client", "7.7.7.8")
        .log_in("ada@example.com")
        .await;
    let mut refused = 0;
    for number in 0..20 {
        let eve = client(&backend, &format!("6.6.6.{number}"));
        let (_, answer) = login(&eve, "ada@example.com").await;
        refused += usize::from(code_of(&answer) == "RATE_LIMITED");
    }
    assert!(refused > 0);
    ada.log_in("ada@example.com").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_are_limited_per_client_and_per_domain() {
    let limits = [
        "--registration-limit",
        "2/hour",
        "--registration-domain-limit",
        "3/hour",
    ];
    let backend = start(&limits).await;
    let register = async |address: &str, email: &str| {
        let answer = client(&backend, address).register(email).await;
        (succeeded(&answer), code_of(&answer).clone())
    };
    let (accepted, refused) = ((true, Value::Null), (false, json!("RATE_LIMITED")));
    assert_eq!(register("6.6.6.6", "a@example.com").await, accepted);
    assert_eq!(register("6.6.6.6", "b@example.com").await, accepted);
    assert_eq!(register("6.6.6.6", "c@example.org").await, refused);
    assert_eq!(register("7.7.7.7", "c@example.com").await, accepted);
    assert_eq!(register("8.8.8.8", "d@example.com").await, refused);
    assert_eq!(register("8.8.8.8", "d@example.org").await, accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_of_all_clients_are_limited() {
    let backend = start(&["--registration-total-limit", "1/hour"]).await;
    let register = async |address: &str, email: &str| {
        let answer = client(&backend, address).register(email).await;
        succeeded(&answer)
    };
    assert!(register("6.6.6.6", "a@example.com").await);
    assert!(!register("7.7.7.7", "b@example.org").await);
}

/// Ada in acme, with a hundred projects whose descriptions are as long as they may be.
async fn ada_with_long_projects(backend: &local::Local) -> Browser {
    let ada = ada_in_acme(backend).await;
    let description = "x".repeat(10_000);
    let create = |at: usize| {
        let project = input(json!({ "name": format!("Project {at}"), "description": description }));
        let ada = &ada;
        async move { ada.data(CREATE_PROJECT, project).await }
    };
    join_all((0..100).map(create)).await;
    ada
}

/// A query whose answer has so many megabytes of descriptions.
fn megabytes(count: usize) -> String {
    let page = |at| format!("p{at}: projects(first: 100) {{ nodes {{ description }} }} ");
    format!("{{ {} }}", (0..count).map(page).collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_at_most_four_mebibytes_and_its_reader_must_read_it() {
    let backend = start(&[]).await;
    let ada = ada_with_long_projects(&backend).await;
    let (robot, _) = ada.create_machine(&backend, &["read_project"]).await;
    let refused = robot.gql(&megabytes(5), ()).await;
    assert_eq!(refused["data"], Value::Null);
    assert_eq!(
        refused["errors"].as_array().unwrap().len(),
        1,
        "one error, not one per field"
    );
    assert_eq!(code_of(&refused), "BAD_USER_INPUT");
    let answer = robot.gql(&megabytes(4), ()).await;
    assert_eq!(answer["data"]["p3"]["nodes"].as_array().unwrap().len(), 100);

    // A client that accepts nothing of it is disconnected.
    let body = json!({ "query": megabytes(4) }).to_string();
    let request = format!(
        "POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         authorization: {}\r\ncontent-length: {}\r\n\r\n{body}",
        robot.authorization(),
        body.len()
    );
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let address = backend.url().trim_start_matches("http://").parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let port = format!(":{:04X}", stream.local_addr().unwrap().port());
    eventually("the end of the connection", || async {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        // The gateway's end, as long as it is established.
        let is_gateway = |line: &str| {
            let columns: Vec<_> = line.split_whitespace().collect();
            columns.get(2).is_some_and(|remote| remote.ends_with(&port))
                && columns.get(3) == Some(&"01")
        };
        !table.lines().any(is_gateway)
    })
    .await;
}
