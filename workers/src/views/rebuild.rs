//! Rebuilds a view beside the old one and replaces it.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use event_store::{Location, random_id};
use events_schema::{Home, Id, Subject, TenantId, View};
use mongodb::bson::{Bson, doc};
use tokio::time::sleep;

use crate::views::{
    catch_up::{Pass, Progress},
    documents::Views,
};

/// How often catching up is tried after the new view has replaced the old one.
const MAX_CATCH_UPS: usize = 5;
/// The pause between these tries.
const CATCH_UP_PAUSE: Duration = Duration::from_secs(1);

impl<V: View> Views<V> {
    /// Builds the view beside the present one, which it replaces when it is complete. Holds
    /// documents of up to `max_held_bytes` in memory, measured by their commits. Returns the number
    /// of commits read. Readers see the old documents, then the new ones.
    ///
    /// # Errors
    /// If a server does not answer.
    pub async fn rebuild(
        &self,
        max_held_bytes: usize,
        progress: Progress<'_>,
    ) -> anyhow::Result<u64> {
        // A name of its own, so that two rebuilds at once do not mix.
        let collection = format!("{}.rebuilding.{}", V::NAME, random_id()?);
        let beside = self.beside(collection);
        let built = beside.build(max_held_bytes, progress).await;
        if built.is_err() {
            beside.drop_unfinished().await?;
        }
        let built = built?;
        let missed = self.catch_up_after(built.next, progress).await;
        self.announce_rebuilt().await?;
        Ok(built.read + missed?.read)
    }

    /// Fills this empty collection from the log, until there is nothing new, and renames it over
    /// the present one.
    async fn build(&self, max_held_bytes: usize, progress: Progress<'_>) -> anyhow::Result<Pass> {
        let mut built = self.load(max_held_bytes, progress).await?;
        let locations = self.locations().await?;
        for location in &locations {
            // Where the log has nothing to write, an empty collection replaces the old documents.
            self.prepared(location).await?;
        }
        // The indexes took time, so this comes last.
        loop {
            let more = self.catch_up(built.next, progress).await?;
            built.next = more.next;
            built.read += more.read;
            if more.read == 0 {
                break;
            }
        }
        for location in &locations {
            self.rename_at(location).await?;
        }
        Ok(built)
    }

    /// Tells the gateways to forget the documents of the view: an announcement without a document.
    async fn announce_rebuilt(&self) -> anyhow::Result<()> {
        let nobody = Id::from_bytes([0; 16]);
        let subject = Subject::of_view::<V>(TenantId::Platform, nobody).to_string();
        let announced = self.context.publish(subject, Bytes::new()).await?;
        announced.await.context("announcing the new view")?;
        Ok(())
    }

    async fn rename_at(&self, location: &Location) -> anyhow::Result<()> {
        let database = self.placements.database(location)?;
        let name = |collection: &str| format!("{}.{collection}", database.name());
        let rename = doc! {
            "renameCollection": name(&self.collection),
            "to": name(V::NAME),
            "dropTarget": true,
            "writeConcern": { "w": "majority", "j": true },
        };
        let renamed = database.run("rename", |database| async move {
            let admin = database.client().database("admin");
            admin.run_command(rename).await
        });
        renamed
            .await
            .context("replacing the old view with the new one")?;
        Ok(())
    }

    /// Applies what was committed while the collection was renamed. Until then those documents lag.
    async fn catch_up_after(&self, from: u64, progress: Progress<'_>) -> anyhow::Result<Pass> {
        let mut tries = 1;
        loop {
            match self.catch_up(from, progress).await {
                Ok(pass) => return Ok(pass),
                Err(error) if tries < MAX_CATCH_UPS => {
                    tries += 1;
                    let error = format!("{error:#}");
                    tracing::warn!(error, "catching up failed and is tried again");
                    sleep(CATCH_UP_PAUSE).await;
                }
                Err(error) => {
                    let remedy = "the new view is in place but lags: run the command again";
                    return Err(error.context(remedy));
                }
            }
        }
    }

    async fn drop_unfinished(&self) -> anyhow::Result<()> {
        for location in self.locations().await? {
            let database = self.placements.database(&location)?;
            let unfinished = self.collection.clone();
            let dropped = database.run("drop", |database| async move {
                database.collection::<Bson>(&unfinished).drop().await
            });
            dropped.await.context("dropping an unfinished rebuild")?;
        }
        Ok(())
    }

    /// Returns every location that may hold documents of the view.
    async fn locations(&self) -> anyhow::Result<BTreeSet<Location>> {
        match V::HOME {
            Home::Platform => Ok(BTreeSet::from([self.placements.platform()])),
            Home::Tenant => self.placements.all().await,
        }
    }
}
