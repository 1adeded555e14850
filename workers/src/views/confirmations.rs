//! Confirms that written documents are durable.
//!
//! A write that waits for the journal takes several times as long, and the journal is written for
//! each one. So documents are written and announced first. One more write that does wait confirms
//! all that were written before it, since the journal is written in order. Only then their commits
//! are acknowledged: a crash of MongoDB may lose documents, but not the commits that bring them
//! back.
//!
//! The same write records, per view, up to which sequence the view is written.
//!
//! A new primary may miss what the one before had written. So a confirmation counts only if the
//! same primary has taken it.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, anyhow, ensure};
use event_store::Location;
use mongodb::bson::{Document, doc, oid::ObjectId};
use tokio::{sync::oneshot, time::sleep};

use crate::{placements::Placements, views::write::written};

/// How long confirmations gather, so that one write serves many.
const GATHER: Duration = Duration::from_millis(5);
/// How long a confirmation may take. Without a majority it would take for ever.
const TIMEOUT_MS: i32 = 3_000;
/// The collection of the write that confirms others.
const COLLECTION: &str = "confirmation";
/// The id of its only document.
const ID: &str = "views";

/// Identifies the election that made a server the primary.
type Election = ObjectId;
/// A view, and the sequence of a commit that its documents have.
type Through = (&'static str, u64);

/// Those who wait for a confirmation at one location.
#[derive(Debug, Default)]
struct Waiting {
    senders: Vec<oneshot::Sender<Result<Election, Arc<anyhow::Error>>>>,
    /// The highest sequence that each view has there.
    through: BTreeMap<&'static str, u64>,
}

/// Confirms that documents are durable. Clones share the confirming writes.
#[derive(Clone, Debug)]
pub struct Confirmations {
    placements: Placements,
    /// The locations where a confirmation is under way.
    waiting: Arc<Mutex<HashMap<Location, Waiting>>>,
    /// The election of the last confirmation at each location.
    elections: Arc<Mutex<HashMap<Location, Election>>>,
}

/// The state of a location before documents are read and written there.
#[derive(Clone, Copy, Debug)]
pub struct Before(Election);

impl Confirmations {
    /// Confirms writes to these databases.
    pub fn new(placements: Placements) -> Self {
        Self {
            placements,
            waiting: Arc::default(),
            elections: Arc::default(),
        }
    }

    /// Returns what [`confirm`](Self::confirm) needs, before documents are read and written.
    ///
    /// # Errors
    /// If MongoDB does not answer.
    pub async fn before(&self, location: &Location) -> anyhow::Result<Before> {
        let known = self.elections().get(location).copied();
        Ok(Before(match known {
            Some(election) => election,
            None => self.next(location, None).await?,
        }))
    }

    /// Waits until all documents are durable that were read or written at a location since then.
    /// Also records the sequence up to which the view is written.
    ///
    /// # Errors
    /// If that is not certain.
    pub async fn confirm(
        &self,
        location: Location,
        before: Before,
        through: Through,
    ) -> anyhow::Result<()> {
        let election = self.next(&location, Some(through)).await?;
        ensure!(election == before.0, "MongoDB has another primary");
        Ok(())
    }

    /// Checks that a location takes durable writes.
    ///
    /// # Errors
    /// If it does not.
    pub async fn probe(&self, location: &Location) -> anyhow::Result<()> {
        self.next(location, None).await.map(|_| ())
    }

    /// Returns the highest sequence that was recorded for a view at a location; 0 if there is none.
    ///
    /// # Errors
    /// If MongoDB does not answer.
    pub async fn recorded(&self, location: &Location, view: &str) -> anyhow::Result<i64> {
        let database = self.placements.database(location)?;
        let found = database.run("find_one", |database| async move {
            let confirmations = database.collection::<Document>(COLLECTION);
            confirmations.find_one(doc! { "_id": ID }).await
        });
        let found = found.await.context("reading what was confirmed")?;
        let through = found
            .as_ref()
            .and_then(|found| found.get_document("through").ok());
        Ok(through
            .and_then(|through| through.get_i64(view).ok())
            .unwrap_or(0))
    }

    /// Sets the sequence up to which a view is written, even to a lower one.
    ///
    /// # Errors
    /// If MongoDB does not answer.
    pub async fn record(&self, location: &Location, through: Through) -> anyhow::Result<()> {
        let update = doc! { "$set": field(through)? };
        let database = self.placements.database(location)?;
        let recorded = database.run("update_one", |database| async move {
            let confirmations = database.collection::<Document>(COLLECTION);
            let recorded = confirmations.update_one(doc! { "_id": ID }, update);
            recorded.upsert(true).await
        });
        recorded.await.context("recording what a view has")?;
        Ok(())
    }

    /// Waits for the next confirmation; returns its election.
    async fn next(
        &self,
        location: &Location,
        through: Option<Through>,
    ) -> anyhow::Result<Election> {
        let (sender, confirmed) = oneshot::channel();
        let is_first = {
            let mut all = self.waiting();
            let is_first = !all.contains_key(location);
            let waiting = all.entry(location.clone()).or_default();
            waiting.senders.retain(|waiting| !waiting.is_closed());
            waiting.senders.push(sender);
            if let Some((view, sequence)) = through {
                let highest = waiting.through.entry(view).or_default();
                *highest = sequence.max(*highest);
            }
            is_first
        };
        if is_first {
            tokio::spawn(self.clone().run(location.clone()));
        }
        let confirmed = confirmed.await.context("nobody has confirmed the write")?;
        confirmed.map_err(|error| anyhow!("{error:#}"))
    }

    /// Confirms writes at a location for as long as somebody waits.
    async fn run(self, location: Location) {
        loop {
            sleep(GATHER).await;
            let waiting = {
                let mut all = self.waiting();
                let waiting = all.get_mut(&location).map(mem::take).unwrap_or_default();
                if waiting.senders.is_empty() {
                    all.remove(&location);
                    return;
                }
                waiting
            };
            let confirmed = self.write(&location, waiting.through).await;
            let confirmed = confirmed.map_err(Arc::new);
            if let Ok(election) = &confirmed {
                self.elections().insert(location.clone(), *election);
            }
            for sender in waiting.senders {
                // The receiver may have given up.
                _ = sender.send(confirmed.clone());
            }
        }
    }

    async fn write(
        &self,
        location: &Location,
        through: BTreeMap<&'static str, u64>,
    ) -> anyhow::Result<Election> {
        let mut update = doc! { "$inc": { "count": 1_i64 } };
        let mut highest = Document::new();
        for through in through {
            highest.extend(field(through)?);
        }
        if !highest.is_empty() {
            update.insert("$max", highest);
        }
        let command = doc! {
            "update": COLLECTION,
            "updates": [{
                "q": { "_id": ID },
                "u": update,
                "upsert": true,
            }],
            "writeConcern": { "w": "majority", "j": true, "wtimeout": TIMEOUT_MS },
            "maxTimeMS": TIMEOUT_MS,
        };
        let database = self.placements.database(location)?;
        let answer = database.run("confirm", |database| async move {
            database.run_command(command).await
        });
        let answer = answer.await.context("confirming written documents")?;
        // Of two workers that insert it at once, one is told of a duplicate.
        ensure!(written(&answer)? == 1, "another worker was first");
        let election = answer.get_object_id("electionId");
        election.context("a primary did not tell its election")
    }

    fn elections(&self) -> MutexGuard<'_, HashMap<Location, Election>> {
        self.elections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Location, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the field of the confirming document that says up to where a view has the log.
fn field((view, sequence): Through) -> anyhow::Result<Document> {
    Ok(doc! { format!("through.{view}"): i64::try_from(sequence)? })
}
