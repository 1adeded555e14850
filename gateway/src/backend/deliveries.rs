//! Where the deliveries to webhooks stand, and the attempts to send events. Workers write both, and
//! they are no facts of the business.
//!
//! A gateway may run before `workers migrate` has created the bucket and the stream. Then there is
//! nothing to read.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_nats::{
    Client,
    jetstream::{ErrorCode, context::GetStreamErrorKind},
};
use event_store::{Stored, read_stream};
use events_schema::{
    TenantKey, WebhookId,
    subject::{self, ATTEMPTS, CURSORS_BUCKET, bucket_stream, cursor_key},
    webhook::{Attempt, Cursor, Verdict},
};

use crate::{
    backend::{bucket::Bucket, commands::jetstream},
    error::Error,
};

/// Reads what workers record about deliveries.
#[derive(Clone, Debug)]
pub(crate) struct Deliveries {
    client: Client,
    cursors: Bucket<Cursor>,
    /// Whether the log of this gateway tells that something is missing.
    is_reported: Arc<AtomicBool>,
}

/// An attempt to send an event, and its sequence in the stream.
#[derive(Clone, Debug)]
pub(crate) struct KeptAttempt {
    pub(crate) sequence: u64,
    pub(crate) attempt: Attempt,
}

impl Deliveries {
    /// Reads over this connection.
    pub(crate) fn new(client: Client) -> Self {
        Self {
            cursors: Bucket::new(jetstream(client.clone()), CURSORS_BUCKET),
            client,
            is_reported: Arc::default(),
        }
    }

    /// Reads where the delivery to a webhook stands; `None` if nothing was sent to it yet.
    ///
    /// # Errors
    /// `Internal` if the bucket cannot be read.
    pub(crate) async fn cursor(
        &self,
        tenant: TenantKey,
        webhook: WebhookId,
    ) -> Result<Option<Cursor>, Error> {
        let read = self.cursors.get(&cursor_key(tenant, webhook)).await;
        match read {
            Err(_) if self.is_missing(&bucket_stream(CURSORS_BUCKET)).await => Ok(None),
            read => read,
        }
    }

    /// Reads the kept attempts to send events to a webhook that ended so, the oldest first.
    ///
    /// # Errors
    /// `Unavailable` if the stream cannot be read.
    pub(crate) async fn attempts(
        &self,
        tenant: TenantKey,
        webhook: WebhookId,
        verdict: Verdict,
    ) -> Result<Vec<KeptAttempt>, Error> {
        let subject = subject::attempts(tenant, webhook, verdict);
        match read_stream(&self.client, ATTEMPTS, &subject, 1).await {
            Ok(stored) => Ok(stored.iter().filter_map(kept).collect()),
            Err(_) if self.is_missing(ATTEMPTS).await => Ok(Vec::new()),
            Err(cause) => Err(Error::Unavailable(cause)),
        }
    }

    /// Whether JetStream has no such stream. Logs this once.
    async fn is_missing(&self, stream: &str) -> bool {
        let found = jetstream(self.client.clone()).get_stream(stream).await;
        let is_missing = matches!(
            found.err().map(|error| error.kind()),
            Some(GetStreamErrorKind::JetStream(error))
                if error.error_code() == ErrorCode::STREAM_NOT_FOUND
        );
        if is_missing && !self.is_reported.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                stream,
                "deliveries to webhooks are not shown; run `workers migrate` of this release"
            );
        }
        is_missing
    }
}

/// Decodes an attempt. One that cannot be read is left out, so that it does not hide the others.
fn kept(stored: &Stored) -> Option<KeptAttempt> {
    let attempt = serde_json::from_slice(&stored.payload).ok()?;
    Some(KeptAttempt {
        sequence: stored.sequence,
        attempt,
    })
}
