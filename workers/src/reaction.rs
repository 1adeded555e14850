//! What follows from an event elsewhere: event in, commands out. Pure; `reaction_loop.rs` reads and says.
//!
//! A command's id derives from the commit it follows from, so that a replay of the log does nothing twice.

use events_schema::{Area, Commit, Id};
use serde::{Serialize, de::DeserializeOwned};

pub mod account_mail;

/// One consequence of the events of one area, in another.
pub trait Reaction: Send + Sync + 'static {
    /// What it reacts to.
    type Event: DeserializeOwned + Send + Sync;
    /// What it wants.
    type Command: Serialize + Send + Sync;
    /// Its name, and that of its consumer: never changed, since ids derive from it.
    const NAME: &'static str;
    /// Whose events it reads.
    const SOURCE: Area;
    /// To which area its commands go.
    const TARGET: Area;

    /// The aggregates and what is wanted of each.
    fn react(commit: &Commit<Self::Event>) -> Vec<(Id, Self::Command)>;
}
