//! The rules, one file per area: state, `decide`, `evolve`, rejections, and their tests. Pure.

use events_schema::Claim;

use crate::aggregate::Facts;

pub mod access_token;
pub mod account;
pub mod email;
pub mod member;
pub mod project;
pub mod role;
pub mod session;
pub mod tenant;

/// Whether a name is held by another aggregate than the one that decides.
fn is_taken(claim: &Claim, facts: &Facts) -> bool {
    facts
        .holders
        .get(claim)
        .is_some_and(|holder| *holder != facts.id)
}

#[cfg(test)]
pub(crate) mod testing {
    //! Given events, when a command comes, then these events or that rejection.

    use std::collections::HashMap;

    use events_schema::{Actor, BuiltInRole, Claim, CommandId, Id, Permissions, TenantId, Time};

    use crate::aggregate::{Aggregate, Decision, Facts};

    /// The id of the command that is decided.
    pub(crate) const COMMAND: Id = Id::from_bytes([9; 16]);
    /// The aggregate that decides.
    pub(crate) const OWN: Id = Id::from_bytes([8; 16]);
    /// Whose data it is.
    pub(crate) const TENANT: TenantId = TenantId::Tenant(Id::from_bytes([7; 16]));

    /// The state after these events, all at time zero.
    pub(crate) fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> A {
        let mut state = A::default();
        events
            .into_iter()
            .for_each(|event| state.evolve(&event, Time(0)));
        state
    }

    /// What is decided at this time, nobody holding anything.
    pub(crate) fn decide<A: Aggregate>(
        state: &A,
        command: &A::Command,
        now: i64,
    ) -> Result<Vec<A::Event>, A::Rejection> {
        decide_with(state, command, &facts(now, [])).map(|decision| decision.events)
    }

    /// What is decided as the loop has it decided: of all holders, the decision sees those that it
    /// asks for.
    pub(crate) fn decide_with<A: Aggregate>(
        state: &A,
        command: &A::Command,
        facts: &Facts,
    ) -> Result<Decision<A::Event>, A::Rejection> {
        let asked = state.claims(
            command,
            &Facts {
                holders: HashMap::new(),
                ..facts.clone()
            },
        );
        let holders = asked
            .into_iter()
            .filter_map(|claim| Some((claim, *facts.holders.get(&claim)?)))
            .collect();
        state.decide(
            command,
            &Facts {
                holders,
                ..facts.clone()
            },
        )
    }

    pub(crate) fn facts(now: i64, holders: impl IntoIterator<Item = (Claim, Id)>) -> Facts {
        let holders = HashMap::from_iter(holders);
        Facts {
            tenant: TENANT,
            id: OWN,
            command: CommandId(COMMAND),
            actor: Actor::Anonymous,
            now: Time(now),
            holders,
        }
    }

    /// What somebody of this built-in role may do.
    pub(crate) fn held(role: BuiltInRole) -> Permissions {
        role.permissions()
    }
}
