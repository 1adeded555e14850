//! Mails that follow from changes to a tenant's support.

use events_schema::{
    Commit,
    email::{self, Template},
    support::{Area, Event},
};

use super::{Consequence, Reaction, mail};

/// Tells a person that an administrator of the platform acts as them.
#[derive(Debug)]
pub struct SupportMail;

impl Reaction for SupportMail {
    type Source = Area;
    type Target = email::Area;
    const NAME: &'static str = "support_mail";

    fn react(commit: &Commit<Area>) -> Vec<Consequence<email::Area>> {
        let events = commit.events.iter();
        events.filter_map(|event| begun(commit, event)).collect()
    }
}

fn begun(commit: &Commit<Area>, event: &Event) -> Option<Consequence<email::Area>> {
    match event {
        Event::Begun {
            session,
            email,
            tenant_name,
            reason,
            ends_at,
            account: _,
            administrator: _,
        } => {
            let template = Template::Impersonated {
                tenant_name: tenant_name.clone(),
                reason: reason.clone(),
                at: commit.time,
                ends_at: *ends_at,
            };
            let occasion = [b"impersonated", session.0.bytes().as_slice()];
            Some(mail(&occasion, email, template))
        }
        Event::Granted { .. } | Event::Revoked | Event::Ended { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{
        AccountId, EmailAddress, Id, Name, Reason, SessionId, Time, secret::derived_id,
    };

    use super::*;
    use crate::reaction::testing::{ID, requested, when};

    const SESSION: SessionId = SessionId(Id::from_bytes([3; 16]));

    #[test]
    fn a_person_learns_that_an_administrator_acts_as_them() {
        let ada = EmailAddress::parse("ada@example.com").unwrap();
        let (acme, reason) = (
            Name::parse("Acme").unwrap(),
            Reason::parse("Ticket 7").unwrap(),
        );
        let begun = Event::Begun {
            session: SESSION,
            account: AccountId(ID),
            email: ada.clone(),
            administrator: AccountId(ID),
            tenant_name: acme.clone(),
            reason: reason.clone(),
            ends_at: Time(9),
        };
        let id = derived_id(&[b"email", b"impersonated", SESSION.0.bytes()]);
        let template = Template::Impersonated {
            tenant_name: acme,
            reason,
            at: Time(5),
            ends_at: Time(9),
        };
        let when = when::<SupportMail>([begun]).at(5);
        when.then([requested(id, ada, template)]);
    }

    #[test]
    fn other_changes_are_not_mailed() {
        let granted = Event::Granted {
            until: Time(9),
            by: None,
        };
        let ended = Event::Ended { session: SESSION };
        when::<SupportMail>([granted, ended, Event::Revoked]).then([]);
    }
}
