//! Writes documents at all their places.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use event_store::Location;
use futures_util::{StreamExt as _, stream};
use tokio::time::{sleep, timeout};

use crate::views::{
    documents::CALLER_TIMEOUT,
    rebuild::{CHUNK, Encoded, Rebuild},
};

/// Chunks at once, so that MongoDB has work while one of them waits for the journal.
const CHUNKS: usize = 4;
/// The pauses after each try to write at a place. Then the place is left out.
const PLACE_PAUSES: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// Documents to write. They are encoded when their turn comes.
pub(super) type Documents<'a> = &'a mut (dyn Iterator<Item = Encoded> + Send);

impl Rebuild<'_> {
    /// Writes documents at all their places, some chunks at once.
    pub(super) async fn write(&self, documents: Documents<'_>) {
        let chunks = stream::iter(documents).chunks(CHUNK);
        chunks
            .for_each_concurrent(CHUNKS, |chunk| self.write_chunk(chunk))
            .await;
    }

    /// Writes some documents at all their places. Tries again in smaller pieces. A place that fails
    /// every time is left out.
    async fn write_chunk(&self, mut left: Vec<Encoded>) {
        let mut size = CHUNK;
        let mut failed = BTreeMap::new();
        for pause in PLACE_PAUSES {
            failed.clear();
            let mut again = Vec::new();
            for piece in left.chunks(size) {
                match self.write_piece(piece).await {
                    Ok(at_places) => {
                        // Once, however many places have failed.
                        if !at_places.is_empty() {
                            again.extend_from_slice(piece);
                        }
                        for (location, error) in at_places {
                            let text = format!("{error:#}");
                            tracing::warn!(?location, error = text, ?pause, "trying again");
                            failed.insert(location, error);
                        }
                    }
                    Err(error) => {
                        failed.insert(self.collection.placements.platform(), error);
                        again.extend_from_slice(piece);
                    }
                }
            }
            if failed.is_empty() {
                return;
            }
            left = again;
            size = (size / 4).max(1);
            sleep(pause).await;
        }
        for (location, error) in failed {
            self.leave_out(location, &error);
        }
    }

    /// Writes some documents at all their places; returns the errors.
    async fn write_piece(
        &self,
        piece: &[Encoded],
    ) -> anyhow::Result<Vec<(Location, anyhow::Error)>> {
        let mut failed = Vec::new();
        let locations: Vec<Location> = self.by_place(piece).await?.into_keys().collect();
        for location in locations {
            // A placement may be used for a second only, so it is looked up for each place.
            let documents = self.by_place(piece).await?.remove(&location);
            let Some(documents) = documents.filter(|_| !self.is_left_out(&location)) else {
                continue;
            };
            let corrected = timeout(CALLER_TIMEOUT, self.correct(&location, documents)).await;
            let corrected = corrected.context("the write takes too long").flatten();
            failed.extend(corrected.err().map(|error| (location, error)));
        }
        Ok(failed)
    }

    async fn by_place(
        &self,
        chunk: &[Encoded],
    ) -> anyhow::Result<BTreeMap<Location, Vec<Encoded>>> {
        let tenants = chunk.iter().map(|document| document.tenant).collect();
        let places = self.places(tenants).await?;
        let mut by_place: BTreeMap<Location, Vec<Encoded>> = BTreeMap::new();
        for document in chunk {
            for location in places.get(&document.tenant).into_iter().flatten() {
                let at_place = by_place.entry(location.clone()).or_default();
                at_place.push(document.clone());
            }
        }
        Ok(by_place)
    }
}
