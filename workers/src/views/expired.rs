//! Removes documents whose commits the log has dropped, since it keeps those of their area for a
//! time only.

use std::time::Duration;

use anyhow::Context as _;
use events_schema::{Area as _, TenantId, View, subject};
use futures_util::TryStreamExt;
use mongodb::bson::{self, Bson, doc};
use tokio::time::sleep;

use crate::views::Views;

/// How often expired documents are removed.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// Documents that one command removes.
const REMOVAL: i64 = 1_000;

impl<V: View> Views<V> {
    /// Removes expired documents now and once an hour, for ever. Any number of workers may do so.
    pub async fn keep_removing_expired(&self) {
        if V::Area::KEPT.is_none() {
            return;
        }
        loop {
            match self.remove_expired().await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(view = V::NAME, removed, "removed expired documents"),
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(view = V::NAME, error, "expired documents are not removed");
                }
            }
            sleep(EVERY).await;
        }
    }

    /// Removes the documents whose last commit the log has dropped; returns how many. Documents of
    /// areas that are kept for ever stay.
    ///
    /// # Errors
    /// If a server does not answer.
    pub async fn remove_expired(&self) -> anyhow::Result<u64> {
        if V::Area::KEPT.is_none() {
            return Ok(0);
        }
        // Commits of an area are dropped in the order of the log. Without any, those that come next
        // are behind its present end.
        let end = self.log.last_sequence().await?;
        let commits = subject::events_of(V::Area::NAME);
        let first = self.log.first_sequence(&commits).await?;
        let first = i64::try_from(first.unwrap_or(end + 1))?;
        // An earlier release has written documents without a sequence.
        let expired = doc! {
            "tenant": TenantId::Platform.to_string(),
            "sequence": { "$gt": 0, "$lt": first },
        };
        let database = self.prepared(&self.placements.platform()).await?;
        let mut removed = 0;
        loop {
            let which = expired.clone();
            let found = database.run("find", |database| async move {
                let documents = database.collection::<bson::Document>(V::NAME);
                let found = documents.find(which).projection(doc! { "_id": 1 });
                let found = found.limit(REMOVAL).await?;
                found.try_collect::<Vec<_>>().await
            });
            let found = found.await.context("looking for expired documents")?;
            if found.is_empty() {
                return Ok(removed);
            }
            let ids = found.iter().filter_map(|document| document.get("_id"));
            let ids: Vec<Bson> = ids.cloned().collect();
            // The sequence again: somebody may have written one of them meanwhile.
            let mut which = expired.clone();
            which.insert("_id", doc! { "$in": ids });
            let deleted = database.run("delete", |database| async move {
                let documents = database.collection::<bson::Document>(V::NAME);
                documents.delete_many(which).await
            });
            let deleted = deleted.await.context("removing expired documents")?;
            removed += deleted.deleted_count;
        }
    }
}
