//! Counts what each holder has at once, such as the sockets of an account.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many each holder has.
#[derive(Clone, Debug)]
pub(crate) struct Shares<K: Eq + Hash> {
    max: usize,
    counts: Arc<Mutex<HashMap<K, usize>>>,
}

/// One that a holder has, until this is dropped.
#[derive(Debug)]
pub(crate) struct Share<K: Clone + Eq + Hash> {
    holder: K,
    shares: Shares<K>,
}

impl<K: Clone + Eq + Hash> Shares<K> {
    /// Allows each holder so many at once.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            counts: Arc::default(),
        }
    }

    /// Counts one more of this holder; `None` if it has too many.
    pub(crate) fn take(&self, holder: K) -> Option<Share<K>> {
        let mut counts = self.counts();
        let count = counts.entry(holder.clone()).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        drop(counts);
        let shares = self.clone();
        Some(Share { holder, shares })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.shares.counts().entry(self.holder.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_holder_has_its_own_share() {
        let shares = Shares::new(2);
        let first = shares.take("a").unwrap();
        let _second = shares.take("a").unwrap();
        assert!(shares.take("a").is_none());
        assert!(shares.take("b").is_some());
        drop(first);
        assert!(shares.take("a").is_some());
    }

    #[test]
    fn a_holder_without_a_share_is_forgotten() {
        let shares = Shares::new(1);
        drop(shares.take("a").unwrap());
        assert!(shares.counts().is_empty());
    }
}
