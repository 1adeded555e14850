//! Replays: their next events, and their ends.

use std::time::Duration;

use anyhow::Context as _;
use events_schema::webhook::{EventRef, ReplayId, ReplayProgress};
use tokio::time::Instant;

use super::Turn;
use crate::webhooks::session::{
    now,
    pace::Pace,
    replaying::{Next, Replaying},
    sending::Sent,
};

/// How long after a failure a replay goes on.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

impl Turn<'_> {
    /// Begins to send the next event of a replay, at half the rate at most, and in turn with the
    /// line.
    pub(super) async fn start_replay(&mut self) {
        let must_wait = self.replay_is_busy
            || !self.may_start()
            || !self.pace.allows_replay(Instant::now())
            || self.line.has_ready() && !self.is_turn_of_replay;
        let Some(id) = self.due_replay().filter(|_| !must_wait) else {
            return;
        };
        if let Err(error) = self.send_replay(id).await {
            let (webhook, error) = (self.session.webhook, format!("{error:#}"));
            tracing::warn!(%webhook, error, "a replay waits");
            self.put_off_replay(id);
        }
    }

    /// Has a replay wait for a while.
    pub(super) fn put_off_replay(&mut self, id: ReplayId) {
        let progress = self.line.replay(id);
        let due = Some(now() + AGAIN_AFTER);
        self.line.set_replay(id, ReplayProgress { due, ..progress });
    }

    async fn send_replay(&mut self, id: ReplayId) -> anyhow::Result<()> {
        let progress = self.line.replay(id);
        let mut replaying = match self.replaying.take().filter(|replaying| replaying.id == id) {
            Some(replaying) => replaying,
            None => self.replaying(id, progress).await?,
        };
        let settings = &self.webhook.settings;
        let next = replaying.next(progress.next, &self.pages, &self.line, settings);
        match next.await? {
            // Reading may have taken long.
            Next::Event(item) if self.may_start() && self.line.lock(&item.lane) => {
                self.count_start(Pace::count_replay);
                self.replay_is_busy = true;
                self.is_turn_of_replay = false;
                self.begin(Sent::Replay {
                    replay: id,
                    item: *item,
                });
            }
            Next::Event(_) => {}
            Next::Later(sequence) if progress.next.sequence < sequence => {
                let next = EventRef {
                    sequence,
                    position: 0,
                };
                let progress = ReplayProgress { next, ..progress };
                self.line.set_replay(id, progress);
            }
            Next::Later(_) => {}
            Next::End => self.finish_replay(id, progress).await,
        }
        self.replaying = Some(replaying);
        Ok(())
    }

    /// Records the end of a replay. If nobody decides commands now, that is tried again later.
    async fn finish_replay(&mut self, id: ReplayId, progress: ReplayProgress) {
        let (tenant, webhook) = (self.session.tenant, self.session.webhook);
        let reports = &self.session.parts.reports;
        match reports.finish(tenant, webhook, id, progress).await {
            Ok(()) => self.is_stopping = true,
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(%webhook, error, "the end of a replay is not recorded yet");
                self.put_off_replay(id);
            }
        }
    }

    /// Returns the running replay that was requested first and is due.
    pub(super) fn due_replay(&self) -> Option<ReplayId> {
        if !self.line.works() || self.webhook.disabled.is_some() {
            return None;
        }
        let running = self.webhook.replays.iter().filter(|(id, replay)| {
            let due = self.line.replay(**id).due;
            replay.end.is_none() && due.is_none_or(|due| due <= now())
        });
        let first = running.min_by_key(|(_, replay)| replay.requested_at);
        first.map(|(id, _)| *id)
    }

    async fn replaying(
        &mut self,
        id: ReplayId,
        progress: ReplayProgress,
    ) -> anyhow::Result<Replaying> {
        let (tenant, webhook) = (self.session.tenant, self.session.webhook);
        let failed = self.session.parts.attempts.failed_only(tenant, webhook);
        let replay = self.webhook.replays.get(&id);
        let replay = replay.context("the replay has ended")?.clone();
        let end = self.webhooks.replays.get(&id).copied().unwrap_or_default();
        Replaying::new(id, replay, end, progress, &self.pages, failed).await
    }
}
