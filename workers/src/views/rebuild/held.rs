//! Documents in memory that are not written yet.

use std::collections::HashMap;

use events_schema::{Document, TenantId, View};

use crate::views::{
    Key,
    any_view::encoded,
    rebuild::{Encoded, Rebuild},
};

/// Documents that may get further commits.
pub(super) struct Held<V: View> {
    documents: HashMap<Key<V>, Entry<V>>,
    /// The sum of the bytes of all entries.
    bytes: usize,
    /// Counts batches of commits.
    batch: u64,
}

/// A document as its commits leave it.
pub(super) struct Entry<V: View> {
    document: Document<V>,
    /// The tenant on the subject of its commits.
    source: TenantId,
    /// The bytes of its commits. A document is rarely larger than these.
    bytes: usize,
    /// The last batch that changed it.
    changed: u64,
}

impl<V: View> Entry<V> {
    /// Encodes the document.
    ///
    /// # Errors
    /// If it cannot be encoded.
    fn encoded(self) -> anyhow::Result<Encoded> {
        Ok(Encoded {
            tenant: self.document.tenant,
            id: self.document.id.into(),
            source: self.source,
            document: encoded(&self.document)?,
        })
    }
}

impl Rebuild<'_> {
    /// Writes documents at all their places. One that cannot be encoded is left as it is.
    pub(super) async fn write_held<V: View>(&self, held: Vec<Entry<V>>) {
        let mut documents = held.into_iter().filter_map(|entry| {
            let key = (entry.document.tenant, entry.document.id.into());
            let encoded = entry.encoded();
            encoded
                .inspect_err(|error| self.leave_unreadable(key, error))
                .ok()
        });
        self.write(&mut documents).await;
    }
}

impl<V: View> Default for Held<V> {
    fn default() -> Self {
        Self {
            documents: HashMap::new(),
            bytes: 0,
            batch: 0,
        }
    }
}

impl<V: View> Held<V> {
    /// Returns what the documents take up, measured by their commits.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Begins a batch. Documents that are put from now on count as changed later than all others.
    pub(super) fn begin_batch(&mut self) {
        self.batch += 1;
    }

    /// Takes a document out, with its bytes.
    pub(super) fn take(&mut self, key: &Key<V>) -> Option<(Document<V>, usize)> {
        let entry = self.documents.remove(key)?;
        self.bytes -= entry.bytes;
        Some((entry.document, entry.bytes))
    }

    /// Whether a document is held.
    pub(super) fn has(&self, key: &Key<V>) -> bool {
        self.documents.contains_key(key)
    }

    /// Adds a document that this batch has changed. It must not be held already.
    pub(super) fn put(
        &mut self,
        key: Key<V>,
        (document, source): (Document<V>, TenantId),
        bytes: usize,
    ) {
        self.bytes += bytes;
        let entry = Entry {
            document,
            source,
            bytes,
            changed: self.batch,
        };
        self.documents.insert(key, entry);
    }

    /// Takes out the documents that have not changed for longest: at least half of all.
    pub(super) fn take_oldest(&mut self) -> Vec<Entry<V>> {
        let mut changed: Vec<u64> = self.documents.values().map(|entry| entry.changed).collect();
        if changed.is_empty() {
            return Vec::new();
        }
        let middle = changed.len() / 2;
        let (_, middle, _) = changed.select_nth_unstable(middle);
        let middle = *middle;
        let oldest = self
            .documents
            .extract_if(|_, entry| entry.changed <= middle);
        let oldest: Vec<(Key<V>, Entry<V>)> = oldest.collect();
        self.bytes -= oldest.iter().map(|(_, entry)| entry.bytes).sum::<usize>();
        sorted(oldest)
    }

    /// Takes out all documents.
    pub(super) fn take_all(&mut self) -> Vec<Entry<V>> {
        self.bytes = 0;
        sorted(self.documents.drain().collect())
    }
}

/// Returns documents by tenant and id, so that those written together have few locations, and touch
/// few pages of the index of ids.
fn sorted<V: View>(mut entries: Vec<(Key<V>, Entry<V>)>) -> Vec<Entry<V>> {
    entries.sort_unstable_by_key(|(key, _)| *key);
    entries.into_iter().map(|(_, entry)| entry).collect()
}

#[cfg(test)]
mod tests {
    use events_schema::{Id, ProjectId, TenantId, project};

    use super::*;

    fn key(number: u8) -> Key<project::View> {
        (TenantId::Platform, ProjectId(Id::from_bytes([number; 16])))
    }

    fn held(numbers: impl IntoIterator<Item = u8>) -> Held<project::View> {
        let mut held = Held::default();
        for number in numbers {
            held.begin_batch();
            change(&mut held, number);
        }
        held
    }

    fn change(held: &mut Held<project::View>, number: u8) {
        let (tenant, id) = key(number);
        let bytes = held.take(&key(number)).map_or(0, |(_, bytes)| bytes);
        let document = Document {
            id,
            tenant,
            revision: 1,
            sequence: 1,
            view: None,
        };
        held.put(key(number), (document, tenant), bytes + 100);
    }

    fn numbers(documents: &[Entry<project::View>]) -> Vec<u8> {
        let first = |entry: &Entry<project::View>| entry.document.id.0.bytes()[0];
        documents.iter().map(first).collect()
    }

    #[test]
    fn the_documents_that_have_not_changed_for_longest_are_taken_out() {
        let mut held = held([1, 2, 3, 4, 1]);
        assert_eq!(held.bytes(), 500);
        assert_eq!(numbers(&held.take_oldest()), [2, 3, 4]);
        assert_eq!(held.bytes(), 200);
        assert_eq!(numbers(&held.take_oldest()), [1]);
        assert!(held.bytes() == 0 && held.take_oldest().is_empty());
    }

    #[test]
    fn documents_are_taken_out_in_the_order_of_their_ids() {
        let mut held = held([3, 1, 2]);
        assert_eq!(numbers(&held.take_all()), [1, 2, 3]);
        assert_eq!(
            (held.bytes(), held.take(&key(1)).map(|(_, bytes)| bytes)),
            (0, None)
        );
    }
}
