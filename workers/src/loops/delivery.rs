//! From a consumer to a handler and back: an endless supply of messages, and the one function that
//! settles them.
//!
//! What a handler returns decides the ack, and nothing else does:
//!
//! | a handler returns | what it means | the message is |
//! |---|---|---|
//! | `Ok(Handled::Done)` | done, or was done before | acknowledged, and the acknowledgement confirmed |
//! | `Ok(Handled::Dead(reason))` | no retry can help | copied to DEAD, then terminated |
//! | `Err(_)`, or a panic | try again | delivered again later; after the last delivery as above |

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use anyhow::{Context as _, anyhow};
use async_nats::{
    HeaderMap,
    jetstream::{AckKind, Context, Message, consumer::pull},
};
use bytes::Bytes;
use events_schema::{TRACEPARENT, subject};
use futures_util::{FutureExt, Stream, StreamExt, stream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::loops::consumers::Consumer;

/// A silent server is noticed after two of these, and the pull made anew.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long one pull stands.
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// A pull that has brought no message for so long is made anew, whatever its heartbeats say: after
/// a restart of the server one may live on that the server no longer serves.
const SILENCE: Duration = Duration::from_secs(10);
/// The wait before a broken pull is made anew.
const REOPEN_AFTER: Duration = Duration::from_millis(250);

/// Messages given back by one loop when it stops: as many as can have been fetched.
const MOST_GIVEN_BACK: usize = 1_000;
/// A message that is given back waits for so long, or this very loop would get it again.
const GIVEN_BACK_FOR: Duration = Duration::from_millis(300);

/// What became of a message, if nothing failed.
#[derive(Debug, PartialEq, Eq)]
pub enum Handled {
    /// It was done, now or before.
    Done,
    /// It can never be done, for this reason.
    Dead(String),
}

/// The messages of a consumer until `shutdown`; a broken pull, a restarted server or a lost
/// consumer is survived.
pub fn messages(
    context: Context,
    consumer: Consumer,
    shutdown: CancellationToken,
) -> impl Stream<Item = Message> + Unpin {
    let state = (context, consumer, shutdown, None::<pull::Stream>);
    Box::pin(stream::unfold(
        state,
        |(context, consumer, shutdown, mut pull)| async move {
            loop {
                if shutdown.is_cancelled() {
                    give_back(pull).await;
                    return None;
                }
                let Some(open) = pull.as_mut() else {
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        opened = open(&context, &consumer) => match opened {
                            Ok(opened) => pull = Some(opened),
                            Err(error) => {
                                tracing::warn!(consumer = consumer.name, error = format!("{error:#}"), "cannot pull, trying again");
                                tokio::time::sleep(REOPEN_AFTER).await;
                            }
                        },
                    }
                    continue;
                };
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    next = timeout(SILENCE, open.next()) => match next.unwrap_or(None) {
                        Some(Ok(message)) => return Some((message, (context, consumer, shutdown, pull))),
                        Some(Err(error)) => {
                            tracing::warn!(consumer = consumer.name, %error, "the pull broke, making it anew");
                            tokio::time::sleep(REOPEN_AFTER).await;
                            pull = None;
                        }
                        None => pull = None,
                    },
                }
            }
        },
    ))
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

/// What was fetched but not begun goes to another worker soon, not after the ack wait.
async fn give_back(pull: Option<pull::Stream>) {
    let Some(mut pull) = pull else { return };
    for _ in 0..MOST_GIVEN_BACK {
        let Some(Some(Ok(message))) = pull.next().now_or_never() else {
            return;
        };
        if message
            .ack_with(AckKind::Nak(Some(GIVEN_BACK_FOR)))
            .await
            .is_err()
        {
            return;
        }
    }
}

/// How often the message was delivered, this time included.
pub fn deliveries(message: &Message) -> i64 {
    message.info().map_or(1, |info| info.delivered)
}

/// Runs the handler and settles the message by what it returns.
pub async fn handle(
    context: &Context,
    consumer: &Consumer,
    message: &Message,
    handler: impl Future<Output = anyhow::Result<Handled>>,
) {
    let result = if is_lost(consumer, message) {
        Ok(Handled::Dead(LOST.to_owned()))
    } else {
        bounded(consumer, handler).await
    };
    settle(context, consumer, message, result).await;
}

/// Why a message goes to DEAD that no worker has ever settled: each that tried has died of it, or
/// was killed.
pub const LOST: &str = "delivered again and again and never settled";

/// Whether that is so. The server itself never gives up on a message, since it would do so
/// silently.
pub fn is_lost(consumer: &Consumer, message: &Message) -> bool {
    deliveries(message) > 2 * consumer.deliveries
}

