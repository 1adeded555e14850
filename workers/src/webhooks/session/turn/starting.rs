//! Which requests begin: those of people, of replays and of the line, within the limits.

use std::time::Duration;

use anyhow::Context as _;
use events_schema::{
    Id,
    published::{EventType, PublicEvent},
    webhook::{EventRef, ReplayId, ReplayProgress},
};
use tokio::time::Instant;

use super::Turn;
use crate::webhooks::{
    message::Shown,
    session::{
        now,
        pace::Pace,
        replaying::{Next, Replaying},
        sending::Sent,
    },
    tenants::RequestKind,
};

/// How long after a failure the end of a replay is recorded again.
const FINISH_AGAIN_AFTER: Duration = Duration::from_secs(60);

impl Turn<'_> {
    /// Begins the requests that may begin now.
    pub(super) async fn start(&mut self) -> anyhow::Result<()> {
        self.start_request().await?;
        if self.webhook.disabled.is_some() {
            return Ok(());
        }
        self.pages
            .fill(
                &mut self.line,
                &self.webhook.settings,
                self.webhooks.sequence,
            )
            .await?;
        // Events behind a change wait until it is known.
        if self.pages.changed_at.is_some() {
            return Ok(());
        }
        self.start_replay().await?;
        while self.may_start()
            && let Some(item) = self.line.start(now())
        {
            self.count_start(Pace::count);
            self.is_turn_of_replay = true;
            let shown = Shown::Stored {
                sequence: item.event.sequence,
            };
            self.begin(Sent::Item(item), shown);
        }
        Ok(())
    }

    /// Whether the limits allow another request.
    pub(super) fn may_start(&self) -> bool {
        self.has_room() && self.pace.allows(Instant::now())
    }

    /// Whether another request may be in progress.
    pub(super) fn has_room(&self) -> bool {
        let most = usize::try_from(self.webhook.settings.concurrency).unwrap_or(1);
        self.line.in_flight() < most && self.lease.allows_request()
    }

    fn count_start(&mut self, count: impl FnOnce(&mut Pace, Instant)) {
        let at = Instant::now();
        count(&mut self.pace, at);
        self.line.set_next_starts(self.pace.next_starts(at, now()));
        self.sent += 1;
    }

    /// Begins to send the next event of a replay, at half the rate at most, and in turn with the
    /// line.
    async fn start_replay(&mut self) -> anyhow::Result<()> {
        let must_wait = self.replay_is_busy
            || !self.may_start()
            || !self.pace.allows_replay(Instant::now())
            || self.line.has_ready() && !self.is_turn_of_replay;
        let Some(id) = self.due_replay().filter(|_| !must_wait) else {
            return Ok(());
        };
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
                let shown = Shown::Stored {
                    sequence: item.event.sequence,
                };
                self.begin(Sent::Replay { replay: id, item }, shown);
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
                let due = Some(now() + FINISH_AGAIN_AFTER);
                let progress = ReplayProgress { due, ..progress };
                self.line.set_replay(id, progress);
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

    /// Begins what a person has asked for, one after the other.
    async fn start_request(&mut self) -> anyhow::Result<()> {
        while self.request.is_none() && self.lease.allows_request() {
            let mut requests = self.webhooks.requests.iter().filter(|request| {
                request.webhook == self.session.webhook
                    && request.sequence > self.line.answered_to()
            });
            let Some(request) = requests.next() else {
                return Ok(());
            };
            let sequence = request.sequence;
            let found = match &request.kind {
                RequestKind::Test(name) => self.example(name, sequence),
                RequestKind::Redeliver(event) => {
                    let shown = Shown::Stored {
                        sequence: event.sequence,
                    };
                    self.pages.event(*event).await?.map(|event| (event, shown))
                }
            };
            match found {
                Some((event, shown)) => {
                    self.request = Some(sequence);
                    let sent = Sent::Request {
                        sequence,
                        event,
                        reference: request.kind.reference(),
                    };
                    self.begin(sent, shown);
                }
                None => self.line.answered(sequence),
            }
        }
        Ok(())
    }

    /// Returns an example event with an id of its own.
    fn example(&self, name: &str, sequence: u64) -> Option<(PublicEvent, Shown)> {
        let mut id = *self.session.webhook.0.bytes();
        id[8..].copy_from_slice(&sequence.to_be_bytes());
        let event_type = EventType::find(name)?;
        let id = Id::from_bytes(id);
        let (event, object) = PublicEvent::example(event_type, self.session.tenant, id, now())?;
        Some((event, Shown::Example(object)))
    }

    fn begin(&mut self, sent: Sent, shown: Shown) {
        if let Some(envelope) = &self.envelope {
            let messages = self.session.parts.messages.clone();
            self.sending.begin(messages, envelope.clone(), sent, shown);
        }
    }
}
