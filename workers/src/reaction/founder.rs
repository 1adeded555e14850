//! The founder of a tenant becomes its first owner.

use events_schema::{
    Commit, TenantId, member,
    tenant::{Area, Event, founder_id},
};

use super::{Consequence, Reaction};

/// Makes the founder of a tenant its first owner.
#[derive(Debug)]
pub struct Founder;

impl Reaction for Founder {
    type Source = Area;
    type Target = member::Area;
    const NAME: &'static str = "founder";

    fn react(commit: &Commit<Area>) -> Vec<Consequence<member::Area>> {
        let events = commit.events.iter();
        events.filter_map(|event| founder(commit, event)).collect()
    }
}

fn founder(commit: &Commit<Area>, event: &Event) -> Option<Consequence<member::Area>> {
    match event {
        Event::Created { owner, email, .. } => Some(Consequence {
            tenant: TenantId::Tenant(commit.id),
            aggregate: founder_id(commit.id),
            command: member::Command::AddFounder {
                account: *owner,
                email: email.clone(),
            },
        }),
        Event::Updated { .. }
        | Event::Deleted
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
    use events_schema::{AccountId, EmailAddress, Id, Name, Placement, Slug, TenantKey};

    use super::*;
    use crate::reaction::testing::{ID, when};

    const ADA: AccountId = AccountId(Id::from_bytes([2; 16]));

    fn email() -> EmailAddress {
        EmailAddress::parse("ada@example.com").unwrap()
    }
    fn created() -> Event {
        Event::Created {
            name: Name::parse("Acme").unwrap(),
            slug: Slug::parse("acme").unwrap(),
            owner: ADA,
            email: email(),
            plan: None,
            placement: Placement::Shared,
            number: None,
        }
    }
    fn add_founder() -> Consequence<member::Area> {
        Consequence {
            tenant: TenantId::Tenant(TenantKey(ID)),
            aggregate: founder_id(TenantKey(ID)),
            command: member::Command::AddFounder {
                account: ADA,
                email: email(),
            },
        }
    }

    #[test]
    fn the_founder_of_a_tenant_is_added_to_it() {
        when::<Founder>([created()]).then([add_founder()]);
    }

    #[test]
    fn other_changes_to_a_tenant_add_nobody() {
        let to = Placement::Shared;
        when::<Founder>([Event::MoveBegun { to, run: None }, Event::Deleted]).then([]);
    }
}
