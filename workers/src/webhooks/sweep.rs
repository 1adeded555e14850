//! Finds webhooks that have something to send and were not woken: a lost wake-up, a lost schedule.

use std::{collections::HashMap, time::Duration};

use event_store::EventLog;
use events_schema::{TenantId, TenantKey, Time, WebhookId, subject::events_of_tenant};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    cursors::{Cursors, is_held},
    wake::Wakes,
};

/// How often each process looks. One that finds nothing has read one record for each webhook.
const EVERY: Duration = Duration::from_secs(5 * 60);
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
            if let Err(error) = self.once().await {
                let error = format!("{error:#}");
                tracing::warn!(error, "looking for webhooks to wake failed");
            }
            // Elapsed or reconnected, it is time to look.
            if let Ok(Ok(())) = timeout(EVERY, reconnects.changed()).await {
                sleep(AFTER_RECONNECTION).await;
            }
        }
    }

    async fn once(&self) -> anyhow::Result<()> {
        let now = Time::from(std::time::SystemTime::now());
        let mut ends = HashMap::new();
        for (tenant, webhook) in self.cursors.all().await? {
            if self.is_forgotten(tenant, webhook, now, &mut ends).await? {
                tracing::info!(%tenant, %webhook, "waking a webhook that nobody has woken");
                self.wakes.all([(tenant, webhook)]).await?;
            }
        }
        Ok(())
    }

    /// Whether a webhook has something to send, and no worker sends to it.
    async fn is_forgotten(
        &self,
        tenant: TenantKey,
        webhook: WebhookId,
        now: Time,
        ends: &mut HashMap<TenantKey, u64>,
    ) -> anyhow::Result<bool> {
        let Some(stored) = self.cursors.get(tenant, webhook).await? else {
            return Ok(false);
        };
        let cursor = stored.cursor;
        if is_held(&cursor, now) {
            return Ok(false);
        }
        if let Some(due) = cursor.due()
            && due <= now
        {
            return Ok(true);
        }
        let end = match ends.get(&tenant) {
            Some(end) => *end,
            None => {
                let last = self
                    .log
                    .last(&events_of_tenant(TenantId::Tenant(tenant)))
                    .await?;
                let end = last.map_or(0, |last| last.sequence);
                ends.insert(tenant, end);
                end
            }
        };
        Ok(cursor.probe_at.is_none() && cursor.next <= end)
    }
}
