//! What people ask for: tests and redeliveries. Each is sent once, in turn with the other events.

use std::time::Duration;

use events_schema::{
    Id,
    published::{EventType, PublicEvent},
    webhook::EventRef,
};
use tokio::time::Instant;

use super::Turn;
use crate::webhooks::{
    line::Item,
    message::{Outgoing, Shown},
    session::{now, pace::Pace, pages::item, sending::Sent},
    tenants::{Request, RequestKind},
};

/// How long after a failure requests are read again.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What a person has asked for.
pub(super) struct Asked {
    sequence: u64,
    /// Where the log has the event; `None` for a test.
    reference: Option<EventRef>,
    item: Item<Outgoing>,
}

impl Turn<'_> {
    /// Begins what a person has asked for, one after the other. Without the event, it waits.
    pub(super) async fn start_request(&mut self) {
        let must_wait = self.request_is_busy || Instant::now() < self.ask_again_at;
        if must_wait || !self.may_start() {
            return;
        }
        if self.asked.is_none() {
            match self.next_asked().await {
                Ok(asked) => self.asked = asked,
                Err(error) => {
                    let (webhook, error) = (self.session.webhook, format!("{error:#}"));
                    tracing::warn!(%webhook, error, "a redelivery waits");
                    self.put_off_requests();
                }
            }
        }
        // Reading may have taken long.
        if !self.may_start() {
            return;
        }
        let line = &mut self.line;
        if let Some(asked) = self.asked.take_if(|asked| line.lock(&asked.item.lane)) {
            self.count_start(Pace::count);
            self.request_is_busy = true;
            let sent = Sent::Request {
                sequence: asked.sequence,
                reference: asked.reference,
                item: asked.item,
            };
            self.begin(sent);
        }
    }

    /// Leaves what people have asked for to a later time.
    pub(super) fn put_off_requests(&mut self) {
        self.asked = None;
        self.ask_again_at = Instant::now() + AGAIN_AFTER;
    }

    /// Whether a person has asked for something that is not done.
    pub(super) fn has_request(&self) -> bool {
        self.next_request().is_some()
    }

    fn next_request(&self) -> Option<&Request> {
        let done = self.line.answered_to();
        let mut requests = self.webhooks.requests.iter();
        requests.find(|one| one.webhook == self.session.webhook && one.sequence > done)
    }

    /// Reads what is to be sent next, and passes over what there is not.
    async fn next_asked(&mut self) -> anyhow::Result<Option<Asked>> {
        while let Some(request) = self.next_request().cloned() {
            let Request { sequence, kind, .. } = request;
            let found = match &kind {
                RequestKind::Test(name) => self.example(name, sequence),
                RequestKind::Redeliver(event) => self.pages.event(*event).await?,
            };
            if let Some(outgoing) = found {
                let reference = kind.reference();
                let of = reference.map_or(sequence, |event| event.sequence);
                return Ok(Some(Asked {
                    sequence,
                    reference,
                    item: item(&self.line, of, outgoing),
                }));
            }
            self.line.answered(sequence);
        }
        Ok(None)
    }

    /// Returns an example event with an id of its own.
    fn example(&self, name: &str, sequence: u64) -> Option<Outgoing> {
        let mut id = *self.session.webhook.0.bytes();
        id[8..].copy_from_slice(&sequence.to_be_bytes());
        let event_type = EventType::find(name)?;
        let id = Id::from_bytes(id);
        let (event, object) = PublicEvent::example(event_type, self.session.tenant, id, now())?;
        let shown = Shown::Example(object);
        Some(Outgoing { event, shown })
    }
}
