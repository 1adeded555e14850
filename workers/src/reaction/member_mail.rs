//! The mails that follow from what happens to a member.

use events_schema::{
    Area, Commit, MemberId,
    email::{Command, Template},
    member::Event,
};

use super::{Consequence, Reaction, mail};

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
        commit
            .events
            .iter()
            .filter_map(|event| invitation(commit, event))
            .collect()
    }
}

fn invitation(commit: &Commit<Event>, event: &Event) -> Option<Consequence<Command>> {
    match event {
        Event::Invited {
            email,
            role: _,
            challenge,
            tenant_name,
        } => {
            let (tenant, tenant_name, member) =
                (commit.tenant, tenant_name.clone(), MemberId(commit.id));
            let template = Template::Invitation {
                tenant,
                tenant_name,
                member,
                challenge: *challenge,
            };
            Some(mail(&[b"invitation", challenge.0.bytes()], email, template))
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

#[cfg(test)]
mod tests {
    use events_schema::{
        AccountId, Actor, BuiltInRole, ChallengeId, CommandId, EmailAddress, Id, Name, TenantId,
        Time,
    };

    use super::*;

    const ID: Id = Id::from_bytes([1; 16]);
    const TENANT: TenantId = TenantId::Tenant(Id::from_bytes([2; 16]));

    fn email() -> EmailAddress {
        EmailAddress::parse("ada@example.com").unwrap()
    }
    fn invited(challenge: ChallengeId) -> Event {
        Event::Invited {
            email: email(),
            role: BuiltInRole::Guest,
            challenge,
            tenant_name: Name::parse("Acme").unwrap(),
        }
    }
    fn react(events: Vec<Event>) -> Vec<Consequence<Command>> {
        let (actor, time) = (Actor::System, Time(0));
        MemberMail::react(&Commit {
            tenant: TENANT,
            area: Area::Member,
            id: ID,
            revision: 1,
            command: CommandId(ID),
            actor,
            time,
            origin: None,
            events,
        })
    }

    #[test]
    fn an_invitation_goes_to_its_address_and_belongs_to_the_platform() {
        let challenge = ChallengeId(ID);
        let asked = react(vec![
            invited(challenge),
            Event::Accepted {
                account: AccountId(ID),
            },
        ]);
        let tenant_name = Name::parse("Acme").unwrap();
        let template = Template::Invitation {
            tenant: TENANT,
            tenant_name,
            member: MemberId(ID),
            challenge,
        };
        let [mail] = &asked[..] else {
            panic!("{asked:?}")
        };
        assert_eq!(
            (mail.tenant, &mail.command),
            (
                TenantId::Platform,
                &Command::Request {
                    to: email(),
                    template
                }
            )
        );
    }

    #[test]
    fn each_invitation_is_a_mail_and_a_replay_asks_for_the_same() {
        let id = |byte| react(vec![invited(ChallengeId(Id::from_bytes([byte; 16])))])[0].aggregate;
        assert_eq!(id(1), id(1));
        assert_ne!(id(1), id(2));
    }
}
