//! Replays: the events of a time are sent once more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Event;
use crate::{Time, id::typed_id};

typed_id! {
    /// Identifies a replay: the id of the command that requested it.
    ReplayId
}

/// A webhook shows at most this many replays.
pub const MAX_REPLAYS: usize = 10;
/// At most this many replays of a webhook run at once.
pub const MAX_RUNNING_REPLAYS: usize = 3;

/// Which events a replay sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Only {
    /// All that the webhook wants.
    All,
    /// Those of which an attempt has failed and none has succeeded, as far as attempts are kept.
    Failed,
}

/// A replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Replay {
    pub since: Time,
    /// The end of the time, which is excluded.
    pub until: Time,
    pub only: Only,
    pub requested_at: Time,
    /// How it has ended; `None` if it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<ReplayEnd>,
}

impl Replay {
    /// Whether an event of this time belongs to the replay.
    pub fn contains(&self, time: Time) -> bool {
        self.since <= time && time < self.until
    }
}

/// How a replay has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum ReplayEnd {
    /// Everything was sent. `failed` counts events that the server did not accept.
    Finished { sent: u64, failed: u64 },
    /// A person has ended it, when it had sent so much.
    Cancelled {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        counts: Option<ReplayCounts>,
    },
}

/// How many events a replay has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReplayCounts {
    pub sent: u64,
    /// Those that the server did not accept.
    pub failed: u64,
}

/// Applies an event about replays. The oldest ones that have ended are forgotten.
pub(super) fn apply(replays: &mut BTreeMap<ReplayId, Replay>, event: &Event, at: Time) {
    match event {
        Event::ReplayRequested {
            replay,
            since,
            until,
            only,
            ..
        } => {
            while replays.len() >= MAX_REPLAYS {
                let ended = replays.iter().filter(|(_, replay)| replay.end.is_some());
                let oldest = ended.min_by_key(|(_, replay)| replay.requested_at);
                let Some(oldest) = oldest.map(|(id, _)| *id) else {
                    break;
                };
                replays.remove(&oldest);
            }
            let requested = Replay {
                since: *since,
                until: *until,
                only: *only,
                requested_at: at,
                end: None,
            };
            replays.insert(*replay, requested);
        }
        Event::ReplayCancelled { replay, counts, .. } => {
            end(replays, *replay, ReplayEnd::Cancelled { counts: *counts });
        }
        Event::ReplayFinished {
            replay,
            sent,
            failed,
            ..
        } => {
            let finished = ReplayEnd::Finished {
                sent: *sent,
                failed: *failed,
            };
            end(replays, *replay, finished);
        }
        Event::Created { .. }
        | Event::Updated { .. }
        | Event::Deleted { .. }
        | Event::Enabled { .. }
        | Event::Disabled { .. }
        | Event::SecretRotated { .. }
        | Event::TestRequested { .. }
        | Event::RedeliveryRequested { .. }
        | Event::Resealed { .. }
        | Event::FailureWarned { .. } => {}
    }
}

fn end(replays: &mut BTreeMap<ReplayId, Replay>, replay: ReplayId, end: ReplayEnd) {
    if let Some(replay) = replays.get_mut(&replay) {
        replay.end.get_or_insert(end);
    }
}
