//! Writes documents under the guard of the stored revision.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, bail};
use event_store::{Database, Location};
use events_schema::{Document, View};
use futures_util::TryStreamExt;
use mongodb::bson::{self, Bson, doc};
use tokio::time::sleep;

use crate::views::{
    Collection,
    documents::{Commits, Key, SERVER_TIMEOUT_MS, Views},
    fold::Plan,
};

/// How often a write is repeated at once when other workers were first.
pub(super) const MAX_RACES: usize = 5;
/// The pause between these repetitions.
pub(super) const RACE_PAUSE: Duration = Duration::from_millis(10);
/// MongoDB's code for a duplicate key: another worker has inserted the document.
const DUPLICATE_KEY: i32 = 11000;

/// Documents, by their keys.
type Documents<V> = HashMap<Key<V>, Document<V>>;
/// The contents that documents must still have, in the form of MongoDB.
type Contents<V> = HashMap<Key<V>, Bson>;

impl<V: View> Views<V> {
    /// Brings the documents at one location at least to the latest of their commits, and returns
    /// them.
    pub(super) async fn write_at(
        &self,
        location: &Location,
        commits: &Commits<V>,
    ) -> anyhow::Result<Vec<Document<V>>> {
        let database = self.collection.prepared(location).await?;
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
            if of_document.iter().any(|logged| logged.commit.revision == 1) {
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
        let found = database.run("find", |database| async move {
            let documents = database.collection::<Document<V>>(V::NAME);
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

    /// Writes all documents whose stored revision is still the expected one, and whose stored
    /// content is the one in `contents`, if it has one. Returns whether it has written all.
    async fn write(
        &self,
        database: &Database,
        planned: &[Plan<V>],
        contents: &Contents<V>,
    ) -> anyhow::Result<bool> {
        let mut updates = Vec::new();
        for Plan { expected, document } in planned {
            let Some(expected) = expected else { continue };
            let mut guard = doc! {
                "_id": document.id.to_string(),
                "revision": i64::try_from(*expected)?,
            };
            // A rebuild may have put another content at the same revision.
            if let Some(content) = contents.get(&(document.tenant, document.id)) {
                guard.insert("view", content);
            }
            updates.push(doc! {
                "q": guard,
                "u": bson::serialize_to_document(document).context("encoding a document")?,
                "upsert": *expected == 0,
            });
        }
        self.collection.update(database, updates).await
    }
}

impl Collection {
    /// Runs guarded updates. Returns whether it has written all.
    async fn update(
        &self,
        database: &Database,
        updates: Vec<bson::Document>,
    ) -> anyhow::Result<bool> {
        let expected = updates.len();
        if expected == 0 {
            return Ok(true);
        }
        // One command: a hundred guarded updates cost little more than one.
        let command = doc! {
            "update": self.kind.name,
            "updates": updates,
            "ordered": false,
            // It is confirmed later that the documents are durable.
            "writeConcern": { "w": 1 },
            "maxTimeMS": SERVER_TIMEOUT_MS,
        };
        let answer = database.run("update", |database| async move {
            database.run_command(command).await
        });
        let answer = answer.await.context("writing documents")?;
        Ok(written(&answer)? == expected)
    }
}

/// Returns how many documents a command has written. The others were written by somebody else
/// first.
///
/// # Errors
/// If MongoDB has refused one for another reason, or does not know whether they are durable.
pub(super) fn written(answer: &bson::Document) -> anyhow::Result<usize> {
    let errors = answer.get_array("writeErrors").map(Vec::as_slice);
    let mut errors = errors.unwrap_or_default().iter();
    if let Some(error) = errors.find(|error| !is_duplicate_key(error)) {
        bail!("writing a document: {error}");
    }
    if let Ok(error) = answer.get_document("writeConcernError") {
        bail!("the write is not durable: {error}");
    }
    Ok(usize::try_from(answer.get_i32("n")?)?)
}

fn is_duplicate_key(error: &Bson) -> bool {
    let error = error.as_document();
    error.is_some_and(|error| error.get_i32("code").ok() == Some(DUPLICATE_KEY))
}
