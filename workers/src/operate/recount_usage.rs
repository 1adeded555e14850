//! Counts again what was counted, and compares: `workers recount-usage`.

use anyhow::Context as _;
use event_store::{EventLog, NatsOptions, Stored};
use events_schema::{
    AreaName, Commit, Meter, TenantId,
    subject::events_of,
    usage::{Area, Event},
};
use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::{
    decode,
    usage::counters::{self, LogCounter},
};

/// A cut that was counted again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recount {
    pub tenant: TenantId,
    pub meter: Meter,
    /// The cut follows this sequence of the log, and ends with the other one.
    pub from: u64,
    pub to: u64,
    pub counted: u64,
    pub recounted: u64,
}

impl Recount {
    /// Whether counting again leads to the same.
    pub const fn is_right(&self) -> bool {
        self.counted == self.recounted
    }
}

/// Counts all cuts of the log again, and calls `done` with each. Cuts of meters that this release
/// does not have are left out.
///
/// # Errors
/// If NATS does not answer, or a newer release has written a commit.
pub fn recount_usage<'a>(
    nats: &'a NatsOptions,
    done: &'a (dyn Fn(&Recount) + Send + Sync),
) -> BoxFuture<'a, anyhow::Result<()>> {
    Box::pin(async move {
        let client = event_store::connect(nats, "workers").await?;
        let (log, counters) = (EventLog::new(client), counters::all());
        let (filter, mut next) = (events_of(AreaName::Usage), 1);
        loop {
            let page = log.page(&filter, next).await?;
            for stored in &page.messages {
                let recounts = recount(&log, &counters, stored).await;
                let recounts = recounts.with_context(|| stored.subject.clone())?;
                recounts.iter().for_each(done);
            }
            match page.next().filter(|_| !page.is_last()) {
                Some(after) => next = after,
                None => return Ok(()),
            }
        }
    })
}

async fn recount(
    log: &EventLog,
    counters: &[LogCounter],
    stored: &Stored,
) -> anyhow::Result<Vec<Recount>> {
    let commit: Commit<Area> = decode::commit(&stored.subject, &stored.payload)?;
    let mut recounts = Vec::new();
    for event in &commit.events {
        let Event::Cut {
            meter,
            from,
            quantity,
            position,
            ..
        } = event
        else {
            continue;
        };
        let counter = counters.iter().find(|counter| counter.meter == *meter);
        let (tenant, from, to) = (commit.tenant, *from, position.to);
        if let Some(counter) = counter {
            recounts.push(Recount {
                tenant,
                meter: *meter,
                from,
                to,
                counted: *quantity,
                recounted: counter.count(log, tenant, from, to).await?,
            });
        }
    }
    Ok(recounts)
}
