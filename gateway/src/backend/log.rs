//! Reads a tenant's own commits from the log, for its audit log and its feed.
//!
//! One tenant at a time, and of each commit only what may be shown: who did what to which, when and
//! from where. What the events carry stays where it is.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use async_nats::{Client, StatusCode, header::NATS_SEQUENCE};
use events_schema::{Actor, Area, Commit, Id, Origin, TenantId, Time, subject::EVENTS};
use futures_util::StreamExt;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::error::Error;

/// How long the server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The log.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    nats: Client,
}

/// A commit, as its tenant sees it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Its place in the log.
    pub(crate) sequence: u64,
    /// Which area decided.
    pub(crate) area: Area,
    /// What changed.
    pub(crate) id: Id,
    /// To which revision.
    pub(crate) revision: u64,
    /// When.
    pub(crate) time: Time,
    /// Who wanted it.
    pub(crate) actor: Actor,
    /// From where.
    pub(crate) origin: Option<Origin>,
    /// What happened: the names of the events.
    pub(crate) events: Vec<String>,
}

/// Where to begin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    /// At this sequence or behind it.
    Sequence(u64),
    /// At this time or later.
    Time(Time),
}

impl Log {
    /// The log as seen through this connection.
    pub(crate) fn new(nats: Client) -> Self {
        Self { nats }
    }

    /// Up to `limit` of a tenant's commits, the oldest first, and how many follow.
    pub(crate) async fn page(
        &self,
        tenant: TenantId,
        from: From,
        limit: usize,
    ) -> Result<(Vec<Entry>, u64), Error> {
        Ok(self
            .read(tenant, from, limit)
            .await
            .context("reading the log")?)
    }

    /// How many of a tenant's commits stand at this sequence or behind it.
    pub(crate) async fn count(&self, tenant: TenantId, from: u64) -> Result<u64, Error> {
        let (first, left) = self.page(tenant, From::Sequence(from), 1).await?;
        Ok(first.len() as u64 + left)
    }

    /// The sequence of the latest message of all.
    pub(crate) async fn last_sequence(&self) -> Result<u64, Error> {
        let answer = timeout(
            PATIENCE,
            self.nats
                .request(format!("$JS.API.STREAM.INFO.{EVENTS}"), "".into()),
        );
        let answer = answer
            .await
            .context("the log does not answer")?
            .context("asking for the end of the log")?;
        let info: Value =
            serde_json::from_slice(&answer.payload).context("reading the end of the log")?;
        Ok(info
            .pointer("/state/last_seq")
            .and_then(Value::as_u64)
            .context("the end of the log")?)
    }

    async fn read(
        &self,
        tenant: TenantId,
        from: From,
        limit: usize,
    ) -> anyhow::Result<(Vec<Entry>, u64)> {
        let filter = format!("evt.{tenant}.*.*");
        let mut request = json!({ "next_by_subj": filter, "batch": limit });
        match from {
            From::Sequence(sequence) => request["seq"] = sequence.max(1).into(),
            From::Time(Time(ms)) => {
                request["start_time"] = Timestamp::from_millisecond(ms)
                    .context("a time")?
                    .to_string()
                    .into()
            }
        }
        let inbox = self.nats.new_inbox();
        let mut answers = self.nats.subscribe(inbox.clone()).await?;
        self.nats
            .publish_with_reply(
                format!("$JS.API.DIRECT.GET.{EVENTS}"),
                inbox,
                request.to_string().into(),
            )
            .await?;
        let mut page = Vec::new();
        loop {
            let answer = timeout(PATIENCE, answers.next())
                .await
                .context("the log does not answer")?
                .context("the connection closed")?;
            let header = |name: &str| {
                answer
                    .headers
                    .as_ref()?
                    .get(name)
                    .map(|value| value.as_str())
            };
            match answer.status {
                None => {
                    let sequence = header(NATS_SEQUENCE.as_ref())
                        .and_then(|text| text.parse().ok())
                        .context("a commit without its sequence")?;
                    page.push(
                        entry(tenant, sequence, &answer.payload)
                            .with_context(|| format!("the commit at {sequence}"))?,
                    );
                }
                Some(StatusCode::NOT_FOUND) => return Ok((page, 0)),
                Some(status) if status.as_u16() == 204 => {
                    return Ok((
                        page,
                        header("Nats-Num-Pending")
                            .and_then(|left| left.parse().ok())
                            .unwrap_or(0),
                    ));
                }
                Some(status) => bail!("{status} {}", answer.description.unwrap_or_default()),
            }
        }
    }
}

fn entry(tenant: TenantId, sequence: u64, payload: &[u8]) -> anyhow::Result<Entry> {
    let commit: Commit<Value> = serde_json::from_slice(payload)?;
    if commit.tenant != tenant {
        return Err(anyhow!("a commit of another tenant"));
    }
    let name = |event: &Value| {
        event
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let Commit {
        area,
        id,
        revision,
        time,
        actor,
        origin,
        ..
    } = commit;
    Ok(Entry {
        sequence,
        area,
        id,
        revision,
        time,
        actor,
        origin,
        events: commit.events.iter().map(name).collect(),
    })
}
