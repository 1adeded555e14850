//! Lets webhooks go on whose place in the log is lost: `workers reset-webhooks`.
//!
//! Without their record in the bucket `CURSORS`, nobody knows what they have got. So the operator
//! names a time from which they get events, some of them perhaps once more.

use anyhow::Context as _;
use async_nats::jetstream;
use event_store::{EventLog, NatsOptions};
use events_schema::{AreaName, TenantId, Time, subject::events_of_tenant, webhook::Cursor};
use futures_util::future::BoxFuture;

use crate::{
    log_tenants::tenants_with,
    webhooks::{Cursors, Tenants, Wakes, Why},
};

/// Gives each webhook without a record, or with one of another log, a new one, so that it gets the
/// events from `at` on, or from its own beginning if that is later. Returns how many there are.
///
/// # Errors
/// If NATS does not answer.
pub fn reset_webhooks(nats: &NatsOptions, at: Time) -> BoxFuture<'_, anyhow::Result<u64>> {
    Box::pin(async move {
        let client = event_store::connect(nats, "workers").await?;
        let log = EventLog::new(client.clone());
        let (tenants, cursors) = (
            Tenants::new(log.clone()),
            Cursors::new(jetstream::new(client.clone())),
        );
        let wakes = Wakes::new(jetstream::new(client));
        let log_end = log.last_sequence().await?;
        let mut count = 0;
        for tenant in tenants_with(&log, AreaName::Webhook, u64::MAX).await? {
            let webhooks = tenants.of(tenant).await?;
            for (webhook, start) in &webhooks.starts {
                let record = cursors.get(tenant, *webhook).await?;
                let has_place = |cursor: &Cursor| cursor.next <= log_end + 1;
                if webhooks.get(*webhook).is_none() || record.cursor.as_ref().is_some_and(has_place)
                {
                    continue;
                }
                let filter = events_of_tenant(TenantId::Tenant(tenant));
                let first = log.first_since(&filter, at).await?;
                let last = log.last(&filter).await?.map_or(0, |last| last.sequence);
                let next = first.unwrap_or(last + 1);
                let cursor = Cursor {
                    requests: last,
                    ..Cursor::after((next - 1).max(*start))
                };
                let put = cursors
                    .put(tenant, *webhook, &cursor, record.revision)
                    .await?;
                put.context("a worker has written the record meanwhile; run the command again")?;
                wakes.all([((tenant, *webhook), Why::Settings)]).await?;
                tracing::info!(%tenant, %webhook, next = cursor.next, "the webhook goes on");
                count += 1;
            }
        }
        Ok(count)
    })
}
