//! A mailbox for development: takes every mail by SMTP, delivers none, and shows what it took on a
//! page and as JSON.
//!
//! It keeps a bounded number of mails in memory and nothing on disk. Whoever reaches its ports
//! reads and deletes them: it belongs on loopback. No TLS, no login, no mail to the outside.

use std::{
    collections::VecDeque,
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{Html, IntoResponse},
    routing::{get, put},
};
use mail_parser::{MessageParser, MessagePart, PartType};
use mailin::{
    Action, Handler, Response, Session, SessionBuilder,
    response::{NO_STORAGE, OK},
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// More than anybody looks through by hand; the oldest goes first.
const KEPT_MESSAGES: usize = 1_000;
/// All kept mails together: a thousand of the largest would take the machine's memory.
const KEPT_BYTES: usize = 64 * 1024 * 1024;
/// What many mail servers take; ours have no attachments.
const MESSAGE_BYTES: usize = 10 * 1024 * 1024;
/// RFC 5321 says 1,000; some programs write a paragraph in one line.
const LINE_BYTES: u64 = 64 * 1024;
/// What RFC 5321 asks every server to take.
const RECIPIENTS: usize = 100;
/// A worker holds a few at a time; others wait their turn.
const CONNECTIONS: usize = 64;
/// RFC 5321, 4.5.3.2.7.
const IDLE: Duration = Duration::from_secs(5 * 60);
/// When a connection cannot be accepted, as with too many files open, it is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The page: it has no part that is loaded from elsewhere.
const PAGE: &str = include_str!("mailbox.html");
/// A mail's HTML inherits this in its frame: no script of it runs, and nothing is loaded, so that
/// no tracker is told.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; \
                      frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Everything that was received; clones share it.
#[derive(Clone, Default)]
pub struct Mailbox {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    kept: Mutex<Kept>,
    /// The SMTP code to refuse with; 0 for none.
    refusal: AtomicU16,
}

#[derive(Default)]
struct Kept {
    messages: VecDeque<Message>,
    bytes: usize,
    received: u64,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    id: String,
    /// As the envelope has it.
    from: String,
    /// As the envelope has it: hidden copies too.
    to: Vec<String>,
    subject: String,
    /// Made from the HTML if there is no other.
    text: String,
    html: Option<String>,
    /// Name and value, as they were sent.
    headers: Vec<(String, String)>,
    received_at: String,
    #[serde(skip)]
    bytes: usize,
}

#[derive(Deserialize)]
struct Refusal {
    code: u16,
}

impl Mailbox {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers recipients and mails with this SMTP code from now on, 400 to 599; with `None`, takes
    /// them again. Another code is no refusal and counts as `None`.
    pub fn refuse(&self, code: Option<u16>) {
        self.shared
            .refusal
            .store(code.filter(is_refusal).unwrap_or(0), Ordering::Relaxed);
    }

    /// The page at `/`; `GET` and `DELETE /messages`; `PUT /refuse` with `{"code": 451}` and
    /// `DELETE /refuse`.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/", get(page))
            .route("/messages", get(messages).delete(delete_messages))
            .route("/refuse", put(refuse).delete(accept))
            .with_state(self.clone())
    }

    /// Receives mail until `shutdown`; a mail that is under way then was not taken.
    ///
    /// # Errors
    /// None as yet: what goes wrong with a connection ends that connection.
    pub async fn serve_smtp(
        self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut sessions = JoinSet::new();
        while let Some(accepted) = shutdown
            .run_until_cancelled(accept_in_turn(&listener, &places))
            .await
        {
            let (stream, ip, place) = accepted?;
            let mailbox = self.clone();
            sessions.spawn(async move {
                if let Err(error) = mailbox.converse(stream, ip).await {
                    tracing::debug!(%error, "an SMTP connection broke");
                }
                drop(place);
            });
            while sessions.try_join_next().is_some() {}
        }
        Ok(())
    }

    async fn converse(self, stream: TcpStream, ip: IpAddr) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let delivery = Delivery {
            mailbox: self,
            from: String::new(),
            to: Vec::new(),
            data: Vec::new(),
            too_large: false,
        };
        let mut session = SessionBuilder::new("localhost").build(ip, delivery);
        let mut response = session.greeting();
        let mut line = Vec::new();
        loop {
            let mut answer = Vec::new();
            response.write_to(&mut answer)?;
            timeout(IDLE, stream.write_all(&answer)).await??;
            if response.action == Action::Close {
                return Ok(());
            }
            response = next(&mut session, &mut stream, &mut line).await?;
        }
    }

    fn refusal(&self) -> Option<Response> {
        let code = Some(self.shared.refusal.load(Ordering::Relaxed)).filter(is_refusal)?;
        Some(Response::custom(
            code,
            "Refused, as was asked for".to_owned(),
        ))
    }

    fn keep(&self, from: String, to: Vec<String>, data: &[u8]) {
        let message = read(from, to, data);
        let mut kept = self.kept();
        kept.received += 1;
        let message = Message {
            id: kept.received.to_string(),
            ..message
        };
        kept.bytes += message.bytes;
        kept.messages.push_back(message);
        while kept.messages.len() > KEPT_MESSAGES || kept.bytes > KEPT_BYTES {
            let Some(oldest) = kept.messages.pop_front() else {
                break;
            };
            kept.bytes -= oldest.bytes;
        }
    }

    /// No code panics while it holds the lock; if it did, what is there is still whole mails.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.shared
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_refusal(code: &u16) -> bool {
    (400..600).contains(code)
}

