//! Which consumers are being read: whether this process is ready.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The consumers of this process, and whether each one is being read. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Pulls(Arc<Mutex<BTreeMap<String, bool>>>);

impl Pulls {
    /// Notes that messages of a consumer arrive from now on.
    pub fn opened(&self, consumer: &str) {
        self.lock().insert(consumer.to_owned(), true);
    }

    /// Notes that no messages of a consumer arrive until it is opened.
    pub fn closed(&self, consumer: &str) {
        self.lock().insert(consumer.to_owned(), false);
    }

    /// Returns all consumers, each with whether it is being read.
    pub fn all(&self) -> BTreeMap<String, bool> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
