//! Brings stored documents to what the log says, while workers and readers go on.
//!
//! Each document is folded from the log, compared with the stored one, and written over it if they
//! differ, under the same guard that workers use. So every document is right at one moment, and
//! workers keep it right from then on. No document ever goes back to an older revision. If this is
//! killed, everything is at least as good as before, and the next run writes only what is still
//! wrong. Placements are used as workers use them, so a tenant may move meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use event_store::{Location, Replay};
use events_schema::{Area as _, Document, Home, Id, Subject, TenantId, View, subject};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::{sleep, timeout};

use crate::{
    decode::{Logged, Newer},
    views::{
        documents::{CALLER_TIMEOUT, Key, Views},
        held::{Folded, Held},
        read_ahead::{Batch, read_ahead},
    },
};

/// Documents that are compared and written together. Larger ones make MongoDB faster, but each has
/// four seconds.
const CHUNK: usize = 4_000;
/// Chunks at once, so that MongoDB has work while one of them waits for the journal.
const CHUNKS: usize = 4;
/// The pauses after each try to write at a place. Then the place is left out.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// A callback, called with the number of commits read so far and the sequence to continue from.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// Which documents are rebuilt.
#[derive(Clone, Debug)]
pub enum Scope {
    /// All documents of the view, wherever they belong.
    All,
    /// Those of one tenant, at this place alone.
    Tenant(TenantId, Location),
}

/// What a rebuild has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Commits that were read from the log.
    pub commits: u64,
    /// Documents that were missing or wrong.
    pub written: u64,
    /// Documents that the log does not have, or that belong elsewhere.
    pub removed: u64,
    /// Documents that were left as they are, since the log has a commit of theirs that cannot be
    /// decoded.
    pub unreadable: u64,
}

/// A rebuild that is under way.
pub(super) struct Rebuild<'a, V: View> {
    pub(super) views: &'a Views<V>,
    pub(super) scope: Scope,
    /// The log's end at the beginning, as its leader knew it.
    pub(super) end: u64,
    /// The digest of each document that the log has.
    known: Mutex<HashSet<u64>>,
    /// The places that do not answer, with the error.
    left_out: Mutex<BTreeMap<Location, String>>,
    /// The documents that cannot be folded.
    unreadable: Mutex<BTreeSet<Key<V>>>,
    written: AtomicU64,
    removed: AtomicU64,
}

impl<V: View> Views<V> {
    /// Brings the documents of this scope to what the log says. Holds documents of up to
    /// `max_held_bytes` in memory, measured by their commits, and some bytes for each other one.
    ///
    /// # Errors
    /// If a server does not answer. What was written until then is right, and another run goes on
    /// from there.
    pub async fn rebuild(
        &self,
        scope: Scope,
        max_held_bytes: usize,
        progress: Progress<'_>,
    ) -> anyhow::Result<Rebuilt> {
        let rebuild = Rebuild {
            views: self,
            scope,
            end: self.log.last_sequence().await?,
            known: Mutex::default(),
            left_out: Mutex::default(),
            unreadable: Mutex::default(),
            written: AtomicU64::new(0),
            removed: AtomicU64::new(0),
        };
        let commits = rebuild.write_all(max_held_bytes, progress).await?;
        for location in rebuild.locations().await? {
            if rebuild.is_left_out(&location) {
                continue;
            }
            if let Err(error) = rebuild.finish(&location).await {
                rebuild.leave_out(location, &error);
            }
        }
        // Documents may have changed without a new revision.
        self.announce_rebuilt().await?;
        rebuild.ensure_complete()?;
        Ok(Rebuilt {
            commits,
            written: rebuild.written.into_inner(),
            removed: rebuild.removed.into_inner(),
            unreadable: lock(&rebuild.unreadable).len() as u64,
        })
    }

    /// Tells the gateways to forget the documents of the view: an announcement without a document.
    async fn announce_rebuilt(&self) -> anyhow::Result<()> {
        let nobody = Id::from_bytes([0; 16]);
        let subject = Subject::of_view::<V>(TenantId::Platform, nobody).to_string();
        let announced = self.context.publish(subject, Bytes::new()).await?;
        announced.await.context("announcing the new view")?;
        Ok(())
    }
}

