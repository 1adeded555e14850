//! Reads, folds and writes the documents of one view.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    marker::PhantomData,
    sync::Mutex,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use async_nats::{
    Client,
    jetstream::{self, Context},
};
use event_store::{Database, EventLog, Location};
use events_schema::{Area, Commit, Document, Home, Subject, TenantId, View};
use futures_util::{TryStreamExt, future::try_join_all};
use mongodb::bson::{self, Bson, doc};
use tokio::time::{sleep, timeout};

use crate::{
    decode,
    placements::Placements,
    views::{
        confirmations::{Before, Confirmations},
        recent::Recent,
    },
};

/// How long one write may take, whatever happens. While a tenant's views move, a worker may believe
/// for this long that the old place is the only one. It is the sum of the two times below, and of
/// three seconds each to find the primary and to connect.
pub const MAX_WRITE_TIME: Duration = Duration::from_secs(13);
/// How long a caller waits. An operation that has begun by then still ends.
const CALLER_TIMEOUT: Duration = Duration::from_secs(4);
/// How long MongoDB may take for one write.
const SERVER_TIMEOUT_MS: i32 = 3_000;

/// How often a write is repeated at once when other workers were first.
const MAX_RACES: usize = 5;
/// The pause between these repetitions.
const RACE_PAUSE: Duration = Duration::from_millis(10);
/// MongoDB's code for a duplicate key: another worker has inserted the document.
pub(super) const DUPLICATE_KEY: i32 = 11000;

/// Identifies a document: whose data it is, and the aggregate that feeds it.
pub type Key<V> = (TenantId, <<V as View>::Area as Area>::Id);
/// Commits to apply, by document.
pub type Commits<V> = BTreeMap<Key<V>, Vec<Commit<<V as View>::Area>>>;

/// Documents, by their keys.
type Documents<V> = HashMap<Key<V>, Document<V>>;
/// The contents that documents must still have, in the form of MongoDB.
pub(super) type Contents<V> = HashMap<Key<V>, Bson>;

/// A document as its commits leave it.
pub(super) struct Plan<V: View> {
    /// The stored revision to write over; `None` if the stored document needs no change.
    pub(super) over: Option<u64>,
    pub(super) document: Document<V>,
}

/// When written documents are durable, and when their indexes exist.
enum Mode {
    /// Each write waits until it is durable.
    Durable,
    /// These confirm later that what was written is durable.
    Live(Confirmations),
    /// In a collection that nobody reads yet, whose indexes are created when all documents are
    /// there. Each write waits until it is durable: a new primary may miss what was not.
    Beside,
}

/// Documents that are written and announced, and may not be durable yet.
pub struct Applied {
    confirmations: Option<Confirmations>,
    locations: Vec<(Location, Before)>,
}

impl Applied {
    /// Waits until the documents are durable.
    ///
    /// # Errors
    /// If that is not certain.
    pub async fn confirm(&self) -> anyhow::Result<()> {
        let Some(confirmations) = &self.confirmations else {
            return Ok(());
        };
        let all = self.locations.iter();
        let all = all.map(|(location, before)| confirmations.confirm(location, *before));
        try_join_all(all).await?;
        Ok(())
    }
}

/// The documents of one view, in all databases.
pub struct Views<V: View> {
    pub(super) context: Context,
    pub(super) log: EventLog,
    pub(super) placements: Placements,
    mode: Mode,
    /// The view's name, except while the view is rebuilt beside the old one.
    pub(super) collection: String,
    /// What was written last, at the place that is read.
    recent: Recent<V>,
    /// The locations where the indexes are known to exist.
    pub(super) indexed: Mutex<HashSet<Location>>,
    view: PhantomData<V>,
}

impl<V: View> Views<V> {
    /// Keeps the view current, in bulks whose durability is confirmed afterwards.
    pub fn live(client: Client, placements: Placements, confirmations: Confirmations) -> Self {
        Self {
            mode: Mode::Live(confirmations),
            ..Self::new(client, placements)
        }
    }

    /// Writes documents that are durable at once.
    pub fn new(client: Client, placements: Placements) -> Self {
        Self {
            mode: Mode::Durable,
            log: EventLog::new(client.clone()),
            context: jetstream::new(client),
            placements,
            collection: V::NAME.to_owned(),
            recent: Recent::new(),
            indexed: Mutex::default(),
            view: PhantomData,
        }
    }

    /// Returns the same view in another collection beside the present one.
    pub(super) fn beside(&self, collection: String) -> Self {
        let beside = Self::new(self.context.client(), self.placements.clone());
        Self {
            collection,
            mode: Mode::Beside,
            ..beside
        }
    }

