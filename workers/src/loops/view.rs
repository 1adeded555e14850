//! Commits in, documents out. Folds live in `view/`; here they are read, written in bulk and
//! announced.
//!
//! A document is written only where its stored revision is the one that was read, so any number of
//! workers may run, in any order, twice. A document that is behind by more than one commit is
//! caught up from the log, so a view heals itself whatever was lost; the message only says that
//! there is something to do.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    marker::PhantomData,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use async_nats::{
    Client,
    jetstream::{self, Message},
};
use events_schema::{Commit, Document, Home, Id, Subject, TenantId, subject};
use futures_util::{StreamExt, TryStreamExt, future::try_join_all};
use mongodb::{
    Collection, IndexModel,
    bson::{self, Bson, doc},
    options::IndexOptions,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    event_store::{EventStore, Stored, random_name},
    loops::consumers::Consumer,
    loops::delivery::{self, Handled},
    places::{Location, Places},
    view::{Fold, Index},
};

/// Documents written by one command: where measuring showed no further gain.
const BULK: usize = 100;
/// Bulks under way at once, per process and area.
const BULKS: usize = 4;
/// How often a bulk that another worker has overtaken is made anew before it goes back to the
/// consumer.
const TRIES: usize = 5;
/// The wait between those tries.
const OVERTAKEN: Duration = Duration::from_millis(10);
/// The wait before a rebuild that has taken its place tries again to catch up.
const CATCH_UP_AGAIN: Duration = Duration::from_secs(1);
/// Duplicate key: the document was inserted by somebody else meanwhile.
const DUPLICATE_KEY: i32 = 11000;

/// How long one bulk may take. Where a tenant's views are moved, this is how long a worker may hold
/// the old place for true.
pub const BULK_BOUND: Duration = Duration::from_secs(10);

/// One view, wherever its documents live.
pub struct Views<V: Fold> {
    client: Client,
    store: EventStore,
    places: Places,
    /// Its name, except while it is built anew.
    collection: String,
    /// Where its indexes are known to exist.
    indexed: Mutex<HashSet<Location>>,
    of: PhantomData<V>,
}

type Target = (TenantId, Id);
/// The commits of each document.
type Commits<V> = BTreeMap<Target, Vec<Commit<<V as Fold>::Event>>>;
/// Some of them, to be written in one location.
type Share<'a, V> = Vec<(&'a Target, &'a Vec<Commit<<V as Fold>::Event>>)>;
/// The commits of one document, with the messages to be settled for them.
type Seen<V> = Vec<(Commit<<V as Fold>::Event>, Message)>;

impl<V: Fold> Views<V> {
    /// The view `V`.
    pub fn new(client: Client, places: Places) -> Self {
        let indexed = Mutex::default();
        Self {
            store: EventStore::new(client.clone()),
            client,
            places,
            collection: V::NAME.to_owned(),
            indexed,
            of: PhantomData,
        }
    }

    /// The platform's collection, with its indexes.
    pub async fn prepare(&self) -> anyhow::Result<()> {
        self.collection(&self.places.platform()).await.map(|_| ())
    }

    /// The documents in one location. Its indexes are made before anything is written there, and so
    /// before anything is read.
    async fn collection(&self, location: &Location) -> anyhow::Result<Collection<Document<V>>> {
        let collection = self.places.open(location)?.collection(&self.collection);
        let known = || self.indexed.lock().unwrap_or_else(PoisonError::into_inner);
        if !known().contains(location) {
            create_indexes::<V>(&collection).await?;
            known().insert(location.clone());
        }
        Ok(collection)
    }

