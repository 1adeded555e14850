//! The MongoDB hosts that hold views: the platform's, and those of tenants with a database of their
//! own. One connection pool per host, however many tenants.
//!
//! Every operation runs to its end in a task of its own, also when its caller has gone: a dropped
//! operation of the driver stays in the queue of its pool, and a few dozen of them stop the pool
//! for many seconds. A permit for each connection keeps that queue empty.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use events_schema::{HostName, Placement, TenantId};
use futures_util::future::BoxFuture;
use mongodb::{
    Client,
    bson::{Document, doc},
    error::Result as MongoResult,
    options::{ClientOptions, ReadConcern},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::{Instrument as _, debug_span};

use crate::{
    MongoOptions,
    telemetry::{self, KeyValue},
};

/// How long to look for a primary and to connect to it. An election takes less.
const SERVER_TIMEOUT: Duration = Duration::from_secs(3);
/// Connections to one host, and operations at once, unless the URL sets `maxPoolSize`: a process
/// of two cores keeps no more of them busy.
const POOL_SIZE: u32 = 32;

static WAIT: LazyLock<telemetry::Histogram<f64>> = LazyLock::new(|| {
    let description = "Time until a connection to MongoDB was free.";
    telemetry::seconds("db.client.connection.wait_time", description)
});
static DURATION: LazyLock<telemetry::Histogram<f64>> = LazyLock::new(|| {
    let description = "Time of an operation of MongoDB, without the wait for a connection.";
    telemetry::seconds("db.client.operation.duration", description)
});

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
    platform: Host,
    platform_database: String,
    hosts: HashMap<HostName, Host>,
}

/// A host, with a permit for each connection of its pool.
#[derive(Clone, Debug)]
struct Host {
    client: Client,
    permits: Arc<Semaphore>,
}

/// A database whose operations run to their end.
#[derive(Clone, Debug)]
pub struct Database {
    database: mongodb::Database,
    permits: Arc<Semaphore>,
}

impl Mongo {
    /// Prepares the connections to all hosts; `app_name` shows in their logs. Connections are made
    /// when they are needed.
    ///
    /// # Errors
    /// If a URL is malformed.
    pub async fn connect(options: &MongoOptions, app_name: &str) -> anyhow::Result<Self> {
        let platform = Host::new(&options.mongo_url, app_name).await;
        let platform = platform.context("UB_MONGO_URL")?;
        let mut hosts = HashMap::new();
        for (name, url) in &options.mongo_hosts {
            let host = Host::new(url, app_name).await;
            let host = host.with_context(|| format!("UB_MONGO_HOSTS, {name}"))?;
            hosts.insert(name.clone(), host);
        }
        Ok(Self {
            platform,
            platform_database: options.mongo_database.clone(),
            hosts,
        })
    }

    /// Returns the platform's database.
    pub fn platform(&self) -> Database {
        self.platform.database(&self.platform_database)
    }

    /// Returns a database of each host that every user may ask about the server, with the host's
    /// name.
    pub(crate) fn admin_databases(&self) -> impl Iterator<Item = (&str, Database)> {
        let hosts = self.hosts.iter();
        let hosts = hosts.map(|(name, host)| (name.as_str(), host.database("admin")));
        std::iter::once(("UB_MONGO_URL", self.platform.database("admin"))).chain(hosts)
    }

    /// Checks that the platform's host answers. Returns what it says of itself.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn ping(&self) -> anyhow::Result<Document> {
        let platform = self.platform();
        let hello = platform.run("hello", |platform| async move {
            platform.run_command(doc! { "hello": 1 }).await
        });
        hello.await.context("MongoDB does not answer")
    }

    /// Returns the location of the platform's database.
    pub fn platform_location(&self) -> Location {
        Location {
            host: None,
            database: self.platform_database.clone(),
        }
    }

    /// Returns the location of a tenant's views.
    pub fn location(&self, placement: &Placement, tenant: TenantId) -> Location {
        let (host, database) = placement.database(&self.platform_database, tenant);
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
        let host = match &location.host {
            None => &self.platform,
            Some(name) => self.hosts.get(name).with_context(|| {
                format!("the MongoDB host {name} is not configured; add it to UB_MONGO_HOSTS")
            })?,
        };
        Ok(host.database(&location.database))
    }
}

impl Host {
    async fn new(url: &str, app_name: &str) -> anyhow::Result<Self> {
        let options = ClientOptions::parse(url).await;
        let mut options = options.context("reading the URL of MongoDB")?;
        options.app_name = Some(app_name.to_owned());
        options.server_selection_timeout = Some(SERVER_TIMEOUT);
        options.connect_timeout = Some(SERVER_TIMEOUT);
        // All facts come from the log, so an election can undo nothing that a worker does not
        // write again.
        options.read_concern = Some(ReadConcern::local());
        // Reads go to the primary, whatever the URL says: a client must see what it has written.
        options.selection_criteria = None;
        // 0 would mean no limit.
        let pool = options.max_pool_size.filter(|size| *size > 0);
        let pool = pool.unwrap_or(POOL_SIZE);
        options.max_pool_size = Some(pool);
        let client = Client::with_options(options);
        Ok(Self {
            client: client.context("preparing the connection to MongoDB")?,
            permits: Arc::new(Semaphore::new(usize::try_from(pool)?)),
        })
    }

