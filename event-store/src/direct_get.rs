//! Reads a stream by pages, from any replica.

use std::time::Duration;

use anyhow::{Context as _, bail};
use async_nats::{
    Client, StatusCode,
    header::{NATS_SEQUENCE, NATS_SUBJECT},
};
use events_schema::subject::direct_get;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{Page, Stored};

/// Messages of one page: most aggregates fit into one, and it stays far below the client's buffers.
pub(crate) const PAGE: usize = 500;
/// How long the server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The status that ends a page.
const END_OF_PAGE: u16 = 204;
/// The status for a request that concerns more subjects than the server counts.
const TOO_MANY_SUBJECTS: u16 = 413;

/// The server does not answer for the last messages of so many subjects at once.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("there are too many subjects")]
pub(crate) struct TooManySubjects;

/// Reads all messages of a stream on `filter` (wildcards are allowed) from this sequence on. A
/// replica that lags behind may lack the latest.
///
/// # Errors
/// If no server answers for the stream.
pub async fn read_stream(
    client: &Client,
    stream: &str,
    filter: &str,
    from: u64,
) -> anyhow::Result<Vec<Stored>> {
    let (mut all, mut next) = (Vec::new(), Some(from));
    while let Some(from) = next {
        let page = page_of_stream(client, stream, following(filter, from, PAGE)).await?;
        next = page.next().filter(|_| !page.is_last());
        all.extend(page.messages);
    }
    Ok(all)
}

/// Returns the first message of a stream on `filter`, and how many there are.
///
/// # Errors
/// If no server answers for the stream.
pub async fn first_and_count(
    client: &Client,
    stream: &str,
    filter: &str,
) -> anyhow::Result<(Option<Stored>, u64)> {
    let mut page = page_of_stream(client, stream, following(filter, 1, 1)).await?;
    let count = page.messages.len() as u64 + page.pending;
    Ok((page.messages.pop(), count))
}

/// Returns the request for up to `limit` messages on `filter` from this sequence on.
pub(crate) fn following(filter: &str, from: u64, limit: usize) -> Value {
    json!({ "seq": from.max(1), "next_by_subj": filter, "batch": limit })
}

/// Requests a page of a stream.
///
/// # Errors
/// If no server answers for the stream.
pub(crate) async fn page_of_stream(
    client: &Client,
    stream: &str,
    request: Value,
) -> anyhow::Result<Page> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await?;
    let request = request.to_string().into();
    client
        .publish_with_reply(direct_get(stream), inbox, request)
        .await?;
    let mut page = Page::default();
    loop {
        let answer = timeout(ANSWER_TIMEOUT, answers.next()).await;
        let answer = answer.with_context(|| format!("the stream {stream} does not answer"))?;
        let answer = answer.context("the connection to NATS is closed")?;
        match answer.status {
            None => page.messages.push(stored(&answer)?),
            Some(StatusCode::NOT_FOUND) => return Ok(page),
            Some(status) if status.as_u16() == END_OF_PAGE => {
                let pending = header(&answer, "Nats-Num-Pending");
                page.pending = pending.and_then(|text| text.parse().ok()).unwrap_or(0);
                return Ok(page);
            }
            Some(status) if status.as_u16() == TOO_MANY_SUBJECTS => {
                return Err(TooManySubjects.into());
            }
            Some(status) => {
                let description = answer.description.unwrap_or_default();
                bail!("reading the stream {stream}: {status} {description}")
            }
        }
    }
}

/// Reads the sequence of a message that a stream has stored.
///
/// # Errors
/// If the message does not come from a stream.
pub fn sequence_of(message: &async_nats::Message) -> anyhow::Result<u64> {
    let sequence = header(message, NATS_SEQUENCE.as_ref()).and_then(|text| text.parse().ok());
    sequence.context("a message of a stream has no sequence")
}

fn header<'m>(message: &'m async_nats::Message, name: &str) -> Option<&'m str> {
    let value = message.headers.as_ref()?.get(name)?;
    Some(value.as_str())
}

fn stored(message: &async_nats::Message) -> anyhow::Result<Stored> {
    let subject = header(message, NATS_SUBJECT.as_ref());
    Ok(Stored {
        sequence: sequence_of(message)?,
        subject: subject
            .context("a message of a stream has no subject")?
            .to_owned(),
        payload: message.payload.clone(),
    })
}
