//! Removes the documents of one place that the log does not have, or that belong elsewhere.

use std::{mem, time::Instant};

use anyhow::Context as _;
use event_store::{Database, Location};
use events_schema::{Id, TenantId, subject};
use mongodb::{
    bson::{RawDocument, RawDocumentBuf, doc, rawdoc},
    options::Hint,
};
use tokio::time::timeout;

use crate::placements::KEPT_FOR;
use crate::views::{
    documents::CALLER_TIMEOUT,
    rebuild::{
        Rebuild, Scope,
        correct::{DELETE, stored_revision},
        digest,
    },
};

/// Documents that are removed at once.
const REMOVAL: usize = 100;
/// Documents in one answer of MongoDB.
const SCAN: u32 = 10_000;

impl Rebuild<'_> {
    /// Removes the documents of a place that the log does not have, or that belong elsewhere.
    pub(super) async fn remove_strays(
        &self,
        location: &Location,
        database: &Database,
    ) -> anyhow::Result<()> {
        let filter = match &self.scope {
            Scope::All => doc! {},
            Scope::Tenant(tenant) | Scope::Fill(tenant, _) => doc! { "tenant": tenant.to_string() },
        };
        // An index has these fields, so that no document is read.
        let shown = doc! { "tenant": 1 };
        let name = self.collection.kind.name;
        let found = database.run("find", |database| async move {
            let documents = database.collection::<RawDocumentBuf>(name);
            let by_tenant = Hint::Keys(doc! { "tenant": 1, "_id": 1 });
            let found = documents.find(filter).projection(shown).hint(by_tenant);
            found.batch_size(SCAN).await
        });
        let mut found = found.await.context("reading the documents of a place")?;
        let mut doubtful = Vec::new();
        // Documents come by tenant, so one answer serves many. `remove` asks again.
        let mut last: Option<(String, Instant, bool)> = None;
        while found.advance().await? {
            let document = found.current();
            // Workers write only ids that are text.
            let Ok(id) = document.get_str("_id") else {
                continue;
            };
            let tenant = document.get_str("tenant").unwrap_or_default();
            let kept = last
                .as_ref()
                .filter(|(of, at, _)| of == tenant && at.elapsed() < KEPT_FOR);
            let belongs = match kept {
                Some((_, _, belongs)) => *belongs,
                None => {
                    let belongs = self.belongs(location, tenant).await?;
                    last = Some((tenant.to_owned(), Instant::now(), belongs));
                    belongs
                }
            };
            if !belongs || !self.is_in_log(digest(tenant, id)) {
                doubtful.push(id.to_owned());
            }
            if doubtful.len() == REMOVAL {
                let doubtful = mem::take(&mut doubtful);
                self.remove(location, database, doubtful).await?;
            }
        }
        self.remove(location, database, doubtful).await
    }

    /// Removes those documents with these ids that do not belong to a place.
    async fn remove(
        &self,
        location: &Location,
        database: &Database,
        ids: Vec<String>,
    ) -> anyhow::Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let removed = timeout(CALLER_TIMEOUT, async {
            let log_end = self.collection.log.last_sequence().await?;
            let mut deletions = Vec::new();
            for (id, document) in self.stored_raw(database, ids).await? {
                let tenant = document.get_str("tenant").unwrap_or_default();
                let belongs = self.belongs(location, tenant).await?;
                if !belongs
                    || self
                        .is_missing_in_log(tenant, &id, &document, log_end)
                        .await?
                {
                    let revision = stored_revision(&document);
                    let which = rawdoc! { "_id": id, "revision": revision };
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
    async fn belongs(&self, location: &Location, tenant: &str) -> anyhow::Result<bool> {
        let Ok(tenant) = TenantId::parse(tenant) else {
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
    async fn is_missing_in_log(
        &self,
        tenant: &str,
        id: &str,
        document: &RawDocument,
        log_end: u64,
    ) -> anyhow::Result<bool> {
        if self.is_in_log(digest(tenant, id)) {
            return Ok(false);
        }
        let sequence = document.get_i64("sequence").unwrap_or(0);
        let sequence = u64::try_from(sequence).unwrap_or(0);
        if sequence > self.end {
            return Ok(sequence > log_end);
        }
        if sequence > 0 {
            return Ok(true);
        }
        // An earlier release wrote it.
        let Ok(id) = Id::parse(id) else {
            return Ok(true);
        };
        let commits = subject::events_of_aggregate(self.collection.kind.area, id);
        Ok(self.collection.log.last(&commits).await?.is_none())
    }
}
