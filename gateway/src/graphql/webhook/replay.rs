//! Replays of a webhook as clients see them.

use async_graphql::{Enum, ID, InputObject, SimpleObject};
use events_schema::webhook::{Only, Replay, ReplayCounts, ReplayEnd, ReplayId, ReplayProgress};

use crate::graphql::scalars::{DateTime, to_id};

/// Which events a replay sends.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "Only")]
pub(super) enum WebhookReplayOnly {
    /// All that the webhook gets now.
    All,
    /// Those that the server has never accepted, as far as `deliveries` shows: the last 1,000
    /// failed attempts of 30 days.
    Failed,
}

/// How far a replay is.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
enum WebhookReplayStatus {
    /// Its events are being sent.
    Running,
    /// All of its events were sent.
    Finished,
    /// A person has ended it.
    Cancelled,
}

/// What to send once more.
#[derive(InputObject)]
pub(super) struct ReplayWebhookInput {
    /// Id of the webhook.
    pub(super) id: ID,
    /// The beginning of the time. Events that happened then or later are sent.
    pub(super) since: DateTime,
    /// The end of the time, which is excluded. Now by default; not in the future.
    pub(super) until: Option<DateTime>,
    /// Which of them. `ALL` by default.
    pub(super) only: Option<WebhookReplayOnly>,
}

/// Events of a time, sent to a webhook once more, each with the same id as before. They are sent
/// one after the other, at half the rate limit at most, beside the new ones.
#[derive(SimpleObject)]
pub(super) struct WebhookReplay {
    /// Id of the replay: 32 lower-case hex digits.
    id: ID,
    /// The beginning of the time.
    since: DateTime,
    /// The end of the time, which is excluded.
    until: DateTime,
    /// Which events of the time are sent.
    only: WebhookReplayOnly,
    /// How far it is.
    status: WebhookReplayStatus,
    /// Events that the server has accepted, until the replay was cancelled, if it was.
    sent: u64,
    /// Events that the server has refused three times, until the replay was cancelled, if it was.
    failed: u64,
    /// Whether it has ended.
    done: bool,
    /// When it was requested.
    created_at: DateTime,
}

impl WebhookReplay {
    /// Shows a replay. `progress` counts while it runs.
    pub(super) fn of(id: ReplayId, replay: &Replay, progress: ReplayProgress) -> Self {
        let (status, sent, failed) = match replay.end {
            None => (WebhookReplayStatus::Running, progress.sent, progress.failed),
            Some(ReplayEnd::Finished { sent, failed }) => {
                (WebhookReplayStatus::Finished, sent, failed)
            }
            Some(ReplayEnd::Cancelled { counts }) => {
                let ReplayCounts { sent, failed } = counts.unwrap_or_default();
                (WebhookReplayStatus::Cancelled, sent, failed)
            }
        };
        Self {
            id: to_id(id),
            since: DateTime(replay.since),
            until: DateTime(replay.until),
            only: replay.only.into(),
            status,
            sent,
            failed,
            done: replay.end.is_some(),
            created_at: DateTime(replay.requested_at),
        }
    }
}
