//! Which consumers have an open pull. A worker process is ready when all of them have one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The consumers of this process, and whether each one has an open pull. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Pulls(Arc<Mutex<BTreeMap<String, bool>>>);

impl Pulls {
    /// Notes that the pull of a consumer is open.
    pub fn opened(&self, consumer: &str) {
        self.lock().insert(consumer.to_owned(), true);
    }

    /// Notes that a consumer has no open pull yet, or that its pull broke.
    pub fn closed(&self, consumer: &str) {
        self.lock().insert(consumer.to_owned(), false);
    }

    /// Returns each consumer, with whether its pull is open.
    pub fn all(&self) -> BTreeMap<String, bool> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
