//! Reads a part of the log from its beginning to its present end, as fast as the server sends it.
//! The leader says where that is, since a replica may lag.
//!
//! A consumer sends ahead, while a page of a direct get waits for its request. But it can send to any
//! subject, so not every user may create one.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::jetstream::{
    Context,
    consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull},
};
use events_schema::subject::EVENTS;
use futures_util::StreamExt as _;
use tokio::time::{sleep, timeout};

use crate::{EventLog, Page, Stored, direct_get::PAGE, random_id};

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
    source: Source,
}

/// Where the messages come from.
enum Source {
    /// A consumer, once there is one.
    Consumer(Option<Box<Reading>>),
    Requests(EventLog),
}

/// The consumer that sends the messages.
struct Reading {
    messages: pull::Stream,
    /// The messages that it has sent.
    read: u64,
}

impl Replay {
    /// Begins to read all messages on `filter` that the log's leader has by now. The user must be
    /// one that may create a consumer.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn begin(context: &Context, filter: &str) -> anyhow::Result<Self> {
        Self::begin_from(context, filter, Source::Consumer(None)).await
    }

    /// Begins to read all messages on `filter` that the log's leader has by now, for a user that may
    /// create no consumer. It is slower, so it is for a small part of the log.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn begin_by_requests(context: &Context, filter: &str) -> anyhow::Result<Self> {
        let log = EventLog::new(context.client());
        Self::begin_from(context, filter, Source::Requests(log)).await
    }

    async fn begin_from(context: &Context, filter: &str, source: Source) -> anyhow::Result<Self> {
        let last = EventLog::new(context.client()).last(filter).await?;
        Ok(Self {
            context: context.clone(),
            filter: filter.to_owned(),
            next: 1,
            through: last.map_or(0, |last| last.sequence),
            source,
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
            if let Source::Consumer(reading) = &mut self.source {
                *reading = None;
            }
            sleep(*pause).await;
        }
    }

    async fn try_page(&mut self, limit: usize) -> anyhow::Result<Page> {
        if self.next > self.through {
            return Ok(Page::default());
        }
        let mut page = match &mut self.source {
            Source::Consumer(reading) => {
                let reading = match reading {
                    Some(reading) => reading,
                    None => {
                        let opened = Reading::open(&self.context, &self.filter, self.next).await?;
                        reading.insert(Box::new(opened))
                    }
                };
                reading.page(self.next, self.through, limit).await?
            }
            Source::Requests(log) => {
                let limit = limit.min(PAGE);
                let mut page = log.page_of(&self.filter, self.next, limit).await?;
                page.messages
                    .retain(|message| message.sequence <= self.through);
                page
            }
        };
        let next = page.next().context("a replica of the log lags")?;
        // A replica that lags may report none, although more follow.
        page.pending = if next > self.through {
            0
        } else {
            page.pending.max(1)
        };
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

    /// Reads from `next` to `through`, up to `limit` messages.
    async fn page(&mut self, mut next: u64, through: u64, limit: usize) -> anyhow::Result<Page> {
        let (mut page, mut bytes) = (Page::default(), 0);
        while next <= through && page.messages.len() < limit && bytes < PAGE_BYTES {
            let (message, pending) = self.next().await?;
            next = message.sequence + 1;
            bytes += message.payload.len();
            page.pending = pending;
            page.messages.push(message);
        }
        Ok(page)
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
