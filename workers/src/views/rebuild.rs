//! Rebuilds stored documents from the log, while workers and readers go on.
//!
//! Each document is folded from the log, compared with the stored one, and written over it if they
//! differ, under the same guard that workers use. So every document is right at one moment, and
//! workers keep it right from then on. No document ever goes back to an older revision. If this is
//! killed, everything is at least as good as before, and the next run writes only what is still
//! wrong. Placements are used as workers use them, so a tenant may move meanwhile.

mod correct;
mod held;
mod hold;
mod read_ahead;
mod remove;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
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
    decode::Newer,
    views::{
        documents::{CALLER_TIMEOUT, Key, Views},
        rebuild::{
            held::{Folded, Held},
            read_ahead::read_ahead,
        },
    },
};

/// Documents that are compared and written together. MongoDB is faster with more, but a chunk must
/// be done within four seconds.
const CHUNK: usize = 4_000;
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

/// Gets the number of commits read so far, and the sequence to continue from.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// The documents to rebuild.
#[derive(Clone, Debug)]
pub enum Scope {
    /// All documents of the view, wherever they belong.
    All,
    /// Those of one tenant, wherever they belong.
    Tenant(TenantId),
    /// Those of one tenant, at a place that nobody reads yet.
    Fill(TenantId, Location),
}

/// The result of a rebuild.
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
    /// Documents that were left as they are, since a newer release has written a commit of theirs.
    pub newer: u64,
}

impl fmt::Display for Rebuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            commits,
            written,
            removed,
            unreadable: _,
            newer: _,
        } = self;
        write!(
            f,
            "{commits} commits read, {written} documents written, {removed} removed"
        )
    }
}

/// A rebuild that is under way.
struct Rebuild<'a, V: View> {
    views: &'a Views<V>,
    scope: Scope,
    /// The log's end at the beginning, as its leader knew it.
    end: u64,
    /// The digest of each document that the log has.
    in_log: Mutex<HashSet<u64>>,
    /// The places that do not answer, with the error.
    left_out: Mutex<BTreeMap<Location, String>>,
    /// The documents that are left as they are, and whether a newer release can fold them.
    left: Mutex<BTreeMap<Key<V>, bool>>,
    written: AtomicU64,
    removed: AtomicU64,
}

