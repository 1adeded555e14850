//! The documents of one view, in all databases.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use async_nats::Client;
use event_store::Location;
use events_schema::{Area, Commit, Document, Home, TenantId, View};
use futures_util::future::try_join_all;
use tokio::time::timeout;

use crate::{
    decode::Logged,
    placements::Placements,
    views::{
        collection::{Collection, ViewKind},
        confirmations::{Before, Confirmations},
        recent::Recent,
    },
};

/// The most commits that one command to MongoDB applies while readers wait for them.
pub const BULK: usize = 100;

/// How long one write may take, whatever happens. While a tenant's views move, a worker may believe
/// for this long that the old place is the only one. It is the sum of the two times below, and of
/// three seconds each to find the primary and to connect.
pub const MAX_WRITE_TIME: Duration = Duration::from_secs(13);
/// How long a caller waits. An operation that has begun by then still ends.
pub(super) const CALLER_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a place that is not read may delay the one that is read, of the two seconds for both.
const ELSEWHERE_WITHIN: Duration = Duration::from_secs(1);
/// How long MongoDB may take for one write.
pub(super) const SERVER_TIMEOUT_MS: i32 = 3_000;

/// Identifies a document: whose data it is, and the aggregate that feeds it.
pub type Key<V> = (TenantId, <<V as View>::Area as Area>::Id);
/// Commits to apply, by document.
pub type Commits<V> = BTreeMap<Key<V>, Vec<Logged<<V as View>::Area>>>;

/// Documents that are written and announced, and may not be durable yet.
pub struct Applied {
    confirmations: Confirmations,
    locations: Vec<(Location, Before)>,
    /// The view, and the sequence of the last commit that was applied.
    through: (&'static str, u64),
}

impl Applied {
    /// Waits until the documents are durable.
    ///
    /// # Errors
    /// If that is not certain.
    pub async fn confirm(&self) -> anyhow::Result<()> {
        let confirm = |(location, before): &(Location, Before)| {
            self.confirmations
                .confirm(location.clone(), *before, self.through)
        };
        try_join_all(self.locations.iter().map(confirm)).await?;
        Ok(())
    }
}

/// The documents of one view, in all databases.
pub struct Views<V: View> {
    /// Their collection, which needs no type.
    pub collection: Collection,
    /// What was written last, at the place that is read.
    pub(super) recent: Recent<V>,
}

impl<V: View> Views<V> {
    /// Makes a view whose documents are written under these placements.
    pub fn new(client: Client, placements: Placements, confirmations: Confirmations) -> Self {
        let kind = ViewKind::of::<V>();
        Self {
            collection: Collection::new(kind, client, placements, confirmations),
            recent: Recent::new(),
        }
    }

    /// Returns the key of the document that a commit changes.
    pub fn key(commit: &Commit<V::Area>) -> Key<V> {
        (Self::owner(commit.tenant), commit.id)
    }

    /// Returns the tenant that documents fed by commits of this tenant belong to.
    pub(super) fn owner(tenant: TenantId) -> TenantId {
        match V::HOME {
            Home::Platform => TenantId::Platform,
            Home::Tenant => tenant,
        }
    }

    /// Brings each document at least to the latest of its commits at these places, and announces
    /// it. The first place is the one that is read. It is written last: a reader who has seen a
    /// change still sees it after readers have changed to another place. If another place does
    /// not answer, the first one is written and announced all the same. The commits may be
    /// acknowledged when [`Applied::confirm`] returns.
    ///
    /// # Errors
    /// If it is not certain that every document is written at all places and announced.
    pub async fn apply(
        &self,
        places: &[Location],
        commits: &Commits<V>,
    ) -> anyhow::Result<Applied> {
        let mut locations = Vec::new();
        let Some((read, others)) = places.split_first() else {
            return Ok(self.applied(locations, commits));
        };
        let written_elsewhere = timeout(ELSEWHERE_WITHIN, async {
            for other in others {
                locations.push((
                    other.clone(),
                    self.collection.confirmations.before(other).await?,
                ));
                self.write_at(other, commits).await?;
            }
            anyhow::Ok(())
        });
        let written_elsewhere = written_elsewhere.await;
        locations.push((
            read.clone(),
            self.collection.confirmations.before(read).await?,
        ));
        let written = self.write_at(read, commits).await?;
        self.announce(read, &written).await?;
        written_elsewhere.context("another place of the tenant does not answer")??;
        Ok(self.applied(locations, commits))
    }

    fn applied(&self, locations: Vec<(Location, Before)>, commits: &Commits<V>) -> Applied {
        let sequences = commits.values().flatten().map(|logged| logged.sequence);
        Applied {
            confirmations: self.collection.confirmations.clone(),
            locations,
            through: (V::NAME, sequences.max().unwrap_or(0)),
        }
    }

    /// Announces documents, also those that were announced before: their first announcement may
    /// have been lost with the worker that wrote them.
    pub(super) async fn announce(
        &self,
        location: &Location,
        documents: &[Document<V>],
    ) -> anyhow::Result<()> {
        let mut announced = Vec::new();
        for document in documents {
            let payload = serde_json::to_vec(document).context("encoding a document")?;
            self.recent.put(location, document, payload.len());
            announced.push((document.tenant, document.id.into(), payload.into()));
        }
        self.collection.announce(announced).await
    }
}
