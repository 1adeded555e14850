//! Commits in, documents out. Folds live in `view/`; here they are read, written in bulk and announced.
//!
//! A document is written only where its stored revision is the one that was read, so any number of workers may
//! run, in any order, twice. A document that is behind by more than one commit is caught up from the log, so a
//! view heals itself whatever was lost; the message only says that there is something to do.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use async_nats::{
    Client,
    jetstream::{self, Message},
};
use events_schema::{
    Commit, Document, Id, Subject, TenantId,
    subject::{self, EVENTS},
};
use futures_util::StreamExt;
use mongodb::{
    Collection, Database, IndexModel,
    bson::{self, Bson, doc},
    options::IndexOptions,
};
use tokio_util::sync::CancellationToken;

use crate::{
    delivery::{self, Handled},
    event_store::{EventStore, Stored, random_name},
    jetstream::Consumer,
    view::View,
};

/// Documents written by one command: where measuring showed no further gain.
const BULK: usize = 100;
/// Bulks under way at once, per process and area.
const BULKS: usize = 4;
/// How often a bulk that another worker has overtaken is made anew before it goes back to the consumer.
const TRIES: usize = 5;
/// The wait between those tries.
const OVERTAKEN: Duration = Duration::from_millis(10);
/// How often the log is read a second time.
const SWEEP_EVERY: Duration = Duration::from_secs(15);
/// How long that may take before it is begun anew.
const SWEEP_BOUND: Duration = Duration::from_secs(300);
/// How far back it begins when a worker starts: more than can have been under way.
const SWEEP_BACK: u64 = 10_000;
/// The wait before a rebuild that has taken its place tries again to catch up.
const CATCH_UP_AGAIN: Duration = Duration::from_secs(1);
/// Duplicate key: the document was inserted by somebody else meanwhile.
const DUPLICATE_KEY: i32 = 11000;

/// The view of one area.
pub struct Views<V: View> {
    client: Client,
    store: EventStore,
    collection: Collection<Document<V>>,
    database: Database,
}

type Target = (TenantId, Id);
/// The commits of one document, with the messages to be settled for them.
type Seen<V> = Vec<(Commit<<V as View>::Event>, Message)>;

impl<V: View> Views<V> {
    /// The view of the area of `V` in this database.
    pub fn new(client: Client, database: Database) -> Self {
        Self { store: EventStore::new(client.clone()), collection: database.collection(V::AREA.as_str()), client, database }
    }

    /// Creates the indexes that are missing.
    pub async fn ensure_indexes(&self) -> anyhow::Result<()> {
        create_indexes::<V>(&self.collection).await
    }

