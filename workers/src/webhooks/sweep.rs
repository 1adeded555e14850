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
    lost::{self, LostCursors},
    tenants::Tenants,
    wake::{Wakes, Why},
};

/// How often one of the processes looks. It reads one record for each webhook.
const EVERY: Duration = Duration::from_secs(5 * 60);
const AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(10);
/// By then, a lease that nobody renews has ended.
const LEASES_END: Duration = Duration::from_secs(25);
/// How long after a reconnection a process looks: by then the stream is there again.
const AFTER_RECONNECTION: Duration = Duration::from_secs(3);

/// Looks for webhooks that nobody has woken, and for those that pause.
pub struct Sweep {
    log: EventLog,
    cursors: Cursors,
    lost: LostCursors,
    wakes: Wakes,
    every: Duration,
}

/// What a look has found beside the webhooks that it has woken.
#[derive(Default)]
struct Found {
    /// Those that a worker holds.
    held: Vec<(TenantKey, WebhookId)>,
    /// How many have a cursor of another log.
    of_another_log: usize,
}

impl Sweep {
    /// Looks at these cursors.
    pub fn new(log: EventLog, tenants: Tenants, cursors: Cursors, wakes: Wakes) -> Self {
        Self {
            lost: LostCursors::new(log.clone(), tenants, cursors.clone()),
            log,
            cursors,
            wakes,
            every: EVERY,
        }
    }

    /// Looks at the start, every five minutes, and when the connection to NATS is restored: the
    /// server keeps wake-ups in memory.
    pub async fn run(mut self, mut reconnects: watch::Receiver<u64>) {
        loop {
            let wait = match self.look().await {
                Ok(()) => self.every,
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
        // A process does not look if another one has begun to shortly before.
        let just_now = self.every * 4 / 5;
        let begun = self.cursors.begin_sweep(now(), just_now).await;
        let begun = begun.unwrap_or(true);
        if !begun {
            lost::leave_to_others();
        }
        begun
    }

    /// Looks at all webhooks, and once more at those that a worker holds: it may have been killed.
    async fn look(&mut self) -> anyhow::Result<()> {
        let found = self.wake(self.cursors.all().await?).await?;
        lost::report(self.lost.find().await?.len() + found.of_another_log);
        if !found.held.is_empty() {
            sleep(LEASES_END).await;
            self.wake(found.held).await?;
        }
        Ok(())
    }

    /// Wakes those of the webhooks that have something to send.
    async fn wake(&self, webhooks: Vec<(TenantKey, WebhookId)>) -> anyhow::Result<Found> {
        let (mut found, mut ends) = (Found::default(), HashMap::new());
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
                tracing::warn!(%tenant, %webhook, "the cursor of the webhook is of another log");
                found.of_another_log += 1;
            } else if is_held(&cursor, now()) {
                found.held.push((tenant, webhook));
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
        Ok(found)
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

#[cfg(test)]
mod tests;
