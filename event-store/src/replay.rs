//! Reads a part of the log from its beginning to its present end, as fast as the server sends it.
//!
//! A consumer sends ahead, while a page of a direct get waits for its request.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::jetstream::{
    Context,
    consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull},
};
use events_schema::subject::EVENTS;
use futures_util::StreamExt as _;
use tokio::time::timeout;

use crate::{Page, Stored, random_id};

/// Messages that are requested at once, and their bytes. The server buffers 32 MB for a connection.
const REQUESTED: usize = 5_000;
const REQUESTED_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of a page, so that pages that are read ahead take little memory.
const PAGE_BYTES: usize = 8 * 1024 * 1024;
/// How long one request lasts.
const REQUEST_EXPIRES: Duration = Duration::from_secs(30);
/// How long the next message may take. The reader may pause meanwhile, but not the server.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The server forgets the consumer when nobody has read for this long: longer than the reader may
/// be busy with a page.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 60);

/// A part of the log that is being read.
pub struct Replay {
    messages: pull::Stream,
    /// The messages that were read.
    read: u64,
    /// The messages that follow.
    pending: u64,
}

impl Replay {
    /// Begins to read all messages on `filter`.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn begin(context: &Context, filter: &str) -> anyhow::Result<Self> {
        let config = pull::Config {
            name: Some(format!("replay_{}", random_id()?)),
            filter_subject: filter.to_owned(),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::None,
            inactive_threshold: FORGOTTEN_AFTER,
            num_replicas: 1,
            memory_storage: true,
            ..pull::Config::default()
        };
        let created = context.create_consumer_on_stream(config, EVENTS).await;
        let consumer: PullConsumer = created.context("beginning to read the log")?;
        let pending = consumer.cached_info().num_pending;
        let messages = consumer
            .stream()
            .max_messages_per_batch(REQUESTED)
            .max_bytes_per_batch(REQUESTED_BYTES);
        let messages = messages.expires(REQUEST_EXPIRES).messages().await?;
        Ok(Self {
            messages,
            read: 0,
            pending,
        })
    }

    /// Reads the next messages, up to `limit`, and not many more bytes than 8 MiB.
    ///
    /// # Errors
    /// If the server does not send them, or the connection was lost meanwhile.
    pub async fn page(&mut self, limit: usize) -> anyhow::Result<Page> {
        let mut page = Page {
            messages: Vec::new(),
            pending: self.pending,
        };
        let mut bytes = 0;
        while page.pending > 0 && page.messages.len() < limit && bytes < PAGE_BYTES {
            let message = timeout(MESSAGE_TIMEOUT, self.messages.next()).await;
            let message = message.context("the log does not answer")?;
            let message = message.context("reading the log has ended")??;
            let info = message.info().map_err(anyhow::Error::from_boxed)?;
            self.read += 1;
            // Nothing is sent twice, so what was lost with a connection is missing.
            let is_next = info.consumer_sequence == self.read;
            ensure!(is_next, "messages of the log were lost while it was read");
            page.pending = info.pending;
            bytes += message.payload.len();
            page.messages.push(Stored {
                sequence: info.stream_sequence,
                subject: message.subject.to_string(),
                payload: message.payload.clone(),
            });
        }
        self.pending = page.pending;
        Ok(page)
    }
}
