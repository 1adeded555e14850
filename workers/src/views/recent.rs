//! The documents that a worker has written last. So the next commit of an aggregate needs no read.
//!
//! A document that is remembered here may no longer be stored: another worker may have changed it,
//! a rebuild may have repaired it, or MongoDB may have lost it in a crash. So it serves only to
//! write the next revision over it, which fails if revision or content are others. It never proves
//! that something is stored.

use std::sync::{Mutex, MutexGuard, PoisonError};

use event_store::Location;
use events_schema::{Document, View};
use lru::LruCache;

use crate::views::documents::{Commits, Key};

/// Bytes of documents that are remembered for one view, as they are announced.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// What an entry takes beside the document's content, about.
const ENTRY_BYTES: usize = 300;

/// Recently written documents of one view.
pub(super) struct Recent<V: View>(Mutex<State<V>>);

struct State<V: View> {
    documents: LruCache<(Location, Key<V>), (Document<V>, usize)>,
    /// The sum of what the documents take.
    bytes: usize,
}

impl<V: View> Recent<V> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State {
            documents: LruCache::unbounded(),
            bytes: 0,
        }))
    }

    /// Remembers a document that was just written at a location; `bytes` is the size of its JSON.
    pub(super) fn put(&self, location: &Location, document: &Document<V>, bytes: usize) {
        let key = (location.clone(), (document.tenant, document.id));
        let bytes = bytes + ENTRY_BYTES;
        let mut state = self.state();
        let before = state.documents.put(key, (document.clone(), bytes));
        state.bytes = state.bytes + bytes - before.map_or(0, |(_, bytes)| bytes);
        while state.bytes > MAX_BYTES
            && let Some((_, (_, bytes))) = state.documents.pop_lru()
        {
            state.bytes -= bytes;
        }
    }

    /// Returns those documents that are at the revision before the first of their commits.
    pub(super) fn before(&self, location: &Location, commits: &Commits<V>) -> Vec<Document<V>> {
        let mut state = self.state();
        let mut found = Vec::new();
        for (key, commits) in commits {
            let first = commits.iter().map(|logged| logged.commit.revision).min();
            let remembered = state.documents.get(&(location.clone(), *key));
            if let (Some((document, _)), Some(first)) = (remembered, first)
                && u64::try_from(document.revision).is_ok_and(|revision| revision + 1 == first)
            {
                found.push(document.clone());
            }
        }
        found
    }

    fn state(&self) -> MutexGuard<'_, State<V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{
        Actor, Area as _, CommandId, Commit, Id, ProjectId, TenantId, TenantKey, Time, project,
    };

    use super::*;
    use crate::decode::Logged;

    const ID: ProjectId = ProjectId(Id::from_bytes([7; 16]));
    const TENANT: TenantId = TenantId::Tenant(TenantKey(Id::from_bytes([1; 16])));

    fn place(name: &str) -> Location {
        Location {
            host: None,
            database: name.to_owned(),
        }
    }

    fn document(number: u8, revision: i64) -> Document<project::View> {
        Document {
            id: ProjectId(Id::from_bytes([number; 16])),
            tenant: TENANT,
            revision,
            sequence: revision,
            view: None,
        }
    }

    fn commits(revisions: &[u64]) -> Commits<project::View> {
        let logged = |revision: &u64| Logged {
            sequence: *revision,
            commit: Commit {
                tenant: TENANT,
                area: project::Area::NAME,
                id: ID,
                revision: *revision,
                command: CommandId(Id::from_bytes([3; 16])),
                actor: Actor::System,
                time: Time(0),
                origin: None,
                events: vec![project::Event::Deleted],
            },
        };
        let commits = revisions.iter().map(logged).collect();
        Commits::<project::View>::from([((TENANT, ID), commits)])
    }

    #[test]
    fn only_the_document_just_before_the_commits_is_used() {
        let recent = Recent::new();
        recent.put(&place("one"), &document(7, 4), 100);
        let found = |revisions: &[u64]| recent.before(&place("one"), &commits(revisions)).len();
        assert_eq!(found(&[5]), 1);
        assert_eq!(found(&[6, 5]), 1);
        // It would prove that revision 4 is stored.
        assert_eq!(found(&[4]), 0);
        assert_eq!(found(&[4, 5]), 0);
        assert_eq!(found(&[6]), 0);
        assert_eq!(recent.before(&place("two"), &commits(&[5])).len(), 0);
    }

    #[test]
    fn large_documents_do_not_fill_memory() {
        let recent = Recent::<project::View>::new();
        for number in 0..100 {
            recent.put(&place("one"), &document(number, 1), MAX_BYTES / 10);
            recent.put(&place("one"), &document(number, 2), MAX_BYTES / 10);
        }
        let state = recent.state();
        assert_eq!(state.documents.len(), 9);
        assert!(state.bytes <= MAX_BYTES);
    }
}
