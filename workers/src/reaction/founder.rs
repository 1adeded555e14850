//! Whoever founds a tenant becomes its first owner.

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
        commit.events.iter().filter_map(|event| found(commit, event)).collect()
    }
}

fn found(commit: &Commit<Event>, event: &Event) -> Option<Consequence<Command>> {
    match event {
        Event::Created { owner, email, .. } => Some(Consequence {
            tenant: TenantId::Tenant(commit.id),
            aggregate: founder_id(commit.id),
            command: Command::Found { account: *owner, email: email.clone() },
        }),
        Event::Updated { .. } | Event::Deleted | Event::MoveBegun { .. } | Event::MoveFinished | Event::MoveAbandoned => None,
    }
}
