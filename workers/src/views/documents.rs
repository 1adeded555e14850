//! Reads, folds and writes the documents of one view.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    marker::PhantomData,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use async_nats::Client;
use event_store::{EventLog, Location};
use events_schema::{Area, Commit, Document, Home, Index, Subject, TenantId, View};
use futures_util::{TryStreamExt, future::try_join_all};
use mongodb::{
    Collection, IndexModel,
    bson::{self, Bson, doc},
    options::IndexOptions,
};
use tokio::time::{sleep, timeout};

use crate::{decode, placements::Placements};

/// How long one write may take. While a tenant's views move, a worker may believe for this long
/// that the old place is the only one.
pub const MAX_WRITE_TIME: Duration = Duration::from_secs(10);

/// How often a write is repeated at once when other workers were first.
const MAX_RACES: usize = 5;
/// The pause between these repetitions.
const RACE_PAUSE: Duration = Duration::from_millis(10);
/// MongoDB's code for a duplicate key: another worker has inserted the document.
const DUPLICATE_KEY: i32 = 11000;

/// Identifies a document: whose data it is, and the aggregate that feeds it.
pub type Key<V> = (TenantId, <<V as View>::Area as Area>::Id);
/// Commits to apply, by document.
pub type Commits<V> = BTreeMap<Key<V>, Vec<Commit<<V as View>::Area>>>;

/// The documents of one view, in all databases.
pub struct Views<V: View> {
    client: Client,
    pub(super) log: EventLog,
    pub(super) placements: Placements,
    /// The view's name, except while the view is rebuilt beside the old one.
    pub(super) collection: String,
    /// The locations where the indexes are known to exist.
    indexed: Mutex<HashSet<Location>>,
    view: PhantomData<V>,
}

impl<V: View> Views<V> {
    pub fn new(client: Client, placements: Placements) -> Self {
        Self {
            log: EventLog::new(client.clone()),
            client,
            placements,
            collection: V::NAME.to_owned(),
            indexed: Mutex::default(),
            view: PhantomData,
        }
    }

    /// Returns the same view in another collection beside the present one.
    pub(super) fn beside(&self, collection: String) -> Self {
        let beside = Self::new(self.client.clone(), self.placements.clone());
        Self {
            collection,
            ..beside
        }
    }

    /// Creates the indexes of the platform's collection.
    ///
    /// # Errors
    /// If MongoDB does not answer.
    pub async fn prepare(&self) -> anyhow::Result<()> {
        self.collection_at(&self.placements.platform()).await?;
        Ok(())
    }

    /// Returns the key of the document that a commit changes.
    pub fn key(commit: &Commit<V::Area>) -> Key<V> {
        let tenant = match V::HOME {
            Home::Platform => TenantId::Platform,
            Home::Tenant => commit.tenant,
        };
        (tenant, commit.id)
    }

    /// Brings each document at least to the latest of its commits, at all its locations, and
    /// announces the new revisions.
    ///
    /// # Errors
    /// If it is not certain that every document is written at all its locations.
    pub async fn apply(&self, commits: &Commits<V>) -> anyhow::Result<()> {
        let applied = timeout(MAX_WRITE_TIME, self.apply_everywhere(commits)).await;
        let applied = applied.context("the write takes too long")?;
        for ((tenant, id), revision) in applied? {
            let subject = Subject::of_view::<V>(tenant, id.into()).to_string();
            let revision = revision.to_string();
            self.client.publish(subject, revision.into()).await?;
        }
        Ok(())
    }

    async fn apply_everywhere(
        &self,
        commits: &Commits<V>,
    ) -> anyhow::Result<BTreeMap<Key<V>, i64>> {
        let tenants = commits.keys().map(|(tenant, _)| *tenant).collect();
        let locations = self.placements.of(tenants).await?;
        let mut by_location: BTreeMap<&Location, Commits<V>> = BTreeMap::new();
        for (key, commits) in commits {
            for location in locations.get(&key.0).into_iter().flatten() {
                let at_location = by_location.entry(location).or_default();
                at_location.insert(*key, commits.clone());
            }
        }
        let writes = by_location
            .iter()
            .map(|(location, commits)| self.apply_at(location, commits));
        let written = try_join_all(writes).await?;
        Ok(written.into_iter().flatten().collect())
    }

    /// Brings the documents at one location at least to the latest of their commits; returns the
    /// written documents with their revisions.
    pub(super) async fn apply_at(
        &self,
        location: &Location,
        commits: &Commits<V>,
    ) -> anyhow::Result<Vec<(Key<V>, i64)>> {
        let collection = self.collection_at(location).await?;
        // Also those that an earlier round has written.
        let mut written = HashMap::new();
        for _ in 0..MAX_RACES {
            let stored = stored(&collection, commits).await?;
            let writes = self.folded(&stored, commits).await?;
            let documents = writes.iter().map(|(_, document)| document);
            written.extend(
                documents.map(|document| ((document.tenant, document.id), document.revision)),
            );
            if self.write(location, &writes).await? {
                return Ok(written.into_iter().collect());
            }
            sleep(RACE_PAUSE).await;
        }
        bail!("other workers were first {MAX_RACES} times in a row")
    }

