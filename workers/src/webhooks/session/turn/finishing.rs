//! What follows from requests that have ended.

use events_schema::{
    Time,
    webhook::{Attempt, EventRef, ReplayId},
};

use super::Turn;
use crate::{
    effect::outbound::Reply,
    webhooks::{
        line::{Item, Retry},
        message::Outgoing,
        report::{self, Report},
        session::{
            now,
            replaying::advanced,
            sending::{Done, Sent, failure_of, is_accepted, is_gone, record},
        },
    },
};

impl Turn<'_> {
    /// Records what has become of a request.
    pub(super) async fn finish(&mut self, done: Done) {
        let Done { sent, at, reply } = done;
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                let (webhook, error) = (self.session.webhook, format!("{error:#}"));
                let event = &sent.item().content.event.id;
                tracing::warn!(%webhook, event, error, "an event is sent later");
                return self.put_off(sent);
            }
        };
        match sent {
            Sent::Item(item) => self.finish_item(&item, at, &reply).await,
            Sent::Replay { replay, item } => self.finish_replayed(replay, &item, at, &reply).await,
            Sent::Request {
                sequence,
                reference,
                item,
            } => {
                self.request_is_busy = false;
                self.line.unlock(&item.lane);
                self.line.answered(sequence);
                let once = Retry {
                    attempt: 1,
                    at: None,
                };
                self.record(&record(&item.content.event, reference, at, &reply, once))
                    .await;
            }
        }
        if !is_accepted(&reply) {
            self.report(is_gone(&reply)).await;
        }
    }

    /// Leaves for later what could not be attempted, as the log did not show its object.
    fn put_off(&mut self, sent: Sent) {
        match sent {
            Sent::Item(item) => self.line.put_off(&item, now()),
            Sent::Replay { replay, item } => {
                self.replay_is_busy = false;
                self.line.unlock(&item.lane);
                self.put_off_replay(replay);
            }
            Sent::Request { item, .. } => {
                self.request_is_busy = false;
                self.line.unlock(&item.lane);
                self.put_off_requests();
            }
        }
    }

    async fn finish_item(&mut self, item: &Item<Outgoing>, at: Time, reply: &Reply) {
        let retry = if is_accepted(reply) {
            let attempt = self.line.attempt(item);
            self.line.succeeded(item, now());
            Retry { attempt, at: None }
        } else {
            self.line.failed(item, failure_of(reply), random(), now())
        };
        let event = Some(item.event);
        self.record(&record(&item.content.event, event, at, reply, retry))
            .await;
    }

    async fn finish_replayed(
        &mut self,
        replay: ReplayId,
        item: &Item<Outgoing>,
        at: Time,
        reply: &Reply,
    ) {
        self.replay_is_busy = false;
        self.line.unlock(&item.lane);
        let before = self.line.replay(replay);
        let (event, failure): (EventRef, _) = (item.event, failure_of(reply));
        let after = advanced(before, event, is_accepted(reply), failure, random(), now());
        self.line.set_replay(replay, after);
        let retry = Retry {
            attempt: before.attempts + 1,
            at: after.due,
        };
        self.record(&record(&item.content.event, Some(event), at, reply, retry))
            .await;
    }

    async fn record(&self, attempt: &Attempt) {
        let (tenant, webhook) = (self.session.tenant, self.session.webhook);
        let attempts = &self.session.parts.attempts;
        attempts.record(tenant, webhook, attempt).await;
    }

    /// Reports a webhook that does not work, if it is time. Without success, the next failure tries
    /// it again.
    async fn report(&mut self, is_gone: bool) {
        let failing = self.line.failing();
        let Some(report) = report::due(failing, is_gone, now()) else {
            return;
        };
        let since = failing.map_or_else(now, |failing| failing.since);
        let (tenant, webhook) = (self.session.tenant, self.session.webhook);
        let reports = &self.session.parts.reports;
        match reports.send(tenant, webhook, report, since).await {
            Ok(()) if report == Report::Warn => self.line.warned(),
            Ok(()) => self.is_stopping = true,
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(%webhook, error, "a webhook that does not work is not reported");
            }
        }
    }
}

/// Returns a random number from -1 to 1; 0 if the system has none, as it only varies a wait.
fn random() -> f64 {
    let number = getrandom::u32().unwrap_or(u32::MAX / 2);
    f64::from(number) / f64::from(u32::MAX) * 2.0 - 1.0
}
