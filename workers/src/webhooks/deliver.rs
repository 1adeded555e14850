//! Wake-ups in, sessions out: takes turns with the webhooks that are awake.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::jetstream::Message;
use events_schema::{TenantKey, WebhookId, subject::parse_wake_up};
use futures_util::StreamExt as _;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    session::{End, Parts, Session, WakeUps},
    slots::Slots,
};
use crate::loops::{Shared, consumers::Consumer, delivery};

/// Webhooks of one tenant to which a process sends at once, of those that its consumer allows.
const AT_ONCE_OF_TENANT: usize = 32;
/// How long a wake-up waits at the server for which there was no slot.
const NO_SLOT: Duration = Duration::from_secs(1);
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
    let mut messages = delivery::messages(consumer(), shared);
    let mut sessions = JoinSet::new();
    while let Some(received) = messages.next().await {
        while sessions.try_join_next().is_some() {}
        let message = received.message;
        let Some((tenant, webhook)) = parse_wake_up(&message.subject) else {
            delivery::terminate(&message).await;
            continue;
        };
        let Some((message, following)) = deliveries.begin(webhook, message) else {
            continue;
        };
        let (deliveries, shutdown) = (deliveries.clone(), shutdown.clone());
        sessions.spawn(async move {
            let serving = deliveries.serve(tenant, webhook, message, following, &shutdown);
            serving.await;
        });
    }
    while sessions.join_next().await.is_some() {}
}

fn consumer() -> Consumer {
    Consumer::deliveries_to_webhooks()
}

impl Deliveries {
    /// Makes no session yet.
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            active: Mutex::default(),
            slots: Slots::new(consumer().concurrency, AT_ONCE_OF_TENANT),
        }
    }

    /// Gives a wake-up to the session of its webhook. If there is none, returns the wake-up, and the
    /// end at which those arrive that follow.
    fn begin(
        &self,
        webhook: WebhookId,
        message: Message,
    ) -> Option<(Message, mpsc::UnboundedReceiver<Message>)> {
        let mut active = self.active();
        let message = match active.get(&webhook) {
            Some(session) => session.send(message).err()?.0,
            None => message,
        };
        let (sender, following) = mpsc::unbounded_channel();
        active.insert(webhook, sender);
        Some((message, following))
    }

    /// Serves a webhook as long as it is awake.
    async fn serve(
        &self,
        tenant: TenantKey,
        webhook: WebhookId,
        message: Message,
        mut following: mpsc::UnboundedReceiver<Message>,
        shutdown: &CancellationToken,
    ) {
        let mut next = Some(message);
        while let Some(message) = next {
            let mut wake_ups = WakeUps {
                held: message,
                following: &mut following,
            };
            let slot = shutdown.run_until_cancelled(self.slots.take(tenant)).await;
            let Some(slot) = slot.flatten() else {
                let wait = if shutdown.is_cancelled() {
                    Duration::ZERO
                } else {
                    NO_SLOT
                };
                delivery::retry(&wake_ups.held, wait).await;
                next = self.next(webhook, &mut following);
                continue;
            };
            let parts = self.parts.clone();
            let session = Session::new(parts, tenant, webhook, slot, shutdown.clone());
            let end = session.run(&mut wake_ups).await;
            // Those who wait for the slot come first.
            drop(session);
            let held = wake_ups.held;
            next = match end {
                Ok(End::Yield) if !shutdown.is_cancelled() => Some(held),
                end => {
                    settle(&held, end).await;
                    self.next(webhook, &mut following)
                }
            };
        }
    }

    /// Returns a wake-up that came after a session had looked for the last time. Without any, the
    /// webhook is no longer active.
    fn next(
        &self,
        webhook: WebhookId,
        following: &mut mpsc::UnboundedReceiver<Message>,
    ) -> Option<Message> {
        let mut active = self.active();
        let next = following.try_recv().ok();
        if next.is_none() {
            active.remove(&webhook);
        }
        next
    }

    fn active(&self) -> MutexGuard<'_, HashMap<WebhookId, mpsc::UnboundedSender<Message>>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn settle(message: &Message, end: anyhow::Result<End>) {
    match end {
        Ok(End::Rest | End::Deleted) => {
            if let Err(error) = message.ack().await {
                tracing::warn!(%error, "a wake-up is not acknowledged; it changes nothing");
            }
        }
        Ok(End::Yield) => delivery::retry(message, Duration::ZERO).await,
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