    /// Keeps the view up to date until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let context = jetstream::new(self.client.clone());
        let consumer = Consumer::views(V::NAME, V::AREA);
        let (views, context, consumer) = (&self, &context, &consumer);
        delivery::messages(context.clone(), consumer.clone(), shutdown)
            .ready_chunks(BULK)
            .for_each_concurrent(BULKS, |messages| async move {
                let mut targets = BTreeMap::new();
                for message in messages {
                    match decode::<V>(&message.subject, &message.payload) {
                        Ok(_) if delivery::is_lost(consumer, &message) => {
                            delivery::settle(
                                context,
                                consumer,
                                &message,
                                Ok(Handled::Dead(delivery::LOST.to_owned())),
                            )
                            .await;
                        }
                        Ok(commit) => {
                            targets
                                .entry(target::<V>(&commit))
                                .or_insert_with(Vec::new)
                                .push((commit, message));
                        }
                        Err(reason) => {
                            delivery::settle(
                                context,
                                consumer,
                                &message,
                                Ok(Handled::Dead(format!("{reason:#}"))),
                            )
                            .await
                        }
                    }
                }
                views.take_in(context, consumer, targets).await;
            })
            .await;
        Ok(())
    }

    async fn take_in(
        &self,
        context: &jetstream::Context,
        consumer: &Consumer,
        seen: BTreeMap<Target, Seen<V>>,
    ) {
        let commits_of = |seen: &Seen<V>| {
            seen.iter()
                .map(|(commit, _)| commit.clone())
                .collect::<Vec<_>>()
        };
        let all = seen
            .iter()
            .map(|(target, seen)| (*target, commits_of(seen)))
            .collect();
        let all_done = delivery::bounded(consumer, self.apply(&all)).await;
        let all_done = all_done
            .inspect_err(|error| tracing::debug!(error = format!("{error:#}"), "one by one then"))
            .is_ok();
        let settle_one = |(target, seen): (Target, Seen<V>)| async move {
            // One document that cannot be written must not hold up the others of its bulk.
            let alone = async {
                self.apply(&BTreeMap::from([(target, commits_of(&seen))]))
                    .await
            };
            let result = if all_done {
                Ok(())
            } else {
                delivery::bounded(consumer, alone).await
            };
            let result = result.map_err(|error| format!("{error:#}"));
            let settled = seen.iter().map(|(_, message)| {
                let result = result
                    .clone()
                    .map(|()| Handled::Done)
                    .map_err(anyhow::Error::msg);
                delivery::settle(context, consumer, message, result)
            });
            futures_util::future::join_all(settled).await;
        };
        futures_util::future::join_all(seen.into_iter().map(settle_one)).await;
    }

    /// Brings each document at least to the latest of its commits, wherever it lives, and says so
    /// on its subject.
    pub async fn apply(&self, commits: &Commits<V>) -> anyhow::Result<()> {
        let applied = async {
            let locations = self
                .places
                .of(commits.keys().map(|(tenant, _)| *tenant).collect())
                .await?;
            let mut shares: BTreeMap<&Location, Share<'_, V>> = BTreeMap::new();
            for (target, commits) in commits {
                for location in locations.get(&target.0).into_iter().flatten() {
                    shares.entry(location).or_default().push((target, commits));
                }
            }
            let written = shares
                .iter()
                .map(|(location, share)| self.apply_in(location, share));
            anyhow::Ok(
                try_join_all(written)
                    .await?
                    .into_iter()
                    .flatten()
                    .collect::<BTreeMap<Target, i64>>(),
            )
        };
        for ((tenant, id), revision) in timeout(BULK_BOUND, applied)
            .await
            .context("the bulk takes too long")??
        {
            let subject = Subject::View {
                tenant,
                name: V::NAME.to_owned(),
                id,
            }
            .to_string();
            self.client
                .publish(subject, revision.to_string().into())
                .await?;
        }
        Ok(())
    }

    /// The same in one location; returns what was written there.
    async fn apply_in(
        &self,
        location: &Location,
        commits: &Share<'_, V>,
    ) -> anyhow::Result<Vec<(Target, i64)>> {
        let collection = self.collection(location).await?;
        for _ in 0..TRIES {
            let stored = stored(&collection, commits).await?;
            let mut writes = Vec::new();
            for (target, commits) in commits {
                let before = stored.get(target).cloned().unwrap_or(Document {
                    id: target.1,
                    tenant: target.0,
                    revision: 0,
                    view: None,
                });
                let wanted = commits
                    .iter()
                    .map(|commit| commit.revision)
                    .max()
                    .unwrap_or(0);
                if revision(&before) < wanted {
                    let after = self.fold(before.clone(), commits).await?;
                    // A replica may lag behind; acknowledging what it does not show would leave the
                    // view behind, too.
                    ensure!(
                        revision(&after) >= wanted,
                        "the log does not show revision {wanted} yet"
                    );
                    writes.push((revision(&before), after));
                }
            }
            if self.write(location, &writes).await? {
                return Ok(writes
                    .into_iter()
                    .map(|(_, document)| ((document.tenant, document.id), document.revision))
                    .collect());
            }
            tokio::time::sleep(OVERTAKEN).await;
        }
        bail!("other workers were first {TRIES} times in a row")
    }

    /// Folds what follows; where something is missing in between, the log has it.
    async fn fold(
        &self,
        mut document: Document<V>,
        commits: &[Commit<V::Event>],
    ) -> anyhow::Result<Document<V>> {
        let mut ahead: Vec<&Commit<V::Event>> = commits
            .iter()
            .filter(|commit| commit.revision > revision(&document))
            .collect();
        ahead.sort_by_key(|commit| commit.revision);
        ahead.dedup_by_key(|commit| commit.revision);
        let gapless = ahead
            .iter()
            .zip(revision(&document) + 1..)
            .all(|(commit, expected)| commit.revision == expected);
        if gapless {
            ahead
                .into_iter()
                .for_each(|commit| step(&mut document, commit));
            return Ok(document);
        }
        let tenant = commits
            .first()
            .map_or(document.tenant, |commit| commit.tenant);
        let subject = Subject::Event {
            tenant,
            area: V::AREA,
            id: document.id,
        }
        .to_string();
        for message in self.store.read(&subject, 0).await? {
            let commit = decode::<V>(&message.subject, &message.payload)?;
            if commit.revision == revision(&document) + 1 {
                step(&mut document, &commit);
            }
        }
        Ok(document)
    }

    /// Writes all documents whose stored revision is still the one that was read; says whether that
    /// was so for all.
    async fn write(
        &self,
        location: &Location,
        writes: &[(u64, Document<V>)],
    ) -> anyhow::Result<bool> {
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
            "update": &self.collection,
            "updates": updates,
            "ordered": false,
            "writeConcern": { "w": "majority", "j": true },
        };
        let answer = self
            .places
            .open(location)?
            .run_command(command)
            .await
            .context("writing the documents")?;
        let overtaken = answer
            .get_array("writeErrors")
            .map(Vec::as_slice)
            .unwrap_or_default();
        let is_duplicate = |error: &Bson| {
            error.as_document().is_some_and(|error| {
                error
                    .get_i32("code")
                    .is_ok_and(|code| code == DUPLICATE_KEY)
            })
        };
        if let Some(error) = overtaken.iter().find(|error| !is_duplicate(error)) {
            bail!("writing a document: {error}");
        }
        if let Ok(error) = answer.get_document("writeConcernError") {
            bail!("the write is not durable: {error}");
        }
        Ok(usize::try_from(answer.get_i32("n")?)? == writes.len())
    }
}

