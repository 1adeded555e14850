//! Notices documents that were written from another log, such as the one before a backup was
//! restored.

use std::{
    sync::{PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::anyhow;
use event_store::Unavailable;
use events_schema::{CommitSummary, Document, Id, Subject, View};

use crate::{
    decode::Logged,
    views::{Collection, documents::Views, fold::revision},
};

/// How long the log must miss a commit: a leader that is cut off does not know that it is one no
/// more.
const SUSPECTED_FOR: Duration = Duration::from_secs(10);

/// A document has a commit that the log does not have.
#[derive(Debug, thiserror::Error)]
#[error(
    "the view {view} was written from another log: the {written_at} has a commit at sequence \
     {sequence} that this log does not have. Was a backup of the log restored? Rebuild the view: \
     `workers rebuild-views --areas {area}`"
)]
pub struct OtherLog {
    view: &'static str,
    area: String,
    written_at: String,
    sequence: u64,
}

impl<V: View> Views<V> {
    /// Checks that the last commit in a document is in the log. Asks the log only if the commits
    /// that come next do not fit the document.
    ///
    /// # Errors
    /// [`OtherLog`] if the log has not shown it for some time. Also if the log does not answer.
    pub(super) async fn ensure_same_log(
        &self,
        document: &Document<V>,
        commits: &[Logged<V::Area>],
    ) -> anyhow::Result<()> {
        let (revision, sequence) = (revision(document), u64::try_from(document.sequence)?);
        let fits = |logged: &Logged<V::Area>| {
            logged.commit.revision.cmp(&revision) == logged.sequence.cmp(&sequence)
        };
        let latest = commits.iter().map(|logged| logged.sequence).max();
        let latest = latest.unwrap_or(0);
        let end = &self.collection.log_end;
        let end = end.fetch_max(latest, Ordering::Relaxed).max(latest);
        if sequence == 0 || (commits.iter().all(fits) && sequence <= end) {
            return Ok(());
        }
        let id = document.id.into();
        self.collection.ensure_in_log(id, revision, sequence).await
    }
}

impl Collection {
    /// Checks that the log has this revision of a document at this sequence.
    async fn ensure_in_log(&self, id: Id, revision: u64, sequence: u64) -> anyhow::Result<()> {
        if self.is_in_log(id, revision, sequence).await? {
            // It is the next commits that are odd, or the document is newer than all that was seen.
            self.log_end.fetch_max(sequence, Ordering::Relaxed);
            *self
                .suspected
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = None;
            return Ok(());
        }
        Err(self.suspect(format!("document {id}"), sequence))
    }

    /// Whether the log has this revision of a document at this sequence.
    async fn is_in_log(&self, id: Id, revision: u64, sequence: u64) -> anyhow::Result<bool> {
        let Some(stored) = self.log.at(sequence).await? else {
            // It may have expired.
            let may_expire = self.kind.retention.is_some();
            return Ok(may_expire && sequence <= self.log.last_sequence().await?);
        };
        let Ok(Subject::Event {
            area,
            id: stored_id,
            ..
        }) = Subject::parse(&stored.subject)
        else {
            return Ok(false);
        };
        let commit = serde_json::from_slice::<CommitSummary>(&stored.payload);
        Ok(area == self.kind.area
            && stored_id == id
            && commit.is_ok_and(|commit| commit.revision == revision))
    }

    /// Checks that a sequence is not beyond the log's end.
    ///
    /// # Errors
    /// [`OtherLog`] if it has been for some time. Also if the log does not answer.
    pub(super) async fn ensure_within_log(
        &self,
        written_at: String,
        sequence: i64,
    ) -> anyhow::Result<()> {
        let end = self.log.last_sequence().await?;
        let sequence = u64::try_from(sequence)?;
        if sequence > end {
            return Err(self.suspect(written_at, sequence));
        }
        Ok(())
    }

    /// Returns the error for a commit that the log does not show: not before it has been missing
    /// for some time, [`OtherLog`].
    fn suspect(&self, written_at: String, sequence: u64) -> anyhow::Error {
        let mut suspected = self
            .suspected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if suspected.get_or_insert_with(Instant::now).elapsed() < SUSPECTED_FOR {
            let missing = anyhow!("the log does not show sequence {sequence} yet");
            return missing.context(Unavailable);
        }
        let other = OtherLog {
            view: self.kind.name,
            area: self.kind.area.to_string(),
            written_at,
            sequence,
        };
        other.into()
    }
}
