//! Notices documents that were written from another log, such as the one before a backup was
//! restored.

use std::sync::atomic::Ordering;

use events_schema::{Area as _, Document, View};

use crate::{
    decode::Logged,
    views::{documents::Views, fold::revision},
};

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
    sequence: i64,
}

impl<V: View> Views<V> {
    /// Checks that the last commit in a document is in the log, as far as these commits show: later
    /// revisions have later sequences, and none is beyond the log's end.
    pub(super) async fn ensure_same_log(
        &self,
        document: &Document<V>,
        commits: &[Logged<V::Area>],
    ) -> anyhow::Result<()> {
        let (revision, sequence) = (revision(document), u64::try_from(document.sequence)?);
        if sequence == 0 {
            return Ok(());
        }
        let is_in_order = commits
            .iter()
            .all(|logged| logged.commit.revision.cmp(&revision) == logged.sequence.cmp(&sequence));
        if !is_in_order {
            return Err(
                Self::other_log(format!("document {}", document.id), document.sequence).into(),
            );
        }
        let latest = commits.iter().map(|logged| logged.sequence).max();
        self.log_end
            .fetch_max(latest.unwrap_or(0), Ordering::Relaxed);
        self.ensure_within_log(format!("document {}", document.id), document.sequence)
            .await
    }

    /// Checks that a sequence is not beyond the log's end.
    ///
    /// # Errors
    /// [`OtherLog`] if it is, or the log's leader does not answer.
    pub(super) async fn ensure_within_log(
        &self,
        written_at: String,
        sequence: i64,
    ) -> anyhow::Result<()> {
        let wanted = u64::try_from(sequence)?;
        if wanted <= self.log_end.load(Ordering::Relaxed) {
            return Ok(());
        }
        let end = self.log.last_sequence().await?;
        self.log_end.fetch_max(end, Ordering::Relaxed);
        if wanted > end {
            return Err(Self::other_log(written_at, sequence).into());
        }
        Ok(())
    }

    fn other_log(written_at: String, sequence: i64) -> OtherLog {
        OtherLog {
            view: V::NAME,
            area: V::Area::NAME.to_string(),
            written_at,
            sequence,
        }
    }
}
