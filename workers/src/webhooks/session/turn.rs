//! The loop of a session: read, send, record, until there is nothing to send or others have their
//! turn.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::AckKind;
use events_schema::webhook::{Cursor, Ordering, Webhook};
use tokio::time::{Instant, sleep_until};

use super::{
    End, Session, WakeUps, lease::HeldLease, now, pace::Pace, pages::Pages, replaying::Replaying,
    sending::Sending,
};
use crate::webhooks::{
    line::Line,
    message::{Envelope, Outgoing},
    tenants::TenantWebhooks,
    wake::Why,
};

/// How often the settings are read again: so soon a deleted webhook gets nothing more.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How soon they are read again after the log has shown a change. It doubles until the change is
/// known.
const LOOK_SOON: Duration = Duration::from_millis(5);
/// How often the server is told that the wake-up is still in work.
const PROGRESS_EVERY: Duration = Duration::from_secs(3);
/// After so many events or so long, others have their turn.
const TURN_EVENTS: u64 = 200;
const TURN: Duration = Duration::from_secs(10);

mod finishing;
mod replays;
mod requests;
mod starting;

use self::requests::Asked;

/// A turn with a webhook.
pub struct Turn<'a> {
    session: &'a Session,
    webhooks: Arc<TenantWebhooks>,
    webhook: Webhook,
    envelope: Option<Arc<Envelope>>,
    line: Line<Outgoing>,
    lease: HeldLease,
    pages: Pages,
    sending: Sending,
    /// What a person has asked for and waits for its turn.
    asked: Option<Asked>,
    /// Whether a request of a person is in progress.
    request_is_busy: bool,
    /// When requests of people are read again, after a failure.
    ask_again_at: Instant,
    replaying: Option<Replaying>,
    /// Whether an event of a replay is being sent.
    replay_is_busy: bool,
    /// Whether the next request is a replay's, if both it and the line have one.
    is_turn_of_replay: bool,
    began: Instant,
    sent: u64,
    pace: Pace,
    stored_at: Instant,
    looked_at: Instant,
    /// How soon the settings are read again while a change is not known.
    look_again: Duration,
    told_at: Instant,
    /// Whether nothing more is started.
    is_stopping: bool,
}

impl<'a> Turn<'a> {
    /// Begins a turn under this lease.
    pub fn new(
        session: &'a Session,
        webhooks: Arc<TenantWebhooks>,
        webhook: Webhook,
        cursor: Cursor,
        lease: HeldLease,
    ) -> Self {
        let is_ordered = webhook.settings.ordering == Ordering::Endpoint;
        let begin = Instant::now();
        let rate_limit = webhook.settings.rate_limit;
        let pace = Pace::new(rate_limit, cursor.next_starts, begin, now());
        Self {
            session,
            webhooks,
            webhook,
            envelope: None,
            line: Line::new(cursor, is_ordered),
            lease,
            pages: Pages::new(
                session.parts.log.clone(),
                session.tenant,
                session.parts.large_pages.clone(),
            ),
            sending: Sending::default(),
            asked: None,
            request_is_busy: false,
            ask_again_at: begin,
            replaying: None,
            replay_is_busy: false,
            is_turn_of_replay: false,
            began: begin,
            sent: 0,
            pace,
            stored_at: begin,
            looked_at: begin,
            look_again: LOOK_SOON,
            told_at: begin,
            is_stopping: false,
        }
    }

    /// Sends until there is nothing to send, or others have their turn.
    ///
    /// # Errors
    /// If a server is away, the lease is lost, or a newer release has written what comes next.
    pub async fn run(&mut self, wake_ups: &mut WakeUps<'_>) -> anyhow::Result<End> {
        let (parts, tenant) = (&self.session.parts, self.session.tenant);
        let envelope = parts
            .messages
            .envelope(tenant, self.session.webhook, &self.webhook);
        match envelope {
            Ok(envelope) => self.envelope = Some(Arc::new(envelope)),
            Err(error) => {
                let (webhook, error) = (self.session.webhook, format!("{error:#}"));
                tracing::error!(%tenant, %webhook, error, "nothing is sent to a webhook");
                return Ok(End::Rest);
            }
        }
        let end = self.send(wake_ups).await;
        if end.is_err() {
            self.drain().await;
        }
        end
    }

    async fn send(&mut self, wake_ups: &mut WakeUps<'_>) -> anyhow::Result<End> {
        loop {
            if !self.is_stopping {
                self.start().await?;
            }
            if self.sending.is_empty() {
                if self.is_stopping {
                    return Ok(End::Yield);
                }
                if self.may_rest() && self.is_done().await? {
                    return Ok(End::Rest);
                }
            }
            self.wait(wake_ups).await?;
            self.store().await?;
            if let Some(end) = self.look(wake_ups).await? {
                return Ok(end);
            }
            let is_long = self.sent >= TURN_EVENTS || self.began.elapsed() >= TURN;
            self.is_stopping |= is_long && self.session.slot.is_wanted();
        }
    }

    /// Waits for the requests in progress and records what became of them: what is forgotten is sent
    /// again. Without the lease, another worker does that anyway.
    async fn drain(&mut self) {
        while !self.sending.is_empty() && !self.lease.is_lost() {
            let done = self.sending.next().await;
            self.finish(done).await;
            if let Err(error) = self.store().await {
                let (webhook, error) = (self.session.webhook, format!("{error:#}"));
                tracing::warn!(%webhook, error, "where a delivery stands is stored later");
            }
        }
        self.sending.clear().await;
    }

