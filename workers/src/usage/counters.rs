//! All meters, and how each counts a part of the log.

use anyhow::ensure;
use event_store::{EventLog, Stored, Unavailable};
use events_schema::{Area, AreaName, Meter, TenantId, subject::events_of_tenant_in};

use crate::{
    aggregate::Aggregate,
    areas::{self, Visitor},
    decode::{self, Newer},
};

/// A meter, and how it counts the commits of its area.
#[derive(Clone, Copy)]
pub(crate) struct LogCounter {
    pub(crate) meter: Meter,
    pub(crate) area: AreaName,
    count: fn(Meter, &Stored) -> anyhow::Result<u64>,
}

/// Returns all meters.
pub(crate) fn all() -> Vec<LogCounter> {
    let mut found = Found(Vec::new());
    for area in AreaName::ALL {
        areas::visit(*area, &mut found);
    }
    found.0
}

struct Found(Vec<LogCounter>);

impl Visitor for Found {
    fn commands<A: Aggregate>(&mut self) {
        let meters = A::Area::METERS.iter();
        self.0.extend(meters.map(|counter| LogCounter {
            meter: counter.meter,
            area: A::Area::NAME,
            count: count_one::<A::Area>,
        }));
    }
}

impl LogCounter {
    /// Counts the commits of a tenant after the sequence `from`, up to the sequence `to`, at which
    /// the log has a commit of this tenant and area.
    ///
    /// # Errors
    /// If the log does not answer, or a newer release has written a commit.
    pub(crate) async fn count(
        &self,
        log: &EventLog,
        tenant: TenantId,
        from: u64,
        to: u64,
    ) -> anyhow::Result<u64> {
        let filter = events_of_tenant_in(tenant, self.area);
        let (mut counted, mut reached) = (0_u64, from);
        while reached < to {
            let page = log.page(&filter, reached + 1).await?;
            let messages = if page.messages.is_empty() {
                // That replica lags behind.
                log.read_from_leader(&filter, reached + 1).await?
            } else {
                page.messages
            };
            // Otherwise that leader has been replaced and does not know it yet.
            ensure!(!messages.is_empty(), Unavailable);
            for stored in messages.iter().filter(|stored| stored.sequence <= to) {
                counted = counted.saturating_add((self.count)(self.meter, stored)?);
            }
            reached = messages.last().map_or(reached, |last| last.sequence);
        }
        Ok(counted)
    }
}

/// Counts one commit. One that nobody can read counts nothing, each time.
fn count_one<A: Area>(meter: Meter, stored: &Stored) -> anyhow::Result<u64> {
    match decode::commit::<A>(&stored.subject, &stored.payload) {
        Ok(commit) => {
            let mut counters = A::METERS.iter();
            let counter = counters.find(|counter| counter.meter == meter);
            Ok(counter.map_or(0, |counter| (counter.count)(&commit)))
        }
        Err(error) if error.is::<Newer>() => Err(error),
        Err(error) => {
            let (sequence, error) = (stored.sequence, format!("{error:#}"));
            tracing::error!(
                sequence,
                error,
                "a commit counts nothing, since it cannot be read"
            );
            Ok(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use events_schema::task::{self, TASKS_CREATED};
    use serde_json::{Value, json};

    use super::*;

    const ID: &str = "00112233445566778899aabbccddeeff";

    fn counted(events: Value) -> anyhow::Result<u64> {
        let commit = json!({
            "tenant": ID, "area": "task", "id": ID, "revision": 1, "command": ID,
            "actor": { "kind": "system" }, "time": 0, "events": events,
        });
        let stored = Stored {
            sequence: 7,
            subject: format!("evt.{ID}.task.{ID}"),
            payload: commit.to_string().into(),
        };
        count_one::<task::Area>(TASKS_CREATED, &stored)
    }

    #[test]
    fn each_meter_is_found_once() {
        let mut meters: Vec<Meter> = all().iter().map(|counter| counter.meter).collect();
        meters.sort();
        assert_eq!(meters, Meter::all());
    }

    #[test]
    fn a_commit_counts_as_its_meter_says() {
        let created = json!({ "type": "created", "project": ID, "title": "Oil it", "author": ID });
        let deleted = json!({ "type": "deleted" });
        assert_eq!(counted(json!([created, deleted])).unwrap(), 1);
        assert_eq!(counted(json!([deleted])).unwrap(), 0);
    }

    #[test]
    fn a_commit_of_a_newer_release_is_left_to_a_worker_that_knows_it() {
        let flown = json!([{ "type": "flown_to_the_moon" }]);
        assert!(counted(flown).unwrap_err().is::<Newer>());
        assert_eq!(counted(json!("garbage")).unwrap(), 0);
    }
}
