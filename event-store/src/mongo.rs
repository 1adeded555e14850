//! The MongoDB hosts that hold views: the platform's, and those of tenants with a database of their
//! own. One connection pool per host, however many tenants.

use std::{collections::HashMap, time::Duration};

use anyhow::Context as _;
use events_schema::{HostName, Placement, TenantId};
use mongodb::{
    Client, Database,
    options::{ClientOptions, ReadConcern},
};

use crate::MongoOptions;

/// How long to look for a primary and to connect to it. An election takes less.
const SERVER_TIMEOUT: Duration = Duration::from_secs(3);

/// A database on a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The host's name; `None` for the platform's host.
    pub host: Option<HostName>,
    /// The database's name.
    pub database: String,
}

/// All configured MongoDB hosts.
#[derive(Clone, Debug)]
pub struct Mongo {
    platform: Database,
    hosts: HashMap<HostName, Client>,
}

impl Mongo {
    /// Prepares the connections to all hosts; `app_name` shows in their logs. Connections are made
    /// when they are needed.
    ///
    /// # Errors
    /// If a URL is malformed.
    pub async fn connect(options: &MongoOptions, app_name: &str) -> anyhow::Result<Self> {
        let platform = client(&options.mongo_url, app_name).await;
        let platform = platform.context("UB_MONGO_URL")?;
        let mut hosts = HashMap::new();
        for (name, url) in &options.mongo_hosts {
            let host = client(url, app_name).await;
            let host = host.with_context(|| format!("UB_MONGO_HOSTS, {name}"))?;
            hosts.insert(name.clone(), host);
        }
        Ok(Self {
            platform: platform.database(&options.mongo_database),
            hosts,
        })
    }

    /// Returns the platform's database.
    pub fn platform(&self) -> &Database {
        &self.platform
    }

    /// Returns the location of the platform's database.
    pub fn platform_location(&self) -> Location {
        Location {
            host: None,
            database: self.platform.name().to_owned(),
        }
    }

    /// Returns the location of a tenant's views.
    pub fn location(&self, placement: &Placement, tenant: TenantId) -> Location {
        let (host, database) = placement.database(self.platform.name(), tenant);
        Location {
            host: host.cloned(),
            database,
        }
    }

    /// Returns the database at a location.
    ///
    /// # Errors
    /// If the host is not configured here.
    pub fn database(&self, location: &Location) -> anyhow::Result<Database> {
        let client = match &location.host {
            None => self.platform.client(),
            Some(name) => self.hosts.get(name).with_context(|| {
                format!("the MongoDB host {name} is not configured; add it to UB_MONGO_HOSTS")
            })?,
        };
        Ok(client.database(&location.database))
    }
}

async fn client(url: &str, app_name: &str) -> anyhow::Result<Client> {
    let options = ClientOptions::parse(url).await;
    let mut options = options.context("reading the URL of MongoDB")?;
    options.app_name = Some(app_name.to_owned());
    options.server_selection_timeout = Some(SERVER_TIMEOUT);
    options.connect_timeout = Some(SERVER_TIMEOUT);
    // An election must not undo what was read.
    options.read_concern = Some(ReadConcern::majority());
    // Reads go to the primary, whatever the URL says: a client must see what it has written.
    options.selection_criteria = None;
    Client::with_options(options).context("preparing the connection to MongoDB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reads_are_durable_and_from_the_primary_whatever_the_url_says() {
        let url = "mongodb://127.0.0.1/?readPreference=secondary&readConcernLevel=local";
        let client = client(url, "test").await.unwrap();
        assert_eq!(client.read_concern(), Some(&ReadConcern::majority()));
        assert_eq!(client.selection_criteria(), None);
    }
}