async fn stored<V: Fold>(
    collection: &Collection<Document<V>>,
    commits: &Share<'_, V>,
) -> anyhow::Result<HashMap<Target, Document<V>>> {
    let ids: Vec<String> = commits.iter().map(|((_, id), _)| id.to_string()).collect();
    let found = collection
        .find(doc! { "_id": { "$in": ids } })
        .await
        .context("reading the documents")?;
    found
        .map_ok(|document| ((document.tenant, document.id), document))
        .try_collect()
        .await
        .context("reading the documents")
}

/// Whose document shows a commit. What the platform must know of a tenant's commits is the
/// platform's.
fn target<V: Fold>(commit: &Commit<V::Event>) -> Target {
    let tenant = match V::HOME {
        Home::Platform => TenantId::Platform,
        Home::Tenant => commit.tenant,
    };
    (tenant, commit.id)
}

fn revision<V>(document: &Document<V>) -> u64 {
    u64::try_from(document.revision).unwrap_or(0)
}

fn step<V: Fold>(document: &mut Document<V>, commit: &Commit<V::Event>) {
    document.view = V::fold(document.view.take(), commit);
    document.revision = i64::try_from(commit.revision).unwrap_or(i64::MAX);
}

/// A commit whose body says the same as its subject.
fn decode<V: Fold>(subject: &str, payload: &[u8]) -> anyhow::Result<Commit<V::Event>> {
    let said = Subject::parse(subject).context("the subject")?;
    let commit: Commit<V::Event> = serde_json::from_slice(payload).context("the body")?;
    if said
        != (Subject::Event {
            tenant: commit.tenant,
            area: commit.area,
            id: commit.id,
        })
    {
        bail!("the subject and the body do not say the same");
    }
    Ok(commit)
}

