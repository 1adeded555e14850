//! Which requests begin: those of people, of replays and of the line, within the limits.

use tokio::time::Instant;

use super::Turn;
use crate::webhooks::session::{now, pace::Pace, sending::Sent};

impl Turn<'_> {
    /// Begins the requests that may begin now.
    pub(super) async fn start(&mut self) -> anyhow::Result<()> {
        self.start_request().await;
        if self.webhook.disabled.is_some() {
            return Ok(());
        }
        self.pages
            .fill(
                &mut self.line,
                &self.webhook.settings,
                self.webhooks.sequence,
                self.session.slot.is_wanted(),
            )
            .await?;
        // Events behind a change wait until it is known.
        if self.pages.changed_at.is_some() {
            return Ok(());
        }
        self.start_replay().await;
        while self.may_start()
            && let Some(item) = self.line.start(now())
        {
            self.count_start(Pace::count);
            self.is_turn_of_replay = true;
            self.begin(Sent::Item(item));
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

    pub(super) fn count_start(&mut self, count: impl FnOnce(&mut Pace, Instant)) {
        let at = Instant::now();
        count(&mut self.pace, at);
        self.line.set_next_starts(self.pace.next_starts(at, now()));
        self.sent += 1;
    }

    pub(super) fn begin(&mut self, sent: Sent) {
        if let Some(envelope) = &self.envelope {
            let messages = self.session.parts.messages.clone();
            let until = self.lease.request_ends_by();
            let envelope = envelope.clone();
            self.sending.begin(messages, envelope, sent, until);
        }
    }
}
