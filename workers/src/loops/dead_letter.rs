//! Messages that cannot be handled: they are copied to DEAD with the reason, and then terminated.

use async_nats::jetstream::{Context, Message};
use events_schema::subject;

use crate::loops::{
    consumers::Consumer,
    delivery::{Received, deliveries, retry, terminate},
};

/// Characters of a reason that a dead letter keeps.
const MAX_REASON: usize = 1_000;

/// The reason in the dead letter of a message that no worker could settle, because each one that
/// tried has crashed.
pub const LOST: &str = "delivered again and again and never settled";

/// Whether the message was delivered so often without being settled that it must have crashed its
/// workers. The server itself never gives up on a message, since it would do so silently.
pub fn is_lost(consumer: &Consumer, message: &Message) -> bool {
    deliveries(message) > consumer.deliveries.saturating_mul(2)
}

/// Copies a message to DEAD and terminates it. Without a copy it would be lost, so it stays in its
/// stream until there is one.
pub(super) async fn dead_letter(
    context: &Context,
    consumer: &Consumer,
    received: &Received,
    reason: &str,
) {
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
