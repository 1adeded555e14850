//! Values that are loaded once and cached while they are in use.

use std::{
    hash::Hash,
    sync::{Arc, MutexGuard, PoisonError},
};

use lru::LruCache;
use tokio::sync::Mutex;

/// What an entry takes beside its value.
const ENTRY_BYTES: usize = 500;

/// Cached values, which together have a bounded number of bytes. The lock of a value orders those
/// who use it.
#[derive(Debug)]
pub struct Cache<K: Hash + Eq, T> {
    max_bytes: usize,
    kept: std::sync::Mutex<Kept<K, T>>,
}

#[derive(Debug)]
struct Kept<K: Hash + Eq, T> {
    entries: LruCache<K, Entry<T>>,
    /// The sum of the bytes of all entries.
    bytes: usize,
}

#[derive(Debug)]
struct Entry<T> {
    value: Arc<Mutex<T>>,
    bytes: usize,
}

impl<K: Hash + Eq, T: Default> Cache<K, T> {
    pub fn new(max_bytes: usize) -> Self {
        let entries = LruCache::unbounded();
        Self {
            max_bytes,
            kept: std::sync::Mutex::new(Kept { entries, bytes: 0 }),
        }
    }

    /// Returns a value, which one task at a time may use; the default one if it is not loaded yet.
    pub fn get(&self, key: K) -> Arc<Mutex<T>> {
        let mut kept = self.kept();
        if let Some(entry) = kept.entries.get(&key) {
            return entry.value.clone();
        }
        let value = Arc::<Mutex<T>>::default();
        let entry = Entry {
            value: value.clone(),
            bytes: ENTRY_BYTES,
        };
        kept.entries.put(key, entry);
        kept.bytes += ENTRY_BYTES;
        value
    }

    /// Notes after its use that a value has this many bytes, and forgets the least recently used
    /// ones if all together have too many. The one just used stays, however large it is: to load
    /// it each time would hold up its area.
    pub fn used(&self, key: &K, bytes: usize) {
        let mut kept = self.kept();
        let Some(entry) = kept.entries.get_mut(key) else {
            return;
        };
        let bytes = ENTRY_BYTES + bytes;
        let before = std::mem::replace(&mut entry.bytes, bytes);
        kept.bytes = kept.bytes + bytes - before;
        while kept.bytes > self.max_bytes && kept.entries.len() > 1 {
            let Some((_, oldest)) = kept.entries.pop_lru() else {
                return;
            };
            kept.bytes -= oldest.bytes;
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept<K, T>> {
        // A panic under this lock leaves at worst a missing entry.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_BYTES: usize = 1_000_000;

    fn use_each(entries: impl IntoIterator<Item = (u32, usize)>) -> Cache<u32, ()> {
        let cache = Cache::new(MAX_BYTES);
        for (key, bytes) in entries {
            cache.get(key);
            cache.used(&key, bytes);
            assert!(cache.kept().entries.contains(&key), "{key}");
        }
        cache
    }

    #[test]
    fn cached_values_are_bounded_by_their_bytes() {
        let cache = use_each((0..100).map(|key| (key, 50_000)));
        let kept = cache.kept();
        assert!(kept.entries.contains(&99) && !kept.entries.contains(&0));
        let sum: usize = kept.entries.iter().map(|(_, entry)| entry.bytes).sum();
        assert!(kept.bytes == sum && sum <= MAX_BYTES, "{sum}");
        assert!(kept.entries.len() > 10, "{}", kept.entries.len());
    }

    #[test]
    fn a_value_with_very_many_bytes_stays_while_it_is_used() {
        let entries = [(1, 900_000), (2, 10), (1, 900_000), (3, MAX_BYTES + 1)];
        let cache = use_each(entries);
        // The last one alone exceeds the bound.
        assert_eq!(cache.kept().entries.len(), 1);
    }

    #[test]
    fn a_value_that_grows_is_counted_once() {
        let cache = use_each([(1, 10), (1, 20), (1, 30)]);
        assert_eq!(cache.kept().bytes, ENTRY_BYTES + 30);
    }
}
