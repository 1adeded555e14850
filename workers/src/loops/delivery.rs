//! From a consumer to a handler and back: an endless stream of messages, and the one function,
//! [`settle`], that settles them.
//!
//! The result of a handler decides the acknowledgement, and nothing else does:
//!
//! | Result | Meaning | The message is |
//! |---|---|---|
//! | `Ok(Handled::Done)` | done now or before | acknowledged |
//! | `Ok(Handled::Dead(reason))` | no retry can help | copied to DEAD, then terminated |
//! | `Err(_)`, or a panic | try again | redelivered later; after the last attempt as above |
//! | `Err([Newer])` | another worker may know it | redelivered for about an hour; then as above |
//! | `Err([Unavailable])` | a server is away | redelivered; a command ends at last |

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::LazyLock,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, anyhow};
use async_nats::jetstream::{self, AckKind, Context, Message, consumer::pull};
use event_store::{
    Handling, Trace,
    telemetry::{self, KeyValue},
};
use events_schema::subject::COMMANDS;
use futures_util::{
    FutureExt, Stream, StreamExt,
    future::BoxFuture,
    stream::{self, select_all},
};
use tokio::time::timeout;

use crate::{
    decode::Newer,
    loops::{
        Shared,
        consumers::Consumer,
        dead_letter::{LOST, dead_letter, is_lost},
        retry::{Came, is_outage, wait},
    },
};

/// After two missed heartbeats, the pull is opened again.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long one pull lasts.
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// A pull without a message for this long is opened again, whatever its heartbeats say. After a
/// restart of the server a pull may live on that the server no longer serves.
const SILENCE: Duration = Duration::from_secs(10);
/// How long the server may take to answer about a consumer. While a cluster elects a leader, nobody
/// answers; the next try follows at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The pause before a broken pull is opened again.
const REOPEN_AFTER: Duration = Duration::from_millis(250);
/// The most messages that a stopping loop returns: more than it can have fetched.
const MAX_RETURNED: usize = 1_000;
/// How long a returned message waits. Without a wait the stopping loop would get it again.
const RETURNED_FOR: Duration = Duration::from_millis(300);

/// A message that was stored longer ago is a replay: a trace that old has ended.
const REPLAYED_AFTER: Duration = Duration::from_secs(60);

static DURATION: LazyLock<telemetry::Histogram<f64>> = LazyLock::new(|| {
    let description = "Time from receiving a message to settling it; `result` is done, retry or \
                       dead.";
    telemetry::seconds("messaging.process.duration", description)
});
static PENDING: LazyLock<telemetry::Gauge<u64>> = LazyLock::new(|| {
    let description = "Messages of a consumer that were not delivered yet, at its last delivery.";
    telemetry::gauge("ub.consumer.pending", description)
});

/// The result of a handler that has not failed.
#[derive(Debug, PartialEq, Eq)]
pub enum Handled {
    /// The message was handled, now or before.
    Done,
    /// The message can never be handled, for this reason.
    Dead(String),
}

/// A message with its work: from here on, its lines in the log and its span belong together.
#[derive(Debug)]
pub struct Received {
    pub message: Message,
    /// Where to go on in the trace of the message.
    pub trace: Trace,
    work: Handling,
    at: Instant,
}

impl Received {
    fn new(consumer: &Consumer, message: Message) -> Self {
        let trace = Trace::of_message(message.headers.as_ref());
        let name = format_args!("process {}", consumer.name);
        let (work, trace) = Handling::process(trace, name, is_repeated(&message));
        let received = Self {
            message,
            trace,
            work,
            at: Instant::now(),
        };
        received.describe(consumer);
        received
    }

    fn describe(&self, consumer: &Consumer) {
        if let Ok(info) = self.message.info() {
            let labels = [KeyValue::new("consumer", consumer.name.clone())];
            PENDING.record(info.pending, &labels);
            if self.work.is_exported() {
                let sequence = info.stream_sequence.to_string();
                self.work.set("messaging.message.id", sequence);
                self.work.set("messaging.delivery", info.delivered);
            }
        }
        if self.work.is_exported() {
            let subject = self.message.subject.to_string();
            self.work.set("messaging.system", "nats");
            self.work.set("messaging.operation.type", "process");
            self.work.set("messaging.destination.name", subject);
        }
    }
}

/// Whether the message is delivered again, or is replayed long after it was stored.
fn is_repeated(message: &Message) -> bool {
    deliveries(message) > 1 || age(message) > REPLAYED_AFTER
}

/// Returns the time since the message was stored.
fn age(message: &Message) -> Duration {
    message.info().map_or(Duration::ZERO, |info| {
        let stored = SystemTime::from(info.published);
        stored.elapsed().unwrap_or_default()
    })
}

