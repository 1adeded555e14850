//! Folds commits into a document, and notices a document that was written from another log.

use std::sync::atomic::Ordering;

use anyhow::ensure;
use events_schema::{Area as _, Document, View};

use crate::{
    decode::{self, Logged},
    views::documents::{Key, Views},
};

/// A document as its commits leave it.
pub(super) struct Plan<V: View> {
    /// The stored revision to write over; `None` if the stored document needs no change.
    pub(super) over: Option<u64>,
    pub(super) document: Document<V>,
}

/// A document has a commit that the log does not have.
#[derive(Debug, thiserror::Error)]
#[error(
    "the view {view} was written from another log: {document} has a commit at sequence {sequence} \
     that this log does not have. Was a backup of the log restored? Rebuild the view: `workers \
     rebuild-views --areas {area}`"
)]
pub struct OtherLog {
    view: &'static str,
    area: String,
    document: String,
    sequence: i64,
}

impl<V: View> Views<V> {
    /// Returns a document before its first commit.
    pub(super) fn nothing((tenant, id): Key<V>) -> Document<V> {
        Document {
            id,
            tenant,
            revision: 0,
            sequence: 0,
            view: None,
        }
    }

    /// Returns a document after these commits, and what to write if it was stored as it is.
    ///
    /// # Errors
    /// [`OtherLog`] if the document has a commit that the log does not have. Else if a server does
    /// not answer.
    pub(super) async fn advanced(
        &self,
        document: Document<V>,
        commits: &[Logged<V::Area>],
    ) -> anyhow::Result<Plan<V>> {
        self.ensure_same_log(&document, commits).await?;
        let latest = commits.iter().map(|logged| logged.commit.revision).max();
        let (before, wanted) = (revision(&document), latest.unwrap_or(0));
        if before >= wanted {
            let over = None;
            return Ok(Plan { over, document });
        }
        let document = self.folded(document, commits).await?;
        let over = Some(before);
        Ok(Plan { over, document })
    }

    /// Folds the commits into a document, as far as it does not have them. If one is missing in
    /// between, reads the log.
    ///
    /// # Errors
    /// If a server does not answer, or does not show the last of these commits yet.
    pub(super) async fn folded(
        &self,
        mut document: Document<V>,
        commits: &[Logged<V::Area>],
    ) -> anyhow::Result<Document<V>> {
        let mut ahead: Vec<&Logged<V::Area>> = commits.iter().collect();
        ahead.retain(|logged| logged.commit.revision > revision(&document));
        ahead.sort_by_key(|logged| logged.commit.revision);
        ahead.dedup_by_key(|logged| logged.commit.revision);
        let Some(last) = ahead.last() else {
            return Ok(document);
        };
        let wanted = last.commit.revision;
        let expected = revision(&document) + 1..;
        let mut pairs = ahead.iter().zip(expected);
        if pairs.all(|(logged, expected)| logged.commit.revision == expected) {
            for logged in ahead {
                step(&mut document, logged);
            }
            return Ok(document);
        }
        let subject = last.commit.subject().to_string();
        let document = self.read_on(document, &subject).await?;
        // A replica may lag. An acknowledgement now would leave the view behind, too.
        let has_all = revision(&document) >= wanted;
        ensure!(has_all, "the log does not show revision {wanted} yet");
        Ok(document)
    }

    /// Folds the commits into a document that the log has on this subject after those in it.
    ///
    /// # Errors
    /// If the log does not answer, or has a commit that cannot be decoded.
    pub(super) async fn read_on(
        &self,
        mut document: Document<V>,
        subject: &str,
    ) -> anyhow::Result<Document<V>> {
        let from = u64::try_from(document.sequence)? + 1;
        for message in self.log.read(subject, from).await? {
            let logged = decode::logged::<V::Area>(&message)?;
            if logged.commit.revision == revision(&document) + 1 {
                step(&mut document, &logged);
            }
        }
        Ok(document)
    }

    /// Checks that the last commit in a document is in the log, as far as these commits show: later
    /// revisions have later sequences, and none is beyond the log's end.
    async fn ensure_same_log(
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
            return Err(Self::other_log(document.id.to_string(), document.sequence).into());
        }
        let latest = commits.iter().map(|logged| logged.sequence).max();
        self.log_end
            .fetch_max(latest.unwrap_or(0), Ordering::Relaxed);
        self.ensure_within_log(document.id.to_string(), document.sequence)
            .await
    }

    /// Checks that a sequence is not beyond the log's end.
    ///
    /// # Errors
    /// [`OtherLog`] if it is, or the log's leader does not answer.
    pub(super) async fn ensure_within_log(
        &self,
        document: String,
        sequence: i64,
    ) -> anyhow::Result<()> {
        let wanted = u64::try_from(sequence)?;
        if wanted <= self.log_end.load(Ordering::Relaxed) {
            return Ok(());
        }
        let end = self.log.last_sequence().await?;
        self.log_end.fetch_max(end, Ordering::Relaxed);
        if wanted > end {
            return Err(Self::other_log(document, sequence).into());
        }
        Ok(())
    }

    fn other_log(document: String, sequence: i64) -> OtherLog {
        OtherLog {
            view: V::NAME,
            area: V::Area::NAME.to_string(),
            document,
            sequence,
        }
    }
}

/// Returns the revision of a document; 0 if there is none.
pub(super) fn revision<V: View>(document: &Document<V>) -> u64 {
    u64::try_from(document.revision).unwrap_or(0)
}

fn step<V: View>(document: &mut Document<V>, logged: &Logged<V::Area>) {
    document.view = V::fold(document.view.take(), &logged.commit);
    document.revision = i64::try_from(logged.commit.revision).unwrap_or(i64::MAX);
    document.sequence = i64::try_from(logged.sequence).unwrap_or(i64::MAX);
}
