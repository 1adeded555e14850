//! Servers that hold on to their client.

use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
    time::{interval, timeout},
};

use super::{servers::read_request, *};

/// What the kernel may buffer for a connection whose client has stopped reading, and more.
const BUFFERED: usize = 32 * 1024 * 1024;
/// How long the client waits, where a test needs it to give up.
const PATIENCE: Duration = Duration::from_millis(400);
/// How long a server may take to accept a connection.
const ACCEPTS_WITHIN: Duration = Duration::from_secs(2);
/// How much later it may notice on a busy machine.
const SLACK: Duration = Duration::from_secs(5);

/// Sends `head` and then `rest` again and again until the client hangs up. Returns the URL, and how
/// much was sent.
async fn endless(head: &'static str, rest: String, pause: Duration) -> (String, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let sent = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        send(&mut stream, rest.as_bytes(), pause).await
    });
    (url, sent)
}

async fn send(stream: &mut TcpStream, rest: &[u8], pause: Duration) -> usize {
    let mut pauses = interval(pause.max(Duration::from_nanos(1)));
    let mut sent = 0;
    loop {
        if !pause.is_zero() {
            pauses.tick().await;
        }
        match stream.write_all(rest).await {
            Ok(()) => sent += rest.len(),
            Err(_) => return sent,
        }
    }
}

async fn reply_within(url: &str, limit: Duration) -> Reply {
    let mut request = request(url);
    request.until = Deadline::now() + limit;
    let reply = client(&["127.0.0.1"], None).post(request).await;
    assert!(reply.latency < limit + SLACK, "{reply:?}");
    reply
}

#[tokio::test]
async fn an_endless_body_is_cut_off_and_its_status_counts() {
    let lines = "0123456789abcde\n".repeat(4096);
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n",
    ] {
        let (url, sent) = endless(head, lines.clone(), Duration::ZERO).await;
        let reply = reply_within(&url, EXCHANGE_TIMEOUT).await;
        let answer = reply.outcome.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.text, lines[..4096]);
        assert!(sent.await.unwrap() < BUFFERED);
        assert!(reply.latency < EXCHANGE_TIMEOUT);
    }
}

#[tokio::test]
async fn an_endless_header_is_no_valid_answer() {
    for head in [
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nx: ",
        "HTTP/1.1 200 ",
    ] {
        let line = if head.ends_with('\n') {
            "x: y\r\n"
        } else {
            "y"
        };
        let (url, sent) = endless(head, line.repeat(1024), Duration::ZERO).await;
        let failure = reply_within(&url, EXCHANGE_TIMEOUT)
            .await
            .outcome
            .unwrap_err();
        assert!(matches!(failure, Failure::Broken(_)), "{failure:?}");
        assert!(sent.await.unwrap() < BUFFERED);
    }
}

#[tokio::test]
async fn a_header_has_a_bounded_size() {
    for (length, fits) in [(8 * 1024, true), (20 * 1024, false)] {
        let value = "y".repeat(length);
        let answer = format!("HTTP/1.1 200 OK\r\nx: {value}\r\ncontent-length: 0\r\n\r\n");
        let server = Server::answers(&answer).await;
        let reply = client(&["127.0.0.1"], None)
            .post(request(&server.url("/")))
            .await;
        assert_eq!(reply.outcome.is_ok(), fits, "{:?}", reply.outcome);
    }
}

/// A busy machine takes a part of the time before the request begins.
fn assert_timed_out<T: std::fmt::Debug>(outcome: &Result<T, Failure>) {
    let Err(Failure::Timeout(after)) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(PATIENCE / 2 < *after && *after <= PATIENCE, "{after:?}");
}

#[tokio::test]
async fn a_server_that_only_promises_an_answer_is_left_in_time() {
    let head = "HTTP/1.1 100 Continue\r\n\r\n";
    let (url, sent) = endless(head, head.repeat(100), Duration::ZERO).await;
    let outcome = reply_within(&url, PATIENCE).await.outcome;
    assert_timed_out(&outcome);
    sent.await.unwrap();
}

#[tokio::test]
async fn a_slow_server_is_left_in_time() {
    let pause = Duration::from_millis(50);
    let (url, sent) = endless("HTTP/1.1 200 OK\r\n", "x".to_owned(), pause).await;
    let outcome = reply_within(&url, PATIENCE).await.outcome;
    assert_timed_out(&outcome);
    assert_eq!(
        Failure::Timeout(PATIENCE).to_string(),
        "no answer within 400ms"
    );
    sent.await.unwrap();

    // The status has arrived, so it counts.
    let head = "HTTP/1.1 500 Oops\r\n\r\nsorry";
    let (url, sent) = endless(head, "!".to_owned(), pause).await;
    let answer = reply_within(&url, PATIENCE).await.outcome.unwrap();
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(
        answer.text.starts_with("sorry") && answer.text.len() < 100,
        "{answer:?}"
    );
    sent.await.unwrap();
}

#[tokio::test]
async fn a_server_that_never_answers_is_left_in_time() {
    let (url, sent) = endless("", String::new(), Duration::from_millis(50)).await;
    let outcome = reply_within(&url, PATIENCE).await.outcome;
    assert_timed_out(&outcome);
    sent.abort();

    // Neither TLS nor HTTP: the connection is accepted, and nothing follows.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let outcome = reply_within(&url, PATIENCE).await.outcome;
    assert_timed_out(&outcome);
}

#[tokio::test]
async fn what_is_no_http_is_reported() {
    for answer in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "<html>\r\n\r\n",
    ] {
        let server = Server::answers(answer).await;
        let failure = failed(&client(&["127.0.0.1"], None), &server.url("/")).await;
        assert!(matches!(failure, Failure::Broken(_)), "{failure:?}");
        assert!(
            failure.to_string().starts_with("no valid answer: "),
            "{failure}"
        );
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let hangs_up = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await
    });
    let failure = failed(&client(&["127.0.0.1"], None), &url).await;
    assert!(matches!(failure, Failure::Broken(_)), "{failure:?}");
    assert!(hangs_up.await.unwrap().is_some());
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_its_status() {
    let answer = "HTTP/1.1 202 Accepted\r\ncontent-length: 100\r\nconnection: close\r\n\r\nhalf";
    let server = Server::answers(answer).await;
    let answer = answered(&client(&["127.0.0.1"], None), &server.url("/")).await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (StatusCode::ACCEPTED, "half")
    );
}

#[tokio::test]
async fn a_server_that_does_not_accept_connections_is_left_in_time() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // The kernel accepts as many as may wait, and answers no further ones.
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) = timeout(PATIENCE, TcpStream::connect(address)).await {
        waiting.push(stream);
    }
    let reply = reply_within(&format!("http://{address}/"), EXCHANGE_TIMEOUT).await;
    assert_eq!(reply.outcome, Err(Failure::ConnectTimeout(ACCEPTS_WITHIN)));
    assert!(reply.latency < ACCEPTS_WITHIN + SLACK, "{reply:?}");
}
