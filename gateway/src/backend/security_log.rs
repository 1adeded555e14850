//! The stream SECURITY: security events for the owners of accounts and the administrators of
//! tenants.
//!
//! No request waits for its entry, and a lost one is no reason to refuse anything. A gateway may
//! also run before `workers migrate` has created the stream. Then nothing is kept, and there is
//! nothing to read.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicBool, Ordering},
};

use anyhow::Context as _;
use async_nats::{
    Client,
    jetstream::{self, ErrorCode, context::GetStreamErrorKind},
};
use bytes::Bytes;
use event_store::{
    Stored, read_stream,
    telemetry::{self, KeyValue},
};
use events_schema::{SecurityEntry, subject::SECURITY};
use tokio::sync::mpsc;

use crate::{backend::commands::jetstream, error::Error};

/// Entries that may wait to be stored, such as while NATS is away. Further ones are lost.
const MAX_WAITING: usize = 1_000;

static ENTRIES: LazyLock<telemetry::Counter<u64>> = LazyLock::new(|| {
    let description = "Security events for people; `result` is stored or lost.";
    telemetry::counter("ub.security.entries", description)
});

/// Writes and reads security events.
#[derive(Clone, Debug)]
pub(crate) struct SecurityLog {
    client: Client,
    waiting: mpsc::Sender<Message>,
    outage: Outage,
}

/// A security event and its sequence in the stream.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) sequence: u64,
    pub(crate) entry: SecurityEntry,
}

/// An entry that waits to be stored.
#[derive(Debug)]
struct Message {
    subject: String,
    payload: Bytes,
}

/// Whether entries cannot be stored now. The log of the gateway tells it once.
#[derive(Clone, Debug, Default)]
struct Outage(Arc<AtomicBool>);

impl SecurityLog {
    /// Writes over this connection, in the background.
    pub(crate) fn start(client: Client) -> Self {
        let (waiting, messages) = mpsc::channel(MAX_WAITING);
        let outage = Outage::default();
        tokio::spawn(write(jetstream(client.clone()), messages, outage.clone()));
        Self {
            client,
            waiting,
            outage,
        }
    }

    /// Stores an entry soon. It is lost if too many wait.
    pub(crate) fn add(&self, subject: String, entry: &SecurityEntry) {
        let payload = serde_json::to_vec(entry).ok();
        let message = payload.map(|payload| Message {
            subject,
            payload: payload.into(),
        });
        if message.is_none_or(|message| self.waiting.try_send(message).is_err()) {
            count("lost");
        }
    }

    /// Reads all entries on `filter`, the oldest first. There are none if there is no stream.
    ///
    /// # Errors
    /// `Unavailable` if the stream cannot be read.
    pub(crate) async fn read(&self, filter: &str) -> Result<Vec<Kept>, Error> {
        match read_stream(&self.client, SECURITY, filter, 1).await {
            Ok(stored) => Ok(stored.iter().filter_map(kept).collect()),
            Err(cause) if self.is_missing().await => {
                self.outage.begin(&cause);
                Ok(Vec::new())
            }
            Err(cause) => Err(Error::Unavailable(cause)),
        }
    }

    /// Whether JetStream says that there is no stream.
    async fn is_missing(&self) -> bool {
        let found = jetstream(self.client.clone()).get_stream(SECURITY).await;
        let kind = found.err().map(|error| error.kind());
        matches!(
            kind,
            Some(GetStreamErrorKind::JetStream(error))
                if error.error_code() == ErrorCode::STREAM_NOT_FOUND
        )
    }
}

/// Stores entries one after the other, until nobody can add any more.
async fn write(
    jetstream: jetstream::Context,
    mut messages: mpsc::Receiver<Message>,
    outage: Outage,
) {
    while let Some(message) = messages.recv().await {
        match store(&jetstream, message).await {
            Ok(()) => {
                count("stored");
                outage.end();
            }
            Err(error) => {
                count("lost");
                outage.begin(&error);
            }
        }
    }
}

async fn store(jetstream: &jetstream::Context, message: Message) -> anyhow::Result<()> {
    let Message { subject, payload } = message;
    let sent = jetstream.publish(subject, payload).await;
    let stored = sent.context("sending a security event")?.await;
    stored.context("storing a security event")?;
    Ok(())
}

/// Decodes an entry. One that cannot be read is left out, so that it does not hide the others.
fn kept(stored: &Stored) -> Option<Kept> {
    let entry = serde_json::from_slice(&stored.payload).ok()?;
    Some(Kept {
        sequence: stored.sequence,
        entry,
    })
}

fn count(result: &'static str) {
    ENTRIES.add(1, &[KeyValue::new("result", result)]);
}

impl Outage {
    fn begin(&self, error: &anyhow::Error) {
        if !self.0.swap(true, Ordering::Relaxed) {
            let error = format!("{error:#}");
            tracing::warn!(
                error,
                stream = SECURITY,
                "security events are lost for their readers; if the stream is missing, run \
                 `workers migrate` of this release with its nats.conf"
            );
        }
    }

    fn end(&self) {
        if self.0.swap(false, Ordering::Relaxed) {
            tracing::info!(stream = SECURITY, "security events are kept again");
        }
    }
}
