//! Sends commands and waits for their outcomes.
//!
//! The stream of commands is transport: a power cut may lose a command before it is decided. So its
//! sender remembers it, and sends it again after a reconnect, every one to three seconds until the
//! stream has it, and once after a longer silence. Workers decide each command id once.
//!
//! A process has one inbox for all outcomes.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use async_nats::{
    Client, StatusCode, Subscriber,
    connection::State as Connection,
    jetstream::{self, publish::PublishAck},
};
use events_schema::{Area, Command, Outcome};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::{
    sync::mpsc,
    time::{Instant, interval, sleep, timeout_at},
};
use tracing::{Instrument as _, debug_span, field};

use crate::{
    Trace,
    telemetry::{self, KeyValue},
};

/// How long a command waits until a lost connection is back. A restart of nats-server takes less.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the connection is looked at.
const CONNECTION_POLL: Duration = Duration::from_millis(20);
/// How long the stream may take to store a command before it is sent again. A cluster takes longer
/// only while it elects a leader for the stream, and loses commands sent meanwhile. A slow
/// server must not get more work, so the time grows with each repetition.
const STORED_WITHIN: Duration = Duration::from_secs(1);
/// The wait for the stream grows up to this many times [`STORED_WITHIN`].
const LONGEST_FACTOR: u32 = 3;
/// How long a stored command may stay without an outcome before it is sent again. Only a lost
/// command takes this long, and one behind a long queue.
const SEND_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// The pause before a command is sent again to a server that has no stream for it yet.
const NO_STREAM_PAUSE: Duration = Duration::from_millis(100);
/// Answers to one command that may wait to be read: some for each time that it is sent.
const MAX_ANSWERS: usize = 16;

static COMMAND_DURATION: LazyLock<telemetry::Histogram<f64>> = LazyLock::new(|| {
    let description = "Time from sending a command to its outcome.";
    telemetry::seconds("ub.command.duration", description)
});
static RESENT: LazyLock<telemetry::Counter<u64>> =
    LazyLock::new(|| telemetry::counter("ub.command.resent", "Commands that were sent again."));

/// Sends commands and waits for their outcomes. Clones share one inbox.
#[derive(Clone, Debug)]
pub struct CommandSender(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    inbox: String,
    last: AtomicU64,
    /// The commands without an outcome.
    open: Mutex<HashMap<u64, mpsc::Sender<Answer>>>,
}

/// Why a command has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum NoOutcome {
    /// The command may be decided, now or later.
    #[error("the outcome of the command is not known in time")]
    NotKnown,
    /// The command was not stored and never will be.
    #[error("the command was not sent")]
    NotSent(#[source] anyhow::Error),
}

/// What arrives in the inbox for one command.
#[derive(Debug)]
enum Answer {
    Outcome(Outcome),
    /// The stream has the command.
    Stored,
    /// The stream does not take the command.
    Refused(String),
    /// There is no stream.
    NoStream,
    /// The connection was restored.
    Reconnected,
}

impl CommandSender {
    /// Subscribes to the inbox for outcomes.
    ///
    /// # Errors
    /// If the connection is closed.
    pub async fn start(client: Client) -> anyhow::Result<Self> {
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await;
        let inner = Arc::new(Inner {
            client,
            inbox,
            last: AtomicU64::new(0),
            open: Mutex::default(),
        });
        tokio::spawn(dispatch(Arc::downgrade(&inner), answers?));
        Ok(Self(inner))
    }

    /// Whether there is a connection to NATS.
    pub fn is_connected(&self) -> bool {
        self.0.client.connection_state() == Connection::Connected
    }

