//! Finds webhooks that have something to send and were not woken: a lost wake-up, a lost schedule.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use event_store::EventLog;
use events_schema::{
    TenantId, TenantKey, Time, WebhookId, subject::events_of_tenant, webhook::Cursor,
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    cursors::{Cursors, is_held},
    wake::{Wakes, Why},
};

/// How often one of the processes looks. It reads one record for each webhook.
const EVERY: Duration = Duration::from_secs(5 * 60);
const AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(10);
/// A process does not look if another one has begun to so shortly before.
const JUST_NOW: Duration = Duration::from_secs(4 * 60);
/// By then, a lease that nobody renews has ended.
const LEASES_END: Duration = Duration::from_secs(25);
/// How long after a reconnection a process looks: by then the stream is there again.
const AFTER_RECONNECTION: Duration = Duration::from_secs(3);

/// Looks for webhooks that nobody has woken.
pub struct Sweep {
    log: EventLog,
    cursors: Cursors,
    wakes: Wakes,
}

impl Sweep {
    /// Looks at these cursors.
    pub const fn new(log: EventLog, cursors: Cursors, wakes: Wakes) -> Self {
        Self {
            log,
            cursors,
            wakes,
        }
    }

    /// Looks at the start, every five minutes, and when the connection to NATS is restored: the
    /// server keeps wake-ups in memory.
    pub async fn run(self, mut reconnects: watch::Receiver<u64>) {
        loop {
            let wait = match self.look().await {
                Ok(()) => EVERY,
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "looking for webhooks to wake failed");
                    AGAIN_AFTER_FAILURE
                }
            };
            if wait == AGAIN_AFTER_FAILURE {
                sleep(wait).await;
            } else {
                while !self.is_due(wait, &mut reconnects).await {}
            }
        }
    }

    /// Waits until the connection is restored, or for this long. Then returns whether this process
    /// is to look.
    async fn is_due(&self, wait: Duration, reconnects: &mut watch::Receiver<u64>) -> bool {
        if timeout(wait, reconnects.changed()).await.is_ok() {
            sleep(AFTER_RECONNECTION).await;
            return true;
        }
        let begun = self.cursors.begin_sweep(now(), JUST_NOW).await;
        begun.unwrap_or(true)
    }

    /// Looks at all webhooks, and once more at those that a worker holds: it may have been killed.
    async fn look(&self) -> anyhow::Result<()> {
        let held = self.wake(self.cursors.all().await?).await?;
        if !held.is_empty() {
            sleep(LEASES_END).await;
            self.wake(held).await?;
        }
        Ok(())
    }

    /// Wakes those of the webhooks that have something to send. Returns those that a worker holds.
    async fn wake(
        &self,
        webhooks: Vec<(TenantKey, WebhookId)>,
    ) -> anyhow::Result<Vec<(TenantKey, WebhookId)>> {
        let (mut held, mut ends) = (Vec::new(), HashMap::new());
        let log_end = self.log.last_sequence().await?;
        for (tenant, webhook) in webhooks {
            let cursor = match self.cursors.get(tenant, webhook).await {
                Ok(record) => record.cursor,
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(%tenant, %webhook, error, "a webhook is not looked at");
                    continue;
                }
            };
            let Some(cursor) = cursor else {
                continue;
            };
            if cursor.next > log_end + 1 {
                tracing::error!(
                    %tenant, %webhook,
                    "the cursor of the webhook is of another log; run `workers reset-webhooks`"
                );
            } else if is_held(&cursor, now()) {
                held.push((tenant, webhook));
            } else if let Some(due) = cursor.due()
                && due > now()
            {
                // The server may have lost the schedule. A second one replaces it.
                self.wakes.at(tenant, webhook, due).await?;
            } else if self.is_behind(tenant, &cursor, &mut ends).await? {
                tracing::info!(%tenant, %webhook, "waking a webhook that nobody has woken");
                self.wakes.all([((tenant, webhook), Why::Events)]).await?;
            }
        }
        Ok(held)
    }

    /// Whether a webhook has something to send, as far as its position tells.
    async fn is_behind(
        &self,
        tenant: TenantKey,
        cursor: &Cursor,
        ends: &mut HashMap<TenantKey, u64>,
    ) -> anyhow::Result<bool> {
        if cursor.due().is_some() {
            return Ok(true);
        }
        let end = match ends.get(&tenant) {
            Some(end) => *end,
            None => {
                let filter = events_of_tenant(TenantId::Tenant(tenant));
                let last = self.log.last(&filter).await?;
                let end = last.map_or(0, |last| last.sequence);
                ends.insert(tenant, end);
                end
            }
        };
        Ok(cursor.next <= end)
    }
}

fn now() -> Time {
    Time::from(SystemTime::now())
}
