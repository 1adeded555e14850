//! The log: read it by pages, append to it under a guard. What is stored is never changed here, and
//! nothing here decides anything.
//!
//! Reads go through direct get, which on replicas may lag behind; the guard of the append catches
//! that, and who must be certain without appending asks the leader ([`EventStore::last`]).

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use async_nats::{
    Client, HeaderMap, Request, StatusCode,
    header::{
        NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE,
        NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_SEQUENCE, NATS_SUBJECT,
    },
    jetstream::{self, publish::PublishAck, response::Response},
};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use events_schema::subject::EVENTS;
use futures_util::StreamExt;
use serde_json::json;

/// Messages asked for at once: most aggregates come whole, and a page stays far below the client's
/// buffers.
const PAGE: usize = 500;
/// How long the server may take for an answer; past that its state is unknown, and the caller tries
/// again.
const PATIENCE: Duration = Duration::from_secs(5);
/// "Somebody was first": the plain refusal, and the one of servers that cannot tell by whom.
const WRONG_LAST_SEQUENCE: [u64; 2] = [10071, 10164];

/// The stream EVENTS.
#[derive(Clone, Debug)]
pub struct EventStore {
    client: Client,
}

/// A message of the log.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its place in the log.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// Its body.
    pub payload: Bytes,
}

/// A message to be appended where `last` is still the last sequence on its subject (0: none).
#[derive(Clone, Debug)]
pub struct Append {
    /// Where it goes.
    pub subject: String,
    /// The guard.
    pub last: u64,
    /// Its body.
    pub payload: Bytes,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// All of it is stored; the last message has this sequence.
    At(u64),
    /// Somebody was first; nothing is stored.
    Conflict,
}

impl EventStore {
    /// The log as seen through this connection.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The messages on `filter` (wildcards allowed) from sequence `from` on, in order: one page,
    /// and whether more follow.
    pub async fn page(&self, filter: &str, from: u64) -> anyhow::Result<(Vec<Stored>, bool)> {
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await?;
        let request =
            json!({ "seq": from.max(1), "next_by_subj": filter, "batch": PAGE }).to_string();
        self.client
            .publish_with_reply(
                format!("$JS.API.DIRECT.GET.{EVENTS}"),
                inbox,
                request.into(),
            )
            .await?;
        let mut page = Vec::new();
        loop {
            let answer = tokio::time::timeout(PATIENCE, answers.next())
                .await
                .context("the log does not answer")?;
            let answer = answer.context("the connection closed")?;
            match answer.status {
                None => page.push(stored(&answer)?),
                Some(StatusCode::NOT_FOUND) => return Ok((page, false)),
                // The end of a batch, with how many are left.
                Some(status) if status.as_u16() == 204 => {
                    let left = header(&answer, "Nats-Num-Pending")
                        .and_then(|left| left.parse::<u64>().ok())
                        .unwrap_or(0);
                    return Ok((page, left > 0));
                }
                Some(status) => bail!(
                    "reading the log: {status} {}",
                    answer.description.unwrap_or_default()
                ),
            }
        }
    }

    /// All messages on a subject from sequence `from` on.
    pub async fn read(&self, subject: &str, from: u64) -> anyhow::Result<Vec<Stored>> {
        let (mut all, mut more) = self.page(subject, from).await?;
        while more {
            let next = all.last().map_or(from, |last| last.sequence + 1);
            let (page, left) = self.page(subject, next).await?;
            more = left && !page.is_empty();
            all.extend(page);
        }
        Ok(all)
    }

    /// The last message on a subject, as the leader knows it.
    pub async fn last(&self, subject: &str) -> anyhow::Result<Option<Stored>> {
        let context = jetstream::new(self.client.clone());
        let stream = context.get_stream_no_info(EVENTS).await?;
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Some(Stored {
                sequence: message.sequence,
                subject: message.subject.to_string(),
                payload: message.payload,
            })),
            Err(error)
                if error.kind() == jetstream::stream::LastRawMessageErrorKind::NoMessageFound =>
            {
                Ok(None)
            }
            Err(error) => Err(error).context("asking for the last message of a subject"),
        }
    }

    /// Appends all of it or nothing: one message as it is, several as an atomic batch.
    ///
    /// An error means that it is not known whether it was stored; who tries again finds it in the
    /// history.
    pub async fn append(&self, messages: &[Append], trace: &HeaderMap) -> anyhow::Result<Appended> {
        let Some((last, before)) = messages.split_last() else {
            bail!("nothing to append")
        };
        let batch = if before.is_empty() {
            None
        } else {
            Some(random_name()?)
        };
        for (at, message) in before.iter().enumerate() {
            let headers = guarded(message, trace, batch.as_deref(), at + 1);
            self.client
                .publish_with_headers(message.subject.clone(), headers, message.payload.clone())
                .await?;
        }
        let mut headers = guarded(last, trace, batch.as_deref(), messages.len());
        if batch.is_some() {
            headers.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
        }
        let request = Request::new()
            .headers(headers)
            .payload(last.payload.clone())
            .timeout(Some(PATIENCE));
        let answer = self
            .client
            .send_request(last.subject.clone(), request)
            .await
            .context("appending to the log")?;
        match serde_json::from_slice::<Response<PublishAck>>(&answer.payload)
            .context("reading the answer to an append")?
        {
            Response::Ok(ack) => Ok(Appended::At(ack.sequence)),
            Response::Err { error } if WRONG_LAST_SEQUENCE.contains(&error.error_code().0) => {
                Ok(Appended::Conflict)
            }
            Response::Err { error } => Err(anyhow!("appending to the log: {error}")),
        }
    }
}

fn guarded(message: &Append, trace: &HeaderMap, batch: Option<&str>, position: usize) -> HeaderMap {
    let mut headers = trace.clone();
    headers.insert(
        NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
        message.last.to_string(),
    );
    if let Some(batch) = batch {
        headers.insert(NATS_BATCH_ID, batch);
        headers.insert(NATS_BATCH_SEQUENCE, position.to_string());
    }
    headers
}

/// A name that nobody else has: of a batch, fresh for each try, since one that was begun and never
/// ended would block another.
pub fn random_name() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("reading random bytes")?;
    Ok(HEXLOWER.encode(&bytes))
}

fn header<'m>(message: &'m async_nats::Message, name: &str) -> Option<&'m str> {
    message
        .headers
        .as_ref()?
        .get(name)
        .map(|value| value.as_str())
}

fn stored(message: &async_nats::Message) -> anyhow::Result<Stored> {
    let sequence = header(message, NATS_SEQUENCE.as_ref())
        .and_then(|text| text.parse().ok())
        .context("a message without its sequence")?;
    let subject =
        header(message, NATS_SUBJECT.as_ref()).context("a message without its subject")?;
    Ok(Stored {
        sequence,
        subject: subject.to_owned(),
        payload: message.payload.clone(),
    })
}