    /// Keeps the view up to date until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let views = Arc::new(self);
        let (sweeper, stop) = (views.clone(), shutdown.clone());
        let sweep = tokio::spawn(async move { stop.run_until_cancelled(sweeper.sweep()).await });
        views.read(shutdown).await;
        sweep.await.context("the sweep panicked")?;
        Ok(())
    }

    async fn read(&self, shutdown: CancellationToken) {
        let context = jetstream::new(self.client.clone());
        let consumer = Consumer::views(V::AREA);
        let (views, context, consumer) = (self, &context, &consumer);
        delivery::messages(context.clone(), consumer.clone(), shutdown)
            .ready_chunks(BULK)
            .for_each_concurrent(BULKS, |messages| async move {
                let mut targets = BTreeMap::new();
                for message in messages {
                    match decode::<V>(&message.subject, &message.payload) {
                        Ok(_) if delivery::is_lost(consumer, &message) => {
                            delivery::settle(context, consumer, &message, Ok(Handled::Dead(delivery::LOST.to_owned()))).await;
                        }
                        Ok(commit) => {
                            targets.entry((commit.tenant, commit.id)).or_insert_with(Vec::new).push((commit, message));
                        }
                        Err(reason) => delivery::settle(context, consumer, &message, Ok(Handled::Dead(format!("{reason:#}")))).await,
                    }
                }
                views.take_in(context, consumer, targets).await;
            })
            .await;
    }

    /// Reads the log a second time, at leisure: a view is brought up to date even where the consumer has skipped a commit, as
    /// was seen, rarely, after nats-server was killed. What the documents have already costs one read a hundred commits.
    async fn sweep(&self) {
        let context = jetstream::new(self.client.clone());
        let mut next = None;
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            let swept = async {
                let from = match next {
                    Some(next) => next,
                    None => context.get_stream(EVENTS).await?.cached_info().state.last_sequence.saturating_sub(SWEEP_BACK).max(1),
                };
                Ok::<_, anyhow::Error>(self.catch_up(from, &|_, _| {}).await?.0)
            };
            match tokio::time::timeout(SWEEP_BOUND, swept).await {
                Ok(Ok(after)) => next = Some(after),
                Ok(Err(error)) => tracing::warn!(area = %V::AREA, error = format!("{error:#}"), "sweeping again later"),
                Err(_) => tracing::warn!(area = %V::AREA, "sweeping took too long, going on later"),
            }
        }
    }

    async fn take_in(&self, context: &jetstream::Context, consumer: &Consumer, seen: BTreeMap<Target, Seen<V>>) {
        let commits_of = |seen: &Seen<V>| seen.iter().map(|(commit, _)| commit.clone()).collect::<Vec<_>>();
        let all = seen.iter().map(|(target, seen)| (*target, commits_of(seen))).collect();
        let all_done = delivery::bounded(consumer, self.apply(all)).await;
        let all_done = all_done.inspect_err(|error| tracing::debug!(error = format!("{error:#}"), "one by one then")).is_ok();
        let settle_one = |(target, seen): (Target, Seen<V>)| async move {
            // One document that cannot be written must not hold up the others of its bulk.
            let alone = async { self.apply(BTreeMap::from([(target, commits_of(&seen))])).await };
            let result = if all_done { Ok(()) } else { delivery::bounded(consumer, alone).await };
            let result = result.map_err(|error| format!("{error:#}"));
            let settled = seen.iter().map(|(_, message)| {
                let result = result.clone().map(|()| Handled::Done).map_err(anyhow::Error::msg);
                delivery::settle(context, consumer, message, result)
            });
            futures_util::future::join_all(settled).await;
        };
        futures_util::future::join_all(seen.into_iter().map(settle_one)).await;
    }

    /// Brings each document at least to the latest of its commits, and says so on its subject.
    pub async fn apply(&self, commits: BTreeMap<Target, Vec<Commit<V::Event>>>) -> anyhow::Result<()> {
        for _ in 0..TRIES {
            let stored = self.stored(&commits).await?;
            let mut writes = Vec::new();
            for (target, commits) in &commits {
                let before = stored.get(target).cloned().unwrap_or(Document { id: target.1, tenant: target.0, revision: 0, view: None });
                let wanted = commits.iter().map(|commit| commit.revision).max().unwrap_or(0);
                if revision(&before) < wanted {
                    let after = self.fold(before.clone(), commits).await?;
                    // A replica may lag behind; acknowledging what it does not show would leave the view behind, too.
                    ensure!(revision(&after) >= wanted, "the log does not show revision {wanted} yet");
                    writes.push((revision(&before), after));
                }
            }
            let complete = self.write(&writes).await?;
            if complete {
                for (_, document) in &writes {
                    let subject = Subject::View { tenant: document.tenant, area: V::AREA, id: document.id }.to_string();
                    self.client.publish(subject, document.revision.to_string().into()).await?;
                }
                return Ok(());
            }
            tokio::time::sleep(OVERTAKEN).await;
        }
        bail!("other workers were first {TRIES} times in a row")
    }

    async fn stored(&self, commits: &BTreeMap<Target, Vec<Commit<V::Event>>>) -> anyhow::Result<HashMap<Target, Document<V>>> {
        let ids: Vec<String> = commits.keys().map(|(_, id)| id.to_string()).collect();
        let mut found = self.collection.find(doc! { "_id": { "$in": ids } }).await.context("reading the documents")?;
        let mut stored = HashMap::new();
        while let Some(document) = found.next().await {
            let document = document.context("reading a document")?;
            stored.insert((document.tenant, document.id), document);
        }
        Ok(stored)
    }

    /// Folds what follows; where something is missing in between, the log has it.
    async fn fold(&self, mut document: Document<V>, commits: &[Commit<V::Event>]) -> anyhow::Result<Document<V>> {
        let mut ahead: Vec<&Commit<V::Event>> = commits.iter().filter(|commit| commit.revision > revision(&document)).collect();
        ahead.sort_by_key(|commit| commit.revision);
        ahead.dedup_by_key(|commit| commit.revision);
        let gapless = ahead.iter().zip(revision(&document) + 1..).all(|(commit, expected)| commit.revision == expected);
        if gapless {
            ahead.into_iter().for_each(|commit| step(&mut document, commit));
            return Ok(document);
        }
        let subject = Subject::Event { tenant: document.tenant, area: V::AREA, id: document.id }.to_string();
        for message in self.store.read(&subject, 0).await? {
            let commit = decode::<V>(&message.subject, &message.payload)?;
            if commit.revision == revision(&document) + 1 {
                step(&mut document, &commit);
            }
        }
        Ok(document)
    }

    /// Writes all documents whose stored revision is still the one that was read; says whether that was so for all.
    async fn write(&self, writes: &[(u64, Document<V>)]) -> anyhow::Result<bool> {
        if writes.is_empty() {
            return Ok(true);
        }
        let mut updates = Vec::new();
        for (before, document) in writes {
            updates.push(doc! {
                "q": { "_id": document.id.to_string(), "revision": i64::try_from(*before)? },
                "u": bson::serialize_to_document(document).context("encoding a document")?,
                "upsert": *before == 0,
            });
        }
        // As one command: a hundred guarded updates cost little more than one.
        let command = doc! {
            "update": self.collection.name(),
            "updates": updates,
            "ordered": false,
            "writeConcern": { "w": "majority", "j": true },
        };
        let answer = self.database.run_command(command).await.context("writing the documents")?;
        let overtaken = answer.get_array("writeErrors").map(Vec::as_slice).unwrap_or_default();
        let is_duplicate =
            |error: &Bson| error.as_document().is_some_and(|error| error.get_i32("code").is_ok_and(|code| code == DUPLICATE_KEY));
        if let Some(error) = overtaken.iter().find(|error| !is_duplicate(error)) {
            bail!("writing a document: {error}");
        }
        if let Ok(error) = answer.get_document("writeConcernError") {
            bail!("the write is not durable: {error}");
        }
        Ok(usize::try_from(answer.get_i32("n")?)? == writes.len())
    }
}

