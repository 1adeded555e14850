//! Corrects the stored documents of one place: writes those that differ from the log, and removes
//! those that the log does not have.

use std::{collections::HashMap, mem};

use anyhow::{Context as _, bail, ensure};
use event_store::{Database, Location};
use events_schema::{Area as _, Id, Subject, TenantId, View, subject};
use futures_util::TryStreamExt as _;
use mongodb::bson::{
    RawArrayBuf, RawBson, RawDocument, RawDocumentBuf, doc, raw::CStr, raw::cstr, rawdoc,
    serialize_to_raw_document_buf,
};
use tokio::time::{sleep, timeout};

use crate::views::{
    documents::{CALLER_TIMEOUT, SERVER_TIMEOUT_MS},
    fold::revision,
    held::Folded,
    rebuild::{Rebuild, Scope, digest},
    write::{MAX_RACES, RACE_PAUSE, written},
};

/// Bytes of one command: a third of what MongoDB takes.
const COMMAND_BYTES: usize = 5 * 1024 * 1024;
/// The names of commands and of the fields with their items.
const INSERT: (&CStr, &CStr) = (cstr!("insert"), cstr!("documents"));
const UPDATE: (&CStr, &CStr) = (cstr!("update"), cstr!("updates"));
const DELETE: (&CStr, &CStr) = (cstr!("delete"), cstr!("deletes"));
/// Documents that are removed at once.
const REMOVAL: usize = 100;
/// Documents in one answer of MongoDB.
const SCAN: u32 = 10_000;

/// A stored document that may not belong to its place.
struct Doubtful {
    id: String,
    tenant: Option<TenantId>,
    /// As it is stored.
    revision: RawBson,
    sequence: i64,
    /// Whether its commits were read.
    is_known: bool,
}

