//! Records attempts in the stream `ATTEMPTS`. Nobody waits until a record is stored: if it is lost,
//! a customer sees one attempt less.

use async_nats::Client;
use events_schema::{TenantKey, WebhookId, subject, webhook::Attempt};

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