fn revision<V>(document: &Document<V>) -> u64 {
    u64::try_from(document.revision).unwrap_or(0)
}

fn step<V: View>(document: &mut Document<V>, commit: &Commit<V::Event>) {
    document.view = V::fold(document.view.take(), commit);
    document.revision = i64::try_from(commit.revision).unwrap_or(i64::MAX);
}

/// A commit whose body says the same as its subject.
fn decode<V: View>(subject: &str, payload: &[u8]) -> anyhow::Result<Commit<V::Event>> {
    let said = Subject::parse(subject).context("the subject")?;
    let commit: Commit<V::Event> = serde_json::from_slice(payload).context("the body")?;
    if said != (Subject::Event { tenant: commit.tenant, area: commit.area, id: commit.id }) {
        bail!("the subject and the body do not say the same");
    }
    Ok(commit)
}

async fn create_indexes<V: View>(collection: &Collection<Document<V>>) -> anyhow::Result<()> {
    for index in V::INDEXES {
        // The tenant comes first, since no read is without it.
        let mut keys = doc! { "tenant": 1 };
        keys.extend(index.fields.iter().map(|field| (format!("view.{field}"), Bson::Int32(1))));
        let name = format!("tenant_{}", index.fields.join("_"));
        let model = IndexModel::builder().keys(keys).options(IndexOptions::builder().name(name).build()).build();
        collection.create_index(model).await.with_context(|| format!("index on {}", collection.name()))?;
    }
    Ok(())
}

