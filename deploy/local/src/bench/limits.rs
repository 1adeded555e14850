//! The limits: what the servers can do without the backend, measured with the same loops.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, ensure};
use async_nats::{
    ConnectOptions, ServerAddr,
    jetstream::{
        self,
        stream::{Config as Stream, PersistenceMode, RetentionPolicy},
    },
};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use mongodb::{
    Client as Mongo, Collection, Database, IndexModel,
    bson::{Document, doc},
    options::ClientOptions,
};
use serde::Serialize;

use super::{load::Client, program::ServerUrls, script::PAGE};

/// Bytes of a published command: a `project.create` with its envelope.
const COMMAND_BYTES: usize = 900;
/// Bytes of a published commit of one event.
const EVENT_BYTES: usize = 470;
const COMMAND_STREAM: &str = "BENCH_COMMANDS";
const EVENT_STREAM: &str = "BENCH_EVENTS";
const DATABASE: &str = "bench_limits";
const COLLECTION: &str = "projects";
/// Documents to find; a quarter of them has the state that is listed.
const DOCUMENTS: usize = 10_000;
/// Documents in one insertion.
const INSERTED_AT_ONCE: usize = 1_000;
/// Documents in one bulk, as the workers write them.
const BULK: usize = 100;
/// Connections to MongoDB, so that no request waits for one.
const CONNECTIONS: u32 = 64;

/// An operation without the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Limit {
    PublishCommand,
    PublishEvent,
    FindById,
    FindPage,
    Upsert,
    AnswerFromMemory,
}

impl Limit {
    /// The operations of the servers; [`Limit::AnswerFromMemory`] needs a program of its own.
    pub(super) const OF_SERVERS: [Self; 5] = [
        Self::PublishCommand,
        Self::PublishEvent,
        Self::FindById,
        Self::FindPage,
        Self::Upsert,
    ];

    /// Returns the name in the tables.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::PublishCommand => "publish a command, not synced",
            Self::PublishEvent => "publish an event, synced",
            Self::FindById => "find a document by id",
            Self::FindPage => "find 20 documents by index",
            Self::Upsert => "upsert 100 documents",
            Self::AnswerFromMemory => "answer HTTP from memory",
        }
    }
}

/// The servers, with streams and a database for the limits.
pub(super) struct Bare {
    jetstream: jetstream::Context,
    database: Database,
}

impl Bare {
    /// Connects as the operator, and creates what the limits need.
    ///
    /// # Errors
    /// If a server refuses.
    pub(super) async fn prepare(servers: &ServerUrls) -> anyhow::Result<Self> {
        let jetstream = jetstream_of(&servers.nats).await?;
        for stream in streams() {
            jetstream.create_stream(stream).await?;
        }
        let mut options = ClientOptions::parse(&servers.mongo).await?;
        options.max_pool_size = Some(CONNECTIONS);
        let database = Mongo::with_options(options)?.database(DATABASE);
        fill(&database.collection(COLLECTION)).await?;
        Ok(Self {
            jetstream,
            database,
        })
    }

    /// Returns clients that do one of the operations of the servers.
    pub(super) fn clients(&self, limit: Limit, clients: usize) -> Vec<Asker> {
        let asker = |client| Asker {
            limit,
            client,
            made: 0,
            jetstream: self.jetstream.clone(),
            database: self.database.clone(),
        };
        (0..clients).map(asker).collect()
    }

    /// Deletes the streams and the database.
    ///
    /// # Errors
    /// If a server refuses.
    pub(super) async fn delete(self) -> anyhow::Result<()> {
        for stream in streams() {
            self.jetstream.delete_stream(stream.name).await?;
        }
        Ok(self.database.drop().await?)
    }
}

/// Connects to JetStream at a URL with a user.
///
/// # Errors
/// If the URL has no user, or nobody answers.
pub(super) async fn jetstream_of(url: &str) -> anyhow::Result<jetstream::Context> {
    let address: ServerAddr = url.parse().context("the URL of nats-server")?;
    let user = address.username().zip(address.password());
    let (user, password) = user.context("the URL of nats-server has no user")?;
    let options = ConnectOptions::with_user_and_password(user.into(), password.into());
    Ok(jetstream::new(options.connect(address).await?))
}

