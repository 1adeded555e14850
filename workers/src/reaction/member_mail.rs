//! Mails that follow from changes to a member.

use events_schema::{
    Commit,
    email::{self, Template},
    member::{Area, Event},
};

use super::{Consequence, Reaction, mail};

/// Requests the mails that follow from changes to a member.
#[derive(Debug)]
pub struct MemberMail;

impl Reaction for MemberMail {
    type Source = Area;
    type Target = email::Area;
    const NAME: &'static str = "member_mail";

    fn react(commit: &Commit<Area>) -> Vec<Consequence<email::Area>> {
        let events = commit.events.iter();
        events
            .filter_map(|event| invitation(commit, event))
            .collect()
    }
}

fn invitation(commit: &Commit<Area>, event: &Event) -> Option<Consequence<email::Area>> {
    match event {
        Event::Invited {
            email,
            challenge,
            tenant_name,
            inviter,
            role: _,
        } => {
            let template = Template::Invitation {
                tenant: commit.tenant,
                tenant_name: tenant_name.clone(),
                member: commit.id,
                challenge: *challenge,
                inviter: inviter.clone(),
            };
            Some(mail(&[b"invitation", challenge.0.bytes()], email, template))
        }
        Event::FounderAdded { .. }
        | Event::Accepted { .. }
        | Event::Joined { .. }
        | Event::Rejected
        | Event::RoleChanged { .. }
        | Event::RoleAssigned { .. }
        | Event::RoleUnassigned { .. }
        | Event::EmailChanged { .. }
        | Event::Identified { .. }
        | Event::Suspended
        | Event::Restored { .. }
        | Event::Removed => None,
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{
        AccountId, BuiltInRole, ChallengeId, EmailAddress, Id, MemberId, Name, secret::derived_id,
    };

    use super::*;
    use crate::reaction::testing::{ID, TENANT, requested, when};

    const FIRST: ChallengeId = ChallengeId(Id::from_bytes([3; 16]));
    const SECOND: ChallengeId = ChallengeId(Id::from_bytes([4; 16]));

    fn ada() -> EmailAddress {
        EmailAddress::parse("ada@example.com").unwrap()
    }
    fn acme() -> Name {
        Name::parse("Acme").unwrap()
    }
    fn invited(challenge: ChallengeId) -> Event {
        Event::Invited {
            email: ada(),
            role: BuiltInRole::Guest,
            challenge,
            tenant_name: acme(),
            inviter: None,
        }
    }
    fn invitation(challenge: ChallengeId) -> Consequence<email::Area> {
        let id = derived_id(&[b"email", b"invitation", challenge.0.bytes()]);
        let template = Template::Invitation {
            tenant: TENANT,
            tenant_name: acme(),
            member: MemberId(ID),
            challenge,
            inviter: None,
        };
        requested(id, ada(), template)
    }

    #[test]
    fn each_invitation_is_mailed() {
        for challenge in [FIRST, SECOND] {
            when::<MemberMail>([invited(challenge)]).then([invitation(challenge)]);
        }
        assert_ne!(invitation(FIRST).aggregate, invitation(SECOND).aggregate);
    }

    #[test]
    fn the_time_of_a_commit_does_not_change_its_mail() {
        let when = when::<MemberMail>([invited(FIRST)]).at(5);
        when.then([invitation(FIRST)]);
    }

    #[test]
    fn other_changes_to_a_member_are_not_mailed() {
        let account = AccountId(ID);
        when::<MemberMail>([Event::Accepted { account }, Event::Removed]).then([]);
    }
}