    /// Stores the cursor, releases the lease, and has the webhook woken when its next attempt is
    /// due.
    ///
    /// # Errors
    /// If a server is away.
    pub async fn end(&mut self, is_deleted: bool) -> anyhow::Result<()> {
        if is_deleted {
            return self.lease.delete().await;
        }
        let cursor = self.line.cursor();
        let due = cursor.due().filter(|_| self.webhook.disabled.is_none());
        self.lease.release(cursor).await?;
        if let Some(due) = due {
            let (tenant, webhook) = (self.session.tenant, self.session.webhook);
            self.session.parts.wakes.at(tenant, webhook, due).await?;
        }
        Ok(())
    }

    /// Whether the log is read further, now or later.
    fn reads(&self) -> bool {
        let is_sending = !self.is_stopping && self.webhook.disabled.is_none();
        let is_known = self.pages.changed_at.is_none();
        is_sending && is_known && self.has_room() && self.pages.reads(&self.line)
    }

    /// Whether nothing came for a while, or others want the slot.
    fn may_rest(&self) -> bool {
        self.pages.changed_at.is_none()
            && (!self.reads()
                || self.pages.are_quiet()
                || self.pages.at_end && self.session.slot.is_wanted())
    }

    /// Returns when the settings are read again: soon if the log shows a change.
    fn next_look(&self) -> Instant {
        let is_known = self.pages.changed_at.is_none();
        self.looked_at
            + if is_known {
                LOOK_EVERY
            } else {
                self.look_again
            }
    }

    /// Whether there is nothing to send now, as the leader of the log says.
    async fn is_done(&mut self) -> anyhow::Result<bool> {
        if self.has_request() {
            let is_readable = Instant::now() >= self.ask_again_at;
            anyhow::ensure!(
                is_readable,
                "what a person has asked for is not readable now"
            );
            return Ok(false);
        }
        let is_disabled = self.webhook.disabled.is_some();
        if !is_disabled && (!self.line.is_at_rest(now()) || self.due_replay().is_some()) {
            return Ok(false);
        }
        if is_disabled || self.line.reads_from().is_none() {
            return self.knows_all().await;
        }
        anyhow::ensure!(
            !self.pages.is_newer,
            "a newer release wrote the next commit"
        );
        Ok(!self.pages.has_more(&self.line).await?)
    }

    /// Whether the leader of the log knows of no further change. Who does not read the log does not
    /// see it there.
    async fn knows_all(&mut self) -> anyhow::Result<bool> {
        let tenants = &self.session.parts.tenants;
        let last = tenants.last_change(self.session.tenant).await?;
        let is_behind = last > self.webhooks.sequence;
        self.pages.changed_at = is_behind.then_some(last);
        Ok(!is_behind)
    }

    /// Waits for the end of a request, a wake-up, or the time to do something.
    async fn wait(&mut self, wake_ups: &mut WakeUps<'_>) -> anyhow::Result<()> {
        let mut until = self.stored_at + self.lease.store_every();
        if self.reads() && !self.pages.are_read() {
            until = until.min(self.pages.next_read());
        }
        if self.pages.changed_at.is_some() {
            until = until.min(self.next_look());
        }
        if let Some(start) = self.pace.allows_more_at(Instant::now()) {
            until = until.min(start);
        }
        tokio::select! {
            done = self.sending.next() => {
                let mut done = Some(done);
                while let Some(ended) = done {
                    self.finish(ended).await;
                    done = self.sending.ended();
                }
            }
            () = self.pages.next_page() => {}
            Some(message) = wake_ups.following.recv() => {
                let mut message = Some(message);
                // Each has replaced the one before.
                while let Some(latest) = message {
                    if Why::of(&latest) == Why::Settings {
                        self.looked_at = Instant::now() - LOOK_EVERY;
                    }
                    wake_ups.held = latest;
                    message = wake_ups.following.try_recv().ok();
                }
                self.pages.read_soon();
            }
            () = sleep_until(until) => {}
            () = self.session.shutdown.cancelled(), if !self.is_stopping => {
                self.is_stopping = true;
            }
        }
        Ok(())
    }

    async fn store(&mut self) -> anyhow::Result<()> {
        if self.stored_at.elapsed() >= self.lease.store_every() {
            self.stored_at = Instant::now();
            self.lease.store(self.line.cursor()).await?;
        }
        Ok(())
    }

    /// Looks whether the webhook is deleted or changed, and tells the server that the wake-up is in
    /// work.
    async fn look(&mut self, wake_ups: &WakeUps<'_>) -> anyhow::Result<Option<End>> {
        if self.told_at.elapsed() >= PROGRESS_EVERY {
            self.told_at = Instant::now();
            let told = wake_ups.held.ack_with(AckKind::Progress).await;
            told.map_err(anyhow::Error::from_boxed)?;
        }
        if Instant::now() < self.next_look() {
            return Ok(None);
        }
        self.looked_at = Instant::now();
        let webhooks = self.session.parts.tenants.of(self.session.tenant).await?;
        // The replica that was asked may lag behind the one that was read.
        if webhooks.is_deleted || webhooks.sequence >= self.webhooks.sequence {
            self.webhooks = webhooks;
        }
        let known = self.webhooks.sequence;
        self.line.set_known(known);
        self.pages.changed_at = self.pages.changed_at.filter(|at| *at > known);
        self.look_again = match self.pages.changed_at {
            Some(_) => (self.look_again * 2).min(LOOK_EVERY),
            None => LOOK_SOON,
        };
        match self.webhooks.get(self.session.webhook) {
            None => {
                self.sending.clear().await;
                Ok(Some(End::Deleted))
            }
            Some(webhook) => {
                self.is_stopping |= *webhook != self.webhook;
                Ok(None)
            }
        }
    }
}
