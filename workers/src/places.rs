//! Where views are written: the platform's database, and those of tenants. One connection pool per
//! host, however many tenants.
//!
//! What a place means is said in `events_schema::Place`; a tenant's own is read from its view, so a
//! move is seen at once.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use events_schema::{Document, HostName, Id, Place, TenantId, View as _, tenant};
use futures_util::TryStreamExt;
use mongodb::{
    Client, Database,
    bson::{Bson, doc},
    options::{ClientOptions, ReadConcern},
};

use crate::config::Mongo;

/// How long MongoDB may be away before a read or write counts as failed, and is tried again by its
/// consumer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A database on a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// Which host, by its name; none for the platform's.
    pub host: Option<HostName>,
    /// Which database.
    pub database: String,
}

/// All hosts.
#[derive(Clone, Debug)]
pub struct Places {
    platform: Database,
    hosts: HashMap<HostName, Client>,
}

impl Places {
    /// Connects to the platform's host, which must be there, and prepares the others.
    pub async fn connect(config: &Mongo) -> anyhow::Result<Self> {
        let platform = client(&config.mongo_url)
            .await
            .context("UB_MONGO_URL")?
            .database(&config.mongo_database);
        let hello = platform
            .run_command(doc! { "hello": 1 })
            .await
            .context("MongoDB is not reached; see UB_MONGO_URL")?;
        ensure!(
            hello.contains_key("setName"),
            "MongoDB must run as a replica set (one member will do), or its writes are not majority writes"
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
        Ok(Self { platform, hosts })
    }

    /// Where what belongs to no tenant is.
    pub fn platform(&self) -> Location {
        Location {
            host: None,
            database: self.platform.name().to_owned(),
        }
    }

    /// Where a tenant's views are in this place.
    pub fn location(&self, place: &Place, tenant: TenantId) -> Location {
        let (host, database) = place.database(self.platform.name(), tenant);
        Location {
            host: host.cloned(),
            database,
        }
    }

    /// The database itself.
    ///
    /// # Errors
    /// If the host is not configured here.
    pub fn open(&self, location: &Location) -> anyhow::Result<Database> {
        let client = match &location.host {
            None => self.platform.client(),
            Some(name) => self.hosts.get(name).with_context(|| {
                format!("MongoDB host {name} is unknown here; see UB_MONGO_HOSTS")
            })?,
        };
        Ok(client.database(&location.database))
    }

    /// Where the views of each of these tenants are written: two locations while they move, none
    /// once the tenant is gone.
    ///
    /// # Errors
    /// If a tenant's own view has not come yet; it will.
    pub async fn of(
        &self,
        tenants: BTreeSet<TenantId>,
    ) -> anyhow::Result<HashMap<TenantId, Vec<Location>>> {
        let ids: Vec<String> = tenants
            .iter()
            .filter(|tenant| **tenant != TenantId::Platform)
            .map(TenantId::to_string)
            .collect();
        let mut found = HashMap::new();
        if !ids.is_empty() {
            found = self
                .tenants(doc! { "_id": { "$in": ids } })
                .await?
                .into_iter()
                .collect();
        }
        let locations = tenants.into_iter().map(|tenant| {
            let TenantId::Tenant(id) = tenant else {
                return Ok((tenant, vec![self.platform()]));
            };
            let view = found
                .get(&id)
                .with_context(|| format!("the view of tenant {id} has not come yet"))?;
            Ok((
                tenant,
                view.as_ref()
                    .map(|view| self.of_tenant(id, view))
                    .unwrap_or_default(),
            ))
        });
        locations.collect()
    }

    /// Every location that holds views.
    pub async fn all(&self) -> anyhow::Result<BTreeSet<Location>> {
        let tenants = self.tenants(doc! { "view": { "$ne": Bson::Null } }).await?;
        let own = tenants
            .iter()
            .filter_map(|(id, view)| view.as_ref().map(|view| self.of_tenant(*id, view)))
            .flatten();
        Ok(own.chain([self.platform()]).collect())
    }

    /// The tenants that meet a filter, and what is shown of them.
    pub async fn tenants(
        &self,
        filter: mongodb::bson::Document,
    ) -> anyhow::Result<Vec<(Id, Option<tenant::View>)>> {
        let collection = self
            .platform
            .collection::<Document<tenant::View>>(tenant::View::NAME);
        let cursor = collection.find(filter).await.context("reading tenants")?;
        cursor
            .map_ok(|document| (document.id, document.view))
            .try_collect()
            .await
            .context("reading tenants")
    }

    fn of_tenant(&self, id: Id, view: &tenant::View) -> Vec<Location> {
        let places = [Some(&view.place), view.moving_to.as_ref()]
            .into_iter()
            .flatten();
        places
            .map(|place| self.location(place, TenantId::Tenant(id)))
            .collect()
    }
}

async fn client(url: &str) -> anyhow::Result<Client> {
    let mut options = ClientOptions::parse(url).await?;
    options.app_name = Some("workers".to_owned());
    options.server_selection_timeout = Some(PATIENCE);
    // What is read must not be undone by an election, or a write that was rolled back would be
    // taken for done.
    options.read_concern = Some(ReadConcern::majority());
    options.selection_criteria = None;
    Ok(Client::with_options(options)?)
}