/// Returns streams with the settings of COMMANDS and EVENTS.
fn streams() -> [Stream; 2] {
    let stream = |name: &str| Stream {
        name: name.to_owned(),
        subjects: vec![format!("{name}.>")],
        ..Stream::default()
    };
    [
        Stream {
            retention: RetentionPolicy::WorkQueue,
            persist_mode: Some(PersistenceMode::Async),
            ..stream(COMMAND_STREAM)
        },
        Stream {
            allow_direct: true,
            allow_atomic_publish: true,
            ..stream(EVENT_STREAM)
        },
    ]
}

async fn fill(projects: &Collection<Document>) -> anyhow::Result<()> {
    let index = IndexModel::builder().keys(doc! { "tenant": 1, "status": 1, "name": 1 });
    projects.create_index(index.build()).await?;
    let all: Vec<Document> = (0..DOCUMENTS).map(document).collect();
    for some in all.chunks(INSERTED_AT_ONCE) {
        projects.insert_many(some).await?;
    }
    Ok(())
}

/// Returns a document like a project.
pub(super) fn document(number: usize) -> Document {
    doc! {
        "_id": id(number),
        "tenant": id(0),
        "revision": 1_i64,
        "status": if number.is_multiple_of(4) { "active" } else { "archived" },
        "name": format!("Project {number}"),
        "description": "made by the benchmark",
        "creator": id(1),
        "created_at": 1_700_000_000_000_i64,
        "updated_at": 1_700_000_000_000_i64,
    }
}

fn id(number: usize) -> String {
    format!("{number:032x}")
}

/// Draws numbers that no other client of this run has.
static NEXT: AtomicUsize = AtomicUsize::new(DOCUMENTS);

/// A client that does one operation again and again.
pub(super) struct Asker {
    limit: Limit,
    client: usize,
    /// Operations until now.
    made: usize,
    jetstream: jetstream::Context,
    database: Database,
}

impl Client for Asker {
    async fn request(&mut self) -> anyhow::Result<()> {
        self.made += 1;
        match self.limit {
            Limit::PublishCommand => self.publish(COMMAND_STREAM, COMMAND_BYTES).await,
            Limit::PublishEvent => self.publish(EVENT_STREAM, EVENT_BYTES).await,
            Limit::FindById => self.find_by_id().await,
            Limit::FindPage => self.find_page().await,
            Limit::Upsert => self.upsert().await,
            Limit::AnswerFromMemory => anyhow::bail!("no operation of a server"),
        }
    }
}

impl Asker {
    /// Publishes a message and waits until it is stored.
    async fn publish(&self, stream: &str, bytes: usize) -> anyhow::Result<()> {
        let subject = format!("{stream}.{}.{}", self.client, self.made);
        let published = self
            .jetstream
            .publish(subject, Bytes::from(vec![b'x'; bytes]));
        published.await?.await?;
        Ok(())
    }

    async fn find_by_id(&self) -> anyhow::Result<()> {
        // A prime as the step: over all documents, in no order.
        let id = id((self.client + self.made * 7_919) % DOCUMENTS);
        let found = self.projects().find_one(doc! { "_id": id }).await?;
        ensure!(found.is_some(), "a document is missing");
        Ok(())
    }

    async fn find_page(&self) -> anyhow::Result<()> {
        let filter = doc! { "tenant": id(0), "status": { "$in": ["active"] } };
        let page = i64::try_from(PAGE)?;
        let projects = self.projects();
        let found = projects.find(filter).sort(doc! { "name": 1 }).limit(page);
        let found: Vec<Document> = found.await?.try_collect().await?;
        ensure!(found.len() == PAGE, "{} documents on a page", found.len());
        Ok(())
    }

    /// Writes as the workers do: journaled later.
    async fn upsert(&self) -> anyhow::Result<()> {
        let first = NEXT.fetch_add(BULK, Ordering::Relaxed);
        let update =
            |number| doc! { "q": { "_id": id(number) }, "u": document(number), "upsert": true };
        let updates: Vec<Document> = (first..first + BULK).map(update).collect();
        let written = self.database.run_command(doc! {
            "update": "upserted",
            "updates": updates,
            "ordered": false,
            "writeConcern": { "w": 1 },
        });
        let written = written.await?.get_i32("n")?;
        ensure!(
            usize::try_from(written)? == BULK,
            "{written} documents of a bulk"
        );
        Ok(())
    }

    fn projects(&self) -> Collection<Document> {
        self.database.collection(COLLECTION)
    }
}
