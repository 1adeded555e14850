//! Who founds a tenant becomes its first owner.

use events_schema::{Area, Commit, TenantId, founder_id, member::Command, tenant::Event};

use super::{Consequence, Reaction};

/// See the module.
#[derive(Debug)]
pub struct Founder;

impl Reaction for Founder {
    type Event = Event;
    type Command = Command;
    const NAME: &'static str = "founder";
    const SOURCE: Area = Area::Tenant;
    const TARGET: Area = Area::Member;

    fn react(commit: &Commit<Event>) -> Vec<Consequence<Command>> {
        commit
            .events
            .iter()
            .filter_map(|event| owner(commit, event))
            .collect()
    }
}

fn owner(commit: &Commit<Event>, event: &Event) -> Option<Consequence<Command>> {
    match event {
        Event::Created { owner, email, .. } => Some(Consequence {
            tenant: TenantId::Tenant(commit.id),
            aggregate: founder_id(commit.id),
            command: Command::Found {
                account: *owner,
                email: email.clone(),
            },
        }),
        Event::Updated { .. }
        | Event::Deleted
        | Event::MoveBegun { .. }
        | Event::MoveFinished
        | Event::MoveAbandoned => None,
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{AccountId, Actor, CommandId, EmailAddress, Id, Name, Place, Slug, Time};

    use super::*;

    #[test]
    fn a_founder_becomes_an_owner_in_the_new_tenant() {
        let id = Id::from_bytes([1; 16]);
        let (name, slug) = (Name::parse("Acme").unwrap(), Slug::parse("acme").unwrap());
        let (account, email) = (
            AccountId(Id::from_bytes([2; 16])),
            EmailAddress::parse("ada@example.com").unwrap(),
        );
        let created = Event::Created {
            name,
            slug,
            owner: account,
            email: email.clone(),
            plan: None,
            place: Place::Shared,
        };
        let commit = Commit {
            tenant: TenantId::Platform,
            area: Area::Tenant,
            id,
            revision: 1,
            command: CommandId(id),
            actor: Actor::Account(account),
            time: Time(0),
            origin: None,
            events: vec![created, Event::MoveBegun { to: Place::Shared }],
        };
        let wanted = Consequence {
            tenant: TenantId::Tenant(id),
            aggregate: founder_id(id),
            command: Command::Found { account, email },
        };
        assert_eq!(Founder::react(&commit), [wanted]);
    }
}
