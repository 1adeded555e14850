//! Reads views from MongoDB, within one tenant only: there is no way to read without saying whose
//! data.
//!
//! Views are written by the workers; nothing is written here.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, anyhow};
use events_schema::{Document, Home, HostName, Id, Subject, TenantId, View, tenant};
use futures_util::{StreamExt, TryStreamExt};
use mongodb::{
    Client, Collection, Database,
    bson::{Bson, Document as Filter, doc},
    options::{ClientOptions, DatabaseOptions, ReadConcern},
};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{Config, error::Error};

/// How long to look for a MongoDB primary, and to connect to it: an election takes less, a user
/// waits no longer.
const SERVER_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a view is looked at while it is awaited, in case its notification was missed.
const POLL: Duration = Duration::from_millis(50);

/// The views of all tenants: one connection pool per host, however many tenants.
#[derive(Clone, Debug)]
pub(crate) struct Views {
    platform: Database,
    hosts: HashMap<HostName, Client>,
    nats: async_nats::Client,
}

/// The views of one tenant, or those of the platform.
#[derive(Clone, Debug)]
pub(crate) struct Scoped {
    tenant: TenantId,
    database: Database,
    nats: async_nats::Client,
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
    pub(crate) async fn connect(config: &Config, nats: async_nats::Client) -> anyhow::Result<Self> {
        let platform = majority(
            &client(&config.mongo_url).await.context("UB_MONGO_URL")?,
            &config.mongo_database,
        );
        let mut hosts = HashMap::new();
        for (name, url) in &config.mongo_hosts {
            hosts.insert(
                name.clone(),
                client(url)
                    .await
                    .with_context(|| format!("UB_MONGO_HOSTS, {name}"))?,
            );
        }
        Ok(Self {
            platform,
            hosts,
            nats,
        })
    }

    /// What belongs to no tenant.
    pub(crate) fn platform(&self) -> Scoped {
        Scoped {
            tenant: TenantId::Platform,
            database: self.platform.clone(),
            nats: self.nats.clone(),
        }
    }

    /// The views of one tenant, wherever it keeps them.
    pub(crate) fn of(&self, tenant: &Found<tenant::View>) -> Result<Scoped, Error> {
        let id = TenantId::Tenant(tenant.id);
        let (host, database) = tenant.view.place.database(self.platform.name(), id);
        let client = match host {
            None => self.platform.client(),
            Some(name) => self.hosts.get(name).with_context(|| {
                format!("MongoDB host {name} is unknown here; see UB_MONGO_HOSTS")
            })?,
        };
        Ok(Scoped {
            tenant: id,
            database: majority(client, &database),
            nats: self.nats.clone(),
        })
    }

    /// Whether MongoDB answers.
    pub(crate) async fn ping(&self) -> anyhow::Result<()> {
        self.platform
            .run_command(doc! { "ping": 1 })
            .await
            .map(|_| ())
            .context("pinging MongoDB")
    }
}

async fn client(url: &str) -> anyhow::Result<Client> {
    let mut options = ClientOptions::parse(url)
        .await
        .context("reading the MongoDB URL")?;
    options.app_name = Some("gateway".to_owned());
    options.server_selection_timeout = Some(SERVER_TIMEOUT);
    options.connect_timeout = Some(SERVER_TIMEOUT);
    // Reads go to the primary, whatever the URL says: who has written must see it.
    options.selection_criteria = None;
    Client::with_options(options).context("preparing MongoDB")
}

fn majority(client: &Client, database: &str) -> Database {
    client.database_with_options(
        database,
        DatabaseOptions::builder()
            .read_concern(ReadConcern::majority())
            .build(),
    )
}

impl Scoped {
    /// Whose views these are.
    pub(crate) const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// A view by its id, if there is something to show.
    pub(crate) async fn get<V: View>(&self, id: Id) -> Result<Option<Found<V>>, Error> {
        self.find_one(doc! { "_id": id.to_string() }).await
    }

