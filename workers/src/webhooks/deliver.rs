//! Wake-ups in, sessions out: takes turns with the webhooks that are awake.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::jetstream::Message;
use events_schema::{WebhookId, subject::parse_wake_up};
use futures_util::StreamExt as _;
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    session::{End, Parts, Session, WakeUps},
    slots::Slots,
};
use crate::loops::{Shared, consumers::Consumer, delivery};

/// Webhooks to which a process sends at once, and those of one tenant.
const AT_ONCE: usize = 512;
const AT_ONCE_OF_TENANT: usize = 16;
/// How long a wake-up waits for which there is no slot, and one whose session has made room for it:
/// longer, or it would be first.
const NO_SLOT: Duration = Duration::from_secs(1);
const MADE_ROOM: Duration = Duration::from_millis(1_200);
/// How long a wake-up waits whose webhook another worker serves. It doubles with each delivery.
const HELD_FIRST: Duration = Duration::from_millis(50);
const HELD_LONGEST: Duration = Duration::from_secs(1);
/// How long a wake-up waits after a failure.
const FAILED: Duration = Duration::from_secs(2);

/// The sessions of this process.
pub struct Deliveries {
    parts: Parts,
    active: Mutex<HashMap<WebhookId, mpsc::UnboundedSender<Message>>>,
    slots: Slots,
}

/// Serves wake-ups until `shutdown`, then ends the sessions.
pub async fn run(shared: Shared, deliveries: Arc<Deliveries>) {
    let shutdown = shared.shutdown.clone();
    let mut messages = delivery::messages(Consumer::deliveries_to_webhooks(), shared);
    let mut sessions = JoinSet::new();
    while let Some(received) = messages.next().await {
        while sessions.try_join_next().is_some() {}
        let message = received.message;
        let Some((tenant, webhook)) = parse_wake_up(&message.subject) else {
            delivery::terminate(&message).await;
            continue;
        };
        let Some(message) = deliveries.pass_on(webhook, message) else {
            continue;
        };
        let Some(slot) = deliveries.slots.try_take(tenant) else {
            delivery::retry(&message, NO_SLOT).await;
            continue;
        };
        // From here on, further wake-ups belong to this session.
        let following = deliveries.begin(webhook);
        let parts = deliveries.parts.clone();
        let session = Session::new(parts, tenant, webhook, slot, shutdown.clone());
        let deliveries = deliveries.clone();
        sessions.spawn(async move {
            deliveries.serve(webhook, session, message, following).await;
        });
    }
    while sessions.join_next().await.is_some() {}
}

impl Deliveries {
    /// Makes no session yet.
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            active: Mutex::default(),
            slots: Slots::new(AT_ONCE, AT_ONCE_OF_TENANT),
        }
    }

    /// Gives a wake-up to the session of its webhook; returns it if this process has none.
    fn pass_on(&self, webhook: WebhookId, message: Message) -> Option<Message> {
        match self.active().get(&webhook) {
            Some(session) => session.send(message).err().map(|error| error.0),
            None => Some(message),
        }
    }

    /// Returns the further wake-ups of a webhook whose session begins.
    fn begin(&self, webhook: WebhookId) -> mpsc::UnboundedReceiver<Message> {
        let (sender, following) = mpsc::unbounded_channel();
        self.active().insert(webhook, sender);
        following
    }

    /// Runs the session of a webhook, and settles its wake-ups.
    async fn serve(
        &self,
        webhook: WebhookId,
        session: Session,
        message: Message,
        mut following: mpsc::UnboundedReceiver<Message>,
    ) {
        let mut wake_ups = WakeUps {
            held: message,
            following: &mut following,
        };
        let end = session.run(&mut wake_ups).await;
        self.active().remove(&webhook);
        let room = session.makes_room().then_some(MADE_ROOM);
        settle(&wake_ups.held, end, room.unwrap_or_default()).await;
        // These came after the session had looked for the last time.
        while let Ok(message) = following.try_recv() {
            delivery::retry(&message, Duration::ZERO).await;
        }
    }

    fn active(&self) -> MutexGuard<'_, HashMap<WebhookId, mpsc::UnboundedSender<Message>>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Settles the wake-up of a session that has ended. It comes again after `others` if there is more
/// to send.
async fn settle(message: &Message, end: anyhow::Result<End>, others: Duration) {
    match end {
        Ok(End::Rest | End::Deleted) => {
            if let Err(error) = message.ack().await {
                tracing::warn!(%error, "a wake-up is not acknowledged; it changes nothing");
            }
        }
        Ok(End::Yield) => delivery::retry(message, others).await,
        Ok(End::Held) => {
            let doublings = u32::try_from(delivery::deliveries(message)).unwrap_or(1);
            let wait = HELD_FIRST * 2_u32.saturating_pow(doublings.clamp(1, 10) - 1);
            delivery::retry(message, wait.min(HELD_LONGEST)).await;
        }
        Err(error) => {
            let (subject, error) = (message.subject.as_str(), format!("{error:#}"));
            tracing::warn!(subject, error, "the delivery to a webhook goes on later");
            delivery::retry(message, FAILED).await;
        }
    }
}