/// Builds the view of `V` anew from the log, beside the old one, and puts it in its place when it is complete:
/// readers see the old documents, then the new ones, and workers may go on meanwhile. Returns how many commits were read.
pub async fn rebuild<V: View>(client: Client, database: &Database, progress: impl Fn(u64, u64)) -> anyhow::Result<u64> {
    let live = Views::<V>::new(client.clone(), database.clone());
    // A name of its own, so that two rebuilds at once do not build one another's.
    let name = format!("{}.rebuilding.{}", V::AREA, random_name()?);
    let beside = Views { collection: database.collection(&name), ..Views::<V>::new(client, database.clone()) };
    let built = beside.build(&live, &progress).await;
    if built.is_err() {
        // Nothing of it is of use to anybody; where it took its place already, there is nothing to drop.
        beside.collection.drop().await.context("dropping an unfinished rebuild")?;
    }
    let (next, read) = built?;
    // What was committed since went into the old documents; until this is through, those lag behind.
    let mut tries = 0;
    loop {
        match live.catch_up(next, &progress).await {
            Ok((_, read_since)) => return Ok(read + read_since),
            Err(error) if tries < TRIES => {
                tries += 1;
                tracing::warn!(error = format!("{error:#}"), "catching up again");
                tokio::time::sleep(CATCH_UP_AGAIN).await;
            }
            Err(error) => return Err(error.context("the new view is in place but lags behind: rebuild once more")),
        }
    }
}

impl<V: View> Views<V> {
    /// Fills this collection from the log and puts it in the place of `live`; returns where the log was left, and how many
    /// commits were read.
    async fn build(&self, live: &Self, progress: &impl Fn(u64, u64)) -> anyhow::Result<(u64, u64)> {
        // By itself a collection comes with its first document, and an empty log has none.
        self.database.create_collection(self.collection.name()).await.context("creating a collection")?;
        create_indexes::<V>(&self.collection).await?;
        let (mut next, mut read) = self.catch_up(1, progress).await?;
        // Again until there is nothing new, so that as little as possible is missing at the moment of the change.
        loop {
            let (after, more) = self.catch_up(next, progress).await?;
            (next, read) = (after, read + more);
            if more == 0 {
                break;
            }
        }
        let namespace = |collection: &Collection<Document<V>>| format!("{}.{}", self.database.name(), collection.name());
        let rename = doc! { "renameCollection": namespace(&self.collection), "to": namespace(&live.collection), "dropTarget": true };
        let admin = self.database.client().database("admin");
        admin.run_command(rename).await.context("putting the new view in place of the old one")?;
        Ok((next, read))
    }
}

impl<V: View> Views<V> {
    /// Applies the log from sequence `from` to its end; returns where it ended and how many commits that were.
    async fn catch_up(&self, from: u64, progress: &impl Fn(u64, u64)) -> anyhow::Result<(u64, u64)> {
        let (mut next, mut read, mut more) = (from, 0, true);
        while more {
            let (page, left): (Vec<Stored>, bool) = self.store.page(&subject::events_of(V::AREA), next).await?;
            more = left && !page.is_empty();
            let mut commits = Vec::new();
            for message in &page {
                match decode::<V>(&message.subject, &message.payload) {
                    Ok(commit) => commits.push(commit),
                    // It lies in DEAD already; a view is built from what can be read.
                    Err(reason) => tracing::error!(sequence = message.sequence, reason = format!("{reason:#}"), "passed over"),
                }
            }
            for bulk in commits.chunks(BULK) {
                let mut targets: BTreeMap<Target, Vec<Commit<V::Event>>> = BTreeMap::new();
                for commit in bulk.iter().cloned() {
                    targets.entry((commit.tenant, commit.id)).or_default().push(commit);
                }
                self.apply(targets).await?;
            }
            read += page.len() as u64;
            next = page.last().map_or(next, |last| last.sequence + 1);
            progress(read, next);
        }
        Ok((next, read))
    }
}