    /// Those of these views that there are, in any order.
    pub(crate) async fn get_all<V: View>(
        &self,
        ids: impl IntoIterator<Item = Id>,
    ) -> Result<Vec<Found<V>>, Error> {
        let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
        let limit = ids.len() as i64;
        if ids.is_empty() {
            Ok(Vec::new())
        } else {
            self.list(doc! { "_id": { "$in": ids } }, doc! {}, limit)
                .await
        }
    }

    /// The view that meets a filter, such as `{"view.email": …}`.
    pub(crate) async fn find_one<V: View>(
        &self,
        filter: Filter,
    ) -> Result<Option<Found<V>>, Error> {
        let document = self
            .collection::<V, Document<V>>()?
            .find_one(self.within(filter))
            .await
            .context("reading a view")?;
        Ok(document.and_then(found))
    }

    /// The first `limit` views that meet a filter, sorted.
    pub(crate) async fn list<V: View>(
        &self,
        filter: Filter,
        sort: Filter,
        limit: i64,
    ) -> Result<Vec<Found<V>>, Error> {
        let cursor = self
            .collection::<V, Document<V>>()?
            .find(self.within(filter))
            .sort(sort)
            .limit(limit)
            .await;
        let documents: Vec<Document<V>> = cursor
            .context("listing views")?
            .try_collect()
            .await
            .context("listing views")?;
        Ok(documents.into_iter().filter_map(found).collect())
    }

    /// How many views meet a filter.
    pub(crate) async fn count<V: View>(&self, filter: Filter) -> Result<u64, Error> {
        Ok(self
            .collection::<V, Document<V>>()?
            .count_documents(self.within(filter))
            .await
            .context("counting views")?)
    }

    /// Waits until a view has reached a revision; false if it has not by the deadline. A tombstone
    /// counts, too.
    pub(crate) async fn wait_for<V: View>(
        &self,
        id: Id,
        revision: u64,
        deadline: Instant,
    ) -> Result<bool, Error> {
        timeout_at(deadline, self.reached::<V>(id, revision))
            .await
            .unwrap_or(Ok(false))
    }

    async fn reached<V: View>(&self, id: Id, revision: u64) -> Result<bool, Error> {
        let revision = i64::try_from(revision).context("reading a revision")?;
        if revision == 0 {
            return Ok(true);
        }
        let subject = Subject::View {
            tenant: self.tenant,
            name: V::NAME.to_owned(),
            id,
        }
        .to_string();
        let mut written = self
            .nats
            .subscribe(subject)
            .await
            .context("subscribing to a view")?;
        while self.revision::<V>(id).await? < revision {
            tokio::select! {
                Some(_) = written.next() => {}
                () = sleep(POLL) => {}
            }
        }
        Ok(true)
    }

    async fn revision<V: View>(&self, id: Id) -> Result<i64, Error> {
        let filter = doc! { "_id": id.to_string(), "tenant": self.tenant.to_string() };
        let found = self
            .collection::<V, Revision>()?
            .find_one(filter)
            .projection(doc! { "revision": 1 })
            .await;
        Ok(found
            .context("awaiting a view")?
            .map_or(0, |document| document.revision))
    }

    fn collection<V: View, T: Send + Sync>(&self) -> Result<Collection<T>, Error> {
        let home = if self.tenant == TenantId::Platform {
            Home::Platform
        } else {
            Home::Tenant
        };
        if V::HOME == home {
            Ok(self.database.collection(V::NAME))
        } else {
            Err(anyhow!("{} does not live where it is looked for", V::NAME).into())
        }
    }

    fn within(&self, mut filter: Filter) -> Filter {
        filter.insert("tenant", self.tenant.to_string());
        filter.insert("view", doc! { "$ne": Bson::Null });
        filter
    }
}

fn found<V>(document: Document<V>) -> Option<Found<V>> {
    let Document {
        id, revision, view, ..
    } = document;
    view.map(|view| Found { id, revision, view })
}