    /// Sends a command and returns its outcome.
    ///
    /// # Errors
    /// If the outcome is not known by the deadline.
    pub async fn send<A: Area>(
        &self,
        command: Command<A>,
        trace: Trace,
        deadline: Instant,
    ) -> Result<Outcome, NoOutcome> {
        let subject = command.subject();
        let subject = subject.map_err(|error| NoOutcome::NotSent(error.into()))?;
        let subject = subject.to_string();
        // Without the tenant.
        let sent = subject.splitn(3, '.').last().unwrap_or_default();
        let span = debug_span!(
            "send", otel.name = format!("send {sent}"), otel.kind = "producer",
            messaging.system = "nats", command = %command.id, outcome = field::Empty
        );
        let began = Instant::now();
        let outcome = self.send_until(subject, command, trace, deadline);
        let outcome = outcome.instrument(span.clone()).await;
        let result = result_of(&outcome);
        span.record("outcome", result);
        let labels = [
            KeyValue::new("area", A::NAME.as_str()),
            KeyValue::new("outcome", result),
        ];
        COMMAND_DURATION.record(began.elapsed().as_secs_f64(), &labels);
        outcome
    }

    async fn send_until<A: Area>(
        &self,
        subject: String,
        mut command: Command<A>,
        trace: Trace,
        deadline: Instant,
    ) -> Result<Outcome, NoOutcome> {
        let headers = trace.headers();
        let mut open = self.open();
        command.reply = Some(open.reply.clone());
        let payload = serde_json::to_vec(&command);
        let payload = payload.map_err(|error| NoOutcome::NotSent(error.into()))?;
        let mut attempt = Attempt {
            may_be_stored: false,
            refusal: None,
            sent: 0,
            is_stored: false,
            was_repeated: false,
        };
        loop {
            if !self.connected(deadline).await {
                let refusal = anyhow!("not connected to NATS");
                return Err(attempt.ended(refusal));
            }
            let reply = open.reply.clone();
            let published = self.0.client.publish_with_reply_and_headers(
                subject.clone(),
                reply,
                headers.clone(),
                payload.clone().into(),
            );
            if let Err(error) = published.await {
                return Err(attempt.ended(error.into()));
            }
            if attempt.sent > 0 {
                RESENT.add(1, &[]);
            }
            attempt.sent += 1;
            if let Some(outcome) = attempt.outcome(&mut open.answers, deadline).await {
                return Ok(outcome);
            }
            if Instant::now() >= deadline {
                let refusal = attempt.refusal.take();
                let refusal = refusal.unwrap_or_else(|| "no answer".to_owned());
                return Err(attempt.ended(anyhow!(refusal)));
            }
        }
    }

    /// Waits for the connection, until the deadline or for two seconds; returns whether it is
    /// there. While it is lost, the client would keep the command and send it whenever it is back.
    async fn connected(&self, deadline: Instant) -> bool {
        let until = deadline.min(Instant::now() + RECONNECT_TIMEOUT);
        while !self.is_connected() {
            if Instant::now() >= until {
                return false;
            }
            sleep(CONNECTION_POLL).await;
        }
        true
    }

    fn open(&self) -> Open<'_> {
        let (sender, answers) = mpsc::channel(MAX_ANSWERS);
        let number = self.0.last.fetch_add(1, Ordering::Relaxed);
        self.0.open().insert(number, sender);
        Open {
            inner: &self.0,
            number,
            reply: format!("{}.{number}", self.0.inbox),
            answers,
        }
    }
}

/// Returns the name of an outcome in spans and metrics.
const fn result_of(outcome: &Result<Outcome, NoOutcome>) -> &'static str {
    match outcome {
        Ok(Outcome::Committed { .. }) => "committed",
        Ok(Outcome::DoneBefore { .. }) => "done_before",
        Ok(Outcome::Unchanged { .. }) => "unchanged",
        Ok(Outcome::Rejected(_)) => "rejected",
        Err(NoOutcome::NotKnown) => "not_known",
        Err(NoOutcome::NotSent(_)) => "not_sent",
    }
}

/// A command that is being sent. It is forgotten when this is dropped.
struct Open<'a> {
    inner: &'a Inner,
    number: u64,
    reply: String,
    answers: mpsc::Receiver<Answer>,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.inner.open().remove(&self.number);
    }
}

/// What is known about a command that was sent.
struct Attempt {
    may_be_stored: bool,
    refusal: Option<String>,
    sent: u32,
    /// Whether the stream has said that it has the command.
    is_stored: bool,
    /// Whether it was sent again after that, because no outcome came.
    was_repeated: bool,
}

