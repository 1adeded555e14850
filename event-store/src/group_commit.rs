//! Appends single messages in groups: while one group is on its way, the next one gathers.
//!
//! The server syncs the log once for an atomic batch, however many messages it has. So the busier
//! the log, the cheaper an append.

use anyhow::{Context as _, anyhow};
use async_nats::HeaderMap;
use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tracing::{Instrument as _, debug_span};

use crate::{Append, Appended, EventLog, Trace, Unavailable};

/// The most messages of one group. Measurements showed no gain beyond it.
const MAX_GROUP: usize = 200;
/// The fewest messages that are appended as a batch. A batch has a fixed cost, and fewer messages
/// are faster one by one.
const MIN_BATCH: usize = 16;
/// Appends that may wait for their group.
const MAX_WAITING: usize = 1_000;

/// Appends single messages in groups. Clones share the groups.
#[derive(Clone, Debug)]
pub struct GroupCommit {
    log: EventLog,
    waiting: mpsc::Sender<Waiting>,
}

struct Waiting {
    append: Append,
    headers: HeaderMap,
    appended: oneshot::Sender<anyhow::Result<Appended>>,
}

impl GroupCommit {
    /// Appends to this log, until the last clone is dropped.
    pub fn start(log: EventLog) -> Self {
        let (waiting, gather) = mpsc::channel(MAX_WAITING);
        tokio::spawn(run(log.clone(), gather));
        Self { log, waiting }
    }

    /// Returns the log that it appends to.
    pub fn log(&self) -> &EventLog {
        &self.log
    }

    /// Appends a message under its guard.
    ///
    /// # Errors
    /// If it is unknown whether the message is stored. A caller that retries finds it in the
    /// history.
    pub async fn append(&self, append: Append, trace: Trace) -> anyhow::Result<Appended> {
        let span = debug_span!("append", otel.kind = "producer");
        self.append_in_group(append, trace).instrument(span).await
    }

    async fn append_in_group(&self, append: Append, trace: Trace) -> anyhow::Result<Appended> {
        let (appended, answer) = oneshot::channel();
        let waiting = Waiting {
            append,
            headers: trace.headers(),
            appended,
        };
        let sent = self.waiting.send(waiting).await;
        sent.map_err(|_| anyhow!("nobody appends to the log any more"))?;
        answer.await.context("nobody has appended the message")?
    }
}

async fn run(log: EventLog, mut gather: mpsc::Receiver<Waiting>) {
    let mut group = Vec::new();
    while gather.recv_many(&mut group, MAX_GROUP).await > 0 {
        // A sender that has given up retries, and may have decided otherwise by then.
        group.retain(|waiting| !waiting.appended.is_closed());
        if group.len() < MIN_BATCH || !append_together(&log, &mut group).await {
            append_each(&log, &mut group).await;
        }
    }
}

/// Appends a group as one batch; returns false if nothing is stored, because another append was
/// first on one of the subjects.
async fn append_together(log: &EventLog, group: &mut Vec<Waiting>) -> bool {
    let batch = group
        .iter()
        .map(|waiting| (waiting.append.clone(), waiting.headers.clone()));
    let last = match log.append_traced(&Vec::from_iter(batch)).await {
        Ok(Appended::Conflict) => return false,
        Ok(Appended::At(last)) => Ok(last),
        Err(error) => Err((error.is::<Unavailable>(), error.root_cause().to_string())),
    };
    // A batch has consecutive sequences.
    for (after, waiting) in (0..).zip(group.drain(..).rev()) {
        let at = match &last {
            Ok(last) => Ok(Appended::At(last - after)),
            Err((true, reason)) => Err(anyhow!(reason.clone()).context(Unavailable)),
            Err((false, reason)) => Err(anyhow!(reason.clone())),
        };
        // The sender may have given up.
        _ = waiting.appended.send(at);
    }
    true
}

async fn append_each(log: &EventLog, group: &mut Vec<Waiting>) {
    let each = group.drain(..).map(async |waiting| {
        let append = [(waiting.append, waiting.headers)];
        _ = waiting.appended.send(log.append_traced(&append).await);
    });
    join_all(each).await;
}
