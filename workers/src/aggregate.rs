//! The one trait of the write side. What implements it is pure: no I/O, no clock, no ids of its own
//! making; all of that comes with the command, or is looked up by the loop and handed over as
//! [`Facts`].

use std::collections::HashMap;

use events_schema::{Actor, Area, Claim, CommandId, Id, Rejected, TenantId, Time};
use serde::{Serialize, de::DeserializeOwned};

/// What commands of one area are decided against.
pub trait Aggregate: Default + Clone + Send + Sync + 'static {
    /// What may be asked.
    type Command: Serialize + DeserializeOwned + Send + Sync;
    /// What may have happened.
    type Event: Serialize + DeserializeOwned + Clone + Send + Sync;
    /// The ways in which the domain says no.
    type Rejection: Into<Rejected>;
    /// The area it is the aggregate of.
    const AREA: Area;

    /// The names whose holders must be looked up before `decide`; the holders in `facts` are still
    /// empty.
    fn claims(&self, _command: &Self::Command, _facts: &Facts) -> Vec<Claim> {
        Vec::new()
    }

    /// What follows from the command, here and now. An empty decision means that there is nothing
    /// to change.
    fn decide(
        &self,
        command: &Self::Command,
        facts: &Facts,
    ) -> Result<Decision<Self::Event>, Self::Rejection>;

    /// Takes in what happened. Total: whatever was once decided is taken in, in every state.
    fn evolve(&mut self, event: &Self::Event, at: Time);
}

/// What a decision may know beside its state and command.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whose data it is.
    pub tenant: TenantId,
    /// The aggregate.
    pub id: Id,
    /// The command; what a decision creates within the aggregate takes its id.
    pub command: CommandId,
    /// Who wants it.
    pub actor: Actor,
    /// The command's time.
    pub now: Time,
    /// Who holds the names that [`Aggregate::claims`] asked for; no entry where nobody does.
    pub holders: HashMap<Claim, Id>,
}

/// What follows from a command: stored as a whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<E> {
    /// What happened; empty if nothing is to change, and then nothing may be taken.
    pub events: Vec<E>,
    /// Names to be held from now on. Each must be free, or the command is decided again.
    pub take: Vec<Claim>,
    /// Names that this aggregate has held and that are free from now on.
    pub release: Vec<Claim>,
    /// Names that somebody else holds and that the decision relies on. They are written anew for
    /// their holder, under the guard: of two decisions of which one relies on what the other
    /// undoes, the later is decided again.
    pub touch: Vec<Claim>,
}

impl<E> Decision<E> {
    /// These events, and no name taken.
    pub fn events(events: Vec<E>) -> Self {
        Self {
            events,
            take: Vec::new(),
            release: Vec::new(),
            touch: Vec::new(),
        }
    }

    /// Nothing to change.
    pub fn unchanged() -> Self {
        Self::events(Vec::new())
    }
}
