//! The write side of an area. Implementations are pure: no I/O, no clock, no random ids. The loop
//! passes everything else that a decision needs as [`Facts`].

use std::{collections::HashMap, fmt::Debug};

use events_schema::{
    AccountId, Actor, Area, Claim, CommandId, Id, Permission, Permissions, Reject, TenantId, Time,
};

/// The commands of an aggregate's area.
pub type CommandOf<A> = <<A as Aggregate>::Area as Area>::Command;
/// The events of an aggregate's area.
pub type EventOf<A> = <<A as Aggregate>::Area as Area>::Event;
/// The ids of an aggregate's area.
pub type IdOf<A> = <<A as Aggregate>::Area as Area>::Id;

/// The state that commands of one area are decided against.
pub trait Aggregate: Default + Clone + Debug + PartialEq + Send + Sync + 'static {
    /// The area.
    type Area: Area;
    /// The reasons to reject a command.
    type Rejection: Reject;

    /// Returns the names whose holders `decide` needs to know. `facts.holders` is still empty.
    fn claims(&self, _command: &CommandOf<Self>, _facts: &Facts<Self::Area>) -> Vec<Claim> {
        Vec::new()
    }

    /// Decides a command. A decision without events changes nothing.
    ///
    /// # Errors
    /// If the domain refuses the command.
    fn decide(
        &self,
        command: &CommandOf<Self>,
        facts: &Facts<Self::Area>,
    ) -> Result<Decision<EventOf<Self>>, Self::Rejection>;

    /// Applies an event. Total: it accepts every event in every state.
    fn evolve(&mut self, event: &EventOf<Self>, at: Time);

    /// Returns how many objects the aggregate has that a limit counts; `None` if a limit of the
    /// area counts its live aggregates.
    fn objects(&self) -> Option<u64> {
        None
    }
}

/// The input of a decision, beside the state and the command.
#[derive(Clone, Debug)]
pub struct Facts<A: Area> {
    /// The tenant that the aggregate belongs to.
    pub tenant: TenantId,
    /// The aggregate.
    pub id: A::Id,
    /// The id of the command. An object that the decision creates within the aggregate takes this
    /// id.
    pub command: CommandId,
    /// Who sends the command.
    pub actor: Actor,
    /// The permissions that the actor holds in the tenant.
    pub held: Permissions,
    /// The command's time.
    pub now: Time,
    /// The holders of the names that [`Aggregate::claims`] returned. A free name has no entry.
    pub holders: HashMap<Claim, Id>,
}

impl<A: Area> Facts<A> {
    /// Whether the actor is this person, or somebody who acts as them, or holds the permission. An
    /// access token owns nothing, so it needs the permission.
    pub fn is_own_or_holds(&self, owner: AccountId, permission: Permission) -> bool {
        self.actor.person() == Some(owner) || self.held.contains(&permission)
    }

    /// Whether an aggregate other than this one holds the name.
    pub fn is_taken(&self, claim: &Claim) -> bool {
        let own: Id = self.id.into();
        self.holders.get(claim).is_some_and(|holder| *holder != own)
    }
}

/// The consequences of a command, stored as a whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<E> {
    /// The events; empty if there is nothing to change, and then no claim may change either.
    pub events: Vec<E>,
    /// Names to hold from now on. If another aggregate holds one, the command is retried.
    pub take: Vec<Claim>,
    /// Names of this aggregate that become free.
    pub release: Vec<Claim>,
    /// Names of other aggregates that the decision relies on. Their claims are written again for
    /// the same holders, under the guard. So if another decision releases one at the same time, the
    /// loser decides again.
    pub touch: Vec<Claim>,
}

impl<E> Decision<E> {
    /// Returns a decision for these events that changes no claim.
    pub fn events(events: Vec<E>) -> Self {
        Self {
            events,
            take: Vec::new(),
            release: Vec::new(),
            touch: Vec::new(),
        }
    }

    /// Returns a decision that changes nothing.
    pub fn unchanged() -> Self {
        Self::events(Vec::new())
    }
}
