//! Commits in, wake-ups out: wakes the webhooks that want the events of a commit.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use async_nats::jetstream::{self, Message, message::PublishMessage};
use bytes::Bytes;
use events_schema::{
    AreaName, Commit, Subject, TenantId, TenantKey, Time, WebhookId,
    published::{Unreadable, events_of},
    subject::{scheduled_wake_up, tenant_of_events, wake_up},
    webhook::{Area, Event},
};
use futures_util::{StreamExt as _, future::try_join_all};

use super::{
    cursors::{Cursors, LAGS},
    tenants::{TenantWebhooks, Tenants},
};
use crate::loops::{
    Shared,
    consumers::Consumer,
    delivery::{self, Handled, Received},
};

/// Commits that are handled together.
const CHUNK: usize = 200;

/// What the wake-ups of webhooks have in them that may have events.
const EVENTS: &[u8] = b"events";

/// Why a webhook is woken. It is a hint: the last wake-up of a webhook replaces the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// There may be events to send.
    Events,
    /// The webhook itself may have changed, too.
    Settings,
}

impl Why {
    /// Returns the payload of a wake-up. It is never empty: with an empty message, nats-server ends
    /// the stream of answers to another account, and the pull gets nothing more.
    const fn payload(self) -> Bytes {
        match self {
            Self::Events => Bytes::from_static(EVENTS),
            Self::Settings => Bytes::from_static(b"settings"),
        }
    }

    /// Returns why a message wakes. Those of an earlier release are empty if there may be events.
    pub fn of(message: &Message) -> Self {
        Self::read(&message.payload)
    }

    fn read(payload: &[u8]) -> Self {
        if payload.is_empty() || payload == EVENTS {
            Self::Events
        } else {
            Self::Settings
        }
    }
}

/// Publishes wake-ups.
#[derive(Clone)]
pub struct Wakes {
    jetstream: jetstream::Context,
}

/// Wakes webhooks until `shutdown`.
pub async fn run(shared: Shared, tenants: Tenants, cursors: Cursors, wakes: Wakes) {
    let context = &jetstream::new(shared.client.clone());
    let consumer = &Consumer::wake_ups_of_webhooks();
    let (tenants, cursors, wakes) = (&tenants, &cursors, &wakes);
    delivery::messages(consumer.clone(), shared)
        .ready_chunks(CHUNK)
        .for_each_concurrent(consumer.concurrency / CHUNK, |chunk| async move {
            let waking = wake(tenants, cursors, wakes, &chunk);
            let waking = delivery::bounded(consumer.ack_wait, waking);
            let result = waking.await;
            for received in &chunk {
                let result = match &result {
                    Ok(()) => Ok(Handled::Done),
                    Err(error) => Err(anyhow::anyhow!("{error:#}")),
                };
                delivery::settle(context, consumer, received, &result).await;
            }
        })
        .await;
}

async fn wake(
    tenants: &Tenants,
    cursors: &Cursors,
    wakes: &Wakes,
    chunk: &[Received],
) -> anyhow::Result<()> {
    let commits = chunk.iter().filter_map(|received| {
        let subject = received.message.subject.as_str();
        let TenantId::Tenant(tenant) = tenant_of_events(subject)? else {
            return None;
        };
        Some((tenant, area_of(subject), received))
    });
    let commits: Vec<_> = commits.collect();
    let of_chunk: BTreeSet<_> = commits.iter().map(|(tenant, ..)| *tenant).collect();
    let known = tenants.of_each(&Vec::from_iter(of_chunk)).await?;
    let mut woken = BTreeMap::new();
    for (tenant, area, received) in commits {
        let Some(webhooks) = known.get(&tenant) else {
            continue;
        };
        let message = &received.message;
        let (subject, sequence) = (message.subject.as_str(), delivery::sequence(message));
        // Else a session would look too early, and end without a further wake-up.
        let is_known = webhooks.knows(tenant, subject, sequence, &message.payload);
        ensure!(is_known, LAGS);
        if area == Some(AreaName::Webhook) {
            begin(cursors, tenant, webhooks, received).await?;
        }
        let awake = awake(webhooks, area, received);
        let why = if [AreaName::Webhook, AreaName::Tenant]
            .map(Some)
            .contains(&area)
        {
            Why::Settings
        } else {
            Why::Events
        };
        for webhook in awake {
            let known = woken.entry((tenant, webhook)).or_insert(why);
            *known = why.max(*known);
        }
    }
    wakes.all(woken).await
}