async fn create_indexes<V: Fold>(collection: &Collection<Document<V>>) -> anyhow::Result<()> {
    for index in [&Index { fields: &[] }].into_iter().chain(V::INDEXES) {
        // The tenant comes first, since no read is without it; the id last, so that pages have one
        // order.
        let mut keys = doc! { "tenant": 1 };
        keys.extend(
            index
                .fields
                .iter()
                .map(|field| (format!("view.{field}"), Bson::Int32(1))),
        );
        keys.insert("_id", 1);
        let name = ["tenant"]
            .iter()
            .chain(index.fields)
            .chain(&["id"])
            .copied()
            .collect::<Vec<_>>()
            .join("_");
        let model = IndexModel::builder()
            .keys(keys)
            .options(IndexOptions::builder().name(name).build())
            .build();
        collection
            .create_index(model)
            .await
            .with_context(|| format!("index on {}", collection.name()))?;
    }
    Ok(())
}

/// Builds the view `V` anew from the log, beside the old one, and puts it in its place when it is
/// complete: readers see the old documents, then the new ones, and workers may go on meanwhile.
/// Returns how many commits were read.
pub async fn rebuild<V: Fold>(
    client: Client,
    places: &Places,
    progress: impl Fn(u64, u64),
) -> anyhow::Result<u64> {
    let live = Views::<V>::new(client.clone(), places.clone());
    // A name of its own, so that two rebuilds at once do not build one another's.
    let collection = format!("{}.rebuilding.{}", V::NAME, random_name()?);
    let beside = Views {
        collection,
        ..Views::<V>::new(client, places.clone())
    };
    let built = beside.build(&progress).await;
    if built.is_err() {
        // Nothing of it is of use to anybody; where it took its place already, there is nothing to
        // drop.
        for location in beside.locations().await? {
            places
                .open(&location)?
                .collection::<Bson>(&beside.collection)
                .drop()
                .await
                .context("dropping an unfinished rebuild")?;
        }
    }
    let (next, read) = built?;
    // What was committed since went into the old documents; until this is through, those lag
    // behind.
    let mut tries = 0;
    loop {
        match live
            .catch_up(&subject::events_of(V::AREA), next, None, &progress)
            .await
        {
            Ok((_, read_since)) => return Ok(read + read_since),
            Err(error) if tries < TRIES => {
                tries += 1;
                tracing::warn!(error = format!("{error:#}"), "catching up again");
                tokio::time::sleep(CATCH_UP_AGAIN).await;
            }
            Err(error) => {
                return Err(
                    error.context("the new view is in place but lags behind: rebuild once more")
                );
            }
        }
    }
}

impl<V: Fold> Views<V> {
    /// Fills this collection from the log and puts it in the place of the one that is read; returns
    /// where the log was left, and how many commits were read.
    async fn build(&self, progress: &impl Fn(u64, u64)) -> anyhow::Result<(u64, u64)> {
        let all = subject::events_of(V::AREA);
        let (mut next, mut read) = self.catch_up(&all, 1, None, progress).await?;
        // Again until there is nothing new, so that as little as possible is missing at the moment
        // of the change.
        loop {
            let (after, more) = self.catch_up(&all, next, None, progress).await?;
            (next, read) = (after, read + more);
            if more == 0 {
                break;
            }
        }
        for location in self.locations().await? {
            // Where there was nothing to write, an empty one takes the place of what should not be
            // there.
            self.collection(&location).await?;
            let database = self.places.open(&location)?;
            let namespace = |collection: &str| format!("{}.{collection}", database.name());
            let rename = doc! { "renameCollection": namespace(&self.collection), "to": namespace(V::NAME), "dropTarget": true };
            database
                .client()
                .database("admin")
                .run_command(rename)
                .await
                .context("putting the new view in place of the old one")?;
        }
        Ok((next, read))
    }

