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

/// Bytes of the aggregates of one area that a process caches, about.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// What an aggregate takes beside its state and its commands.
const ENTRY_BYTES: usize = 500;
/// What a state takes at most, however many commits led to it: the rules of its area bound it.
const MAX_STATE_BYTES: usize = 64 * 1024;
/// What an entry of [`History::commands`] takes, with the free room of the map.
const COMMAND_BYTES: usize = 64;

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
        self.apply_all(log.read_all(subject, self.last_sequence + 1).await?)
    }

    fn apply_all(&mut self, messages: Vec<Stored>) -> anyhow::Result<()> {
        for message in messages {
            let commit = decode::commit(&message.subject, &message.payload).with_context(|| {
                let sequence = message.sequence;
                format!("the commit at sequence {sequence} cannot be decoded")
            })?;
            let is_left_over = commit.revision > 1 && A::Area::RETENTION.is_some();
            if self.revision == 0 && (is_left_over || decode::has_expired(&commit)) {
                // Its first commit has expired, and this one counts no more.
                self.last_sequence = message.sequence;
            } else {
                self.apply(&commit, message.payload.len(), message.sequence)?;
            }
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

    /// Returns what the history takes in memory, about. A state is not larger than its commits.
    fn size(&self) -> usize {
        let state = self.bytes.min(MAX_STATE_BYTES);
        ENTRY_BYTES + state + COMMAND_BYTES * self.commands.len()
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
    /// all together have too many. The one just used stays, however many commits it has: to load it
    /// for each command would hold up its area.
    pub fn used(&self, tenant: TenantId, id: IdOf<A>, history: &History<A>) {
        let mut kept = self.kept();
        let Some(entry) = kept.aggregates.get_mut(&(tenant, id)) else {
            return;
        };
        let bytes = history.size();
        let before = std::mem::replace(&mut entry.bytes, bytes);
        kept.bytes = kept.bytes + bytes - before;
        while kept.bytes > MAX_BYTES && kept.aggregates.len() > 1 {
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

    /// A history of so many commits of 500 bytes.
    fn long(commits: u64) -> History<Project> {
        let command = |number| (CommandId(id(number as usize)), (number, number));
        History {
            bytes: 500 * commits as usize,
            commands: (1..=commits).map(command).collect(),
            ..History::default()
        }
    }

    fn is_kept(histories: &Histories<Project>, number: usize) -> bool {
        let key = (TenantId::Platform, id(number).into());
        histories.kept().aggregates.contains(&key)
    }

    #[test]
    fn cached_aggregates_are_bounded_by_their_bytes() {
        let histories = Histories::<Project>::new();
        let history = long(10_000);
        for number in 0..100 {
            histories.get(TenantId::Platform, id(number).into());
            histories.used(TenantId::Platform, id(number).into(), &history);
        }
        assert!(is_kept(&histories, 99) && !is_kept(&histories, 0));
        let kept = histories.kept();
        let sum: usize = kept.aggregates.iter().map(|(_, entry)| entry.bytes).sum();
        assert!(kept.bytes == sum && sum <= MAX_BYTES, "{sum}");
        assert!(kept.aggregates.len() > 10, "{}", kept.aggregates.len());
    }

    #[test]
    fn an_aggregate_with_very_many_commits_stays_while_it_is_used() {
        let histories = Histories::<Project>::new();
        for (number, commits) in [(1, 100_000), (2, 10), (1, 100_000), (3, 1_000_000)] {
            histories.get(TenantId::Platform, id(number).into());
            let history = long(commits);
            histories.used(TenantId::Platform, id(number).into(), &history);
            assert!(is_kept(&histories, number), "{number}");
        }
        // The last one alone exceeds the bound.
        assert_eq!(histories.kept().aggregates.len(), 1);
    }

    #[test]
    fn an_aggregate_that_grows_is_counted_once() {
        let histories = Histories::<Project>::new();
        histories.get(TenantId::Platform, id(1).into());
        for commits in [1, 2, 3] {
            histories.used(TenantId::Platform, id(1).into(), &long(commits));
        }
        assert_eq!(histories.kept().bytes, long(3).size());
    }
}
