//! Reads a part of the log from its beginning to its present end, as fast as the server sends it.
//! The leader says where that is, since a replica may lag.
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
use tokio::time::{sleep, timeout};

use crate::{EventLog, Page, Stored, random_id};

/// Messages that are requested at once, and their bytes. The server buffers 32 MB for a connection.
const REQUESTED: usize = 5_000;
const REQUESTED_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of a page, so that pages that are read ahead take little memory.
const PAGE_BYTES: usize = 8 * 1024 * 1024;
/// How long one request lasts.
const REQUEST_EXPIRES: Duration = Duration::from_secs(30);
/// How long the next message may take. The reader may pause meanwhile, but not the server.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The server forgets the consumer when nobody has read for this long. Then [`Replay::page`] makes
/// another one.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(5 * 60);
/// The pauses before each further try to read a page.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// A part of the log that is being read.
pub struct Replay {
    context: Context,
    filter: String,
    /// The sequence to continue from.
    next: u64,
    /// The sequence of the last message to read; 0 if there is none.
    through: u64,
    reading: Option<Reading>,
}

/// The consumer that sends the messages.
struct Reading {
    messages: pull::Stream,
    /// The messages that it has sent.
    read: u64,
}

impl Replay {
    /// Begins to read all messages on `filter` that the log's leader has by now.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn begin(context: &Context, filter: &str) -> anyhow::Result<Self> {
        let last = EventLog::new(context.client()).last(filter).await?;
        Ok(Self {
            context: context.clone(),
            filter: filter.to_owned(),
            next: 1,
            through: last.map_or(0, |last| last.sequence),
            reading: None,
        })
    }

    /// Reads the next messages, up to `limit`, and not many more bytes than 8 MiB. If the server
    /// does not answer, tries again, with pauses of 18 seconds in all.
    ///
    /// # Errors
    /// If the server does not send them.
    pub async fn page(&mut self, limit: usize) -> anyhow::Result<Page> {
        let mut pauses = PAUSES.iter();
        loop {
            let error = match self.try_page(limit).await {
                Ok(page) => return Ok(page),
                Err(error) => error,
            };
            let Some(pause) = pauses.next() else {
                return Err(error);
            };
            let error = format!("{error:#}");
            tracing::warn!(error, ?pause, "reading the log is tried again");
            self.reading = None;
            sleep(*pause).await;
        }
    }

    async fn try_page(&mut self, limit: usize) -> anyhow::Result<Page> {
        let mut page = Page::default();
        let mut bytes = 0;
        if self.next > self.through {
            return Ok(page);
        }
        let reading = match &mut self.reading {
            Some(reading) => reading,
            None => {
                let opened = Reading::open(&self.context, &self.filter, self.next).await?;
                self.reading.insert(opened)
            }
        };
        let mut next = self.next;
        while next <= self.through && page.messages.len() < limit && bytes < PAGE_BYTES {
            let (message, pending) = reading.next().await?;
            next = message.sequence + 1;
            bytes += message.payload.len();
            // A replica that lags may report none, although more follow.
            page.pending = if next > self.through {
                0
            } else {
                pending.max(1)
            };
            page.messages.push(message);
        }
        self.next = next;
        Ok(page)
    }
}

impl Reading {
    async fn open(context: &Context, filter: &str, from: u64) -> anyhow::Result<Self> {
        let config = pull::Config {
            name: Some(format!("replay_{}", random_id()?)),
            filter_subject: filter.to_owned(),
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: from,
            },
            ack_policy: AckPolicy::None,
            inactive_threshold: FORGOTTEN_AFTER,
            num_replicas: 1,
            memory_storage: true,
            ..pull::Config::default()
        };
        let created = context.create_consumer_on_stream(config, EVENTS).await;
        let consumer: PullConsumer = created.context("beginning to read the log")?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(REQUESTED)
            .max_bytes_per_batch(REQUESTED_BYTES);
        let messages = messages.expires(REQUEST_EXPIRES).messages().await?;
        Ok(Self { messages, read: 0 })
    }

    /// Returns the next message, and how many follow.
    async fn next(&mut self) -> anyhow::Result<(Stored, u64)> {
        let message = timeout(MESSAGE_TIMEOUT, self.messages.next()).await;
        let message = message.context("the log does not answer")?;
        let message = message.context("reading the log has ended")??;
        let info = message.info().map_err(anyhow::Error::from_boxed)?;
        self.read += 1;
        // Nothing is sent twice, so what was lost with a connection is missing.
        let is_next = info.consumer_sequence == self.read;
        ensure!(is_next, "messages of the log were lost while it was read");
        let stored = Stored {
            sequence: info.stream_sequence,
            subject: message.subject.to_string(),
            payload: message.payload.clone(),
        };
        Ok((stored, info.pending))
    }
}
