//! Names that a newer release has stored and this one does not know, such as a permission. They are
//! kept, so that nothing that was stored is lost.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// The names, each once. They are never freed.
static UNKNOWN: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
/// The most unknown names.
const MAX_UNKNOWN: usize = 1_000;
/// The most bytes of a name.
pub(crate) const MAX_NAME: usize = 64;

/// Returns an unknown name, which is kept for the life of the process; `None` if it is malformed,
/// or there are more than any release could have.
pub(crate) fn keep(name: &str) -> Option<&'static str> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_name) {
        return None;
    }
    let mut unknown = UNKNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    match unknown.get(name).copied() {
        Some(name) => Some(name),
        None if unknown.len() == MAX_UNKNOWN => None,
        None => {
            let name: &'static str = String::leak(name.to_owned());
            unknown.insert(name);
            Some(name)
        }
    }
}
