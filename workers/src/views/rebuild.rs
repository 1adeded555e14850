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
mod write;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context as _, bail};
use event_store::{Location, Replay};
use events_schema::{Home, Id, TenantId, View, subject};
use mongodb::bson::RawDocumentBuf;

use crate::{
    decode::Newer,
    views::{
        Collection,
        any_view::AnyView,
        documents::Views,
        rebuild::{held::Held, read_ahead::read_ahead},
    },
};

/// Documents that are compared and written together. MongoDB is faster with more, but a chunk must
/// be done within four seconds.
const CHUNK: usize = 4_000;

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

/// A rebuild that is under way. It needs no type: documents come to it as they are stored.
struct Rebuild<'a> {
    view: &'a dyn AnyView,
    collection: &'a Collection,
    scope: Scope,
    /// The log's end at the beginning, as its leader knew it.
    end: u64,
    /// The digest of each document that the log has.
    in_log: Mutex<HashSet<u64>>,
    /// The places that do not answer, with the error.
    left_out: Mutex<BTreeMap<Location, String>>,
    /// The documents that are left as they are, and whether a newer release can fold them.
    left: Mutex<BTreeMap<(TenantId, Id), bool>>,
    written: AtomicU64,
    removed: AtomicU64,
}

/// A document as its commits leave it, in the form in which it is stored.
#[derive(Clone)]
struct Encoded {
    tenant: TenantId,
    id: Id,
    /// The tenant on the subject of its commits.
    source: TenantId,
    document: RawDocumentBuf,
}

impl Encoded {
    fn key(&self) -> (TenantId, Id) {
        (self.tenant, self.id)
    }
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
        let rebuild = Rebuild::begin(self, scope).await?;
        let commits = self.write_all(&rebuild, max_held_bytes, progress).await?;
        rebuild.finish_all(commits).await
    }

    /// Folds all documents from the log and writes those that are stored otherwise. Returns the
    /// number of commits read.
    async fn write_all(
        &self,
        rebuild: &Rebuild<'_>,
        max_held_bytes: usize,
        progress: Progress<'_>,
    ) -> anyhow::Result<u64> {
        let replay = rebuild.replay().await?;
        let (_reading, mut batches) = read_ahead::<V>(replay);
        let mut held = Held::<V>::default();
        let (mut read, mut next) = (0, 1);
        loop {
            let batch = batches.recv().await;
            let batch = batch.context("reading the log has ended")??;
            read += batch.read;
            next = batch.next.unwrap_or(next);
            let is_last = batch.is_last;
            self.hold(rebuild, &mut held, batch).await?;
            while held.bytes() > max_held_bytes {
                rebuild.write_held(held.take_oldest()).await;
            }
            if is_last {
                rebuild.write_held(held.take_all()).await;
            }
            progress(read, next);
            if is_last {
                return Ok(read);
            }
        }
    }
}

impl<'a> Rebuild<'a> {
    async fn begin(view: &'a dyn AnyView, scope: Scope) -> anyhow::Result<Self> {
        let collection = view.collection();
        Ok(Self {
            view,
            collection,
            scope,
            end: collection.log.last_sequence().await?,
            in_log: Mutex::default(),
            left_out: Mutex::default(),
            left: Mutex::default(),
            written: AtomicU64::new(0),
            removed: AtomicU64::new(0),
        })
    }

    /// Begins to read the commits of this scope.
    async fn replay(&self) -> anyhow::Result<Replay> {
        let (context, area) = (&self.collection.context, self.collection.kind.area);
        match &self.scope {
            Scope::All => Replay::begin(context, &subject::events_of(area)).await,
            // The loop that keeps the view reads this, too, and it may create no consumer.
            Scope::Tenant(tenant) | Scope::Fill(tenant, _) => {
                let filter = subject::events_of_tenant_in(*tenant, area);
                Replay::begin_by_requests(context, &filter).await
            }
        }
    }

    /// Completes all places after the documents of so many commits are written.
    async fn finish_all(self, commits: u64) -> anyhow::Result<Rebuilt> {
        for location in self.locations().await? {
            if self.is_left_out(&location) {
                continue;
            }
            if let Err(error) = self.finish(&location).await {
                self.leave_out(location, &error);
            }
        }
        if let Scope::All = self.scope {
            // Documents may have changed without a new revision.
            self.collection.announce_rebuilt().await?;
        }
        self.ensure_complete()?;
        let left = self.left.into_inner();
        let left = left.unwrap_or_else(PoisonError::into_inner);
        let newer = left.values().filter(|is_newer| **is_newer).count();
        Ok(Rebuilt {
            commits,
            written: self.written.into_inner(),
            removed: self.removed.into_inner(),
            unreadable: (left.len() - newer) as u64,
            newer: newer as u64,
        })
    }

    /// Returns where these tenants' documents belong. A tenant is missing if its own view is.
    async fn places(
        &self,
        tenants: BTreeSet<TenantId>,
    ) -> anyhow::Result<BTreeMap<TenantId, Vec<Location>>> {
        match &self.scope {
            Scope::All | Scope::Tenant(_) => self.collection.placements.of_known(tenants).await,
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
            Scope::All => match self.collection.kind.home {
                Home::Platform => Ok(BTreeSet::from([self.collection.placements.platform()])),
                Home::Tenant => self.collection.placements.all().await,
            },
        }
    }

    /// Completes a place after its documents are written: creates its indexes, and removes
    /// documents that do not belong there.
    async fn finish(&self, location: &Location) -> anyhow::Result<()> {
        let database = self.collection.placements.database(location)?;
        self.collection.create_indexes(&database).await?;
        self.remove_strays(location, &database).await?;
        if let Scope::All = self.scope {
            self.collection.drop_old_indexes(&database).await?;
        }
        // All documents there are in the scope.
        if matches!(self.scope, Scope::All) || *location != self.collection.placements.platform() {
            let through = (self.collection.kind.name, self.end);
            self.collection
                .confirmations
                .record(location, through)
                .await?;
        }
        Ok(())
    }

    /// Announces corrected documents of a tenant, if its documents are read there.
    async fn announce(
        &self,
        location: &Location,
        changed: &[RawDocumentBuf],
    ) -> anyhow::Result<()> {
        let Scope::Tenant(tenant) = self.scope else {
            return Ok(());
        };
        let places = self.places([tenant].into()).await?;
        let place = places.get(&tenant).and_then(|places| places.first());
        if place == Some(location) {
            self.view.announce(location, changed).await?;
        }
        Ok(())
    }

    /// Leaves a document as it is, since one of its commits cannot be decoded.
    fn leave_unreadable(&self, key: (TenantId, Id), error: &anyhow::Error) {
        let id = key.1.to_string();
        let text = format!("{error:#}");
        tracing::error!(
            view = self.collection.kind.name,
            id,
            error = text,
            "a document is left as it is"
        );
        let mut left = lock(&self.left);
        left.entry(key).or_insert(error.is::<Newer>());
    }

    /// Leaves a document as it is, since a newer release has written one of its commits.
    fn leave_newer(&self, key: (TenantId, Id)) {
        lock(&self.left).insert(key, true);
    }

    fn is_left_as_it_is(&self, key: (TenantId, Id)) -> bool {
        lock(&self.left).contains_key(&key)
    }

    /// Whether the log has a document, by its digest.
    fn is_in_log(&self, digest: u64) -> bool {
        lock(&self.in_log).contains(&digest)
    }

    fn note_in_log(&self, digest: u64) {
        lock(&self.in_log).insert(digest);
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
            self.collection.kind.name,
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