    fn database(&self, name: &str) -> Database {
        Database {
            database: self.client.database(name),
            permits: self.permits.clone(),
        }
    }
}

impl Database {
    /// Returns the database's name.
    pub fn name(&self) -> &str {
        self.database.name()
    }

    /// Runs an operation when a connection is free. A dropped caller leaves the queue; an operation
    /// that has begun runs to its end. `name` shows in spans and metrics.
    ///
    /// # Errors
    /// If the operation fails or panics.
    pub async fn run<T, F>(
        &self,
        name: &'static str,
        operation: impl FnOnce(mongodb::Database) -> F,
    ) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = MongoResult<T>> + Send + 'static,
    {
        let permit = self.permit(name).await?;
        let operation = operation(self.database.clone());
        let (answer, answered) = oneshot::channel();
        let operation = Box::pin(async move {
            // The caller may have gone.
            _ = answer.send(operation.await);
        });
        self.run_in_task(name, permit, operation).await?;
        // A panic was an error of the task.
        Ok(answered.await??)
    }

    /// Waits for a connection.
    async fn permit(&self, name: &'static str) -> anyhow::Result<OwnedSemaphorePermit> {
        let called = Instant::now();
        let permit = self.permits.clone().acquire_owned().await?;
        let labels = [KeyValue::new("db.operation.name", name)];
        WAIT.record(called.elapsed().as_secs_f64(), &labels);
        Ok(permit)
    }

    /// Runs an operation in a task of its own. The operation is boxed: tokio's task would be
    /// compiled again for each type of it, and there are hundreds.
    async fn run_in_task(
        &self,
        name: &'static str,
        permit: OwnedSemaphorePermit,
        operation: BoxFuture<'static, ()>,
    ) -> anyhow::Result<()> {
        let run = async move {
            let began = Instant::now();
            operation.await;
            drop(permit);
            let labels = [KeyValue::new("db.operation.name", name)];
            DURATION.record(began.elapsed().as_secs_f64(), &labels);
        };
        let span = debug_span!(
            "mongodb",
            otel.name = name,
            otel.kind = "client",
            db.system.name = "mongodb",
            db.operation.name = name,
            db.namespace = self.name()
        );
        Ok(tokio::spawn(run.instrument(span)).await?)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::{task::JoinError, time::timeout};

    use super::*;

    #[tokio::test]
    async fn reads_are_local_and_from_the_primary_whatever_the_url_says() {
        let url = "mongodb://127.0.0.1/?readPreference=secondary&readConcernLevel=majority";
        let host = Host::new(url, "test").await.unwrap();
        assert_eq!(host.client.read_concern(), Some(&ReadConcern::local()));
        assert_eq!(host.client.selection_criteria(), None);
    }
    /// Returns a database with one connection, which no test opens.
    async fn with_one_connection() -> Database {
        let host = Host::new("mongodb://127.0.0.1/?maxPoolSize=1", "test").await;
        host.unwrap().database("test")
    }

    async fn takes_operations(database: &Database) -> bool {
        let operation = database.run("next", |_| async { Ok(()) });
        let done = timeout(Duration::from_secs(10), operation).await;
        done.is_ok_and(|result| result.is_ok())
    }

    #[tokio::test]
    async fn an_operation_that_panics_fails_and_gives_its_connection_back() {
        let database = with_one_connection().await;
        let failed = database.run("panic", |_| async { panic!("on purpose") });
        let failed: anyhow::Result<()> = failed.await;
        assert!(failed.is_err_and(|error| error.is::<JoinError>()));
        assert!(takes_operations(&database).await);
    }

    #[tokio::test]
    async fn an_operation_that_has_begun_ends_without_its_caller() {
        let database = with_one_connection().await;
        let (begin, begun) = oneshot::channel();
        let (go_on, may_go_on) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel();
        let caller = tokio::spawn({
            let database = database.clone();
            async move {
                let operation = database.run("slow", |_| async {
                    begin.send(()).unwrap();
                    may_go_on.await.unwrap();
                    end.send(()).unwrap();
                    Ok(())
                });
                operation.await.unwrap();
            }
        });
        begun.await.unwrap();
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        // One that still waits for the connection never begins.
        let waiting = database.run("never", |_| async { panic!("nobody waits for it") });
        let waiting: Option<anyhow::Result<()>> = waiting.now_or_never();
        assert!(waiting.is_none());
        go_on.send(()).unwrap();
        ended.await.unwrap();
        assert!(takes_operations(&database).await);
    }
}
