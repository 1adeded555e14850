//! Where the delivery to a webhook stands, and what became of each attempt. Workers write these
//! records, and gateways show them. They are no facts of the business: the log does not have them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{ReplayCounts, ReplayId};
use crate::{Id, Time};

/// An event within the log: the sequence of its commit, and its position in that commit.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EventRef {
    pub sequence: u64,
    pub position: u64,
}

impl EventRef {
    /// Returns the first possible reference after this one.
    #[must_use]
    pub const fn following(self) -> Self {
        Self {
            sequence: self.sequence,
            position: self.position + 1,
        }
    }
}

/// Where the delivery to a webhook stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cursor {
    /// The first sequence of the log with an event that is neither sent nor given up nor parked.
    pub next: u64,
    /// Events from `next` on that are sent or given up.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub done: BTreeSet<EventRef>,
    /// Objects with an event that has failed, by area and id, as in `project.<id>`. Their later
    /// events wait for it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parked: BTreeMap<String, Parked>,
    /// The last change of the tenant's webhooks that the worker knew. One that knows less must not
    /// go on.
    pub known: u64,
    /// Requests of people up to this sequence, such as a test, are done.
    pub requests: u64,
    /// Since when every attempt has failed; `None` if the last one succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing: Option<Failing>,
    /// When an attempt last succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub succeeded_at: Option<Time>,
    /// If the webhook does not work at all: when the next attempt is due. Until then nothing is
    /// sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_at: Option<Time>,
    /// The time of the oldest event that is not sent; `None` if the webhook has got all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Time>,
    /// When the rate limit allows further requests; `None` without a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_starts: Option<NextStarts>,
    /// How far running replays are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub replays: BTreeMap<ReplayId, ReplayProgress>,
    /// Which worker sends now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
}

/// An object with an event that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Parked {
    /// The first event of the object that is not sent.
    pub next: EventRef,
    /// The failed attempts to send it.
    pub attempts: u32,
    /// When the first of them failed.
    pub since: Time,
    /// When the next one is due.
    pub due: Time,
    /// When the event happened; `None` in a record of an earlier release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub happened_at: Option<Time>,
}

/// How far a replay is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReplayProgress {
    /// The first event that is not sent.
    pub next: EventRef,
    pub sent: u64,
    /// Events that the server did not accept.
    pub failed: u64,
    /// The failed attempts to send the next event.
    pub attempts: u32,
    /// When the next attempt is due; `None` for at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Time>,
}

impl ReplayProgress {
    /// Returns how many events it has sent.
    pub const fn counts(&self) -> ReplayCounts {
        ReplayCounts {
            sent: self.sent,
            failed: self.failed,
        }
    }
}

/// When a rate limit allows further requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NextStarts {
    pub request: Time,
    /// When it allows one of a replay, which takes half of the rate at most.
    pub replay: Time,
}

/// A time in which every attempt has failed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Failing {
    pub since: Time,
    /// Whether the owners were warned.
    pub warned: bool,
}

/// The right to send to a webhook, for some seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Lease {
    /// One work of one worker.
    pub holder: Id,
    /// When it ends, by the clock of the holder.
    pub until: Time,
}

impl Cursor {
    /// Returns the position of a webhook that gets the events after this sequence.
    pub fn after(sequence: u64) -> Self {
        Self {
            next: sequence + 1,
            requests: sequence,
            ..Self::default()
        }
    }

    /// Returns when the next attempt is due; `None` if nothing waits for a time.
    pub fn due(&self) -> Option<Time> {
        let parked = self.parked.values().map(|parked| parked.due);
        let replays = self.replays.values().filter_map(|replay| replay.due);
        self.probe_at.or_else(|| parked.chain(replays).min())
    }
}

/// What became of an attempt to send an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Attempt {
    /// The id of the event, as the server got it.
    pub event_id: String,
    pub event_type: String,
    /// Where the log has the event; `None` for a test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventRef>,
    /// Counts the attempts for this event: 1, 2, 3 …
    pub attempt: u32,
    pub at: Time,
    pub latency_ms: u64,
    pub verdict: Verdict,
    /// The status of the answer, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The beginning of the answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub response: String,
    /// Why there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The network address that was connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// When the next attempt is due; `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Time>,
}

/// Whether an attempt succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Verdict {
    Succeeded,
    Failed,
}