/// What the handler returns; an error if it panics, or is still at work when the message goes to
/// another worker anyhow.
pub async fn bounded<T>(
    consumer: &Consumer,
    handler: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let result = timeout(consumer.ack_wait, AssertUnwindSafe(handler).catch_unwind()).await;
    result
        .context("not done within the ack wait")?
        .unwrap_or_else(|_| Err(anyhow!("the handler panicked")))
}

/// Settles one message: the table at the head of this file.
pub async fn settle(
    context: &Context,
    consumer: &Consumer,
    message: &Message,
    result: anyhow::Result<Handled>,
) {
    let subject = message.subject.as_str();
    let delivery = deliveries(message);
    let reason = match result {
        Ok(Handled::Done) => {
            if let Err(error) = message.double_ack().await {
                tracing::warn!(subject, %error, "not acknowledged; it will come again and change nothing");
            }
            return;
        }
        Ok(Handled::Dead(reason)) => reason,
        Err(error) if delivery >= consumer.deliveries => {
            format!("given up after {delivery} deliveries: {error:#}")
        }
        Err(error) => {
            let wait = retry_after(consumer.first_retry, consumer.longest_retry, delivery);
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(
                subject,
                delivery,
                wait_ms,
                error = format!("{error:#}"),
                "trying again"
            );
            if let Err(error) = message.ack_with(AckKind::Nak(Some(wait))).await {
                tracing::warn!(subject, %error, "not refused; it will come again after the ack wait");
            }
            return;
        }
    };
    tracing::error!(subject, reason, "moved to DEAD");
    match bury(context, consumer, message, &reason).await {
        Ok(()) => {
            if let Err(error) = message.double_ack_with(AckKind::Term).await {
                tracing::warn!(subject, %error, "not terminated; a second copy in DEAD may follow");
            }
        }
        // Not terminated: without its copy in DEAD the message would be lost.
        Err(error) => {
            tracing::error!(
                subject,
                error = format!("{error:#}"),
                "DEAD took no copy; the message stays where it is"
            );
            if let Err(error) = message
                .ack_with(AckKind::Nak(Some(consumer.longest_retry)))
                .await
            {
                tracing::warn!(subject, %error, "not refused; it will come again after the ack wait");
            }
        }
    }
}

/// Doubles with each delivery, from `first` to `longest`.
fn retry_after(first: Duration, longest: Duration, delivery: i64) -> Duration {
    let doublings = u32::try_from(delivery - 1).unwrap_or(0).min(16);
    first.saturating_mul(1 << doublings).min(longest)
}

async fn bury(
    context: &Context,
    consumer: &Consumer,
    message: &Message,
    reason: &str,
) -> anyhow::Result<()> {
    let mut headers = HeaderMap::new();
    // A header ends at a line break, and a reason may quote anything.
    headers.insert(
        "Ub-Reason",
        reason
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(1000)
            .collect::<String>(),
    );
    headers.insert("Ub-Subject", message.subject.as_str());
    headers.insert("Ub-Stream", consumer.stream);
    if let Ok(info) = message.info() {
        headers.insert("Ub-Sequence", info.stream_sequence.to_string());
        headers.insert("Ub-Deliveries", info.delivered.to_string());
    }
    copy_trace(message.headers.as_ref(), &mut headers);
    let subject = subject::dead(consumer.worker_loop, &message.subject);
    context
        .publish_with_headers(subject, headers, message.payload.clone())
        .await?
        .await?;
    Ok(())
}

/// Says something that follows from a message, within the same trace; returns once the stream has
/// stored it.
pub async fn publish(
    context: &Context,
    cause: Option<&HeaderMap>,
    subject: String,
    payload: Bytes,
) -> anyhow::Result<()> {
    let mut headers = HeaderMap::new();
    copy_trace(cause, &mut headers);
    context
        .publish_with_headers(subject, headers, payload)
        .await?
        .await?;
    Ok(())
}

/// Carries the trace context on; a caller's other headers never pass through.
pub fn copy_trace(from: Option<&HeaderMap>, to: &mut HeaderMap) {
    if let Some(trace) = from.and_then(|headers| headers.get(TRACEPARENT)) {
        to.insert(TRACEPARENT, trace.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_double_up_to_the_longest() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(60));
        let waits: Vec<u64> = (1..=7)
            .map(|delivery| retry_after(first, longest, delivery).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60]);
        assert_eq!(retry_after(first, longest, 10_000), longest);
        assert_eq!(retry_after(first, longest, 0), first);
    }
}
