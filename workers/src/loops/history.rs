//! An aggregate as its history tells it: loaded from the log, kept while it is in use, brought up
//! to date at need.
//!
//! A kept state may be old. That is safe, since every append is guarded and every answer that
//! appends nothing is first checked against the leader; see `command_loop.rs`.

use std::{collections::HashMap, num::NonZeroUsize, sync::Arc};

use anyhow::{Context as _, ensure};
use events_schema::{CommandId, Commit, Id, Subject, TenantId};
use lru::LruCache;
use tokio::sync::Mutex;

use crate::{aggregate::Aggregate, event_store::EventStore};

/// How many aggregates of one area a process keeps: tens of megabytes at a hundred commits each,
/// and most of what is busy.
const KEPT: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// A state and where in the log it stands.
#[derive(Clone, Debug, Default)]
pub struct History<A> {
    /// The fold of all events so far.
    pub state: A,
    /// How many commits there are.
    pub revision: u64,
    /// The sequence of the last one; 0 if there is none.
    pub last_sequence: u64,
    /// Which command led to which revision, at which sequence.
    pub commands: HashMap<CommandId, (u64, u64)>,
}

impl<A: Aggregate> History<A> {
    /// Reads whatever the log has beyond what is known.
    pub async fn refresh(&mut self, store: &EventStore, subject: &str) -> anyhow::Result<()> {
        for message in store.read(subject, self.last_sequence + 1).await? {
            let commit: Commit<A::Event> =
                serde_json::from_slice(&message.payload).with_context(|| {
                    format!(
                        "the commit at sequence {} cannot be decoded",
                        message.sequence
                    )
                })?;
            self.take(&commit, message.sequence)?;
        }
        Ok(())
    }

    /// Takes in the commit that follows.
    pub fn take(&mut self, commit: &Commit<A::Event>, sequence: u64) -> anyhow::Result<()> {
        ensure!(
            commit.revision == self.revision + 1,
            "revision {} follows {} at sequence {sequence}",
            commit.revision,
            self.revision
        );
        for event in &commit.events {
            self.state.evolve(event, commit.time);
        }
        self.revision = commit.revision;
        self.last_sequence = sequence;
        self.commands
            .insert(commit.command, (commit.revision, sequence));
        Ok(())
    }
}

/// A history that one command at a time may use.
pub type Shared<A> = Arc<Mutex<History<A>>>;

/// The aggregates of one area that were lately in use. Each is behind a lock, in whose order its
/// commands are decided.
#[derive(Debug)]
pub struct Histories<A> {
    kept: std::sync::Mutex<LruCache<(TenantId, Id), Shared<A>>>,
}

impl<A: Aggregate> Histories<A> {
    /// Keeps nothing yet.
    pub fn new() -> Self {
        Self {
            kept: std::sync::Mutex::new(LruCache::new(KEPT)),
        }
    }

    /// The aggregate, known or not.
    pub fn get(&self, tenant: TenantId, id: Id) -> Shared<A> {
        // A panic under this lock leaves at worst a missing entry.
        let mut kept = self
            .kept
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        kept.get_or_insert((tenant, id), Arc::default).clone()
    }
}

/// The subject of an aggregate's commits.
pub fn subject_of<A: Aggregate>(tenant: TenantId, id: Id) -> String {
    Subject::Event {
        tenant,
        area: A::AREA,
        id,
    }
    .to_string()
}
