//! The event log: read it by pages, append to it under a guard. A stored message never changes.
//!
//! Reads use direct get, which may lag on a replica. The guard of an append detects that. A caller
//! that must be sure without an append asks the leader ([`EventLog::last`],
//! [`EventLog::read_from_leader`]).

use std::{
    sync::{LazyLock, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};
use async_nats::{
    Client, HeaderMap, Request,
    header::{
        NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE,
        NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_TTL,
    },
    jetstream::{
        self,
        message::StreamMessage,
        publish::PublishAck,
        response::Response,
        stream::{LastRawMessageErrorKind, RawMessageErrorKind},
    },
};
use bytes::Bytes;
use events_schema::subject::{EVENTS, stream_info};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tracing::{Instrument as _, Span, debug_span};

use crate::{
    Page, Stored, Trace,
    direct_get::{PAGE, TooManySubjects, following, page_of_stream, read_stream},
    random_id,
    telemetry::{self, KeyValue},
};

/// Subjects of one request for their last messages. The server answers for 1,024 at most.
const SUBJECTS_AT_ONCE: usize = 500;
/// How long the server may take to answer. After that nobody knows what it has done, and the caller
/// retries.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the connection is looked at while an append is under way.
const CONNECTION_POLL: Duration = Duration::from_millis(50);
/// The server's error codes for "another append was first". The second one comes from a cluster
/// that does not know the present sequence.
const WRONG_LAST_SEQUENCE: [u64; 2] = [10071, 10164];
/// From here on, the code of a refused append tells of the server: it is full, or has no leader.
const FAULT_OF_THE_SERVER: usize = 500;

static APPEND_DURATION: LazyLock<telemetry::Histogram<f64>> = LazyLock::new(|| {
    let description = "Time to append to the log; `result` is stored, conflict or unknown.";
    telemetry::seconds("ub.append.duration", description)
});
static APPEND_SIZE: LazyLock<telemetry::Histogram<u64>> = LazyLock::new(|| {
    telemetry::sizes(
        "ub.append.size",
        "Messages that are appended to the log together.",
    )
});

/// The stream EVENTS.
#[derive(Clone, Debug)]
pub struct EventLog {
    client: Client,
    /// Whether the stream takes messages that expire.
    may_expire: bool,
}

/// A message to append if `last` is still the last sequence on its subject.
#[derive(Clone, Debug)]
pub struct Append {
    pub subject: String,
    /// The expected last sequence on the subject; 0 if there is none.
    pub last: u64,
    /// How long the log keeps the message; for ever if `None`, or if the stream keeps everything.
    /// Whole seconds, at least one.
    pub expires_after: Option<Duration>,
    pub payload: Bytes,
}

/// The log does not answer, or takes no message now. Time may help, so this is no fault of the
/// request.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the log is not available")]
pub struct Unavailable;

/// The result of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// All messages are stored; the last one has this sequence.
    At(u64),
    /// Another append was first; nothing is stored.
    Conflict,
}