impl<V: View> Rebuild<'_, V> {
    /// Makes sure that each of these documents is stored at a place as it is here, or at a later
    /// revision that is right, too.
    pub(super) async fn correct(
        &self,
        location: &Location,
        mut documents: Vec<Folded<V>>,
    ) -> anyhow::Result<()> {
        let database = self.views.placements.database(location)?;
        for _ in 0..MAX_RACES {
            let mut stored = self.stored(&database, &documents).await?;
            let (mut insertions, mut updates) = (Vec::new(), Vec::new());
            for folded in &mut documents {
                let id = folded.document.id.to_string();
                let Some(stored) = stored.remove(&id) else {
                    insertions.push(serialize_to_raw_document_buf(&folded.document)?);
                    continue;
                };
                self.reach(folded, &stored).await?;
                let right = serialize_to_raw_document_buf(&folded.document)?;
                if right != stored {
                    let over = rawdoc! { "_id": id, "revision": stored_revision(&stored) };
                    updates.push(rawdoc! { "q": over, "u": right });
                }
            }
            let wanted = insertions.len() + updates.len();
            let inserted = self.run(&database, INSERT, insertions);
            let inserted = inserted.await?;
            let updated = self.run(&database, UPDATE, updates).await?;
            self.count_written(inserted + updated);
            if inserted + updated == wanted {
                return Ok(());
            }
            // Workers were first. The next round sees what they have written.
            sleep(RACE_PAUSE).await;
        }
        bail!("other workers were first {MAX_RACES} times in a row")
    }

    /// Reads the stored documents, by their ids.
    async fn stored(
        &self,
        database: &Database,
        documents: &[Folded<V>],
    ) -> anyhow::Result<HashMap<String, RawDocumentBuf>> {
        let ids = documents
            .iter()
            .map(|folded| folded.document.id.to_string());
        let ids: Vec<String> = ids.collect();
        let found = database.run("find", |database| async move {
            let documents = database.collection::<RawDocumentBuf>(V::NAME);
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
    /// meanwhile. It stays as it is if the log does not have that revision.
    async fn reach(&self, folded: &mut Folded<V>, stored: &RawDocument) -> anyhow::Result<()> {
        let wanted = stored.get_i64("revision").unwrap_or(0);
        if folded.document.revision >= wanted {
            return Ok(());
        }
        let subject = Subject::Event {
            tenant: folded.source,
            area: V::Area::NAME,
            id: folded.document.id.into(),
        };
        let subject = subject.to_string();
        let document = folded.document.clone();
        folded.document = self.views.read_on(document, &subject).await?;
        if folded.document.revision >= wanted {
            return Ok(());
        }
        // A replica may lag, the leader never does.
        let last = self.views.log.last(&subject).await?;
        let last = last.map_or(0, |last| last.sequence);
        ensure!(
            i64::try_from(last)? <= folded.document.sequence,
            "the log does not show revision {wanted} yet"
        );
        tracing::warn!(
            view = V::NAME,
            id = %folded.document.id,
            stored = wanted,
            log = revision(&folded.document),
            "a document has a revision that the log does not have"
        );
        Ok(())
    }

    /// Runs commands that write these items durably. Returns how many were written.
    async fn run(
        &self,
        database: &Database,
        (command, field): (&CStr, &CStr),
        items: Vec<RawDocumentBuf>,
    ) -> anyhow::Result<usize> {
        let mut count = 0;
        for items in within(COMMAND_BYTES, items) {
            let command = rawdoc! {
                command: V::NAME,
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

    /// Removes the documents of a place that the log does not have, or that belong elsewhere.
    pub(super) async fn remove_unknown(
        &self,
        location: &Location,
        database: &Database,
    ) -> anyhow::Result<()> {
        let filter = match &self.scope {
            Scope::All => doc! {},
            Scope::Tenant(tenant, _) => doc! { "tenant": tenant.to_string() },
        };
        let shown = doc! { "tenant": 1, "revision": 1, "sequence": 1 };
        let found = database.run("find", |database| async move {
            let documents = database.collection::<RawDocumentBuf>(V::NAME);
            let found = documents.find(filter).projection(shown);
            found.batch_size(SCAN).await
        });
        let mut found = found.await.context("reading the documents of a place")?;
        let mut doubtful = Vec::new();
        while found.advance().await? {
            let document = found.current();
            // Workers write only ids that are text.
            let Ok(id) = document.get_str("_id") else {
                continue;
            };
            let tenant = document.get_str("tenant").unwrap_or_default();
            let is_known = self.is_known(digest(tenant, id));
            let tenant = TenantId::parse(tenant).ok();
            if is_known && self.belongs(location, tenant).await? {
                continue;
            }
            doubtful.push(Doubtful {
                id: id.to_owned(),
                tenant,
                revision: stored_revision(document),
                sequence: document.get_i64("sequence").unwrap_or(0),
                is_known,
            });
            if doubtful.len() == REMOVAL {
                let doubtful = mem::take(&mut doubtful);
                self.remove(location, database, doubtful).await?;
            }
        }
        self.remove(location, database, doubtful).await
    }

    /// Removes those of these documents that do not belong to a place.
    async fn remove(
        &self,
        location: &Location,
        database: &Database,
        doubtful: Vec<Doubtful>,
    ) -> anyhow::Result<()> {
        let removed = timeout(CALLER_TIMEOUT, async {
            let mut deletions = Vec::new();
            for document in doubtful {
                let belongs = self.belongs(location, document.tenant).await?;
                if !belongs || self.is_lost(&document).await? {
                    let which = rawdoc! { "_id": document.id, "revision": document.revision };
                    deletions.push(rawdoc! { "q": which, "limit": 1 });
                }
            }
            self.run(database, DELETE, deletions).await
        });
        let removed = removed.await.context("removing documents takes too long")?;
        self.count_removed(removed?);
        Ok(())
    }

    /// Whether documents of a tenant are written at a place.
    async fn belongs(&self, location: &Location, tenant: Option<TenantId>) -> anyhow::Result<bool> {
        let Some(tenant) = tenant else {
            return Ok(false);
        };
        let places = self.places([tenant].into()).await?;
        // It is not known where a tenant's documents belong while its own view is missing.
        Ok(places
            .get(&tenant)
            .is_none_or(|places| places.contains(location)))
    }

    /// Whether the log does not have a document. If its commits were not read, either the first one
    /// came later than this rebuild began, or there are none.
    async fn is_lost(&self, document: &Doubtful) -> anyhow::Result<bool> {
        if document.is_known {
            return Ok(false);
        }
        let sequence = u64::try_from(document.sequence).unwrap_or(0);
        if sequence > self.end {
            return Ok(sequence > self.views.log.last_sequence().await?);
        }
        if sequence > 0 {
            return Ok(true);
        }
        // An earlier release wrote it.
        let Ok(id) = Id::parse(&document.id) else {
            return Ok(true);
        };
        let commits = subject::events_of_aggregate(V::Area::NAME, id);
        Ok(self.views.log.last(&commits).await?.is_none())
    }
}

/// Returns a document's revision as it is stored: null if there is none.
fn stored_revision(stored: &RawDocument) -> RawBson {
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
