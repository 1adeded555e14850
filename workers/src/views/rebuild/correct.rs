//! Writes the documents of one place that are stored otherwise than the log says.

use std::collections::HashMap;

use anyhow::{Context as _, anyhow, bail};
use event_store::{Database, Location, Unavailable};
use events_schema::Subject;
use futures_util::TryStreamExt as _;
use mongodb::bson::{
    RawArrayBuf, RawBson, RawDocument, RawDocumentBuf, doc, raw::CStr, raw::cstr, rawdoc,
};
use tokio::time::sleep;

use crate::views::{
    documents::SERVER_TIMEOUT_MS,
    rebuild::{Encoded, Rebuild},
    write::{MAX_RACES, RACE_PAUSE, written},
};

/// Bytes of one command: a third of what MongoDB takes.
const COMMAND_BYTES: usize = 5 * 1024 * 1024;
/// The names of commands and of the fields with their items.
const INSERT: (&CStr, &CStr) = (cstr!("insert"), cstr!("documents"));
const UPDATE: (&CStr, &CStr) = (cstr!("update"), cstr!("updates"));
pub(super) const DELETE: (&CStr, &CStr) = (cstr!("delete"), cstr!("deletes"));

impl Rebuild<'_> {
    /// Makes sure that each of these documents is stored at a place as it is here, or at a later
    /// revision that is right, too.
    pub(super) async fn correct(
        &self,
        location: &Location,
        mut documents: Vec<Encoded>,
    ) -> anyhow::Result<()> {
        let database = self.collection.placements.database(location)?;
        for _ in 0..MAX_RACES {
            let ids = documents.iter().map(|encoded| encoded.id.to_string());
            let mut stored = self.stored_raw(&database, ids.collect()).await?;
            let (mut insertions, mut updates) = (Vec::new(), Vec::new());
            let (mut readable, mut changed) = (Vec::new(), Vec::new());
            for mut encoded in documents {
                let id = encoded.id.to_string();
                let Some(stored) = stored.remove(&id) else {
                    insertions.push(encoded.document.clone());
                    changed.push(encoded.document.clone());
                    readable.push(encoded);
                    continue;
                };
                match self.reach(&mut encoded, &stored).await {
                    Ok(()) => {}
                    Err(error) if error.is::<Unavailable>() => return Err(error),
                    Err(error) => {
                        self.leave_unreadable(encoded.key(), &error);
                        continue;
                    }
                }
                if encoded.document != stored {
                    let guard = rawdoc! { "_id": id, "revision": stored_revision(&stored) };
                    updates.push(rawdoc! { "q": guard, "u": encoded.document.clone() });
                    changed.push(encoded.document.clone());
                }
                readable.push(encoded);
            }
            documents = readable;
            let wanted = insertions.len() + updates.len();
            let inserted = self.run(&database, INSERT, insertions);
            let inserted = inserted.await?;
            let updated = self.run(&database, UPDATE, updates).await?;
            self.count_written(inserted + updated);
            self.announce(location, &changed).await?;
            if inserted + updated == wanted {
                return Ok(());
            }
            // Workers were first. The next round sees what they have written.
            sleep(RACE_PAUSE).await;
        }
        bail!("other workers were first {MAX_RACES} times in a row")
    }

    /// Reads stored documents, by their ids.
    pub(super) async fn stored_raw(
        &self,
        database: &Database,
        ids: Vec<String>,
    ) -> anyhow::Result<HashMap<String, RawDocumentBuf>> {
        let name = self.collection.kind.name;
        let found = database.run("find", |database| async move {
            let documents = database.collection::<RawDocumentBuf>(name);
            let found = documents.find(doc! { "_id": { "$in": ids } }).await?;
            found.try_collect::<Vec<_>>().await
        });
        let found = found.await.context("reading documents")?;
        let by_id = found.into_iter().map(|stored| {
            let id = stored.get_str("_id")?.to_owned();
            anyhow::Ok((id, stored))
        });
        by_id.collect()
    }

    /// Folds further commits into a document that workers have brought to a later revision
    /// meanwhile. If the log does not have that revision, the encoded document stays.
    async fn reach(&self, encoded: &mut Encoded, stored: &RawDocument) -> anyhow::Result<()> {
        let wanted = stored.get_i64("revision").unwrap_or(0);
        if encoded.document.get_i64("revision")? >= wanted {
            return Ok(());
        }
        let subject = Subject::Event {
            tenant: encoded.source,
            area: self.collection.kind.area,
            id: encoded.id,
        };
        let subject = subject.to_string();
        encoded.document = self.view.read_on(&encoded.document, &subject).await?;
        let in_log = encoded.document.get_i64("revision")?;
        if in_log >= wanted {
            return Ok(());
        }
        // A replica may lag, the leader never does.
        let last = self.collection.log.last(&subject).await?;
        let last = last.map_or(0, |last| last.sequence);
        if i64::try_from(last)? > encoded.document.get_i64("sequence")? {
            let missing = anyhow!("the log does not show revision {wanted} yet");
            return Err(missing.context(Unavailable));
        }
        tracing::warn!(
            view = self.collection.kind.name,
            id = %encoded.id,
            stored = wanted,
            in_log,
            "a document has a revision that the log does not have"
        );
        Ok(())
    }

    /// Runs commands that write these items durably. Returns how many were written.
    pub(super) async fn run(
        &self,
        database: &Database,
        (command, field): (&CStr, &CStr),
        items: Vec<RawDocumentBuf>,
    ) -> anyhow::Result<usize> {
        let mut count = 0;
        for items in within(COMMAND_BYTES, items) {
            let command = rawdoc! {
                command: self.collection.kind.name,
                field: items,
                "ordered": false,
                "writeConcern": { "w": "majority", "j": true },
                "maxTimeMS": SERVER_TIMEOUT_MS,
            };
            let answer = database.run("write", |database| async move {
                database.run_raw_command(command).await
            });
            count += written(&answer.await.context("writing documents")?)?;
        }
        Ok(count)
    }
}

/// Returns a document's revision as it is stored: null if there is none.
pub(super) fn stored_revision(stored: &RawDocument) -> RawBson {
    let revision = stored.get("revision").ok().flatten();
    revision.map_or(RawBson::Null, RawBson::from)
}

/// Splits items into arrays of about this many bytes.
fn within(bytes: usize, items: Vec<RawDocumentBuf>) -> Vec<RawArrayBuf> {
    let (mut arrays, mut size) = (Vec::new(), bytes);
    for item in items {
        size += item.as_bytes().len();
        if size > bytes {
            arrays.push(RawArrayBuf::new());
            size = item.as_bytes().len();
        }
        if let Some(array) = arrays.last_mut() {
            array.push(item);
        }
    }
    arrays
}
