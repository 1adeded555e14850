//! What follows from an event elsewhere: event in, commands out. Pure; `reaction_loop.rs` reads and
//! says.
//!
//! A command's id derives from the commit it follows from, so that a replay of the log does nothing
//! twice.

use events_schema::{
    Area, Commit, EmailAddress, Id, TenantId,
    email::{Command, Template},
    secret::derived_id,
};
use serde::{Serialize, de::DeserializeOwned};

pub mod account_mail;
pub mod founder;
pub mod member_mail;

/// What is wanted of one aggregate.
#[derive(Clone, Debug, PartialEq)]
pub struct Consequence<C> {
    /// Whose aggregate.
    pub tenant: TenantId,
    /// Which.
    pub aggregate: Id,
    /// What is wanted of it.
    pub command: C,
}

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
    fn react(commit: &Commit<Self::Event>) -> Vec<Consequence<Self::Command>>;
}

/// The wish for a mail. Its id derives from its occasion: one occasion, one mail.
fn mail(occasion: &[&[u8]], to: &EmailAddress, template: Template) -> Consequence<Command> {
    let aggregate = derived_id(&[&[b"email".as_slice()], occasion].concat());
    Consequence {
        tenant: TenantId::Platform,
        aggregate,
        command: Command::Request {
            to: to.clone(),
            template,
        },
    }
}