/// Returns the messages of a consumer until `shutdown`. The stream survives a broken pull, a
/// restarted server and a lost consumer.
pub fn messages(consumer: Consumer, shared: Shared) -> impl Stream<Item = Received> + Unpin {
    let mut context = jetstream::new(shared.client.clone());
    context.set_timeout(ANSWER_WITHIN);
    let source = Source {
        context,
        consumer,
        shared,
        pull: None,
    };
    Box::pin(stream::unfold(source, |mut source| async move {
        let message = source.next().await?;
        Some((Received::new(&source.consumer, message), source))
    }))
}

/// A consumer that is being read.
struct Source {
    context: Context,
    consumer: Consumer,
    shared: Shared,
    pull: Option<pull::Stream>,
}

impl Source {
    /// Returns the next message; `None` after `shutdown`.
    async fn next(&mut self) -> Option<Message> {
        let shutdown = self.shared.shutdown.clone();
        loop {
            let next = shutdown.run_until_cancelled(self.pull_once()).await;
            match next {
                None => {
                    self.return_fetched().await;
                    return None;
                }
                Some(Ok(Some(message))) => return Some(message),
                Some(Ok(None)) => self.return_fetched().await,
                Some(Err(error)) => {
                    let (consumer, error) = (&self.consumer.name, format!("{error:#}"));
                    tracing::warn!(consumer, error, "the pull broke and is opened again");
                    self.shared.pulls.closed(consumer);
                    self.pull = None;
                    tokio::time::sleep(REOPEN_AFTER).await;
                }
            }
        }
    }

    /// Waits for a message; `None` if the pull has ended, has been silent for too long, or the
    /// connection was restored: the server may have forgotten the consumer.
    async fn pull_once(&mut self) -> anyhow::Result<Option<Message>> {
        let pull = match &mut self.pull {
            Some(pull) => pull,
            None => {
                let opened = open(&self.context, &self.consumer).await?;
                self.shared.pulls.opened(&self.consumer.name);
                self.pull.insert(opened)
            }
        };
        let next = tokio::select! {
            // What has arrived comes first: a dropped message waits for its redelivery.
            biased;
            next = timeout(SILENCE, pull.next()) => next.unwrap_or(None),
            Ok(()) = self.shared.reconnects.changed() => None,
        };
        Ok(next.transpose()?)
    }

    /// Closes the pull. Returns messages to the server that were fetched and not begun, so that a
    /// worker gets them soon.
    async fn return_fetched(&mut self) {
        let Some(mut pull) = self.pull.take() else {
            return;
        };
        for _ in 0..MAX_RETURNED {
            let Some(Some(Ok(message))) = pull.next().now_or_never() else {
                return;
            };
            let returned = message.ack_with(AckKind::Nak(Some(RETURNED_FOR))).await;
            if returned.is_err() {
                return;
            }
        }
    }
}

async fn open(context: &Context, consumer: &Consumer) -> anyhow::Result<pull::Stream> {
    let pull = consumer.open(context).await?;
    let stream = pull
        .stream()
        .max_messages_per_batch(consumer.prefetch)
        .heartbeat(HEARTBEAT)
        .expires(PULL_EXPIRES);
    stream.messages().await.context("opening the pull")
}

/// Returns the message's sequence in its stream; 0 if it does not say, which no server does.
pub fn sequence(message: &Message) -> u64 {
    message.info().map_or(0, |info| info.stream_sequence)
}

/// Returns how often the message was delivered, this delivery included.
pub fn deliveries(message: &Message) -> i64 {
    message.info().map_or(1, |info| info.delivered)
}

/// Runs a handler and settles the message by its result.
pub async fn handle(
    context: &Context,
    consumer: &Consumer,
    received: &Received,
    handler: impl Future<Output = anyhow::Result<Handled>>,
) {
    let result = if is_lost(consumer, &received.message) {
        Ok(Handled::Dead(LOST.to_owned()))
    } else {
        received.work.run(bounded(consumer.ack_wait, handler)).await
    };
    settle(context, consumer, received, &result).await;
}

/// Handles the messages of a consumer.
pub trait Handler: Send + Sync {
    /// Handles a message.
    ///
    /// # Errors
    /// If the message is to be handled again.
    fn handle(&self, received: &Received) -> impl Future<Output = anyhow::Result<Handled>> + Send;
}

/// A handler as an object: the code around it is compiled once, and not for each handler.
pub trait AnyHandler: Send + Sync {
    /// Handles a message.
    ///
    /// # Errors
    /// If the message is to be handled again.
    fn handle_boxed<'a>(&'a self, received: &'a Received)
    -> BoxFuture<'a, anyhow::Result<Handled>>;
}

impl<H: Handler> AnyHandler for H {
    fn handle_boxed<'a>(
        &'a self,
        received: &'a Received,
    ) -> BoxFuture<'a, anyhow::Result<Handled>> {
        Box::pin(self.handle(received))
    }
}