    /// Creates the indexes of the platform's collection.
    ///
    /// # Errors
    /// If MongoDB does not answer.
    pub async fn prepare(&self) -> anyhow::Result<()> {
        self.prepared(&self.placements.platform()).await?;
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

    /// Brings each document at least to the latest of its commits at these places, and announces
    /// it. The first place is the one that is read: what is written there is announced even if
    /// another one does not answer. The commits may be acknowledged when [`Applied::confirm`]
    /// returns.
    ///
    /// # Errors
    /// If it is not certain that every document is written at all places and announced.
    pub async fn apply(
        &self,
        places: &[Location],
        commits: &Commits<V>,
    ) -> anyhow::Result<Applied> {
        let mut locations = Vec::new();
        for (position, location) in places.iter().enumerate() {
            if let Mode::Live(confirmations) = &self.mode {
                let before = confirmations.before(location).await?;
                locations.push((location.clone(), before));
            }
            let written = self.write_at(location, commits).await?;
            if position == 0 {
                self.announce(location, &written).await?;
            }
        }
        Ok(Applied {
            confirmations: match &self.mode {
                Mode::Live(confirmations) => Some(confirmations.clone()),
                Mode::Durable | Mode::Beside => None,
            },
            locations,
        })
    }

    /// Brings each document at least to the latest of its commits, at all its locations.
    ///
    /// # Errors
    /// If it is not certain that every document is written at all its locations.
    pub(super) async fn write_everywhere(&self, commits: &Commits<V>) -> anyhow::Result<()> {
        let written = timeout(CALLER_TIMEOUT, async {
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
                .map(|(location, commits)| self.write_at(location, commits));
            try_join_all(writes).await
        });
        written.await.context("the write takes too long")??;
        Ok(())
    }

    /// Announces documents, also those that were announced before: their first announcement may
    /// have been lost with the worker that wrote them.
    async fn announce(&self, location: &Location, documents: &[Document<V>]) -> anyhow::Result<()> {
        let mut stored = Vec::new();
        for document in documents {
            let subject = Subject::of_view::<V>(document.tenant, document.id.into()).to_string();
            let payload = serde_json::to_vec(document).context("encoding a document")?;
            self.recent.put(location, document, payload.len());
            stored.push(self.context.publish(subject, payload.into()).await?);
        }
        for stored in stored {
            stored.await.context("announcing a document")?;
        }
        Ok(())
    }

    /// Brings the documents at one location at least to the latest of their commits, and returns
    /// them.
    pub(super) async fn write_at(
        &self,
        location: &Location,
        commits: &Commits<V>,
    ) -> anyhow::Result<Vec<Document<V>>> {
        let database = match self.mode {
            Mode::Durable | Mode::Live(_) => self.prepared(location).await?,
            Mode::Beside => self.placements.database(location)?,
        };
        for round in 0..MAX_RACES {
            let (mut known, contents) = if round == 0 {
                self.known(location, commits)?
            } else {
                Default::default()
            };
            let to_read = commits.keys().filter(|key| !known.contains_key(key));
            let ids = to_read.map(|(_, id)| id.to_string()).collect();
            known.extend(self.stored(&database, ids).await?);
            let planned = self.planned(known, commits).await?;
            if self.write(&database, &planned, &contents).await? {
                return Ok(planned.into_iter().map(|plan| plan.document).collect());
            }
            sleep(RACE_PAUSE).await;
        }
        bail!("other workers were first {MAX_RACES} times in a row")
    }

    /// Returns the documents that need no read: those that the first commit creates, and those that
    /// were written just now, these also with their contents. If one of them is stored otherwise,
    /// the write fails, and the next round reads it.
    fn known(
        &self,
        location: &Location,
        commits: &Commits<V>,
    ) -> anyhow::Result<(Documents<V>, Contents<V>)> {
        let (mut known, mut contents) = (HashMap::new(), HashMap::new());
        for document in self.recent.before(location, commits) {
            let key = (document.tenant, document.id);
            let content = bson::serialize_to_bson(&document.view);
            contents.insert(key, content.context("encoding a document")?);
            known.insert(key, document);
        }
        for (key, of_document) in commits {
            if of_document.iter().any(|commit| commit.revision == 1) {
                known.insert(*key, Self::nothing(*key));
            }
        }
        Ok((known, contents))
    }

    /// Reads the documents with these ids.
    pub(super) async fn stored(
        &self,
        database: &Database,
        ids: Vec<String>,
    ) -> anyhow::Result<Documents<V>> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let name = self.collection.clone();
        let found = database.run("find", |database| async move {
            let documents = database.collection::<Document<V>>(&name);
            let found = documents.find(doc! { "_id": { "$in": ids } }).await?;
            let by_key = found.map_ok(|document| ((document.tenant, document.id), document));
            by_key.try_collect().await
        });
        found.await.context("reading documents")
    }

