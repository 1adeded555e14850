//! Folds the commits of a batch into the documents in memory.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
    time::Duration,
};

use event_store::{Location, Unavailable};
use events_schema::{Document, Id, TenantId, View};
use tokio::time::{sleep, timeout};

use crate::{
    decode::Logged,
    views::{
        documents::{CALLER_TIMEOUT, Key, Views},
        rebuild::{CHUNK, Rebuild, digest, held::Held, read_ahead::Batch},
    },
};

/// The pauses before a fold is tried again. The log may not have answered, or a replica may lag.
const FOLD_PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

fn digest_of<I: Display>((tenant, id): &(TenantId, I)) -> u64 {
    digest(&tenant.to_string(), &id.to_string())
}

fn untyped<V: View>((tenant, id): Key<V>) -> (TenantId, Id) {
    (tenant, id.into())
}

impl<V: View> Views<V> {
    /// Applies commits to the documents in memory. A document that was written before, to make
    /// room, is read again.
    pub(super) async fn hold(
        &self,
        rebuild: &Rebuild<'_>,
        held: &mut Held<V>,
        batch: Batch<V>,
    ) -> anyhow::Result<()> {
        let commit_bytes = batch.bytes / usize::try_from(batch.read.max(1))?;
        held.begin_batch();
        for (key, is_newer) in batch.undecoded {
            rebuild.note_in_log(digest_of(&key));
            if is_newer {
                // Its workers keep the document; without this commit it would be wrong.
                held.take(&key);
                rebuild.leave_newer(untyped::<V>(key));
            }
        }
        let mut missing = Vec::new();
        for (key, commits) in &batch.commits {
            let digest = digest_of(key);
            let was_read = rebuild.is_in_log(digest);
            rebuild.note_in_log(digest);
            let is_new = commits.iter().any(|logged| logged.commit.revision == 1);
            // Only what this rebuild has written is right.
            if was_read && !is_new && !held.has(key) {
                missing.push(*key);
            }
        }
        let mut written = self.read_back(rebuild, &missing).await;
        for (key, commits) in batch.commits {
            let Some(first) = commits.first() else {
                continue;
            };
            let source = first.commit.tenant;
            let (before, bytes) = held.take(&key).unwrap_or_else(|| {
                let document = written.remove(&key).unwrap_or_else(|| Views::nothing(key));
                let commits = usize::try_from(document.revision).unwrap_or(0);
                (document, commits * commit_bytes)
            });
            let folded = self.folded_unless_left(rebuild, key, before, &commits);
            let Some(document) = folded.await? else {
                continue;
            };
            let bytes = bytes + commits.len() * commit_bytes;
            held.put(key, (document, source), bytes);
        }
        Ok(())
    }

    /// Folds commits into a document. `None` if one of its commits cannot be decoded, in this batch
    /// or before.
    ///
    /// # Errors
    /// If the log does not answer, or does not show a commit.
    async fn folded_unless_left(
        &self,
        rebuild: &Rebuild<'_>,
        key: Key<V>,
        before: Document<V>,
        commits: &[Logged<V::Area>],
    ) -> anyhow::Result<Option<Document<V>>> {
        if rebuild.is_left_as_it_is(untyped::<V>(key)) {
            return Ok(None);
        }
        let mut pauses = FOLD_PAUSES.iter();
        loop {
            let error = match self.folded(before.clone(), commits).await {
                Ok(document) => return Ok(Some(document)),
                Err(error) => error,
            };
            if !error.is::<Unavailable>() {
                rebuild.leave_unreadable(untyped::<V>(key), &error);
                return Ok(None);
            }
            let Some(pause) = pauses.next() else {
                return Err(error);
            };
            sleep(*pause).await;
        }
    }

    /// Reads documents that were written before. One that cannot be read is folded from its first
    /// commit on.
    async fn read_back(
        &self,
        rebuild: &Rebuild<'_>,
        keys: &[Key<V>],
    ) -> HashMap<Key<V>, Document<V>> {
        let mut found = HashMap::new();
        let tenants = keys.iter().map(|(tenant, _)| *tenant).collect();
        let Ok(places) = rebuild.places(tenants).await else {
            return found;
        };
        let mut ids_at: BTreeMap<&Location, Vec<String>> = BTreeMap::new();
        for (tenant, id) in keys {
            let place = places.get(tenant).and_then(|places| places.first());
            if let Some(location) = place.filter(|place| !rebuild.is_left_out(place)) {
                ids_at.entry(location).or_default().push(id.to_string());
            }
        }
        for (location, ids) in ids_at {
            let Ok(database) = rebuild.collection.placements.database(location) else {
                continue;
            };
            for ids in ids.chunks(CHUNK) {
                let stored = self.stored(&database, ids.to_vec());
                if let Ok(Ok(stored)) = timeout(CALLER_TIMEOUT, stored).await {
                    found.extend(stored);
                }
            }
        }
        found
    }
}
