//! The stream `INBOX`: hooks, their receipts and what became of them.

use anyhow::{Context as _, ensure};
use async_nats::jetstream::{
    self,
    message::StreamMessage,
    stream::{DirectGetError, DirectGetErrorKind},
};
use event_store::Unavailable;
use events_schema::{
    InboundSourceId, TenantKey,
    inbound_source::{Handling, Hook, HookId},
    subject::{self, INBOX},
};

/// Reads hooks, and records what became of them.
#[derive(Clone)]
pub struct Inbox {
    jetstream: jetstream::Context,
}

impl Inbox {
    /// Uses the stream over this connection.
    pub const fn new(jetstream: jetstream::Context) -> Self {
        Self { jetstream }
    }

    /// Reads a hook; `None` if it is not kept any more.
    ///
    /// # Errors
    /// If the stream does not answer.
    pub async fn get(
        &self,
        (tenant, source): (TenantKey, InboundSourceId),
        hook: HookId,
    ) -> anyhow::Result<Option<Hook>> {
        let receipt = subject::receipt(tenant, source, hook);
        let Some(receipt) = self.next(receipt, 1).await? else {
            return Ok(None);
        };
        // The two were stored together.
        let subject = subject::hooks_of(tenant, source);
        let Some(message) = self.next(subject, receipt.sequence + 1).await? else {
            return Ok(None);
        };
        let found = decode(&message.subject, &message.payload)?;
        Ok((found.id() == hook).then_some(found))
    }

    /// Records what became of a hook.
    ///
    /// # Errors
    /// If the record is not stored.
    pub async fn record(&self, hook: &Hook, handling: &Handling) -> anyhow::Result<()> {
        let subject = subject::handling(hook.tenant, hook.source, hook.id());
        let record = serde_json::to_vec(handling)?;
        let stored = self.jetstream.publish(subject, record.into()).await;
        stored.context(Unavailable)?.await.context(Unavailable)?;
        Ok(())
    }

    /// Returns the first message on a subject from this sequence on.
    async fn next(&self, subject: String, from: u64) -> anyhow::Result<Option<StreamMessage>> {
        let stream = self.jetstream.get_stream_no_info(INBOX).await;
        let stream = stream.context(Unavailable)?;
        match stream
            .direct_get_next_for_subject(subject, Some(from))
            .await
        {
            Ok(message) => Ok(Some(message)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error).context(Unavailable),
        }
    }
}

fn is_not_found(error: &DirectGetError) -> bool {
    error.kind() == DirectGetErrorKind::NotFound
}

/// Decodes a hook.
///
/// # Errors
/// If it cannot be read, or its subject names another source.
pub fn decode(subject: &str, payload: &[u8]) -> anyhow::Result<Hook> {
    let hook: Hook = serde_json::from_slice(payload).context("the hook cannot be read")?;
    let agree = subject::parse_hook(subject) == Some((hook.tenant, hook.source));
    ensure!(agree, "the subject and the body disagree");
    Ok(hook)
}
