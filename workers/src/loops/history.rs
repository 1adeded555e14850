//! Aggregates as they are in the log: loaded once, cached while they are in use, and refreshed when
//! needed.
//!
//! A cached state may be stale. That is safe: every append is guarded, and every outcome that
//! stores nothing is first checked against the leader.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, PoisonError},
};

use anyhow::{Context as _, ensure};
use event_store::EventLog;
use events_schema::{Area as _, CommandId, Commit, Outcome, Subject, TenantId};
use lru::LruCache;
use tokio::sync::Mutex;

use crate::{
    aggregate::{Aggregate, IdOf},
    decode,
};

/// The number of aggregates of one area that a process caches: tens of megabytes at a hundred
/// commits each.
const KEPT: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// An aggregate's state and its place in the log.
#[derive(Clone, Debug, Default)]
pub struct History<A> {
    /// The state after all events so far.
    pub state: A,
    /// The number of commits.
    pub revision: u64,
    /// The sequence of the last commit; 0 if there is none.
    pub last_sequence: u64,
    /// The revision and sequence that each command led to.
    commands: HashMap<CommandId, (u64, u64)>,
}

impl<A: Aggregate> History<A> {
    /// Applies the commits that the log has after the last known one.
    ///
    /// # Errors
    /// If the log does not answer, or has a commit that cannot be decoded.
    pub async fn refresh(&mut self, log: &EventLog, subject: &str) -> anyhow::Result<()> {
        for message in log.read(subject, self.last_sequence + 1).await? {
            let commit = decode::commit(&message.subject, &message.payload).with_context(|| {
                let sequence = message.sequence;
                format!("the commit at sequence {sequence} cannot be decoded")
            })?;
            self.apply(&commit, message.sequence)?;
        }
        Ok(())
    }

    /// Applies the next commit.
    ///
    /// # Errors
    /// If a revision is missing before it.
    pub fn apply(&mut self, commit: &Commit<A::Area>, sequence: u64) -> anyhow::Result<()> {
        let (next, found) = (self.revision + 1, commit.revision);
        ensure!(
            found == next,
            "revision {next} is missing before {found} at sequence {sequence}"
        );
        for event in &commit.events {
            self.state.evolve(event, commit.time);
        }
        self.revision = commit.revision;
        self.last_sequence = sequence;
        let reached = (commit.revision, sequence);
        self.commands.insert(commit.command, reached);
        Ok(())
    }

    /// Returns the answer to a command that was decided before.
    pub fn answer(&self, command: CommandId) -> Option<Outcome> {
        let (revision, sequence) = *self.commands.get(&command)?;
        Some(Outcome::DoneBefore { revision, sequence })
    }
}

/// A history that one command at a time may use.
pub type Shared<A> = Arc<Mutex<History<A>>>;

type Kept<A> = LruCache<(TenantId, IdOf<A>), Shared<A>>;

/// The cached aggregates of one area. The lock of an aggregate orders its commands.
#[derive(Debug)]
pub struct Histories<A: Aggregate> {
    kept: std::sync::Mutex<Kept<A>>,
}

impl<A: Aggregate> Histories<A> {
    pub fn new() -> Self {
        Self {
            kept: std::sync::Mutex::new(LruCache::new(KEPT)),
        }
    }

    /// Returns the history of an aggregate; an empty one if it is not loaded yet.
    pub fn get(&self, tenant: TenantId, id: IdOf<A>) -> Shared<A> {
        // A panic under this lock leaves at worst a missing entry.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get_or_insert((tenant, id), Arc::default).clone()
    }
}

/// Returns the subject of an aggregate's commits.
pub fn subject_of<A: Aggregate>(tenant: TenantId, id: IdOf<A>) -> String {
    let subject = Subject::Event {
        tenant,
        area: A::Area::NAME,
        id: id.into(),
    };
    subject.to_string()
}
