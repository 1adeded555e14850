//! Tests of rules: given events, when a command arrives, then these events or this rejection
//! follow:
//!
//! ```text
//! given::<Project>([created()]).when(rename("Loom")).then([renamed("Loom")]);
//! given::<Project>([]).when(rename("Loom")).rejects(Rejection::NotFound);
//! ```

use std::collections::HashMap;

use events_schema::{
    Actor, BuiltInRole, Claim, CommandId, Id, Permission, Permissions, TenantId, TenantKey, Time,
};

use crate::aggregate::{Aggregate, CommandOf, Decision, EventOf, Facts, IdOf};

/// The id of the command that is decided.
pub(crate) const COMMAND: Id = Id::from_bytes([9; 16]);
/// The aggregate that decides.
pub(crate) const OWN: Id = Id::from_bytes([8; 16]);
/// The tenant that the aggregate belongs to.
pub(crate) const TENANT: TenantId = TenantId::Tenant(TenantKey(Id::from_bytes([7; 16])));

/// The state after some events.
#[derive(Clone)]
pub(crate) struct Given<A>(A);

/// The state after these events, all at time zero.
pub(crate) fn given<A: Aggregate>(events: impl IntoIterator<Item = EventOf<A>>) -> Given<A> {
    Given(A::default()).and(events)
}

impl<A: Aggregate> Given<A> {
    /// The state after further events at time zero.
    pub(crate) fn and(self, events: impl IntoIterator<Item = EventOf<A>>) -> Self {
        events
            .into_iter()
            .fold(self, |given, event| given.and_at(0, event))
    }

    /// The state after a further event.
    pub(crate) fn and_at(mut self, ms: i64, event: EventOf<A>) -> Self {
        self.0.evolve(&event, Time(ms));
        self
    }

    /// A command by an anonymous actor without permissions, at time zero, while all names are free.
    pub(crate) fn when(&self, command: CommandOf<A>) -> When<A> {
        let facts = Facts {
            tenant: TENANT,
            id: OWN.into(),
            command: CommandId(COMMAND),
            actor: Actor::Anonymous,
            held: Permissions::new(),
            now: Time(0),
            holders: HashMap::new(),
        };
        When {
            state: self.0.clone(),
            command,
            facts,
        }
    }

    /// Asserts the state.
    #[track_caller]
    pub(crate) fn is(&self, state: &A) {
        assert_eq!(self.0, *state);
    }

    pub(crate) fn state(&self) -> &A {
        &self.0
    }
}

/// A command to be decided, with its facts.
#[derive(Clone)]
pub(crate) struct When<A: Aggregate> {
    state: A,
    command: CommandOf<A>,
    facts: Facts<A::Area>,
}

impl<A: Aggregate> When<A>
where
    A::Rejection: PartialEq,
{
    /// The command's time, in milliseconds.
    pub(crate) fn at(mut self, ms: i64) -> Self {
        self.facts.now = Time(ms);
        self
    }

    pub(crate) fn by(mut self, actor: Actor) -> Self {
        self.facts.actor = actor;
        self
    }

    /// The aggregate that decides, instead of [`OWN`].
    pub(crate) fn to(mut self, id: IdOf<A>) -> Self {
        self.facts.id = id;
        self
    }

    /// The actor holds all permissions of this built-in role.
    pub(crate) fn holding(self, role: BuiltInRole) -> Self {
        self.holding_only(role.permissions())
    }

    /// The actor holds these permissions.
    pub(crate) fn holding_only(mut self, held: impl IntoIterator<Item = Permission>) -> Self {
        self.facts.held = held.into_iter().collect();
        self
    }

    /// An aggregate, this one or another, holds the name.
    pub(crate) fn while_held(mut self, claim: Claim, holder: impl Into<Id>) -> Self {
        self.facts.holders.insert(claim, holder.into());
        self
    }

    /// Asserts of which names the decision needs the holders, in the order in which they are read.
    #[track_caller]
    pub(crate) fn reads(self, claims: &[Claim]) {
        assert_eq!(self.state.claims(&self.command, &self.facts), claims);
    }

    /// Decides as the loop does: of all holders, the decision sees those that it asks for.
    pub(crate) fn decide(self) -> Result<Decision<EventOf<A>>, A::Rejection> {
        let mut facts = self.facts;
        let holders = std::mem::take(&mut facts.holders);
        let asked = self.state.claims(&self.command, &facts);
        let seen = asked.into_iter().filter_map(|claim| {
            let holder = holders.get(&claim)?;
            Some((claim, *holder))
        });
        facts.holders = seen.collect();
        self.state.decide(&self.command, &facts)
    }

    /// Asserts the events. Claims are not compared.
    #[track_caller]
    pub(crate) fn then(self, events: impl IntoIterator<Item = EventOf<A>>) {
        let command = format!("{:?}", self.command);
        let decided = self.decide().map(|decision| decision.events);
        assert_eq!(decided, Ok(events.into_iter().collect()), "{command}");
    }

    /// Asserts that the command is accepted and changes nothing.
    #[track_caller]
    pub(crate) fn changes_nothing(self) {
        self.decides(Decision::unchanged());
    }

    /// Asserts the whole decision, claims included.
    #[track_caller]
    pub(crate) fn decides(self, decision: Decision<EventOf<A>>) {
        let command = format!("{:?}", self.command);
        assert_eq!(self.decide(), Ok(decision), "{command}");
    }

    /// Asserts the refusal.
    #[track_caller]
    pub(crate) fn rejects(self, rejection: A::Rejection) {
        let command = format!("{:?}", self.command);
        assert_eq!(self.decide(), Err(rejection), "{command}");
    }
}