impl EventLog {
    /// Makes a log that is read and appended to over this connection.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            may_expire: false,
        }
    }

    /// Lets messages expire, if the stream allows that. Otherwise it keeps all for ever.
    #[must_use]
    pub fn with_expiry(self, may_expire: bool) -> Self {
        Self { may_expire, ..self }
    }

    /// Reads up to 500 messages on `filter` (wildcards are allowed) from this sequence on.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn page(&self, filter: &str, from: u64) -> anyhow::Result<Page> {
        self.page_of(filter, from, PAGE).await
    }

    /// Reads up to `limit` messages on `filter` from this sequence on.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn page_of(&self, filter: &str, from: u64, limit: usize) -> anyhow::Result<Page> {
        self.request_page(following(filter, from, limit)).await
    }

    /// Reads up to `limit` messages on `filter` from this sequence on. The page ends with the message
    /// that reaches `max_bytes`, but has at least one if there is one.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn page_within(
        &self,
        filter: &str,
        from: u64,
        limit: usize,
        max_bytes: usize,
    ) -> anyhow::Result<Page> {
        let mut request = following(filter, from, limit);
        request["max_bytes"] = max_bytes.into();
        self.request_page(request).await
    }

    /// Reads the last message on a subject, from any replica.
    ///
    /// # Errors
    /// If the log does not answer.
    pub async fn last_from_any(&self, subject: &str) -> anyhow::Result<Option<Stored>> {
        let request = json!({ "multi_last": [subject], "batch": 1 });
        Ok(self.request_page(request).await?.messages.pop())
    }

    /// Reads the last message on each of these subjects, from any replica.
    ///
    /// # Errors
    /// If the log does not answer.
    pub async fn last_of_each(&self, subjects: Vec<String>) -> anyhow::Result<Vec<Stored>> {
        let mut all = Vec::new();
        for subjects in subjects.chunks(SUBJECTS_AT_ONCE) {
            let request = json!({ "multi_last": subjects });
            all.extend(self.request_page(request).await?.messages);
        }
        Ok(all)
    }

    /// Reads the last message of each subject that matches `filter`, from any replica, in order of
    /// their sequences. If they are large, the latest may be missing. `None` if there are more than
    /// 1,024 subjects.
    ///
    /// # Errors
    /// If the log does not answer.
    pub async fn last_of_all(&self, filter: &str) -> anyhow::Result<Option<Vec<Stored>>> {
        let request = json!({ "multi_last": [filter] });
        match self.request_page(request).await {
            Ok(page) => Ok(Some(page.messages)),
            Err(error) if error.is::<TooManySubjects>() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads all messages on a subject from this sequence on.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn read(&self, subject: &str, from: u64) -> anyhow::Result<Vec<Stored>> {
        let read = read_stream(&self.client, EVENTS, subject, from);
        read.instrument(reading()).await.context(Unavailable)
    }

    /// Reads all messages on a subject from this sequence on. None is missing, even if a replica
    /// lags behind.
    ///
    /// # Errors
    /// If the leader does not answer.
    pub async fn read_all(&self, subject: &str, from: u64) -> anyhow::Result<Vec<Stored>> {
        let mut all = self.read(subject, from).await?;
        let next = all.last().map_or(from, |message| message.sequence + 1);
        let last = self.last(subject).await?;
        if last.is_some_and(|last| last.sequence >= next) {
            all.extend(self.read_from_leader(subject, next).await?);
        }
        Ok(all)
    }

    /// Reads all messages on a subject from this sequence on, as the leader knows them. Each takes
    /// a request of its own, so this is for the few that a replica lacks.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn read_from_leader(&self, subject: &str, from: u64) -> anyhow::Result<Vec<Stored>> {
        let context = jetstream::new(self.client.clone());
        let stream = context.get_stream_no_info(EVENTS).await;
        let stream = stream.context(Unavailable)?;
        let (mut all, mut next) = (Vec::new(), from.max(1));
        loop {
            match stream.get_first_raw_message_by_subject(subject, next).await {
                Ok(message) => {
                    next = message.sequence + 1;
                    all.push(from_stream(message));
                }
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {
                    return Ok(all);
                }
                Err(error) => return Err(error).context(Unavailable),
            }
        }
    }

    /// Returns the sequence of the last message of the log, as its leader knows it.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn last_sequence(&self) -> anyhow::Result<u64> {
        let request = self.client.request(stream_info(EVENTS), Bytes::new());
        let answer = timeout(ANSWER_TIMEOUT, request).await;
        let answer = answer.context(Unavailable)?.context(Unavailable)?;
        last_sequence(&answer.payload)
    }

    /// Returns the last message on a subject, as the leader knows it.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn last(&self, subject: &str) -> anyhow::Result<Option<Stored>> {
        let context = jetstream::new(self.client.clone());
        let stream = context.get_stream_no_info(EVENTS).await;
        let stream = stream.context(Unavailable)?;
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Some(from_stream(message))),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(error).context(Unavailable),
        }
    }

    /// Returns the message with this sequence, as the leader knows it.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn at(&self, sequence: u64) -> anyhow::Result<Option<Stored>> {
        let context = jetstream::new(self.client.clone());
        let stream = context.get_stream_no_info(EVENTS).await;
        let stream = stream.context(Unavailable)?;
        match stream.get_raw_message(sequence).await {
            Ok(message) => Ok(Some(from_stream(message))),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(error).context(Unavailable),
        }
    }

    /// Appends all messages or none: a single one as it is, several as an atomic batch.
    ///
    /// # Errors
    /// If there is no message, or if it is unknown whether the messages are stored. A caller that
    /// retries finds them in the history.
    pub async fn append(&self, messages: &[Append], trace: Trace) -> anyhow::Result<Appended> {
        let span = debug_span!("append", otel.kind = "producer", messages = messages.len());
        let append = async {
            let headers = trace.headers();
            let traced = messages
                .iter()
                .map(|append| (append.clone(), headers.clone()));
            self.append_traced(&Vec::from_iter(traced)).await
        };
        append.instrument(span).await
    }

    /// Appends all messages or none, each with its own headers.
    pub(crate) async fn append_traced(
        &self,
        messages: &[(Append, HeaderMap)],
    ) -> anyhow::Result<Appended> {
        let began = Instant::now();
        let appended = self.try_append(messages).await;
        let result = match &appended {
            Ok(Appended::At(_)) => "stored",
            Ok(Appended::Conflict) => "conflict",
            Err(_) => "unknown",
        };
        let result = [KeyValue::new("result", result)];
        APPEND_DURATION.record(began.elapsed().as_secs_f64(), &result);
        APPEND_SIZE.record(messages.len() as u64, &[]);
        appended
    }

    async fn try_append(&self, messages: &[(Append, HeaderMap)]) -> anyhow::Result<Appended> {
        let ((last, trace), before) = messages
            .split_last()
            .context("there is nothing to append")?;
        // A new name for each attempt: an unfinished batch would block another one with its name.
        let batch = if before.is_empty() {
            None
        } else {
            Some(random_id()?.to_string())
        };
        for (position, (message, trace)) in (1..).zip(before) {
            let headers = self.headers(message, trace, batch.as_deref(), position);
            let (subject, payload) = (message.subject.clone(), message.payload.clone());
            self.client
                .publish_with_headers(subject, headers, payload)
                .await?;
        }
        let mut headers = self.headers(last, trace, batch.as_deref(), messages.len());
        if batch.is_some() {
            headers.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
        }
        let request = Request::new()
            .headers(headers)
            .payload(last.payload.clone())
            .timeout(Some(ANSWER_TIMEOUT));
        let answer = tokio::select! {
            answer = self.client.send_request(last.subject.clone(), request) => answer,
            // The answer is lost with the connection.
            () = self.reconnected() => {
                let lost = anyhow!("the connection was lost while appending");
                return Err(lost.context(Unavailable));
            }
        };
        let answer = answer.context(Unavailable)?;
        let answer: Response<PublishAck> =
            serde_json::from_slice(&answer.payload).context("reading the answer to an append")?;
        match answer {
            Response::Ok(ack) => Ok(Appended::At(ack.sequence)),
            Response::Err { error } if WRONG_LAST_SEQUENCE.contains(&error.error_code().0) => {
                Ok(Appended::Conflict)
            }
            Response::Err { error } => {
                let is_ours = error.code() < FAULT_OF_THE_SERVER;
                let error = anyhow!("appending to the log: {error}");
                Err(if is_ours {
                    error
                } else {
                    error.context(Unavailable)
                })
            }
        }
    }

    /// Returns the headers of a message: its guard, its end, and its place in a batch.
    fn headers(
        &self,
        message: &Append,
        trace: &HeaderMap,
        batch: Option<&str>,
        position: usize,
    ) -> HeaderMap {
        let mut headers = trace.clone();
        headers.insert(
            NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
            message.last.to_string(),
        );
        if let Some(after) = message.expires_after.filter(|_| self.may_expire) {
            headers.insert(NATS_MESSAGE_TTL, format!("{}s", after.as_secs()));
        }
        if let Some(batch) = batch {
            headers.insert(NATS_BATCH_ID, batch);
            headers.insert(NATS_BATCH_SEQUENCE, position.to_string());
        }
        headers
    }

    /// Returns when the connection has been lost and restored.
    async fn reconnected(&self) {
        let statistics = self.client.statistics();
        let before = statistics.connects.load(Ordering::Relaxed);
        while statistics.connects.load(Ordering::Relaxed) == before {
            sleep(CONNECTION_POLL).await;
        }
    }

    pub(crate) async fn request_page(&self, request: Value) -> anyhow::Result<Page> {
        let page = page_of_stream(&self.client, EVENTS, request);
        page.instrument(reading()).await.context(Unavailable)
    }
}

fn reading() -> Span {
    debug_span!("read the log", otel.kind = "client")
}

/// Reads the last sequence in a stream's answer about its state.
///
/// # Errors
/// If the stream does not answer with its state.
pub fn last_sequence(info: &[u8]) -> anyhow::Result<u64> {
    let info: Value = serde_json::from_slice(info).context("reading the state of a stream")?;
    let last = info.pointer("/state/last_seq").and_then(Value::as_u64);
    last.context("the state of a stream has no last sequence")
}

fn from_stream(message: StreamMessage) -> Stored {
    Stored {
        sequence: message.sequence,
        subject: message.subject.to_string(),
        payload: message.payload,
    }
}
