//! Prepares NATS and MongoDB for this release: `workers migrate`.

use async_nats::jetstream;
use event_store::{MongoOptions, NatsOptions};
use events_schema::AreaName;
use futures_util::future::BoxFuture;

use crate::{operate::all_views, placements::Placements, streams};

/// Creates or updates the streams and buckets, and creates the indexes of the platform's database.
/// Deletes nothing, and may run at any time and again.
///
/// # Errors
/// If a stream or a server has weaker settings than needed, or does not answer, or if MongoDB has
/// documents of another log.
pub fn migrate<'a>(
    nats: &'a NatsOptions,
    mongo: &'a MongoOptions,
    replicas: usize,
) -> BoxFuture<'a, anyhow::Result<()>> {
    Box::pin(async move {
        let client = event_store::connect(nats, "workers").await?;
        streams::migrate(jetstream::new(client.clone()), replicas).await?;
        let placements = Placements::connect(mongo).await?;
        for view in all_views::of(AreaName::ALL.iter().copied(), &client, &placements) {
            view.collection().prepare().await?;
        }
        Ok(())
    })
}
