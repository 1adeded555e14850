//! Aggregates as they are in the log: loaded once, cached while they are in use, and refreshed when
//! needed.
//!
//! A cached state may be stale. That is safe: every append is guarded, and every outcome that
//! stores nothing is first checked against the leader.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
};

use anyhow::{Context as _, ensure};
use event_store::{EventLog, Stored};
use events_schema::{Area as _, CommandId, Commit, Outcome, Subject, TenantId};
use lru::LruCache;
use tokio::sync::Mutex;

use crate::{
    aggregate::{Aggregate, IdOf},
    decode,
};

/// Bytes of the aggregates of one area that a process caches, measured by their commits. What they
/// take in memory is of this order.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// What an aggregate takes beside its commits, about.
const ENTRY_BYTES: usize = 500;

/// An aggregate's state and its place in the log.
#[derive(Clone, Debug, Default)]
pub struct History<A> {
    /// The state after all events so far.
    pub state: A,
    /// The number of commits.
    pub revision: u64,
    /// The sequence of the last commit; 0 if there is none.
    pub last_sequence: u64,
    /// The bytes of its commits.
    bytes: usize,
    /// The revision and sequence that each command led to.
    commands: HashMap<CommandId, (u64, u64)>,
}

impl<A: Aggregate> History<A> {
    /// Applies the commits that the log has after the last known one. A replica may lack the latest
    /// ones.
    ///
    /// # Errors
    /// If the log does not answer, or has a commit that cannot be decoded.
    pub async fn refresh(&mut self, log: &EventLog, subject: &str) -> anyhow::Result<()> {
        self.apply_all(log.read(subject, self.last_sequence + 1).await?)
    }

    /// Applies the commits that the leader of the log has after the last known one.
    ///
    /// # Errors
    /// If the leader does not answer, or has a commit that cannot be decoded.
    pub async fn refresh_from_leader(
        &mut self,
        log: &EventLog,
        subject: &str,
    ) -> anyhow::Result<()> {
        self.refresh(log, subject).await?;
        let last = log.last(subject).await?;
        if last.is_some_and(|last| last.sequence > self.last_sequence) {
            let missing = log
                .read_from_leader(subject, self.last_sequence + 1)
                .await?;
            self.apply_all(missing)?;
        }
        Ok(())
    }

    fn apply_all(&mut self, messages: Vec<Stored>) -> anyhow::Result<()> {
        for message in messages {
            let commit = decode::commit(&message.subject, &message.payload).with_context(|| {
                let sequence = message.sequence;
                format!("the commit at sequence {sequence} cannot be decoded")
            })?;
            self.apply(&commit, message.payload.len(), message.sequence)?;
        }
        Ok(())
    }

    /// Applies the next commit, which has this many bytes in the log.
    ///
    /// # Errors
    /// If a revision is missing before it.
    pub fn apply(
        &mut self,
        commit: &Commit<A::Area>,
        bytes: usize,
        sequence: u64,
    ) -> anyhow::Result<()> {
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
        self.bytes += bytes;
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

/// The cached aggregates of one area. The lock of an aggregate orders its commands.
#[derive(Debug)]
pub struct Histories<A: Aggregate>(std::sync::Mutex<Kept<A>>);

#[derive(Debug)]
struct Kept<A: Aggregate> {
    aggregates: LruCache<(TenantId, IdOf<A>), Entry<A>>,
    /// The sum of the bytes of all entries.
    bytes: usize,
}

#[derive(Debug)]
struct Entry<A> {
    history: Shared<A>,
    bytes: usize,
}

impl<A: Aggregate> Histories<A> {
    pub fn new() -> Self {
        Self(std::sync::Mutex::new(Kept {
            aggregates: LruCache::unbounded(),
            bytes: 0,
        }))
    }

    /// Returns the history of an aggregate; an empty one if it is not loaded yet.
    pub fn get(&self, tenant: TenantId, id: IdOf<A>) -> Shared<A> {
        let mut kept = self.kept();
        if let Some(entry) = kept.aggregates.get(&(tenant, id)) {
            return entry.history.clone();
        }
        let history = Shared::<A>::default();
        let entry = Entry {
            history: history.clone(),
            bytes: ENTRY_BYTES,
        };
        kept.aggregates.put((tenant, id), entry);
        kept.bytes += ENTRY_BYTES;
        history
    }

    /// Counts the bytes of an aggregate after its use, and forgets the least recently used ones if
    /// all together have too many. One that is in use is loaded again by the next command.
    pub fn used(&self, tenant: TenantId, id: IdOf<A>, history: &History<A>) {
        let mut kept = self.kept();
        let Some(entry) = kept.aggregates.get_mut(&(tenant, id)) else {
            return;
        };
        let bytes = history.bytes + ENTRY_BYTES;
        let before = std::mem::replace(&mut entry.bytes, bytes);
        kept.bytes = kept.bytes + bytes - before;
        while kept.bytes > MAX_BYTES {
            let Some((_, oldest)) = kept.aggregates.pop_lru() else {
                return;
            };
            kept.bytes -= oldest.bytes;
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept<A>> {
        // A panic under this lock leaves at worst a missing entry.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use events_schema::Id;

    use super::*;
    use crate::domain::project::Project;

    fn id(number: usize) -> Id {
        let bytes = [[0; 8].as_slice(), &(number as u64).to_be_bytes()].concat();
        Id::from_bytes(bytes.try_into().unwrap())
    }

    #[test]
    fn cached_aggregates_are_bounded_by_their_bytes() {
        let histories = Histories::<Project>::new();
        let large = History {
            bytes: 1024 * 1024,
            ..History::default()
        };
        for number in 0..100 {
            histories.get(TenantId::Platform, id(number).into());
            histories.used(TenantId::Platform, id(number).into(), &large);
        }
        let kept = histories.kept();
        let sum: usize = kept.aggregates.iter().map(|(_, entry)| entry.bytes).sum();
        assert!(kept.bytes == sum && sum <= MAX_BYTES, "{sum}");
        assert_eq!(kept.aggregates.len(), 15);
        assert!(
            kept.aggregates
                .contains(&(TenantId::Platform, id(99).into()))
        );
    }

    #[test]
    fn an_aggregate_that_grows_is_counted_once() {
        let histories = Histories::<Project>::new();
        histories.get(TenantId::Platform, id(1).into());
        for bytes in [100, 200, 300] {
            let history = History {
                bytes,
                ..History::default()
            };
            histories.used(TenantId::Platform, id(1).into(), &history);
        }
        assert_eq!(histories.kept().bytes, 300 + ENTRY_BYTES);
    }
}
