//! Counts how often the handling of each hook has failed. The number of its deliveries does not tell:
//! a hook also comes again after it had no slot, and after an outage.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
};

use lru::LruCache;

/// Hooks whose failures are remembered: more than fail at once.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// The failures that this process has seen, by the sequence of the hook.
#[derive(Debug)]
pub struct Failures(Mutex<LruCache<u64, u32>>);

impl Failures {
    /// Knows no failure.
    pub fn new() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }

    /// Counts a failure of a hook. Returns how many there are.
    pub fn count(&self, sequence: u64) -> u32 {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.get_or_insert_mut(sequence, || 0);
        *count += 1;
        *count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failures_of_each_hook_are_counted() {
        let failures = Failures::new();
        assert_eq!([7, 7, 8, 7].map(|hook| failures.count(hook)), [1, 2, 1, 3]);
    }
}
