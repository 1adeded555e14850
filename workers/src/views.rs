//! The documents of one view: read, fold, write under the guard of the stored revision.
//!
//! Any number of workers may write the same documents, in any order, twice. A document that is more
//! than one commit behind is folded from the log, so a view heals itself whatever was lost.

mod any_view;
mod collection;
mod confirmations;
mod differences;
mod documents;
mod expired;
mod fold;
mod indexes;
mod other_log;
mod parked;
mod rebuild;
mod recent;
mod write;

pub use any_view::AnyView;
pub use collection::Collection;
pub use confirmations::Confirmations;
pub use documents::{Applied, BULK, Commits, Key, MAX_WRITE_TIME, Views};
pub use other_log::OtherLog;
pub use parked::{PARKED, ParkedTenants};
pub use rebuild::{Progress, Rebuilt, Scope};
