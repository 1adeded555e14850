//! Reads views from MongoDB, within one tenant only: there is no way to read without saying whose data.
//!
//! Views are written by the workers; nothing is written here.

use std::time::Duration;

use anyhow::Context;
use events_schema::{Area, Document, Id, Subject, TenantId};
use futures_util::{StreamExt, TryStreamExt};
use mongodb::{
    Client, Collection, Database,
    bson::{Bson, Document as Filter, doc},
    options::{ClientOptions, DatabaseOptions, ReadConcern},
};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep, timeout_at};

use crate::error::Error;

/// How long to look for a MongoDB primary, and to connect to it: an election takes less, a user waits no longer.
const SERVER_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a view is looked at while it is awaited, in case its notification was missed.
const POLL: Duration = Duration::from_millis(50);

/// The views of all tenants.
#[derive(Clone, Debug)]
pub(crate) struct Views {
    database: Database,
    nats: async_nats::Client,
}

/// The views of one tenant.
pub(crate) struct Scoped<'a> {
    views: &'a Views,
    tenant: TenantId,
}

/// A view that was found.
#[derive(Clone, Debug)]
pub(crate) struct Found<V> {
    /// The aggregate.
    pub(crate) id: Id,
    /// The last commit that it shows.
    pub(crate) revision: i64,
    /// The fields.
    pub(crate) view: V,
}

/// The part of a document that is read while it is awaited.
#[derive(Deserialize)]
struct Revision {
    revision: i64,
}

impl Views {
    /// Prepares to read; connections are made when needed. `nats` brings the news of written views.
    pub(crate) async fn connect(url: &str, database: &str, nats: async_nats::Client) -> anyhow::Result<Self> {
        let mut options = ClientOptions::parse(url).await.context("reading the MongoDB URL")?;
        options.app_name = Some("gateway".to_owned());
        options.server_selection_timeout = Some(SERVER_TIMEOUT);
        options.connect_timeout = Some(SERVER_TIMEOUT);
        // Reads go to the primary, whatever the URL says: who has written must see it.
        options.selection_criteria = None;
        let client = Client::with_options(options).context("preparing MongoDB")?;
        let majority = DatabaseOptions::builder().read_concern(ReadConcern::majority()).build();
        Ok(Self { database: client.database_with_options(database, majority), nats })
    }

    /// The views of one tenant.
    pub(crate) fn scoped(&self, tenant: TenantId) -> Scoped<'_> {
        Scoped { views: self, tenant }
    }

    /// Whether MongoDB answers.
    pub(crate) async fn ping(&self) -> anyhow::Result<()> {
        self.database.run_command(doc! { "ping": 1 }).await.map(|_| ()).context("pinging MongoDB")
    }
}

impl Scoped<'_> {
    /// A view by its id, if there is something to show.
    pub(crate) async fn get<V: DeserializeOwned + Send + Sync>(&self, area: Area, id: Id) -> Result<Option<Found<V>>, Error> {
        self.find_one(area, doc! { "_id": id.to_string() }).await
    }

    /// The view that meets a filter, such as `{"view.email": …}`.
    pub(crate) async fn find_one<V: DeserializeOwned + Send + Sync>(&self, area: Area, filter: Filter) -> Result<Option<Found<V>>, Error> {
        let document = self.collection::<Document<V>>(area).find_one(self.within(filter)).await.context("reading a view")?;
        Ok(document.and_then(found))
    }

    /// The first `limit` views that meet a filter, sorted.
    pub(crate) async fn list<V: DeserializeOwned + Send + Sync>(
        &self,
        area: Area,
        filter: Filter,
        sort: Filter,
        limit: i64,
    ) -> Result<Vec<Found<V>>, Error> {
        let cursor = self.collection::<Document<V>>(area).find(self.within(filter)).sort(sort).limit(limit).await;
        let documents: Vec<Document<V>> = cursor.context("listing views")?.try_collect().await.context("listing views")?;
        Ok(documents.into_iter().filter_map(found).collect())
    }

    /// Waits until a view has reached a revision; false if it has not by the deadline. A tombstone counts, too.
    pub(crate) async fn wait_for(&self, area: Area, id: Id, revision: u64, deadline: Instant) -> Result<bool, Error> {
        timeout_at(deadline, self.reached(area, id, revision)).await.unwrap_or(Ok(false))
    }

    async fn reached(&self, area: Area, id: Id, revision: u64) -> Result<bool, Error> {
        let revision = i64::try_from(revision).context("reading a revision")?;
        if revision == 0 {
            return Ok(true);
        }
        let subject = Subject::View { tenant: self.tenant, area, id }.to_string();
        let mut written = self.views.nats.subscribe(subject).await.context("subscribing to a view")?;
        while self.revision(area, id).await? < revision {
            tokio::select! {
                Some(_) = written.next() => {}
                () = sleep(POLL) => {}
            }
        }
        Ok(true)
    }

    async fn revision(&self, area: Area, id: Id) -> Result<i64, Error> {
        let filter = doc! { "_id": id.to_string(), "tenant": self.tenant.to_string() };
        let found = self.collection::<Revision>(area).find_one(filter).projection(doc! { "revision": 1 }).await;
        Ok(found.context("awaiting a view")?.map_or(0, |document| document.revision))
    }

    fn collection<T: Send + Sync>(&self, area: Area) -> Collection<T> {
        self.views.database.collection(area.as_str())
    }

    fn within(&self, mut filter: Filter) -> Filter {
        filter.insert("tenant", self.tenant.to_string());
        filter.insert("view", doc! { "$ne": Bson::Null });
        filter
    }
}

fn found<V>(document: Document<V>) -> Option<Found<V>> {
    let Document { id, revision, view, .. } = document;
    view.map(|view| Found { id, revision, view })
}
