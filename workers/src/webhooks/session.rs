//! One worker's turn with one webhook, under a lease: reads the log, sends, and records.

use std::time::SystemTime;

use anyhow::ensure;
use async_nats::jetstream::Message;
use event_store::EventLog;
use events_schema::{TenantKey, Time, WebhookId};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use super::{
    attempts::Attempts,
    cursors::{Cursors, LAGS, Missing, is_held, started},
    message::Messages,
    report::Reports,
    slots::Slot,
    tenants::Tenants,
    wake::Wakes,
};

mod lease;
mod pace;
mod pages;
mod replaying;
mod sending;
mod turn;

pub use self::pages::LargePages;
use self::{lease::HeldLease, turn::Turn};

/// What sessions work with.
#[derive(Clone)]
pub struct Parts {
    pub log: EventLog,
    pub tenants: Tenants,
    pub cursors: Cursors,
    pub wakes: Wakes,
    pub messages: Messages,
    pub attempts: Attempts,
    pub reports: Reports,
    pub large_pages: LargePages,
}

/// How a session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There is nothing to send now.
    Rest,
    /// There is more to send. Others have their turn, or the settings have changed.
    Yield,
    /// Another worker sends to this webhook.
    Held,
    /// The webhook is deleted.
    Deleted,
}

/// A wake-up that is not settled, and those that follow.
pub struct WakeUps<'a> {
    pub held: Message,
    pub following: &'a mut UnboundedReceiver<Message>,
}

/// A webhook that is awake.
pub struct Session {
    parts: Parts,
    tenant: TenantKey,
    webhook: WebhookId,
    slot: Slot,
    shutdown: CancellationToken,
}

impl Session {
    /// Prepares a session, which ends early at `shutdown`.
    pub const fn new(
        parts: Parts,
        tenant: TenantKey,
        webhook: WebhookId,
        slot: Slot,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            parts,
            tenant,
            webhook,
            slot,
            shutdown,
        }
    }

    /// Sends what the webhook has not got. At the end, the wake-up in `wake_ups` is to be settled.
    ///
    /// # Errors
    /// If a server is away, or the lease is lost.
    pub async fn run(&self, wake_ups: &mut WakeUps<'_>) -> anyhow::Result<End> {
        let (cursors, tenant, id) = (&self.parts.cursors, self.tenant, self.webhook);
        let webhooks = self.parts.tenants.of(tenant).await?;
        let record = cursors.get(tenant, id).await?;
        let Some(webhook) = webhooks.get(id) else {
            let is_current = self.parts.tenants.is_current(tenant, &webhooks).await?;
            ensure!(is_current, LAGS);
            if record.cursor.is_some() {
                cursors.delete(tenant, id, record.revision).await?;
            }
            return Ok(End::Deleted);
        };
        let held = record.cursor.as_ref();
        if held.is_some_and(|cursor| is_held(cursor, now())) {
            return Ok(End::Held);
        }
        if record.cursor.is_none() && cursors.missing(webhook.created_at).await? == Missing::Lost {
            tracing::error!(
                %tenant, webhook = %id,
                "the cursor of the webhook is lost; run `workers reset-webhooks`"
            );
            return Ok(End::Rest);
        }
        let (cursor, revision) = (record.cursor, record.revision);
        let cursor = started(cursor, id, &webhooks)?;
        let lease = HeldLease::take(cursors.clone(), tenant, id, cursor.clone(), revision);
        let Some(lease) = lease.await? else {
            return Ok(End::Held);
        };
        let mut turn = Turn::new(self, webhooks.clone(), webhook.clone(), cursor, lease);
        let end = turn.run(wake_ups).await;
        let ended = turn.end(matches!(end, Ok(End::Deleted))).await;
        if let Err(error) = ended {
            let error = format!("{error:#}");
            tracing::warn!(webhook = %id, error, "the lease of a webhook is not released");
        }
        end
    }
}

/// Returns the present time.
fn now() -> Time {
    Time::from(SystemTime::now())
}
