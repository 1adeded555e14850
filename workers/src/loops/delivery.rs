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

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::LazyLock,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, anyhow};
use async_nats::jetstream::{self, AckKind, Context, Message, consumer::pull};
use event_store::{
    Handling, NoOutcome, Trace, Unavailable,
    telemetry::{self, KeyValue},
};
use events_schema::subject::{self, COMMANDS};
use futures_util::{FutureExt, Stream, StreamExt, stream};
use tokio::time::timeout;

use crate::{
    decode::Newer,
    loops::{Shared, consumers::Consumer},
};

/// After two missed heartbeats, the pull is opened again.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long one pull lasts.
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// A pull without a message for this long is opened again, whatever its heartbeats say. After a
/// restart of the server a pull may live on that the server no longer serves.
const SILENCE: Duration = Duration::from_secs(10);
/// The pause before a broken pull is opened again.
const REOPEN_AFTER: Duration = Duration::from_millis(250);
/// The most messages that a stopping loop returns: more than it can have fetched.
const MAX_RETURNED: usize = 1_000;
/// How long a returned message waits. Without a wait the stopping loop would get it again.
const RETURNED_FOR: Duration = Duration::from_millis(300);
/// Characters of a reason that a dead letter keeps.
const MAX_REASON: usize = 1_000;

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

/// How often a message of a newer release is delivered until a worker of that release takes it:
/// with the waits between, about an hour.
const NEWER_DELIVERIES: i64 = 24;
/// The longest of these waits.
const NEWER_LONGEST: Duration = Duration::from_secs(5 * 60);

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
    message.info().is_ok_and(|info| {
        let stored = SystemTime::from(info.published);
        let age = stored.elapsed().unwrap_or_default();
        info.delivered > 1 || age > REPLAYED_AFTER
    })
}

/// Returns the messages of a consumer until `shutdown`. The stream survives a broken pull, a
/// restarted server and a lost consumer.
pub fn messages(consumer: Consumer, shared: Shared) -> impl Stream<Item = Received> + Unpin {
    let source = Source {
        context: jetstream::new(shared.client.clone()),
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
    let pull = consumer.ensure(context).await?;
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
        received.work.run(bounded(consumer, handler)).await
    };
    settle(context, consumer, received, &result).await;
}

/// The reason in the dead letter of a message that no worker could settle, because each one that
/// tried has crashed.
pub const LOST: &str = "delivered again and again and never settled";

/// Whether the message was delivered so often without being settled that it must have crashed its
/// workers. The server itself never gives up on a message, since it would do so silently.
pub fn is_lost(consumer: &Consumer, message: &Message) -> bool {
    deliveries(message) > 2 * consumer.deliveries
}

/// Runs a handler until its message would be redelivered; a panic becomes an error.
///
/// # Errors
/// If the handler fails, panics or takes too long.
pub async fn bounded<T>(
    consumer: &Consumer,
    handler: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let caught = AssertUnwindSafe(handler).catch_unwind();
    let result = timeout(consumer.ack_wait, caught).await;
    let result = result.context("not done within the ack wait")?;
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
        Err(error) if is_last(consumer, error, delivery) => {
            let reason = format!("failed {delivery} times, the last time with: {error:#}");
            work.fail(&reason);
            dead_letter(context, consumer, received, &reason).await;
            "dead"
        }
        Err(error) => {
            let longest = if error.is::<Newer>() {
                NEWER_LONGEST
            } else {
                consumer.longest_retry
            };
            let wait = retry_after(consumer.first_retry, longest, delivery);
            let error = format!("{error:#}");
            work.fail(&error);
            tracing::warn!(subject, delivery, ?wait, error, "retrying later");
            retry(message, wait).await;
            "retry"
        }
    }
}

/// Whether a message failed since a server was away. That is no attempt: time helps.
fn is_outage(error: &anyhow::Error) -> bool {
    error.is::<Unavailable>() || error.is::<NoOutcome>()
}

