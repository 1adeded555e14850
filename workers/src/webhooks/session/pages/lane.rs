//! Reads parked lanes: their events from the failed one up to where the main line has read.

use anyhow::ensure;
use events_schema::{
    AreaName, Id, Subject, TenantId,
    webhook::{EventRef, Settings},
};

use super::Pages;
use crate::webhooks::{
    line::{ALL, Item, Line},
    message::Outgoing,
};

/// Events of a parked lane that are read at once.
const LANE_EVENTS: usize = 50;
/// Commits of a parked lane that are read at once.
const LANE_PAGE: usize = 200;
/// Pages of a parked lane that are read before the session stores how far it is.
const LANE_PAGES: usize = 5;

/// What was read of a parked lane.
pub(super) enum LaneRead {
    Events(Vec<Item<Outgoing>>),
    /// There is none before this sequence, and more to read.
    NoneBefore(u64),
}

impl Pages {
    /// Reads the next events of a parked lane, up to where the main line has read. Without any, the
    /// lane has caught up.
    pub(super) async fn lane(
        &self,
        line: &Line<Outgoing>,
        settings: &Settings,
        lane: &str,
        from: EventRef,
    ) -> anyhow::Result<LaneRead> {
        let (mut found, mut next, mut is_newer) = (Vec::new(), from.sequence, false);
        let Some(filter) = self.filter_of(lane) else {
            return Ok(LaneRead::Events(found));
        };
        let end = line.scanned_to();
        let mut is_end = next >= end;
        for _ in 0..LANE_PAGES {
            if is_end || found.len() >= LANE_EVENTS {
                break;
            }
            let page = self.log.page_of(&filter, next, LANE_PAGE).await?;
            let read = self.items(line, settings, &page.messages, next);
            let of_lane = read.items.into_iter().map(|item| Item {
                lane: lane.to_owned(),
                ..item
            });
            let is_within = |item: &Item<Outgoing>| item.event >= from && item.event.sequence < end;
            found.extend(of_lane.filter(is_within));
            next = page.messages.last().map_or(next, |last| last.sequence + 1);
            is_newer = read.is_newer;
            is_end = page.pending == 0 || is_newer || next >= end;
        }
        if found.is_empty() {
            // Nothing more is read of a lane that counts as done, so it must be certain.
            ensure!(!is_newer, "a newer release wrote the next commit of a lane");
            if !is_end {
                return Ok(LaneRead::NoneBefore(next));
            }
            self.check_end(&filter, next, end).await?;
        }
        found.truncate(LANE_EVENTS);
        Ok(LaneRead::Events(found))
    }

    /// Checks with the leader that there is no message on `filter` from this sequence on, before
    /// `end`.
    async fn check_end(&self, filter: &str, next: u64, end: u64) -> anyhow::Result<()> {
        if next < end {
            let last = self.log.last(filter).await?;
            let last = last.map_or(0, |last| last.sequence);
            ensure!(last < next, "a replica of the log lags behind");
        }
        Ok(())
    }

    /// Returns the filter for the commits of a lane.
    fn filter_of(&self, lane: &str) -> Option<String> {
        if lane == ALL {
            return Some(self.all());
        }
        let (area, id) = lane.split_once('.')?;
        let subject = Subject::Event {
            tenant: TenantId::Tenant(self.tenant),
            area: AreaName::parse(area).ok()?,
            id: Id::parse(id).ok()?,
        };
        Some(subject.to_string())
    }
}