/// Handles the messages of a consumer until `shutdown`, several at once.
pub async fn handle_all(consumer: Consumer, shared: Shared, handler: &dyn AnyHandler) {
    let at_once = consumer.concurrency;
    handle_consumers(&[consumer], at_once, shared, handler).await;
}

/// Handles the messages of several consumers until `shutdown`, at most `at_once` at a time.
pub async fn handle_consumers(
    consumers: &[Consumer],
    at_once: usize,
    shared: Shared,
    handler: &dyn AnyHandler,
) {
    let context = &jetstream::new(shared.client.clone());
    let messages = consumers.iter().map(|consumer| {
        let messages = messages(consumer.clone(), shared.clone());
        messages.map(move |received| (consumer, received))
    });
    select_all(messages)
        .for_each_concurrent(at_once, |(consumer, received)| async move {
            let handled = handler.handle_boxed(&received);
            handle(context, consumer, &received, handled).await;
        })
        .await;
}

/// Runs a handler for at most this long: until its message would be redelivered. A panic becomes an
/// error.
///
/// # Errors
/// If the handler fails, panics or takes too long.
pub async fn bounded<T>(
    limit: Duration,
    handler: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let caught = AssertUnwindSafe(handler).catch_unwind();
    let result = timeout(limit, caught).await;
    let result = result.with_context(|| format!("not done within {limit:?}"))?;
    result.unwrap_or_else(|_| Err(anyhow!("the handler panicked")))
}

/// Settles one message by the result of its handler: acknowledges it, has it redelivered later, or
/// moves it to DEAD.
pub async fn settle(
    context: &Context,
    consumer: &Consumer,
    received: &Received,
    result: &anyhow::Result<Handled>,
) {
    let work = &received.work;
    let settled = work.run(settle_message(context, consumer, received, result));
    let labels = [
        KeyValue::new("consumer", consumer.name.clone()),
        KeyValue::new("result", settled.await),
    ];
    DURATION.record(received.at.elapsed().as_secs_f64(), &labels);
}

/// Settles a message and returns the name of the result for metrics.
async fn settle_message(
    context: &Context,
    consumer: &Consumer,
    received: &Received,
    result: &anyhow::Result<Handled>,
) -> &'static str {
    let (message, work) = (&received.message, &received.work);
    let subject = message.subject.as_str();
    let delivery = deliveries(message);
    match result {
        Ok(Handled::Done) => {
            // Nobody waits for the server to confirm: a lost acknowledgement is a redelivery, which
            // changes nothing.
            if let Err(error) = message.ack().await {
                tracing::warn!(subject, %error, "not acknowledged; the redelivery changes nothing");
            }
            "done"
        }
        Ok(Handled::Dead(reason)) => {
            work.fail(reason);
            dead_letter(context, consumer, received, reason).await;
            "dead"
        }
        Err(error)
            if consumer.stream == COMMANDS
                && is_outage(error)
                && delivery >= consumer.deliveries =>
        {
            let error = format!("{error:#}");
            work.fail(&error);
            tracing::warn!(
                subject,
                delivery,
                error,
                "given up; its sender sends it again if it still waits"
            );
            terminate(message).await;
            "given_up"
        }
        Err(error) => {
            let age = age(message);
            let Some(wait) = wait(consumer, error, Came { delivery, age }) else {
                let reason = format!("failed {delivery} times, the last time with: {error:#}");
                work.fail(&reason);
                dead_letter(context, consumer, received, &reason).await;
                return "dead";
            };
            let error = format!("{error:#}");
            work.fail(&error);
            tracing::warn!(subject, delivery, ?wait, error, "retrying later");
            retry(message, wait).await;
            "retry"
        }
    }
}

/// Returns the result for a message that cannot be decoded for this reason.
///
/// # Errors
/// If a newer release has written it, so that another worker may know it.
pub fn undecoded(reason: anyhow::Error) -> anyhow::Result<Handled> {
    if reason.is::<Newer>() {
        Err(reason)
    } else {
        Ok(Handled::Dead(format!("{reason:#}")))
    }
}

/// Has a message redelivered after this time. A failure is logged.
pub async fn retry(message: &Message, wait: Duration) {
    if let Err(error) = message.ack_with(AckKind::Nak(Some(wait))).await {
        let subject = message.subject.as_str();
        tracing::warn!(subject, %error, "no retry requested; it comes after the ack wait");
    }
}

/// Has a message never redelivered. A failure is logged.
pub async fn terminate(message: &Message) {
    if let Err(error) = message.double_ack_with(AckKind::Term).await {
        let subject = message.subject.as_str();
        tracing::warn!(subject, %error, "not terminated; it comes again");
    }
}
