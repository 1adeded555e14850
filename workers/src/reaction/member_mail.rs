//! The mails that follow from what happens to members.

use events_schema::{
    Area, Commit, MemberId, TenantId,
    email::{Command, Template},
    member::Event,
    secret::derived_id,
};

use super::{Consequence, Reaction};

/// See the module.
#[derive(Debug)]
pub struct MemberMail;

impl Reaction for MemberMail {
    type Event = Event;
    type Command = Command;
    const NAME: &'static str = "member_mail";
    const SOURCE: Area = Area::Member;
    const TARGET: Area = Area::Email;

    fn react(commit: &Commit<Event>) -> Vec<Consequence<Command>> {
        commit.events.iter().filter_map(|event| mail(commit, event)).collect()
    }
}

fn mail(commit: &Commit<Event>, event: &Event) -> Option<Consequence<Command>> {
    match event {
        Event::Invited { email, challenge, tenant_name, .. } => {
            let template = Template::Invitation {
                tenant: commit.tenant,
                tenant_name: tenant_name.clone(),
                member: MemberId(commit.id),
                challenge: *challenge,
            };
            let aggregate = derived_id(&[b"email", b"invitation", challenge.0.bytes()]);
            Some(Consequence { tenant: TenantId::Platform, aggregate, command: Command::Request { to: email.clone(), template } })
        }
        Event::Founded { .. }
        | Event::Accepted { .. }
        | Event::Rejected
        | Event::RoleChanged { .. }
        | Event::RoleAssigned { .. }
        | Event::RoleUnassigned { .. }
        | Event::Removed => None,
    }
}