    /// Returns each document as its commits leave it, and what to write.
    async fn planned(
        &self,
        mut stored: Documents<V>,
        commits: &Commits<V>,
    ) -> anyhow::Result<Vec<Plan<V>>> {
        let mut planned = Vec::new();
        for (key, commits) in commits {
            let before = stored.remove(key);
            let before = before.unwrap_or_else(|| Self::nothing(*key));
            planned.push(self.advanced(before, commits).await?);
        }
        Ok(planned)
    }

    /// Returns a document before its first commit.
    pub(super) fn nothing((tenant, id): Key<V>) -> Document<V> {
        Document {
            id,
            tenant,
            revision: 0,
            view: None,
        }
    }

    /// Returns a document after these commits, and what to write if it was stored as it is.
    pub(super) async fn advanced(
        &self,
        document: Document<V>,
        commits: &[Commit<V::Area>],
    ) -> anyhow::Result<Plan<V>> {
        let latest = commits.iter().map(|commit| commit.revision).max();
        let (before, wanted) = (revision(&document), latest.unwrap_or(0));
        if before >= wanted {
            let over = None;
            return Ok(Plan { over, document });
        }
        let document = self.fold(document, commits).await?;
        // A replica may lag. An acknowledgement now would leave the view behind, too.
        let has_all = revision(&document) >= wanted;
        ensure!(has_all, "the log does not show revision {wanted} yet");
        let over = Some(before);
        Ok(Plan { over, document })
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

    /// Writes all documents whose stored revision is still the expected one, and whose stored
    /// content is the one in `contents`, if it has one. Returns whether it has written all.
    pub(super) async fn write(
        &self,
        database: &Database,
        planned: &[Plan<V>],
        contents: &Contents<V>,
    ) -> anyhow::Result<bool> {
        let mut updates = Vec::new();
        for Plan { over, document } in planned {
            let Some(expected) = over else { continue };
            let mut over = doc! {
                "_id": document.id.to_string(),
                "revision": i64::try_from(*expected)?,
            };
            // A rebuild may have put another content at the same revision.
            if let Some(content) = contents.get(&(document.tenant, document.id)) {
                over.insert("view", content);
            }
            updates.push(doc! {
                "q": over,
                "u": bson::serialize_to_document(document).context("encoding a document")?,
                "upsert": *expected == 0,
            });
        }
        let expected = updates.len();
        if expected == 0 {
            return Ok(true);
        }
        // One command: a hundred guarded updates cost little more than one.
        let command = doc! {
            "update": &self.collection,
            "updates": updates,
            "ordered": false,
            "writeConcern": match self.mode {
                Mode::Durable | Mode::Beside => doc! { "w": "majority", "j": true },
                Mode::Live(_) => doc! { "w": 1 },
            },
            "maxTimeMS": SERVER_TIMEOUT_MS,
        };
        let answer = database.run("update", |database| async move {
            database.run_command(command).await
        });
        let answer = answer.await.context("writing documents")?;
        let errors = answer.get_array("writeErrors").map(Vec::as_slice);
        let mut errors = errors.unwrap_or_default().iter();
        if let Some(error) = errors.find(|error| !is_duplicate_key(error)) {
            bail!("writing a document: {error}");
        }
        if let Ok(error) = answer.get_document("writeConcernError") {
            bail!("the write is not durable: {error}");
        }
        Ok(usize::try_from(answer.get_i32("n")?)? == expected)
    }
}

/// Returns the revision of a document; 0 if there is none.
pub(super) fn revision<V: View>(document: &Document<V>) -> u64 {
    u64::try_from(document.revision).unwrap_or(0)
}

fn step<V: View>(document: &mut Document<V>, commit: &Commit<V::Area>) {
    document.view = V::fold(document.view.take(), commit);
    document.revision = i64::try_from(commit.revision).unwrap_or(i64::MAX);
}

fn is_duplicate_key(error: &Bson) -> bool {
    let error = error.as_document();
    error.is_some_and(|error| error.get_i32("code").ok() == Some(DUPLICATE_KEY))
}
