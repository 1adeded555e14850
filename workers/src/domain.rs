//! The rules, one file per area: state, `decide`, `evolve`, rejections, and their tests. Pure.

pub mod account;
pub mod email;
pub mod session;

#[cfg(test)]
pub(crate) mod testing {
    //! Given events, when a command comes, then these events or that rejection.

    use std::collections::HashMap;

    use events_schema::{Actor, Claim, CommandId, Id, Time};

    use crate::aggregate::{Aggregate, Facts};

    /// The id of the command that is decided.
    pub(crate) const COMMAND: Id = Id::from_bytes([9; 16]);

    /// The state after these events, all at time zero.
    pub(crate) fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> A {
        let mut state = A::default();
        events.into_iter().for_each(|event| state.evolve(&event, Time(0)));
        state
    }

    /// What is decided at this time, nobody holding anything.
    pub(crate) fn decide<A: Aggregate>(state: &A, command: &A::Command, now: i64) -> Result<Vec<A::Event>, A::Rejection> {
        state.decide(command, &facts(now, [])).map(|decision| decision.events)
    }

    pub(crate) fn facts(now: i64, holders: impl IntoIterator<Item = (Claim, Id)>) -> Facts {
        let holders = HashMap::from_iter(holders);
        Facts { id: Id::from_bytes([8; 16]), command: CommandId(COMMAND), actor: Actor::Anonymous, now: Time(now), holders }
    }
}
