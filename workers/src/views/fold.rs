//! Folds commits into a document.

use anyhow::anyhow;
use event_store::Unavailable;
use events_schema::{Area as _, Document, View};

use crate::{
    decode::{self, Logged},
    views::documents::{Key, Views},
};

/// What to write for a document.
pub(super) struct Plan<V: View> {
    /// The stored revision to write over; `None` if the stored document needs no change.
    pub(super) expected: Option<u64>,
    pub(super) document: Document<V>,
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
    /// [`OtherLog`](super::OtherLog) if the document has a commit that the log does not have. Also
    /// if a server does not answer.
    pub(super) async fn advanced(
        &self,
        document: Document<V>,
        commits: &[Logged<V::Area>],
    ) -> anyhow::Result<Plan<V>> {
        self.ensure_same_log(&document, commits).await?;
        let latest = commits.iter().map(|logged| logged.commit.revision).max();
        let (before, wanted) = (revision(&document), latest.unwrap_or(0));
        if before >= wanted {
            let expected = None;
            return Ok(Plan { expected, document });
        }
        let document = self.folded(document, commits).await?;
        let expected = Some(before);
        Ok(Plan { expected, document })
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
        if revision(&document) < wanted {
            let missing = anyhow!("the log does not show revision {wanted} yet");
            return Err(missing.context(Unavailable));
        }
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
        for message in self.collection.log.read(subject, from).await? {
            let logged = decode::logged::<V::Area>(&message)?;
            if logged.commit.revision == revision(&document) + 1 {
                step(&mut document, &logged);
            } else if V::Area::RETENTION.is_some() && revision(&document) == 0 {
                // Its first commit has expired.
                reach(&mut document, &logged);
            }
        }
        Ok(document)
    }
}

/// Returns the revision of a document; 0 before its first commit.
pub(super) fn revision<V: View>(document: &Document<V>) -> u64 {
    u64::try_from(document.revision).unwrap_or(0)
}

fn step<V: View>(document: &mut Document<V>, logged: &Logged<V::Area>) {
    let before = document.view.take();
    if !decode::has_expired(&logged.commit) {
        document.view = V::fold(before, &logged.commit);
    }
    reach(document, logged);
}

fn reach<V: View>(document: &mut Document<V>, logged: &Logged<V::Area>) {
    document.revision = i64::try_from(logged.commit.revision).unwrap_or(i64::MAX);
    document.sequence = i64::try_from(logged.sequence).unwrap_or(i64::MAX);
}
