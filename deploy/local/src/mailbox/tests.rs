use lettre::{
    AsyncSmtpTransport, AsyncTransport, Tokio1Executor,
    message::{Mailbox as Address, MultiPart},
};
use serde_json::{Value, json};

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    pages::POLICY,
    smtp::{CONNECTIONS, LINE_BYTES, MESSAGE_BYTES, RECIPIENTS},
    *,
};

type Transport = AsyncSmtpTransport<Tokio1Executor>;

struct Running {
    mailbox: Mailbox,
    smtp: std::net::SocketAddr,
    http: String,
    shutdown: CancellationToken,
}

impl Running {
    async fn start() -> Self {
        let (mailbox, shutdown) = (Mailbox::new(), CancellationToken::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let smtp = listener.local_addr().unwrap();
        tokio::spawn(mailbox.clone().serve_smtp(listener, shutdown.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = format!("http://{}", listener.local_addr().unwrap());
        let router = mailbox.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            mailbox,
            smtp,
            http,
            shutdown,
        }
    }

    fn transport(&self) -> Transport {
        Transport::builder_dangerous("127.0.0.1")
            .port(self.smtp.port())
            .build()
    }

    async fn messages(&self) -> Vec<Value> {
        reqwest::get(format!("{}/messages", self.http))
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    /// Sends bytes, and returns all that the server answers until it closes the connection.
    async fn send_bytes(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.smtp).await.unwrap();
        // The server may close the connection before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer))
            .await
            .unwrap();
        String::from_utf8(answer).unwrap()
    }
}

fn mail() -> lettre::message::MessageBuilder {
    let address = |text: &str| text.parse::<Address>().unwrap();
    lettre::Message::builder()
        .from(address("Us <us@backend.local>"))
        .to(address("ada@example.com"))
        .subject("Hello")
}

#[tokio::test]
async fn a_mail_is_shown_as_it_was_sent() {
    let running = Running::start().await;
    let both = MultiPart::alternative_plain_html(
        "Grüße, Ada".to_owned(),
        "<p>Grüße, <b>Ada</b></p>".to_owned(),
    );
    let mail = mail()
        .subject("Willkommen, Zoë 🎉")
        .bcc("boss@example.com".parse().unwrap())
        .multipart(both)
        .unwrap();
    running.transport().send(mail).await.unwrap();

    let messages = running.messages().await;
    assert_eq!(messages.len(), 1);
    let mail = &messages[0];
    assert_eq!(mail["from"], "us@backend.local");
    assert_eq!(mail["to"], json!(["ada@example.com", "boss@example.com"]));
    assert_eq!(mail["subject"], "Willkommen, Zoë 🎉");
    assert_eq!(mail["text"].as_str().unwrap().trim(), "Grüße, Ada");
    assert_eq!(
        mail["html"].as_str().unwrap().trim(),
        "<p>Grüße, <b>Ada</b></p>"
    );
    assert!(
        mail["headers"]
            .as_array()
            .unwrap()
            .contains(&json!(["To", "ada@example.com"]))
    );
    assert!(
        mail["receivedAt"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .is_ok()
    );
}

#[tokio::test]
async fn lines_that_begin_with_a_dot_arrive_complete() {
    let running = Running::start().await;
    let body = ".\r\n..\r\n.a\r\nend";
    running
        .transport()
        .send(mail().body(body.to_owned()).unwrap())
        .await
        .unwrap();
    let messages = running.messages().await;
    assert_eq!(messages[0]["text"].as_str().unwrap().trim_end(), body);
    assert_eq!(messages[0]["html"], Value::Null);
}

#[tokio::test]
async fn the_newest_mail_is_last_and_all_can_be_deleted() {
    let running = Running::start().await;
    let transport = running.transport();
    for subject in ["first", "second"] {
        transport
            .send(mail().subject(subject).body(String::new()).unwrap())
            .await
            .unwrap();
    }
    let messages = running.messages().await;
    assert_eq!(
        (&messages[0]["subject"], &messages[1]["subject"]),
        (&json!("first"), &json!("second"))
    );
    assert_ne!(messages[0]["id"], messages[1]["id"]);
    let deleted = reqwest::Client::new()
        .delete(format!("{}/messages", running.http))
        .send()
        .await
        .unwrap();
    assert_eq!(deleted.status().as_u16(), 204);
    assert!(running.messages().await.is_empty());
}

#[tokio::test]
async fn a_request_waits_for_a_mail_with_the_recipient_and_the_text() {
    let running = Running::start().await;
    let transport = running.transport();
    let send = async |text: &str| {
        let mail = mail().body(text.to_owned()).unwrap();
        transport.send(mail).await.unwrap();
    };
    send("an earlier mail").await;
    let url = format!(
        "{}/messages?to=ada@example.com&containing=invited&wait=30",
        running.http
    );
    let waiting =
        tokio::spawn(async move { reqwest::get(url).await.unwrap().json().await.unwrap() });
    send("another mail").await;
    assert!(!waiting.is_finished());
    send("you are invited").await;
    let found: Vec<Value> = waiting.await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["text"].as_str().unwrap().trim(), "you are invited");
}

#[tokio::test]
async fn a_wait_ends_without_a_mail() {
    let running = Running::start().await;
    let mail = mail().body(String::new()).unwrap();
    running.transport().send(mail).await.unwrap();
    let url = format!("{}/messages?to=bob@example.com&wait=1", running.http);
    let response = reqwest::get(url).await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.json::<Value>().await.unwrap(), json!([]));
}

#[tokio::test]
async fn a_mailbox_that_is_set_to_refuse_refuses_until_it_is_reset() {
    let running = Running::start().await;
    let (transport, http) = (running.transport(), reqwest::Client::new());
    let url = format!("{}/refuse", running.http);
    for code in [451, 421, 550] {
        assert_eq!(
            http.put(&url)
                .json(&json!({ "code": code }))
                .send()
                .await
                .unwrap()
                .status()
                .as_u16(),
            204
        );
        let error = transport
            .send(mail().body(String::new()).unwrap())
            .await
            .unwrap_err();
        assert_eq!(error.status().map(u16::from), Some(code));
        assert_eq!(
            (error.is_transient(), error.is_permanent()),
            (code < 500, code >= 500)
        );
    }
    assert_eq!(
        http.put(&url)
            .json(&json!({ "code": 250 }))
            .send()
            .await
            .unwrap()
            .status()
            .as_u16(),
        400
    );
    assert_eq!(
        http.delete(&url).send().await.unwrap().status().as_u16(),
        204
    );
    transport
        .send(mail().body(String::new()).unwrap())
        .await
        .unwrap();
    assert_eq!(running.messages().await.len(), 1);
}

#[tokio::test]
async fn a_mail_that_is_too_large_is_refused_and_the_next_is_accepted() {
    let running = Running::start().await;
    let transport = running.transport();
    let error = transport
        .send(mail().body("x".repeat(MESSAGE_BYTES)).unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.status().map(u16::from), Some(552));
    transport
        .send(mail().body(String::new()).unwrap())
        .await
        .unwrap();
    assert_eq!(running.messages().await.len(), 1);
}

#[tokio::test]
async fn garbage_is_answered_and_the_next_mail_is_accepted() {
    let running = Running::start().await;
    assert!(
        running
            .send_bytes(b"\xff\x00GET / HTTP/1.1\r\nquit\r\n")
            .await
            .ends_with("500 Syntax error\r\n221 Goodbye\r\n")
    );
    assert!(
        running
            .send_bytes(&vec![b'x'; usize::try_from(LINE_BYTES).unwrap()])
            .await
            .contains("Line too long")
    );
    let no_mail =
        b"helo x\r\nmail from:<a@b>\r\nrcpt to:<c@d>\r\ndata\r\n\xff\xfe\x00\r\n.\r\nquit\r\n";
    assert!(
        running
            .send_bytes(no_mail)
            .await
            .ends_with("250 OK\r\n221 Goodbye\r\n")
    );
    assert_eq!(running.messages().await[0]["subject"], "");
    running
        .transport()
        .send(mail().body(String::new()).unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn recipients_are_bounded() {
    let running = Running::start().await;
    let recipients = "rcpt to:<c@d>\r\n".repeat(RECIPIENTS + 1);
    let answer = running
        .send_bytes(format!("helo x\r\nmail from:<a@b>\r\n{recipients}quit\r\n").as_bytes())
        .await;
    assert_eq!(answer.matches("250 OK").count(), RECIPIENTS + 2);
    assert_eq!(answer.matches("452 ").count(), 1);
}

#[test]
fn only_the_newest_mails_are_kept() {
    let mailbox = Mailbox::new();
    for n in 0..KEPT_MESSAGES + 5 {
        mailbox.keep(n.to_string(), Vec::new(), b"");
    }
    assert_eq!(mailbox.kept().messages.len(), KEPT_MESSAGES);
    assert_eq!(mailbox.kept().messages[0].from, "5");
    let large = vec![b'x'; KEPT_BYTES / 2];
    for from in ["large", "larger", "largest"] {
        mailbox.keep(from.to_owned(), Vec::new(), &large);
    }
    let kept = mailbox.kept();
    assert_eq!(
        kept.messages
            .iter()
            .map(|message| message.from.as_str())
            .collect::<Vec<_>>(),
        ["larger", "largest"]
    );
    assert_eq!(kept.bytes, 2 * large.len());
}

#[tokio::test]
async fn serving_ends_at_shutdown_with_every_connection_open() {
    let (mailbox, shutdown) = (Mailbox::new(), CancellationToken::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(mailbox.serve_smtp(listener, shutdown.clone()));
    let mut connected = Vec::new();
    for _ in 0..CONNECTIONS + 1 {
        connected.push(TcpStream::connect(address).await.unwrap());
    }
    shutdown.cancel();
    timeout(Duration::from_secs(10), serving)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn the_page_loads_nothing_from_other_sites() {
    let running = Running::start().await;
    let response = reqwest::get(&running.http).await.unwrap();
    assert_eq!(response.headers()["content-security-policy"], POLICY);
    let page = response.text().await.unwrap();
    assert!(
        !page.contains("://") && !page.contains("innerHTML"),
        "no address, and no way for the text of a mail to become markup"
    );
    assert!(page.contains("sandbox"));
    running.shutdown.cancel();
    running.mailbox.refuse(None);
}