impl<V: View> Rebuild<'_, V> {
    /// Folds all documents from the log and writes those that are stored otherwise. Returns the
    /// number of commits read.
    async fn write_all(
        &self,
        max_held_bytes: usize,
        progress: Progress<'_>,
    ) -> anyhow::Result<u64> {
        let filter = match &self.scope {
            Scope::All => subject::events_of(V::Area::NAME),
            Scope::Tenant(tenant, _) => subject::events_of_tenant_in(*tenant, V::Area::NAME),
        };
        let replay = Replay::begin(&self.views.context, &filter).await?;
        let (_reading, mut batches) = read_ahead::<V>(replay);
        let mut held = Held::<V>::default();
        let (mut read, mut next) = (0, 1);
        loop {
            let batch = batches.recv().await;
            let batch = batch.context("reading the log has ended")??;
            read += batch.read;
            next = batch.next.unwrap_or(next);
            let is_last = batch.is_last;
            self.hold(&mut held, batch).await?;
            while held.bytes() > max_held_bytes {
                self.write(held.take_oldest()).await?;
            }
            if is_last {
                self.write(held.take_all()).await?;
            }
            progress(read, next);
            if is_last {
                return Ok(read);
            }
        }
    }

    /// Applies commits to the documents in memory. A document that was written before, to make
    /// room, is read again.
    async fn hold(&self, held: &mut Held<V>, batch: Batch<V>) -> anyhow::Result<()> {
        let commit_bytes = batch.bytes / usize::try_from(batch.read.max(1))?;
        held.begin_batch();
        let mut missing = Vec::new();
        for (key, commits) in &batch.commits {
            lock(&self.known).insert(digest(&key.0.to_string(), &key.1.to_string()));
            let is_new = commits.iter().any(|logged| logged.commit.revision == 1);
            if !is_new && !held.has(key) {
                missing.push(*key);
            }
        }
        let mut written = self.read_back(&missing).await;
        for (key, commits) in batch.commits {
            let Some(first) = commits.first() else {
                continue;
            };
            let source = first.commit.tenant;
            let (before, bytes) = held.take(&key).unwrap_or_else(|| {
                let document = written.remove(&key);
                (document.unwrap_or_else(|| Views::nothing(key)), 0)
            });
            let Some(document) = self.folded(key, before, &commits).await else {
                continue;
            };
            let folded = Folded { document, source };
            held.put(key, folded, bytes + commits.len() * commit_bytes);
        }
        Ok(())
    }

    /// Folds commits into a document; `None` if that is not possible, now or before.
    async fn folded(
        &self,
        key: Key<V>,
        before: Document<V>,
        commits: &[Logged<V::Area>],
    ) -> Option<Document<V>> {
        if lock(&self.unreadable).contains(&key) {
            return None;
        }
        let mut pauses = PAUSES.iter().take(3);
        loop {
            let error = match self.views.folded(before.clone(), commits).await {
                Ok(document) => return Some(document),
                Err(error) => error,
            };
            // The log may not have answered, or a replica may lag.
            let pause = pauses.next().filter(|_| !error.is::<Newer>());
            let Some(pause) = pause else {
                let (id, error) = (key.1.to_string(), format!("{error:#}"));
                tracing::error!(view = V::NAME, id, error, "a document is left as it is");
                lock(&self.unreadable).insert(key);
                return None;
            };
            sleep(*pause).await;
        }
    }

    /// Reads documents that were written before. One that cannot be read is folded from its first
    /// commit on.
    async fn read_back(&self, keys: &[Key<V>]) -> HashMap<Key<V>, Document<V>> {
        let mut found = HashMap::new();
        let tenants = keys.iter().map(|(tenant, _)| *tenant).collect();
        let Ok(places) = self.places(tenants).await else {
            return found;
        };
        let mut ids_at: BTreeMap<&Location, Vec<String>> = BTreeMap::new();
        for (tenant, id) in keys {
            if let Some(location) = places.get(tenant).and_then(|places| places.first()) {
                ids_at.entry(location).or_default().push(id.to_string());
            }
        }
        for (location, ids) in ids_at {
            let Ok(database) = self.views.placements.database(location) else {
                continue;
            };
            for ids in ids.chunks(CHUNK) {
                let stored = self.views.stored(&database, ids.to_vec());
                if let Ok(Ok(stored)) = timeout(CALLER_TIMEOUT, stored).await {
                    found.extend(stored);
                }
            }
        }
        found
    }

    /// Writes documents at all their places, some chunks at once.
    async fn write(&self, documents: Vec<Folded<V>>) -> anyhow::Result<()> {
        let chunks = stream::iter(documents).chunks(CHUNK).map(Ok);
        let written = chunks.try_for_each_concurrent(CHUNKS, |chunk| self.write_chunk(chunk));
        written.await
    }

    /// Writes some documents at all their places. Tries again, in smaller pieces, and leaves a place
    /// out that fails all the time.
    async fn write_chunk(&self, mut left: Vec<Folded<V>>) -> anyhow::Result<()> {
        let mut size = CHUNK;
        let mut failed = BTreeMap::new();
        for pause in PAUSES {
            failed.clear();
            let mut again = Vec::new();
            for piece in left.chunks(size) {
                // A placement may be used for a second only, so each piece asks.
                for (location, documents) in self.by_place(piece).await? {
                    if self.is_left_out(&location) {
                        continue;
                    }
                    let corrected = self.correct(&location, documents.clone());
                    let corrected = timeout(CALLER_TIMEOUT, corrected).await;
                    let corrected = corrected.context("the write takes too long").flatten();
                    if let Err(error) = corrected {
                        let text = format!("{error:#}");
                        tracing::warn!(?location, error = text, ?pause, "trying again");
                        failed.insert(location, error);
                        again.extend(documents);
                    }
                }
            }
            if failed.is_empty() {
                return Ok(());
            }
            left = again;
            size = (size / 4).max(1);
            sleep(pause).await;
        }
        for (location, error) in failed {
            self.leave_out(location, &error);
        }
        Ok(())
    }

    async fn by_place(
        &self,
        chunk: &[Folded<V>],
    ) -> anyhow::Result<BTreeMap<Location, Vec<Folded<V>>>> {
        let tenants = chunk.iter().map(|folded| folded.document.tenant).collect();
        let places = self.places(tenants).await?;
        let mut by_place: BTreeMap<Location, Vec<Folded<V>>> = BTreeMap::new();
        for folded in chunk {
            for location in places.get(&folded.document.tenant).into_iter().flatten() {
                let at_place = by_place.entry(location.clone()).or_default();
                at_place.push(folded.clone());
            }
        }
        Ok(by_place)
    }

    /// Returns where these tenants' documents belong. A tenant is missing if its own view is.
    pub(super) async fn places(
        &self,
        tenants: BTreeSet<TenantId>,
    ) -> anyhow::Result<BTreeMap<TenantId, Vec<Location>>> {
        match &self.scope {
            Scope::All => self.views.placements.of_known(tenants).await,
            Scope::Tenant(tenant, location) => {
                Ok(BTreeMap::from([(*tenant, vec![location.clone()])]))
            }
        }
    }

    /// Returns every location that may hold documents of this scope.
    async fn locations(&self) -> anyhow::Result<BTreeSet<Location>> {
        match &self.scope {
            Scope::Tenant(_, location) => Ok(BTreeSet::from([location.clone()])),
            Scope::All => match V::HOME {
                Home::Platform => Ok(BTreeSet::from([self.views.placements.platform()])),
                Home::Tenant => self.views.placements.all().await,
            },
        }
    }

    /// Prepares the indexes of a place, whose documents are all written, and removes the documents
    /// that do not belong there.
    async fn finish(&self, location: &Location) -> anyhow::Result<()> {
        let database = self.views.placements.database(location)?;
        self.views.create_indexes(&database).await?;
        self.remove_unknown(location, &database).await?;
        if let Scope::All = self.scope {
            self.views.drop_old_indexes(&database).await?;
            let through = (V::NAME, self.end);
            self.views.confirmations.record(location, through).await?;
        }
        Ok(())
    }

    /// Whether the log has a document, by its digest.
    pub(super) fn is_known(&self, digest: u64) -> bool {
        lock(&self.known).contains(&digest)
    }

    pub(super) fn count_written(&self, count: usize) {
        self.written.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn count_removed(&self, count: usize) {
        self.removed.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn is_left_out(&self, location: &Location) -> bool {
        lock(&self.left_out).contains_key(location)
    }

    fn leave_out(&self, location: Location, error: &anyhow::Error) {
        let error = format!("{error:#}");
        tracing::error!(?location, error, "this place is left out");
        lock(&self.left_out).entry(location).or_insert(error);
    }

    fn ensure_complete(&self) -> anyhow::Result<()> {
        let left_out = lock(&self.left_out);
        let Some((location, error)) = left_out.first_key_value() else {
            return Ok(());
        };
        let host = match &location.host {
            None => "the platform's host".to_owned(),
            Some(host) => format!("the host {host}"),
        };
        bail!(
            "the view {} was not rebuilt in {} of its databases: run the command again. The first \
             one is {} on {host}: {error}",
            V::NAME,
            left_out.len(),
            location.database,
        )
    }
}

/// Returns the digest of a document's tenant and id. That two documents have the same one is as
/// good as impossible; then one that the log does not have may stay.
pub(super) fn digest(tenant: &str, id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (tenant, id).hash(&mut hasher);
    hasher.finish()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
