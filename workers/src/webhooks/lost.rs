//! Finds webhooks whose place in the log is lost with the bucket `CURSORS`. They pause until an
//! operator says from where they go on, and nobody may notice for long: their tenants may be quiet.

use std::sync::LazyLock;

use event_store::{EventLog, telemetry};
use events_schema::{AreaName, TenantKey, Time, WebhookId, subject::events_of};

use super::{
    cursors::{Cursors, Missing},
    tenants::Tenants,
};
use crate::log_tenants::tenants_with;

/// Tenants whose webhooks are read at once.
const AT_ONCE: usize = 200;

static LOST: LazyLock<telemetry::Gauge<u64>> = LazyLock::new(|| {
    let description = "Webhooks that pause, since nobody knows what they have got. The process \
                       that has looked last has the number, the others have 0.";
    telemetry::gauge("ub.webhook.lost", description)
});

/// Finds webhooks whose cursors are lost.
pub struct LostCursors {
    log: EventLog,
    tenants: Tenants,
    cursors: Cursors,
    /// When the bucket was created, and the tenants that had webhooks before.
    before: Option<(Time, Vec<TenantKey>)>,
}

impl LostCursors {
    /// Compares the webhooks of the log with their cursors.
    pub const fn new(log: EventLog, tenants: Tenants, cursors: Cursors) -> Self {
        Self {
            log,
            tenants,
            cursors,
            before: None,
        }
    }

    /// Returns the webhooks that are older than the bucket, which has no cursor of them. Only a
    /// bucket that was created again costs more than two requests.
    ///
    /// # Errors
    /// If the log or the bucket does not answer.
    pub async fn find(&mut self) -> anyhow::Result<Vec<(TenantKey, WebhookId)>> {
        let created_at = self.cursors.created_at().await?;
        let before = self.tenants_before(created_at).await?;
        let mut lost = Vec::new();
        for tenants in before.chunks(AT_ONCE) {
            for (tenant, webhooks) in self.tenants.of_each(tenants).await? {
                for (id, webhook) in &webhooks.webhooks {
                    let missing = Missing::since(created_at, webhook.created_at);
                    let may_be_lost = !webhooks.is_deleted && missing == Missing::Lost;
                    if may_be_lost && self.has_no_cursor(tenant, *id).await {
                        lost.push((tenant, *id));
                    }
                }
            }
        }
        Ok(lost)
    }

    async fn tenants_before(&mut self, created_at: Time) -> anyhow::Result<Vec<TenantKey>> {
        if let Some((at, tenants)) = &self.before
            && *at == created_at
        {
            return Ok(tenants.clone());
        }
        let area = AreaName::Webhook;
        let first = self.log.first_since(&events_of(area), created_at).await?;
        let tenants = tenants_with(&self.log, area, first.unwrap_or(u64::MAX)).await?;
        let tenants = Vec::from_iter(tenants);
        self.before = Some((created_at, tenants.clone()));
        Ok(tenants)
    }

    /// A record that cannot be read is there; whoever looks at it says why.
    async fn has_no_cursor(&self, tenant: TenantKey, webhook: WebhookId) -> bool {
        let record = self.cursors.get(tenant, webhook).await;
        record.is_ok_and(|record| record.cursor.is_none())
    }
}

/// Tells the operator how many webhooks pause.
pub fn report(count: usize) {
    LOST.record(count.try_into().unwrap_or(u64::MAX), &[]);
    if count > 0 {
        tracing::error!(
            count,
            "webhooks pause, since their cursors are lost or of another log; run \
             `workers reset-webhooks`"
        );
    }
}

/// Leaves it to the process that looks now to tell how many webhooks pause.
pub fn leave_to_others() {
    LOST.record(0, &[]);
}
