//! Records attempts in the stream `ATTEMPTS`. Nobody waits until a record is stored: if it is lost,
//! a customer sees one attempt less.

use std::collections::BTreeSet;

use async_nats::Client;
use event_store::read_stream;
use events_schema::{
    TenantKey, WebhookId,
    subject::{self, ATTEMPTS},
    webhook::{Attempt, EventRef, Verdict},
};

/// Records attempts.
#[derive(Clone)]
pub struct Attempts {
    client: Client,
}

impl Attempts {
    /// Records attempts over this connection.
    pub const fn new(client: Client) -> Self {
        Self { client }
    }

    /// Returns the events of a webhook of which an attempt has failed and none has succeeded, as far
    /// as attempts are kept.
    ///
    /// # Errors
    /// If the stream does not answer.
    pub async fn failed_only(
        &self,
        tenant: TenantKey,
        webhook: WebhookId,
    ) -> anyhow::Result<BTreeSet<EventRef>> {
        let mut failed = self.events(tenant, webhook, Verdict::Failed).await?;
        for event in self.events(tenant, webhook, Verdict::Succeeded).await? {
            failed.remove(&event);
        }
        Ok(failed)
    }

    async fn events(
        &self,
        tenant: TenantKey,
        webhook: WebhookId,
        verdict: Verdict,
    ) -> anyhow::Result<BTreeSet<EventRef>> {
        let subject = subject::attempts(tenant, webhook, verdict);
        let stored = read_stream(&self.client, ATTEMPTS, &subject, 1).await?;
        let attempts = stored
            .iter()
            .map(|stored| serde_json::from_slice(&stored.payload));
        let attempts = attempts.filter_map(|attempt: Result<Attempt, _>| attempt.ok());
        Ok(attempts.filter_map(|attempt| attempt.event).collect())
    }

    /// Records an attempt. A failure is logged.
    pub async fn record(&self, tenant: TenantKey, webhook: WebhookId, attempt: &Attempt) {
        let subject = subject::attempts(tenant, webhook, attempt.verdict);
        let recorded = match serde_json::to_vec(attempt) {
            Ok(record) => self
                .client
                .publish(subject, record.into())
                .await
                .map_err(anyhow::Error::from),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = recorded {
            let error = format!("{error:#}");
            tracing::warn!(%webhook, error, "an attempt is not recorded");
        }
    }
}