    /// Everywhere that its documents may live.
    async fn locations(&self) -> anyhow::Result<BTreeSet<Location>> {
        match V::HOME {
            Home::Platform => Ok(BTreeSet::from([self.places.platform()])),
            Home::Tenant => self.places.all().await,
        }
    }

    /// Writes the documents of one tenant in one location, from the log alone; returns how many
    /// commits were read.
    pub async fn fill(
        &self,
        tenant: TenantId,
        location: &Location,
        progress: &impl Fn(u64, u64),
    ) -> anyhow::Result<u64> {
        Ok(self
            .catch_up(
                &subject::events_of_tenant(tenant, V::AREA),
                1,
                Some(location),
                progress,
            )
            .await?
            .1)
    }

    /// How many of a tenant's documents differ between two locations, either of which may lack
    /// some.
    pub async fn differences(
        &self,
        tenant: TenantId,
        one: &Location,
        other: &Location,
    ) -> anyhow::Result<u64> {
        let read = async |location| {
            let documents = self
                .places
                .open(location)?
                .collection::<bson::Document>(&self.collection);
            let cursor = documents
                .find(doc! { "tenant": tenant.to_string() })
                .sort(doc! { "_id": 1 })
                .await?;
            anyhow::Ok(cursor)
        };
        let (mut one, mut other) = (read(one).await?, read(other).await?);
        let (mut left, mut right) = (one.try_next().await?, other.try_next().await?);
        let mut differences = 0;
        while left.is_some() || right.is_some() {
            let id = |document: &Option<bson::Document>| {
                document
                    .as_ref()
                    .and_then(|document| document.get_str("_id").ok().map(str::to_owned))
            };
            let order = match (id(&left), id(&right)) {
                (Some(left), Some(right)) => left.cmp(&right),
                (Some(_), None) => Ordering::Less,
                (None, _) => Ordering::Greater,
            };
            differences += u64::from(order != Ordering::Equal || left != right);
            if order.is_le() {
                left = one.try_next().await?;
            }
            if order.is_ge() {
                right = other.try_next().await?;
            }
        }
        Ok(differences)
    }

    /// Applies what `filter` lets through from sequence `from` to the end of the log, in `only` one
    /// location if given; returns where the log ended and how many commits that were.
    async fn catch_up(
        &self,
        filter: &str,
        from: u64,
        only: Option<&Location>,
        progress: &impl Fn(u64, u64),
    ) -> anyhow::Result<(u64, u64)> {
        let (mut next, mut read, mut more) = (from, 0, true);
        while more {
            let (page, left): (Vec<Stored>, bool) = self.store.page(filter, next).await?;
            more = left && !page.is_empty();
            let mut commits = Vec::new();
            for message in &page {
                match decode::<V>(&message.subject, &message.payload) {
                    Ok(commit) => commits.push(commit),
                    // It lies in DEAD already; a view is built from what can be read.
                    Err(reason) => tracing::error!(
                        sequence = message.sequence,
                        reason = format!("{reason:#}"),
                        "passed over"
                    ),
                }
            }
            for bulk in commits.chunks(BULK) {
                let mut targets = Commits::<V>::new();
                for commit in bulk.iter().cloned() {
                    targets
                        .entry(target::<V>(&commit))
                        .or_default()
                        .push(commit);
                }
                match only {
                    None => self.apply(&targets).await?,
                    Some(location) => self
                        .apply_in(location, &targets.iter().collect())
                        .await
                        .map(|_| ())?,
                }
            }
            read += page.len() as u64;
            next = page.last().map_or(next, |last| last.sequence + 1);
            progress(read, next);
        }
        Ok((next, read))
    }
}
