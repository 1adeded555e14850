//! Mails to the owners of a tenant about a domain whose record is missing.

use events_schema::{
    Commit, EmailAddress,
    connection::{Area, Event, LOST_AFTER},
    email::{self, Template},
};

use super::{Consequence, Reaction, mail};

/// Tells owners that a domain does not count any more, or soon will not.
#[derive(Debug)]
pub struct ConnectionMail;

impl Reaction for ConnectionMail {
    type Source = Area;
    type Target = email::Area;
    const NAME: &'static str = "connection_mail";

    fn react(commit: &Commit<Area>) -> Vec<Consequence<email::Area>> {
        let events = commit.events.iter();
        events.flat_map(|event| mails(commit, event)).collect()
    }
}

fn mails(commit: &Commit<Area>, event: &Event) -> Vec<Consequence<email::Area>> {
    let (template, owners) = match event {
        Event::DomainChecked { domain, owners, .. } => {
            // Yesterday, the record was there: the first day without it has begun.
            let until = commit.time + LOST_AFTER;
            let domain = domain.clone();
            (Template::DomainMissing { domain, until }, owners)
        }
        Event::DomainLost { domain, owners, .. } => {
            let domain = domain.clone();
            (Template::DomainLost { domain }, owners)
        }
        Event::Created { .. }
        | Event::Updated { .. }
        | Event::Deleted { .. }
        | Event::EnforcementBegun { .. }
        | Event::EnforcementEnded { .. }
        | Event::DomainAdded { .. }
        | Event::DomainRemoved { .. }
        | Event::DomainCheckRequested { .. }
        | Event::DomainVerified { .. }
        | Event::Resealed { .. }
        | Event::Ended => return Vec::new(),
    };
    let request = |owner: &EmailAddress| {
        let revision = commit.revision.to_be_bytes();
        let occasion: [&[u8]; 4] = [
            b"connection",
            commit.id.0.bytes(),
            &revision,
            owner.as_str().as_bytes(),
        ];
        mail(&occasion, owner, template.clone())
    };
    owners.iter().map(request).collect()
}

#[cfg(test)]
mod tests {
    use events_schema::{ConnectionId, DomainName, Id, Time, connection::CheckOutcome};

    use super::*;
    use crate::reaction::testing::{ID, REVISION, when};

    const ACME: ConnectionId = ConnectionId(Id::from_bytes([3; 16]));
    const WEEK: i64 = 7 * 24 * 60 * 60 * 1000;

    fn domain() -> DomainName {
        DomainName::parse("example.com").unwrap()
    }
    fn checked(owners: Vec<EmailAddress>) -> Event {
        Event::DomainChecked {
            connection: ACME,
            domain: domain(),
            outcome: CheckOutcome::Missing,
            owners,
        }
    }
    fn owners() -> Vec<EmailAddress> {
        let owners = ["ada@example.com", "bob@example.com"];
        owners
            .map(|owner| EmailAddress::parse(owner).unwrap())
            .to_vec()
    }
    fn mails(template: &Template) -> Vec<Consequence<email::Area>> {
        let revision = REVISION.to_be_bytes();
        let request = |owner: &EmailAddress| {
            let owner_bytes = owner.as_str().as_bytes();
            let occasion: [&[u8]; 4] = [b"connection", ID.bytes(), &revision, owner_bytes];
            mail(&occasion, owner, template.clone())
        };
        owners().iter().map(request).collect()
    }

    #[test]
    fn each_owner_learns_that_a_record_is_missing_and_then_that_the_domain_is_lost() {
        let missing = Template::DomainMissing {
            domain: domain(),
            until: Time(5 + WEEK),
        };
        when::<ConnectionMail>([checked(owners())])
            .at(5)
            .then(mails(&missing));
        let lost = Event::DomainLost {
            connection: ACME,
            domain: domain(),
            owners: owners(),
        };
        let template = Template::DomainLost { domain: domain() };
        when::<ConnectionMail>([lost]).then(mails(&template));
    }

    #[test]
    fn nobody_gets_a_mail_for_each_day_without_the_record() {
        when::<ConnectionMail>([checked(Vec::new())]).then([]);
    }
}
