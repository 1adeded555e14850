//! The read side: how a commit is folded into a document, and which indexes that document is found by.
//!
//! Pure; `view_loop.rs` reads and writes. One document is fed by one aggregate.

use events_schema::{Area, Commit};
use serde::{Serialize, de::DeserializeOwned};

pub mod account;
pub mod email;
pub mod session;

/// The view of one area.
pub trait View: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// What feeds it.
    type Event: Serialize + DeserializeOwned + Clone + Send + Sync;
    /// The area it is the view of, and the name of its collection.
    const AREA: Area;
    /// What it is looked up by, beside its id.
    const INDEXES: &'static [Index];

    /// The document after the commit; `None` if there is nothing (more) to show. Total: no commit is refused.
    fn fold(view: Option<Self>, commit: &Commit<Self::Event>) -> Option<Self>;
}

/// An index over fields of the view, ascending.
#[derive(Clone, Copy, Debug)]
pub struct Index {
    /// Field names within the view.
    pub fields: &'static [&'static str],
}