    /// Returns the documents to write, each with the revision that must be stored.
    async fn folded(
        &self,
        stored: &HashMap<Key<V>, Document<V>>,
        commits: &Commits<V>,
    ) -> anyhow::Result<Vec<(u64, Document<V>)>> {
        let mut writes = Vec::new();
        for ((tenant, id), commits) in commits {
            let before = stored.get(&(*tenant, *id)).cloned().unwrap_or(Document {
                id: *id,
                tenant: *tenant,
                revision: 0,
                view: None,
            });
            let latest = commits.iter().map(|commit| commit.revision).max();
            let (stored, wanted) = (revision(&before), latest.unwrap_or(0));
            if stored < wanted {
                let after = self.fold(before, commits).await?;
                // A replica may lag. An acknowledgement now would leave the view behind, too.
                let has_all = revision(&after) >= wanted;
                ensure!(has_all, "the log does not show revision {wanted} yet");
                writes.push((stored, after));
            }
        }
        Ok(writes)
    }

    /// Folds the commits into a document. If one is missing in between, reads all of them from the
    /// log.
    async fn fold(
        &self,
        mut document: Document<V>,
        commits: &[Commit<V::Area>],
    ) -> anyhow::Result<Document<V>> {
        let mut ahead: Vec<&Commit<V::Area>> = commits.iter().collect();
        ahead.retain(|commit| commit.revision > revision(&document));
        ahead.sort_by_key(|commit| commit.revision);
        ahead.dedup_by_key(|commit| commit.revision);
        let expected = revision(&document) + 1..;
        let mut pairs = ahead.iter().zip(expected);
        if pairs.all(|(commit, expected)| commit.revision == expected) {
            for commit in ahead {
                step(&mut document, commit);
            }
            return Ok(document);
        }
        let Some(commit) = commits.first() else {
            return Ok(document);
        };
        for message in self.log.read(&commit.subject().to_string(), 0).await? {
            let commit = decode::commit::<V::Area>(&message.subject, &message.payload)?;
            if commit.revision == revision(&document) + 1 {
                step(&mut document, &commit);
            }
        }
        Ok(document)
    }

    /// Writes all documents whose stored revision is still the expected one; returns whether it has
    /// written all.
    async fn write(
        &self,
        location: &Location,
        writes: &[(u64, Document<V>)],
    ) -> anyhow::Result<bool> {
        if writes.is_empty() {
            return Ok(true);
        }
        let mut updates = Vec::new();
        for (expected, document) in writes {
            updates.push(doc! {
                "q": {
                    "_id": document.id.to_string(),
                    "revision": i64::try_from(*expected)?,
                },
                "u": bson::serialize_to_document(document).context("encoding a document")?,
                "upsert": *expected == 0,
            });
        }
        // One command: a hundred guarded updates cost little more than one.
        let command = doc! {
            "update": &self.collection,
            "updates": updates,
            "ordered": false,
            "writeConcern": { "w": "majority", "j": true },
        };
        let database = self.placements.database(location)?;
        let answer = database.run_command(command).await;
        let answer = answer.context("writing documents")?;
        let errors = answer.get_array("writeErrors").map(Vec::as_slice);
        let mut errors = errors.unwrap_or_default().iter();
        if let Some(error) = errors.find(|error| !is_duplicate_key(error)) {
            bail!("writing a document: {error}");
        }
        if let Ok(error) = answer.get_document("writeConcernError") {
            bail!("the write is not durable: {error}");
        }
        Ok(usize::try_from(answer.get_i32("n")?)? == writes.len())
    }

    /// Returns the collection at a location. Its indexes exist before anything is written there.
    pub(super) async fn collection_at(
        &self,
        location: &Location,
    ) -> anyhow::Result<Collection<Document<V>>> {
        let database = self.placements.database(location)?;
        let collection = database.collection(&self.collection);
        if !self.indexed().contains(location) {
            create_indexes::<V>(&collection).await?;
            self.indexed().insert(location.clone());
        }
        Ok(collection)
    }

    fn indexed(&self) -> std::sync::MutexGuard<'_, HashSet<Location>> {
        self.indexed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn stored<V: View>(
    collection: &Collection<Document<V>>,
    commits: &Commits<V>,
) -> anyhow::Result<HashMap<Key<V>, Document<V>>> {
    let ids: Vec<String> = commits.keys().map(|(_, id)| id.to_string()).collect();
    let found = collection.find(doc! { "_id": { "$in": ids } }).await;
    let found = found.context("reading documents")?;
    let by_key = found.map_ok(|document| ((document.tenant, document.id), document));
    by_key.try_collect().await.context("reading documents")
}

fn revision<V: View>(document: &Document<V>) -> u64 {
    u64::try_from(document.revision).unwrap_or(0)
}

fn step<V: View>(document: &mut Document<V>, commit: &Commit<V::Area>) {
    document.view = V::fold(document.view.take(), commit);
    document.revision = i64::try_from(commit.revision).unwrap_or(i64::MAX);
}

fn is_duplicate_key(error: &Bson) -> bool {
    let code = error
        .as_document()
        .and_then(|error| error.get_i32("code").ok());
    code == Some(DUPLICATE_KEY)
}

async fn create_indexes<V: View>(collection: &Collection<Document<V>>) -> anyhow::Result<()> {
    for index in [Index::on(&[])].iter().chain(V::INDEXES) {
        // The tenant comes first, since every read names it; the id last, so that pages have one
        // order.
        let mut keys = doc! { "tenant": 1 };
        for field in index.fields {
            keys.insert(format!("view.{field}"), 1);
        }
        keys.insert("_id", 1);
        let name = [&["tenant"], index.fields, &["id"]].concat().join("_");
        let options = IndexOptions::builder().name(name).build();
        let model = IndexModel::builder().keys(keys).options(options).build();
        let created = collection.create_index(model).await;
        created.with_context(|| format!("creating an index on {}", collection.name()))?;
    }
    Ok(())
}
