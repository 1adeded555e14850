//! The documents of one view: read, fold, write under the guard of the stored revision.
//!
//! Any number of workers may write the same documents, in any order, twice. A document that is more
//! than one commit behind is folded from the log, so a view heals itself whatever was lost.

mod catch_up;
mod confirmations;
mod documents;
mod held;
mod indexes;
mod load;
mod rebuild;
mod recent;

pub use catch_up::{BULK, Progress};
pub use confirmations::Confirmations;
pub use documents::{Applied, Commits, Key, MAX_WRITE_TIME, Views};
