//! A deleted tenant pays no more.

use events_schema::{
    Commit, TenantId, billing,
    tenant::{Area, Event},
};

use super::{Consequence, Reaction};

/// Ends what a deleted tenant pays for.
#[derive(Debug)]
pub struct DeletedTenant;

impl Reaction for DeletedTenant {
    type Source = Area;
    type Target = billing::Area;
    const NAME: &'static str = "deleted_tenant";

    fn react(commit: &Commit<Area>) -> Vec<Consequence<billing::Area>> {
        let events = commit.events.iter();
        events.filter_map(|event| end(commit, event)).collect()
    }
}

fn end(commit: &Commit<Area>, event: &Event) -> Option<Consequence<billing::Area>> {
    match event {
        Event::Deleted => Some(Consequence {
            tenant: TenantId::Tenant(commit.id),
            aggregate: commit.id,
            command: billing::Command::End,
        }),
        Event::Created { .. }
        | Event::Updated { .. }
        | Event::SecondFactorRequirementChanged { .. }
        | Event::MoveBegun { .. }
        | Event::MoveLed { .. }
        | Event::MoveSwitched
        | Event::MoveFinished
        | Event::MoveAbandoned
        | Event::PlaceDropped => None,
    }
}

#[cfg(test)]
mod tests {
    use events_schema::TenantKey;

    use super::*;
    use crate::reaction::testing::{ID, when};

    #[test]
    fn only_a_deleted_tenant_pays_no_more() {
        let end = Consequence {
            tenant: TenantId::Tenant(TenantKey(ID)),
            aggregate: TenantKey(ID),
            command: billing::Command::End,
        };
        when::<DeletedTenant>([Event::Deleted]).then([end]);
        when::<DeletedTenant>([Event::MoveSwitched]).then([]);
    }
}
