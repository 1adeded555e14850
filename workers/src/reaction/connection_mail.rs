//! Mails to the owners of a tenant about a domain whose record is missing, or whose servers do not
//! answer.

use events_schema::{
    Commit, DomainName, EmailAddress,
    connection::{Area, Event, Warning},
    email::{self, Template},
};

use super::{Consequence, Reaction, mail};

/// Tells owners that a domain does not count any more, or what is wrong with it.
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
        Event::DomainChecked {
            domain,
            warning: Some(warning),
            owners,
            ..
        } => (of_warning(domain.clone(), *warning), owners),
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
        | Event::DomainChecked { warning: None, .. }
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

fn of_warning(domain: DomainName, warning: Warning) -> Template {
    match warning {
        Warning::Missing { until } => Template::DomainMissing { domain, until },
        Warning::Silent { since } => Template::DomainSilent { domain, since },
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{ConnectionId, Id, Time, connection::CheckOutcome};

    use super::*;
    use crate::reaction::testing::{ID, REVISION, when};

    const ACME: ConnectionId = ConnectionId(Id::from_bytes([3; 16]));
    fn domain() -> DomainName {
        DomainName::parse("example.com").unwrap()
    }
    fn checked(outcome: CheckOutcome, warning: Option<Warning>) -> Event {
        Event::DomainChecked {
            connection: ACME,
            domain: domain(),
            outcome,
            warning,
            owners: warning.map_or_else(Vec::new, |_| owners()),
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
    fn each_owner_learns_what_is_wrong_with_a_domain_and_then_that_it_is_lost() {
        let until = Time(9);
        let missing = checked(CheckOutcome::Missing, Some(Warning::Missing { until }));
        let template = Template::DomainMissing {
            domain: domain(),
            until,
        };
        when::<ConnectionMail>([missing]).then(mails(&template));
        let since = Time(2);
        let silent = checked(CheckOutcome::Unavailable, Some(Warning::Silent { since }));
        let template = Template::DomainSilent {
            domain: domain(),
            since,
        };
        when::<ConnectionMail>([silent]).then(mails(&template));
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
        when::<ConnectionMail>([checked(CheckOutcome::Missing, None)]).then([]);
    }
}
