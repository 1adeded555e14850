//! Reads commits from the log and applies them to a view.

use std::cmp::Ordering;

use event_store::{Location, Page};
use events_schema::{Area as _, TenantId, View, subject};
use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::{
    Cursor,
    bson::{Document, doc},
};

use crate::{
    decode,
    views::documents::{Commits, Views},
};

/// The most commits that one command to MongoDB applies while readers wait for them.
pub const BULK: usize = 100;
/// Commits that are read from the log at once.
const PAGE: usize = 2_000;
/// Documents that one command to MongoDB writes while nobody waits for them.
const PAGE_BULK: usize = 500;
/// Bulks that are written at once.
const BULKS: usize = 4;

/// A callback, called with the number of commits read so far and the sequence to continue from.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// The result of a pass over the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pass {
    /// The sequence to continue from.
    pub next: u64,
    /// The number of commits read.
    pub read: u64,
}

impl<V: View> Views<V> {
    /// Applies all commits of the view's area from this sequence on to the end of the log.
    ///
    /// # Errors
    /// If a server does not answer.
    pub async fn catch_up(&self, from: u64, progress: Progress<'_>) -> anyhow::Result<Pass> {
        let filter = subject::events_of(V::Area::NAME);
        self.pass(&filter, from, None, progress).await
    }

    /// Writes the documents of one tenant at one location, from the log alone.
    ///
    /// # Errors
    /// If a server does not answer.
    pub async fn fill(
        &self,
        tenant: TenantId,
        location: &Location,
        progress: Progress<'_>,
    ) -> anyhow::Result<Pass> {
        let filter = subject::events_of_tenant_in(tenant, V::Area::NAME);
        self.pass(&filter, 1, Some(location), progress).await
    }

    /// Applies the commits on `filter` from this sequence on: at one location if it is given, else
    /// at all.
    async fn pass(
        &self,
        filter: &str,
        from: u64,
        only: Option<&Location>,
        progress: Progress<'_>,
    ) -> anyhow::Result<Pass> {
        let mut pass = Pass {
            next: from,
            read: 0,
        };
        let mut page = self.log.page_of(filter, from, PAGE).await?;
        loop {
            let is_last = page.is_last();
            pass.read += page.messages.len() as u64;
            pass.next = page.next().unwrap_or(pass.next);
            let following = async {
                if is_last {
                    Ok(Page::default())
                } else {
                    self.log.page_of(filter, pass.next, PAGE).await
                }
            };
            // The next page is read while this one is written.
            let write = self.write_bulks(by_document::<V>(&page), only);
            let (following, ()) = tokio::try_join!(following, write)?;
            progress(pass.read, pass.next);
            if is_last {
                return Ok(pass);
            }
            page = following;
        }
    }

    /// Brings documents to the latest of their commits, some bulks at once. No two bulks have
    /// commits of the same document.
    pub(super) async fn write_bulks(
        &self,
        commits: Commits<V>,
        only: Option<&Location>,
    ) -> anyhow::Result<()> {
        let bulks = stream::iter(commits).chunks(PAGE_BULK);
        let written = bulks.map(Ok).try_for_each_concurrent(BULKS, async |bulk| {
            let bulk = Commits::<V>::from_iter(bulk);
            match only {
                None => self.write_everywhere(&bulk).await,
                Some(location) => self.write_at(location, &bulk).await.map(|_| ()),
            }
        });
        written.await
    }

    /// Counts the documents of a tenant that differ between two locations or exist at one only.
    ///
    /// # Errors
    /// If MongoDB does not answer.
    pub async fn differences(
        &self,
        tenant: TenantId,
        one: &Location,
        other: &Location,
    ) -> anyhow::Result<u64> {
        let mut one = self.documents_of(tenant, one).await?;
        let mut other = self.documents_of(tenant, other).await?;
        let (mut left, mut right) = (one.try_next().await?, other.try_next().await?);
        let mut differences = 0;
        while left.is_some() || right.is_some() {
            let order = match (id(&left), id(&right)) {
                (Some(left), Some(right)) => left.cmp(right),
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

    /// Returns the documents of a tenant, ordered by id.
    async fn documents_of(
        &self,
        tenant: TenantId,
        location: &Location,
    ) -> anyhow::Result<Cursor<Document>> {
        let database = self.placements.database(location)?;
        let (name, of_tenant) = (
            self.collection.clone(),
            doc! { "tenant": tenant.to_string() },
        );
        let found = database.run("find", |database| async move {
            let documents = database.collection(&name);
            documents.find(of_tenant).sort(doc! { "_id": 1 }).await
        });
        found.await
    }
}

/// Decodes the commits of a page of the log, by their documents.
pub(super) fn by_document<V: View>(page: &Page) -> Commits<V> {
    let mut by_document = Commits::<V>::new();
    for message in &page.messages {
        match decode::commit::<V::Area>(&message.subject, &message.payload) {
            Ok(commit) => {
                let of_document = by_document.entry(Views::<V>::key(&commit)).or_default();
                of_document.push(commit);
            }
            // The view's loop has moved it to DEAD. The view is folded from the commits that can be
            // read.
            Err(reason) => {
                let (sequence, reason) = (message.sequence, format!("{reason:#}"));
                tracing::error!(sequence, reason, "a commit was skipped");
            }
        }
    }
    by_document
}

fn id(document: &Option<Document>) -> Option<&str> {
    document.as_ref()?.get_str("_id").ok()
}