/// Stores the first cursor of webhooks that a commit has created: the sweep looks at cursors only.
async fn begin(
    cursors: &Cursors,
    tenant: TenantKey,
    webhooks: &TenantWebhooks,
    received: &Received,
) -> anyhow::Result<()> {
    let Ok(commit) = serde_json::from_slice::<Commit<Area>>(&received.message.payload) else {
        return Ok(());
    };
    for event in &commit.events {
        let id = event.webhook();
        if matches!(event, Event::Created { .. }) && webhooks.get(id).is_some() {
            let start = delivery::sequence(&received.message);
            cursors.begin(tenant, id, start, commit.time).await?;
        }
    }
    Ok(())
}

/// Returns the area of a commit; `None` if only a newer release knows it.
fn area_of(subject: &str) -> Option<AreaName> {
    match Subject::parse(subject) {
        Ok(Subject::Event { area, .. }) => Some(area),
        Ok(Subject::Command { .. } | Subject::Claim { .. } | Subject::View { .. }) | Err(_) => None,
    }
}

/// Returns the webhooks that a commit concerns.
fn awake(webhooks: &TenantWebhooks, area: Option<AreaName>, received: &Received) -> Vec<WebhookId> {
    let all = || webhooks.webhooks.keys().copied().collect();
    let payload = &received.message.payload;
    if area == Some(AreaName::Webhook) {
        return match serde_json::from_slice::<Commit<Area>>(payload) {
            Ok(commit) => commit.events.iter().map(Event::webhook).collect(),
            Err(_) => all(),
        };
    }
    // A deleted tenant takes its webhooks with it.
    if area == Some(AreaName::Tenant) || webhooks.is_newer {
        return all();
    }
    match events_of(&received.message.subject, payload) {
        Ok(events) => {
            let wanting = webhooks.webhooks.iter().filter(|(_, webhook)| {
                let mut events = events.iter();
                webhook.disabled.is_none()
                    && events.any(|event| webhook.settings.wants(event.event_type))
            });
            wanting.map(|(id, _)| *id).collect()
        }
        // Each delivery stops at this commit until a worker of the newer release takes over.
        Err(Unreadable::Newer(_)) => all(),
        // The loop of the views reports it.
        Err(Unreadable::Malformed(_) | Unreadable::Missing { .. }) => Vec::new(),
    }
}

impl Wakes {
    /// Publishes wake-ups over this connection.
    pub const fn new(jetstream: jetstream::Context) -> Self {
        Self { jetstream }
    }

    /// Wakes these webhooks.
    ///
    /// # Errors
    /// If a wake-up is not stored.
    pub async fn all(
        &self,
        webhooks: impl IntoIterator<Item = ((TenantKey, WebhookId), Why)>,
    ) -> anyhow::Result<()> {
        let mut stored = Vec::new();
        for ((tenant, webhook), why) in webhooks {
            let subject = wake_up(tenant, webhook);
            let published = self.jetstream.publish(subject, why.payload()).await;
            stored.push(published.context("waking a webhook")?);
        }
        let stored = stored.into_iter().map(IntoFuture::into_future);
        try_join_all(stored).await.context("waking a webhook")?;
        Ok(())
    }

    /// Wakes a webhook at this time. A later call replaces the time.
    ///
    /// # Errors
    /// If the schedule is not stored.
    pub async fn at(
        &self,
        tenant: TenantKey,
        webhook: WebhookId,
        time: Time,
    ) -> anyhow::Result<()> {
        const TOO_LATE: &str = "the time of a wake-up is out of range";
        let time = jiff::Timestamp::from_millisecond(time.0).context(TOO_LATE)?;
        let schedule = PublishMessage::build()
            .payload(Why::Events.payload())
            .header("Nats-Schedule", format!("@at {time}").as_str())
            .header("Nats-Schedule-Target", wake_up(tenant, webhook).as_str());
        let subject = scheduled_wake_up(tenant, webhook);
        let published = self.jetstream.send_publish(subject, schedule).await;
        let stored = published.context("scheduling a wake-up")?;
        stored.await.context("scheduling a wake-up")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_says_why_and_is_never_empty() {
        for why in [Why::Events, Why::Settings] {
            let payload = why.payload();
            assert!(!payload.is_empty(), "{why:?}");
            assert_eq!(Why::read(&payload), why);
        }
        assert_eq!(Why::read(b""), Why::Events);
    }
}