impl<V: View> Views<V> {
    /// Rebuilds the documents of this scope. Holds up to `max_held_bytes` of them in memory,
    /// measured by their commits, and about 20 bytes for each other one.
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
            in_log: Mutex::default(),
            left_out: Mutex::default(),
            left: Mutex::default(),
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
        if let Scope::All = rebuild.scope {
            // Documents may have changed without a new revision.
            self.announce_rebuilt().await?;
        }
        rebuild.ensure_complete()?;
        let left = rebuild.left.into_inner();
        let left = left.unwrap_or_else(PoisonError::into_inner);
        let newer = left.values().filter(|is_newer| **is_newer).count();
        Ok(Rebuilt {
            commits,
            written: rebuild.written.into_inner(),
            removed: rebuild.removed.into_inner(),
            unreadable: (left.len() - newer) as u64,
            newer: newer as u64,
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
        let (context, area) = (&self.views.context, V::Area::NAME);
        let replay = match &self.scope {
            Scope::All => Replay::begin(context, &subject::events_of(area)).await?,
            // The loop that keeps the view reads this, too, and it may create no consumer.
            Scope::Tenant(tenant) | Scope::Fill(tenant, _) => {
                let filter = subject::events_of_tenant_in(*tenant, area);
                Replay::begin_by_requests(context, &filter).await?
            }
        };
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

    /// Writes documents at all their places, some chunks at once.
    async fn write(&self, documents: Vec<Folded<V>>) -> anyhow::Result<()> {
        let chunks = stream::iter(documents).chunks(CHUNK).map(Ok);
        let written = chunks.try_for_each_concurrent(CHUNKS, |chunk| self.write_chunk(chunk));
        written.await
    }

    /// Writes some documents at all their places. Tries again in smaller pieces. A place that fails
    /// every time is left out.
    async fn write_chunk(&self, mut left: Vec<Folded<V>>) -> anyhow::Result<()> {
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
                        failed.insert(self.views.placements.platform(), error);
                        again.extend_from_slice(piece);
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

    /// Writes some documents at all their places; returns the errors.
    async fn write_piece(
        &self,
        piece: &[Folded<V>],
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
    async fn places(
        &self,
        tenants: BTreeSet<TenantId>,
    ) -> anyhow::Result<BTreeMap<TenantId, Vec<Location>>> {
        match &self.scope {
            Scope::All | Scope::Tenant(_) => self.views.placements.of_known(tenants).await,
            Scope::Fill(tenant, location) => {
                Ok(BTreeMap::from([(*tenant, vec![location.clone()])]))
            }
        }
    }

    /// Returns every location that may hold documents of this scope.
    async fn locations(&self) -> anyhow::Result<BTreeSet<Location>> {
        match &self.scope {
            Scope::Tenant(tenant) => {
                let places = self.places([*tenant].into()).await?;
                Ok(places.into_values().flatten().collect())
            }
            Scope::Fill(_, location) => Ok(BTreeSet::from([location.clone()])),
            Scope::All => match V::HOME {
                Home::Platform => Ok(BTreeSet::from([self.views.placements.platform()])),
                Home::Tenant => self.views.placements.all().await,
            },
        }
    }

    /// Completes a place after its documents are written: creates its indexes, and removes
    /// documents that do not belong there.
    async fn finish(&self, location: &Location) -> anyhow::Result<()> {
        let database = self.views.placements.database(location)?;
        self.views.create_indexes(&database).await?;
        self.remove_strays(location, &database).await?;
        if let Scope::All = self.scope {
            self.views.drop_old_indexes(&database).await?;
        }
        // All documents there are in the scope.
        if matches!(self.scope, Scope::All) || *location != self.views.placements.platform() {
            let through = (V::NAME, self.end);
            self.views.confirmations.record(location, through).await?;
        }
        Ok(())
    }

    /// Announces corrected documents of a tenant, if its documents are read there.
    async fn announce(&self, location: &Location, changed: &[Document<V>]) -> anyhow::Result<()> {
        let Scope::Tenant(tenant) = self.scope else {
            return Ok(());
        };
        let places = self.places([tenant].into()).await?;
        let place = places.get(&tenant).and_then(|places| places.first());
        if place == Some(location) {
            self.views.announce(location, changed).await?;
        }
        Ok(())
    }

    /// Leaves a document as it is, since one of its commits cannot be decoded.
    fn leave_unreadable(&self, key: Key<V>, error: &anyhow::Error) {
        let id = key.1.to_string();
        let text = format!("{error:#}");
        tracing::error!(
            view = V::NAME,
            id,
            error = text,
            "a document is left as it is"
        );
        let mut left = lock(&self.left);
        left.entry(key).or_insert(error.is::<Newer>());
    }

    /// Leaves a document as it is, since a newer release has written one of its commits.
    fn leave_newer(&self, key: Key<V>) {
        lock(&self.left).insert(key, true);
    }

    fn is_left_as_it_is(&self, key: &Key<V>) -> bool {
        lock(&self.left).contains_key(key)
    }

    /// Whether the log has a document, by its digest.
    fn is_in_log(&self, digest: u64) -> bool {
        lock(&self.in_log).contains(&digest)
    }

    fn count_written(&self, count: usize) {
        self.written.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn count_removed(&self, count: usize) {
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
            "{} databases of the view {} were not rebuilt. The first is {} on {host}: {error}",
            left_out.len(),
            V::NAME,
            location.database,
        )
    }
}

/// Returns a digest of a document's tenant and id. Two documents practically never share one; if
/// they do, one that the log does not have may stay.
fn digest(tenant: &str, id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (tenant, id).hash(&mut hasher);
    hasher.finish()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
