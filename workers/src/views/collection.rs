//! The collection of one view, in all databases, without the type of its documents. So this code is
//! compiled once, and not for each view.

use std::{
    collections::HashSet,
    sync::{Mutex, atomic::AtomicU64},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use async_nats::{
    Client,
    jetstream::{self, Context},
};
use bytes::Bytes;
use event_store::{EventLog, Location, Unavailable};
use events_schema::{Area as _, AreaName, Home, Id, Index, Subject, TenantId, View};
use tokio::time::sleep;

use crate::{placements::Placements, views::confirmations::Confirmations};

/// How often the preparation of a view is tried at the start while the log does not answer.
const MAX_TRIES: usize = 6;
/// The pause between these tries.
const TRY_PAUSE: Duration = Duration::from_secs(3);

/// The constants of a view.
#[derive(Clone, Copy, Debug)]
pub struct ViewKind {
    /// The name of the view and of its collections.
    pub name: &'static str,
    /// The area whose commits it shows.
    pub area: AreaName,
    /// Whose database has the documents.
    pub home: Home,
    pub(super) indexes: &'static [Index],
    /// How long the log keeps the commits of the area; `None` for ever.
    pub(super) retention: Option<Duration>,
}

impl ViewKind {
    pub(super) const fn of<V: View>() -> Self {
        Self {
            name: V::NAME,
            area: V::Area::NAME,
            home: V::HOME,
            indexes: V::INDEXES,
            retention: V::Area::RETENTION,
        }
    }
}

/// The collection of one view, in all databases.
pub struct Collection {
    /// Which view it is.
    pub kind: ViewKind,
    pub(super) context: Context,
    pub(super) log: EventLog,
    pub(super) placements: Placements,
    pub(super) confirmations: Confirmations,
    /// The locations that are prepared.
    pub(super) prepared_at: Mutex<HashSet<Location>>,
    /// A sequence that the log is known to have.
    pub(super) log_end: AtomicU64,
    /// Since when the log has not shown a commit that a document has.
    pub(super) suspected: Mutex<Option<Instant>>,
}

impl Collection {
    pub(super) fn new(
        kind: ViewKind,
        client: Client,
        placements: Placements,
        confirmations: Confirmations,
    ) -> Self {
        Self {
            kind,
            log: EventLog::new(client.clone()),
            context: jetstream::new(client),
            placements,
            confirmations,
            prepared_at: Mutex::default(),
            log_end: AtomicU64::new(0),
            suspected: Mutex::default(),
        }
    }

    /// Prepares the platform's collection: checks that it was written from this log, and creates
    /// its indexes.
    ///
    /// # Errors
    /// [`OtherLog`](super::OtherLog) if it was written from another log. Also if a server does not
    /// answer.
    pub async fn prepare(&self) -> anyhow::Result<()> {
        let platform = self.placements.platform();
        let mut tries = 1;
        loop {
            match self.prepared(&platform).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is::<Unavailable>() && tries < MAX_TRIES => {
                    let (view, error) = (self.kind.name, format!("{error:#}"));
                    tracing::warn!(view, error, "the view is not prepared yet");
                }
                Err(error) => return Err(error),
            }
            tries += 1;
            sleep(TRY_PAUSE).await;
        }
    }

    /// Announces documents of these tenants, as JSON.
    pub(super) async fn announce(
        &self,
        documents: Vec<(TenantId, Id, Bytes)>,
    ) -> anyhow::Result<()> {
        let mut stored = Vec::new();
        for (tenant, id, payload) in documents {
            let name = self.kind.name.to_owned();
            let subject = Subject::View { tenant, name, id }.to_string();
            stored.push(self.context.publish(subject, payload).await?);
        }
        for stored in stored {
            stored.await.context("announcing a document")?;
        }
        Ok(())
    }

    /// Tells the gateways to forget the documents of the view: an announcement without a document.
    pub(super) async fn announce_rebuilt(&self) -> anyhow::Result<()> {
        let nobody = Id::from_bytes([0; 16]);
        let announcement = vec![(TenantId::Platform, nobody, Bytes::new())];
        let announced = self.announce(announcement).await;
        announced.context("announcing that the view was rebuilt")
    }
}
