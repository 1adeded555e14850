//! Loads a view from the whole log into an empty collection that nobody else reads or writes.
//!
//! Inserting a document costs MongoDB a fraction of a guarded update. So documents are folded in
//! memory and inserted once, however many commits they have. If there are too many of them, the
//! ones that have not changed for longest are inserted, and their later commits are applied under
//! the guard, as running workers do.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use event_store::{Location, Page, Replay};
use events_schema::{Area as _, Document, View, subject};
use futures_util::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, Stream},
};
use mongodb::{
    error::{Error, ErrorKind, Result as MongoResult},
    options::{Acknowledgment, WriteConcern},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::views::{
    catch_up::{Pass, Progress, by_document},
    documents::{Commits, DUPLICATE_KEY, Plan, Views, revision},
    held::Held,
};

/// Commits that are decoded at once.
const PAGE: usize = 5_000;
/// Pages that are read and decoded ahead.
const AHEAD: usize = 2;
/// Documents of one insertion: MongoDB took 100,000 documents a second in such insertions.
const INSERTION: usize = 1_000;
/// Insertions at once, so that MongoDB has work while one of them waits for the journal.
const INSERTIONS: usize = 4;
/// How long an insertion may take. MongoDB may stall for seconds while it writes a checkpoint, and
/// nobody waits for the documents yet.
const INSERTION_TIMEOUT: Duration = Duration::from_secs(30);

/// The commits of a page.
struct Batch<V: View> {
    commits: Commits<V>,
    /// The number of commits, also of those that cannot be decoded.
    read: u64,
    /// Their bytes in the log.
    bytes: usize,
    /// The sequence after the last one; `None` if there is none.
    next: Option<u64>,
    is_last: bool,
}

impl<V: View> Views<V> {
    /// Fills this collection, which is empty, with all documents of the view. Holds documents of up
    /// to this many bytes in memory, measured by their commits.
    ///
    /// # Errors
    /// If a server does not answer.
    pub(super) async fn load(
        &self,
        max_held_bytes: usize,
        progress: Progress<'_>,
    ) -> anyhow::Result<Pass> {
        let filter = subject::events_of(V::Area::NAME);
        let replay = Replay::begin(&self.context, &filter).await?;
        let (_reading, mut batches) = read_ahead::<V>(replay);
        let mut held = Held::<V>::default();
        let mut pass = Pass { next: 1, read: 0 };
        loop {
            let batch = batches
                .recv()
                .await
                .context("reading the log has ended")??;
            pass.read += batch.read;
            pass.next = batch.next.unwrap_or(pass.next);
            let is_last = batch.is_last;
            self.hold(&mut held, batch).await?;
            while held.bytes() > max_held_bytes {
                self.insert(held.take_oldest()).await?;
            }
            if is_last {
                self.insert(held.take_all()).await?;
            }
            progress(pass.read, pass.next);
            if is_last {
                return Ok(pass);
            }
        }
    }

    /// Applies commits to the documents in memory. Commits of documents that were inserted before
    /// are applied to the collection.
    async fn hold(&self, held: &mut Held<V>, batch: Batch<V>) -> anyhow::Result<()> {
        let commit_bytes = batch.bytes / usize::try_from(batch.read.max(1))?;
        let mut of_inserted = Commits::<V>::new();
        held.begin_batch();
        for (key, commits) in batch.commits {
            let is_new = commits.iter().any(|commit| commit.revision == 1);
            let before = held.take(key);
            if before.is_none() && !is_new {
                of_inserted.insert(key, commits);
                continue;
            }
            let (before, bytes) = before.unwrap_or_else(|| (Self::nothing(key), 0));
            let plan = self.advanced(before, &commits).await?;
            held.put(key, plan.document, bytes + commits.len() * commit_bytes);
        }
        self.write_bulks(of_inserted, None).await
    }

    /// Inserts documents at all their locations.
    async fn insert(&self, documents: Vec<Document<V>>) -> anyhow::Result<()> {
        let bulks = stream::iter(documents).chunks(INSERTION).map(Ok);
        let inserted = bulks.try_for_each_concurrent(INSERTIONS, async |bulk| {
            let tenants = bulk.iter().map(|document| document.tenant).collect();
            let locations = self.placements.of(tenants).await?;
            let mut at: BTreeMap<&Location, Vec<Document<V>>> = BTreeMap::new();
            for document in bulk {
                for location in locations.get(&document.tenant).into_iter().flatten() {
                    at.entry(location).or_default().push(document.clone());
                }
            }
            for (location, documents) in at {
                let inserted = self.insert_at(location, documents);
                let inserted = timeout(INSERTION_TIMEOUT, inserted).await;
                inserted.context("inserting documents takes too long")??;
            }
            anyhow::Ok(())
        });
        inserted.await
    }

    async fn insert_at(
        &self,
        location: &Location,
        documents: Vec<Document<V>>,
    ) -> anyhow::Result<()> {
        let database = self.placements.database(location)?;
        let (name, documents) = (self.collection.clone(), Arc::new(documents));
        let to_insert = documents.clone();
        let duplicates = database.run("insert", |database| async move {
            let collection = database.collection::<Document<V>>(&name);
            let inserted = collection.insert_many(to_insert.iter()).ordered(false);
            match inserted.write_concern(durable()).await {
                Ok(_) => Ok(Vec::new()),
                Err(error) => duplicates(error),
            }
        });
        let duplicates = duplicates.await.context("inserting documents")?;
        let duplicates = duplicates.iter().filter_map(|index| documents.get(*index));
        let duplicates: Vec<Document<V>> = duplicates.cloned().collect();
        if duplicates.is_empty() {
            return Ok(());
        }
        self.overwrite(location, duplicates).await
    }

    /// Writes documents that exist already, since the log has two first commits of an aggregate.
    async fn overwrite(
        &self,
        location: &Location,
        documents: Vec<Document<V>>,
    ) -> anyhow::Result<()> {
        let database = self.placements.database(location)?;
        let ids = documents.iter().map(|document| document.id.to_string());
        let stored = self.stored(&database, ids.collect()).await?;
        let planned = documents.into_iter().map(|document| {
            let stored = stored.get(&(document.tenant, document.id)).map(revision);
            let over = stored.filter(|stored| *stored < revision(&document));
            Plan { over, document }
        });
        let planned: Vec<Plan<V>> = planned.collect();
        let is_written = self.write(&database, &planned, &HashMap::new()).await?;
        ensure!(is_written, "somebody else writes the new view");
        Ok(())
    }
}

/// Reads and decodes the log ahead, until the handle is dropped.
fn read_ahead<V: View>(
    replay: Replay,
) -> (
    AbortOnDropHandle<()>,
    mpsc::Receiver<anyhow::Result<Batch<V>>>,
) {
    let (send, batches) = mpsc::channel(AHEAD);
    let reading = tokio::spawn(async move {
        let mut read = Box::pin(read::<V>(replay));
        while let Some(batch) = read.next().await {
            if send.send(batch).await.is_err() {
                return;
            }
        }
    });
    (AbortOnDropHandle::new(reading), batches)
}

fn read<V: View>(replay: Replay) -> impl Stream<Item = anyhow::Result<Batch<V>>> {
    let pages = stream::try_unfold(Some(replay), next_page);
    let decoding = pages.map_ok(|page| {
        let decoded = tokio::spawn(async move { decode(&page) });
        async move { decoded.await.context("decoding a page of the log") }
    });
    decoding.try_buffered(AHEAD)
}

/// Reads a page. There is none after the last one.
async fn next_page(replay: Option<Replay>) -> anyhow::Result<Option<(Page, Option<Replay>)>> {
    let Some(mut replay) = replay else {
        return Ok(None);
    };
    let page = replay.page(PAGE).await?;
    let following = (!page.is_last()).then_some(replay);
    Ok(Some((page, following)))
}

fn decode<V: View>(page: &Page) -> Batch<V> {
    let bytes = page.messages.iter().map(|message| message.payload.len());
    Batch {
        commits: by_document::<V>(page),
        read: page.messages.len() as u64,
        bytes: bytes.sum(),
        next: page.next(),
        is_last: page.is_last(),
    }
}

/// Returns the write concern of a rebuild: a majority, in its journal. A new primary may miss other
/// writes.
fn durable() -> WriteConcern {
    let durable = WriteConcern::builder().w(Acknowledgment::Majority);
    durable.journal(true).build()
}

/// Returns the positions of documents that exist already, if nothing else went wrong.
fn duplicates(error: Error) -> MongoResult<Vec<usize>> {
    let ErrorKind::InsertMany(failure) = &*error.kind else {
        return Err(error);
    };
    let errors = failure.write_errors.as_deref().unwrap_or_default();
    let is_duplicate = |code: i32| code == DUPLICATE_KEY;
    if failure.write_concern_error.is_some() || !errors.iter().all(|error| is_duplicate(error.code))
    {
        return Err(error);
    }
    Ok(errors.iter().map(|error| error.index).collect())
}