impl Attempt {
    /// Returns the outcome if it arrives in time and before a reason to send the command again.
    async fn outcome(
        &mut self,
        answers: &mut mpsc::Receiver<Answer>,
        deadline: Instant,
    ) -> Option<Outcome> {
        let began = Instant::now();
        // Until an answer says otherwise.
        let before = std::mem::replace(&mut self.may_be_stored, true);
        while let Ok(answer) = timeout_at(self.wait_until(began, deadline), answers.recv()).await {
            match answer? {
                Answer::Outcome(outcome) => return Some(outcome),
                Answer::Stored => self.is_stored = true,
                Answer::Reconnected => {
                    self.is_stored = false;
                    return None;
                }
                Answer::Refused(reason) => {
                    self.may_be_stored = before;
                    self.refusal = Some(reason);
                    if !before {
                        sleep(NO_STREAM_PAUSE).await;
                        return None;
                    }
                }
                Answer::NoStream => {
                    self.may_be_stored = before;
                    self.refusal = Some("NATS has no stream for commands yet".to_owned());
                    sleep(NO_STREAM_PAUSE).await;
                    return None;
                }
            }
        }
        self.was_repeated = self.is_stored;
        None
    }

    /// Returns the time until which to wait for an outcome of a command that was sent at `began`.
    fn wait_until(&self, began: Instant, deadline: Instant) -> Instant {
        match (self.is_stored, self.was_repeated) {
            (false, _) => deadline.min(began + STORED_WITHIN * self.sent.min(LONGEST_FACTOR)),
            (true, false) => deadline.min(began + SEND_AGAIN_AFTER),
            // Once only: the more commands wait, the fewer copies they need.
            (true, true) => deadline,
        }
    }

    fn ended(&self, refusal: anyhow::Error) -> NoOutcome {
        if self.may_be_stored {
            NoOutcome::NotKnown
        } else {
            NoOutcome::NotSent(refusal)
        }
    }
}

impl Inner {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, mpsc::Sender<Answer>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes an answer to the command with this number, unless nobody waits for it any more.
    fn pass(&self, number: Option<u64>, answer: Answer) {
        let open = number.and_then(|number| self.open().get(&number).cloned());
        if let Some(open) = open {
            // Of more answers than fit, none says anything new.
            _ = open.try_send(answer);
        }
    }

    fn pass_to_all(&self, answer: impl Fn() -> Answer) {
        for open in self.open().values() {
            _ = open.try_send(answer());
        }
    }

    fn connections(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }
}

/// Passes the answers in the inbox to the commands, until nobody can send commands any more.
async fn dispatch(inner: Weak<Inner>, mut answers: Subscriber) {
    let mut polls = interval(CONNECTION_POLL);
    let mut connections = inner.upgrade().map(|inner| inner.connections());
    loop {
        let message = tokio::select! {
            message = answers.next() => message,
            _ = polls.tick() => {
                let Some(inner) = inner.upgrade() else { return };
                let now = Some(inner.connections());
                if std::mem::replace(&mut connections, now) != now {
                    inner.pass_to_all(|| Answer::Reconnected);
                }
                continue;
            }
        };
        let (Some(message), Some(inner)) = (message, inner.upgrade()) else {
            return;
        };
        let number = message.subject.rsplit('.').next();
        let number = number.and_then(|number| number.parse().ok());
        match read(&message) {
            Ok(answer) => inner.pass(number, answer),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "an answer to a command cannot be read");
            }
        }
    }
}

fn read(message: &async_nats::Message) -> anyhow::Result<Answer> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Body {
        Outcome(Outcome),
        Stream(jetstream::response::Response<PublishAck>),
    }
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Ok(Answer::NoStream);
    }
    let body = serde_json::from_slice(&message.payload);
    Ok(match body.context("reading an outcome")? {
        Body::Outcome(outcome) => Answer::Outcome(outcome),
        Body::Stream(jetstream::response::Response::Ok(_)) => Answer::Stored,
        Body::Stream(jetstream::response::Response::Err { error }) => {
            Answer::Refused(error.to_string())
        }
    })
}
