//! Prepares NATS for this release: `workers migrate`.

use async_nats::jetstream;
use event_store::NatsOptions;
use futures_util::future::BoxFuture;

use crate::streams;

/// Creates the streams and buckets that are missing, and updates the others. Deletes nothing, and
/// may run at any time and again.
///
/// # Errors
/// If a stream or a server has weaker settings than needed, or does not answer.
pub fn migrate(nats: &NatsOptions, replicas: usize) -> BoxFuture<'_, anyhow::Result<()>> {
    Box::pin(async move {
        let client = event_store::connect(nats, "workers").await?;
        streams::migrate(jetstream::new(client), replicas).await
    })
}