async fn accept_in_turn(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> anyhow::Result<(TcpStream, IpAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await?;
    loop {
        match listener.accept().await {
            Ok((stream, address)) => return Ok((stream, address.ip(), place)),
            Err(error) => {
                tracing::warn!(%error, "could not accept an SMTP connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Reads lines until one has an answer.
async fn next(
    session: &mut Session<Delivery>,
    stream: &mut BufReader<TcpStream>,
    line: &mut Vec<u8>,
) -> io::Result<Response> {
    loop {
        line.clear();
        let Ok(read) = timeout(
            IDLE,
            (&mut *stream).take(LINE_BYTES).read_until(b'\n', line),
        )
        .await
        else {
            return Ok(Response::custom(421, "Idle for too long".to_owned()));
        };
        if read? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !line.ends_with(b"\n") {
            return Ok(Response::custom(
                421,
                "Line too long, or cut off".to_owned(),
            ));
        }
        let mut response = session.process(line);
        if response.is_error && line == b".\r\n" {
            // The session still waits for data after it refused some: only a new one understands
            // commands again.
            response.action = Action::Close;
        }
        if response.action != Action::NoReply {
            return Ok(response);
        }
    }
}

/// The mail that a connection is sending.
struct Delivery {
    mailbox: Mailbox,
    from: String,
    to: Vec<String>,
    data: Vec<u8>,
    too_large: bool,
}

impl Handler for Delivery {
    fn mail(&mut self, _ip: IpAddr, _domain: &str, from: &str) -> Response {
        from.clone_into(&mut self.from);
        self.to.clear();
        OK
    }

    fn rcpt(&mut self, to: &str) -> Response {
        if let Some(refusal) = self.mailbox.refusal() {
            return refusal;
        }
        if self.to.len() == RECIPIENTS {
            return Response::custom(452, "Too many recipients".to_owned());
        }
        self.to.push(to.to_owned());
        OK
    }

    fn data_start(
        &mut self,
        _domain: &str,
        _from: &str,
        _is8bit: bool,
        _to: &[String],
    ) -> Response {
        self.data.clear();
        self.too_large = false;
        self.mailbox.refusal().unwrap_or(OK)
    }

    fn data(&mut self, line: &[u8]) -> io::Result<()> {
        self.too_large |= self.data.len() + line.len() > MESSAGE_BYTES;
        if !self.too_large {
            self.data.extend_from_slice(line);
        }
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        if self.too_large {
            self.data = Vec::new();
            return NO_STORAGE;
        }
        if let Some(refusal) = self.mailbox.refusal() {
            return refusal;
        }
        self.mailbox.keep(
            std::mem::take(&mut self.from),
            std::mem::take(&mut self.to),
            &std::mem::take(&mut self.data),
        );
        OK
    }
}

/// Whatever it is, it is shown: data that is no mail has no subject and no headers.
fn read(from: String, to: Vec<String>, data: &[u8]) -> Message {
    let parsed = MessageParser::default().parse(data);
    let parsed = parsed.as_ref();
    let html = |part: &MessagePart| {
        if let PartType::Html(html) = &part.body {
            Some(html.to_string())
        } else {
            None
        }
    };
    Message {
        id: String::new(),
        from,
        to,
        subject: parsed
            .and_then(|mail| mail.subject())
            .unwrap_or_default()
            .to_owned(),
        text: parsed
            .and_then(|mail| mail.body_text(0))
            .unwrap_or_default()
            .into_owned(),
        html: parsed.and_then(|mail| mail.html_bodies().find_map(html)),
        headers: parsed
            .iter()
            .flat_map(|mail| mail.headers_raw())
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect(),
        received_at: jiff::Timestamp::now().to_string(),
        // The parsed mail is held, not the sent one; it is about as large.
        bytes: data.len(),
    }
}

async fn page() -> impl IntoResponse {
    (
        [
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::CACHE_CONTROL, "no-store"),
        ],
        Html(PAGE),
    )
}

async fn messages(State(mailbox): State<Mailbox>) -> impl IntoResponse {
    // A copy, so that no mail waits for a slow reader.
    let messages: Vec<Message> = mailbox.kept().messages.iter().cloned().collect();
    ([(header::CACHE_CONTROL, "no-store")], Json(messages))
}

async fn delete_messages(State(mailbox): State<Mailbox>) -> StatusCode {
    let mut kept = mailbox.kept();
    kept.messages.clear();
    kept.bytes = 0;
    StatusCode::NO_CONTENT
}

async fn refuse(State(mailbox): State<Mailbox>, Json(refusal): Json<Refusal>) -> impl IntoResponse {
    if !is_refusal(&refusal.code) {
        return (StatusCode::BAD_REQUEST, "the code must be 400 to 599\n");
    }
    mailbox.refuse(Some(refusal.code));
    (StatusCode::NO_CONTENT, "")
}

async fn accept(State(mailbox): State<Mailbox>) -> StatusCode {
    mailbox.refuse(None);
    StatusCode::NO_CONTENT
}

#[cfg(test)]
mod tests {
    use lettre::{
        AsyncSmtpTransport, AsyncTransport, Tokio1Executor,
        message::{Mailbox as Address, MultiPart},
    };
    use serde_json::{Value, json};

    use super::*;

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

        /// Sends bytes and returns everything that is answered until the server hangs up.
        async fn say(&self, bytes: &[u8]) -> String {
            let mut stream = TcpStream::connect(self.smtp).await.unwrap();
            // The server may hang up before it has read everything.
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
    async fn lines_that_begin_with_a_dot_arrive_whole() {
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
    async fn a_mailbox_told_to_refuse_does_until_it_is_told_otherwise() {
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
    async fn a_mail_that_is_too_large_is_refused_and_the_next_is_taken() {
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
    async fn garbage_is_answered_and_harms_nobody() {
        let running = Running::start().await;
        assert!(
            running
                .say(b"\xff\x00GET / HTTP/1.1\r\nquit\r\n")
                .await
                .ends_with("500 Syntax error\r\n221 Goodbye\r\n")
        );
        assert!(
            running
                .say(&vec![b'x'; usize::try_from(LINE_BYTES).unwrap()])
                .await
                .contains("Line too long")
        );
        let no_mail =
            b"helo x\r\nmail from:<a@b>\r\nrcpt to:<c@d>\r\ndata\r\n\xff\xfe\x00\r\n.\r\nquit\r\n";
        assert!(
            running
                .say(no_mail)
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
            .say(format!("helo x\r\nmail from:<a@b>\r\n{recipients}quit\r\n").as_bytes())
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
    async fn serving_ends_when_it_is_told_to_however_many_are_connected() {
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
    async fn the_page_loads_nothing_from_elsewhere() {
        let running = Running::start().await;
        let response = reqwest::get(&running.http).await.unwrap();
        assert_eq!(response.headers()["content-security-policy"], POLICY);
        let page = response.text().await.unwrap();
        assert!(
            !page.contains("://") && !page.contains("innerHTML"),
            "no address, no way for a mail's text to become markup"
        );
        assert!(page.contains("sandbox"));
        running.shutdown.cancel();
        running.mailbox.refuse(None);
    }
}
