//! What follows from an event elsewhere: event in, commands out. Pure; `reaction_loop.rs` reads and says.
//!
//! A command's id derives from the commit it follows from, so that a replay of the log does nothing twice.

use events_schema::{Area, Commit, Id, TenantId};
use serde::{Serialize, de::DeserializeOwned};

pub mod account_mail;
pub mod founder;
pub mod member_mail;

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

    /// What is wanted of whom.
    fn react(commit: &Commit<Self::Event>) -> Vec<Consequence<Self::Command>>;
}

/// Something that is wanted of an aggregate.
#[derive(Clone, Debug, PartialEq)]
pub struct Consequence<C> {
    /// Whose aggregate.
    pub tenant: TenantId,
    /// Which.
    pub aggregate: Id,
    /// What is wanted.
    pub command: C,
}
