//! Aggregates as they are in the log: loaded once, cached while they are in use, and refreshed when
//! needed.
//!
//! A cached state may be stale. That is safe: every append is guarded, and every outcome that
//! stores nothing is first checked against the leader.

use std::collections::HashMap;

use anyhow::{Context as _, ensure};
use event_store::{EventLog, Stored};
use events_schema::{Area as _, CommandId, Commit, Outcome, Subject, TenantId};

use crate::{
    aggregate::{Aggregate, IdOf},
    decode,
    loops::cache::Cache,
};

/// Bytes of the aggregates of one area that a process caches, about.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;
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

    /// Forgets which command led where. Then [`answer`](Self::answer) knows only later ones.
    pub fn forget_commands(&mut self) {
        self.commands.clear();
    }

    /// Returns what the history takes in memory, about. A state is not larger than its commits.
    pub fn size(&self) -> usize {
        let state = self.bytes.min(MAX_STATE_BYTES);
        state + COMMAND_BYTES * self.commands.len()
    }

    /// Returns the answer to a command that was decided before.
    pub fn answer(&self, command: CommandId) -> Option<Outcome> {
        let (revision, sequence) = *self.commands.get(&command)?;
        Some(Outcome::DoneBefore { revision, sequence })
    }
}

/// The cached aggregates of one area. The lock of an aggregate orders its commands.
pub type Histories<A> = Cache<(TenantId, IdOf<A>), History<A>>;

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

    #[test]
    fn a_long_history_takes_a_bounded_state_and_the_ids_of_its_commands() {
        let command = |number: u64| {
            let id = Id::from_bytes(u128::from(number).to_be_bytes());
            (CommandId(id), (number, number))
        };
        let long = History::<Project> {
            bytes: 50_000_000,
            commands: (1..=1_000).map(command).collect(),
            ..History::default()
        };
        assert_eq!(long.size(), MAX_STATE_BYTES + 1_000 * COMMAND_BYTES);
    }
}