/// Whether a message that failed is not delivered again.
fn is_last(consumer: &Consumer, error: &anyhow::Error, delivery: i64) -> bool {
    if is_outage(error) {
        return false;
    }
    let deliveries = if error.is::<Newer>() {
        NEWER_DELIVERIES
    } else {
        consumer.deliveries
    };
    delivery >= deliveries
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

/// Returns the wait before the next delivery. It doubles with each delivery, from `first` to
/// `longest`.
fn retry_after(first: Duration, longest: Duration, delivery: i64) -> Duration {
    let doublings = u32::try_from(delivery - 1).unwrap_or(0).min(16);
    first.saturating_mul(1 << doublings).min(longest)
}

async fn retry(message: &Message, wait: Duration) {
    if let Err(error) = message.ack_with(AckKind::Nak(Some(wait))).await {
        let subject = message.subject.as_str();
        tracing::warn!(subject, %error, "no retry requested; it comes after the ack wait");
    }
}

/// Copies a message to DEAD and terminates it. Without a copy it would be lost, so it stays in its
/// stream until there is one.
async fn dead_letter(context: &Context, consumer: &Consumer, received: &Received, reason: &str) {
    let message = &received.message;
    let subject = message.subject.as_str();
    tracing::error!(subject, reason, "moving to DEAD");
    match copy_to_dead(context, consumer, received, reason).await {
        Ok(()) => terminate(message).await,
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(subject, error, "not copied to DEAD; the message is retried");
            retry(message, consumer.longest_retry).await;
        }
    }
}

async fn terminate(message: &Message) {
    if let Err(error) = message.double_ack_with(AckKind::Term).await {
        let subject = message.subject.as_str();
        tracing::warn!(subject, %error, "not terminated; it comes again");
    }
}

async fn copy_to_dead(
    context: &Context,
    consumer: &Consumer,
    received: &Received,
    reason: &str,
) -> anyhow::Result<()> {
    let message = &received.message;
    // A line break would end the header.
    let printable = reason.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut headers = received.trace.headers();
    headers.insert("Ub-Reason", printable.take(MAX_REASON).collect::<String>());
    headers.insert("Ub-Subject", message.subject.as_str());
    headers.insert("Ub-Stream", consumer.stream);
    if let Ok(info) = message.info() {
        headers.insert("Ub-Sequence", info.stream_sequence.to_string());
        headers.insert("Ub-Deliveries", info.delivered.to_string());
    }
    let subject = subject::dead(consumer.worker_loop, &message.subject);
    let stored = context.publish_with_headers(subject, headers, message.payload.clone());
    stored.await?.await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use events_schema::{Area as _, project};

    use super::*;
    use crate::decode;

    #[test]
    fn a_message_of_a_newer_release_waits_an_hour_for_a_worker_that_knows_it() {
        let newer = decode::commit::<project::Area>(
            "evt.platform.project.00112233445566778899aabbccddeeff",
            br#"{
                "tenant": "platform", "area": "project", "revision": 1, "time": 0,
                "id": "00112233445566778899aabbccddeeff",
                "command": "00112233445566778899aabbccddeeff",
                "actor": { "kind": "system" }, "events": [{ "type": "flown" }]
            }"#,
        );
        let newer = newer.unwrap_err().context("reading the history");
        for consumer in [
            Consumer::commands(project::Area::NAME),
            Consumer::views("project", project::Area::NAME),
            Consumer::effects("send_mail", project::Area::NAME, 12),
        ] {
            let waits = (1..).take_while(|delivery| !is_last(&consumer, &newer, *delivery));
            let wait = |delivery| retry_after(consumer.first_retry, NEWER_LONGEST, delivery);
            let waited: Duration = waits.map(wait).sum();
            let (least, most) = (Duration::from_secs(50 * 60), Duration::from_secs(90 * 60));
            assert!(
                (least..most).contains(&waited),
                "{} {waited:?}",
                consumer.name
            );
        }
    }

    #[test]
    fn an_outage_is_no_attempt() {
        let outage = anyhow!("no leader")
            .context(Unavailable)
            .context("deciding");
        let views = Consumer::views("project", project::Area::NAME);
        assert!(!is_last(&views, &outage, i64::MAX));
        assert!(is_last(&views, &anyhow!("a fault"), views.deliveries));
    }

    #[test]
    fn the_wait_between_retries_doubles_up_to_the_longest() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(60));
        let wait = |delivery| retry_after(first, longest, delivery).as_secs();
        let waits: Vec<u64> = (1..=7).map(wait).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60]);
        assert_eq!(wait(10_000), 60);
        assert_eq!(wait(0), 1);
    }
}
