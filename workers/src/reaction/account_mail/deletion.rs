//! Mails about the deletion of an account.

use events_schema::{
    Commit, EmailAddress,
    account::{Area, Event},
    email::{self, DeletionNotice, Template},
};

use super::{
    super::{Consequence, mail as request},
    address::is_restored_by,
};

/// Returns the mail that follows from an event about the deletion.
pub(super) fn mail(commit: &Commit<Area>, event: &Event) -> Option<Consequence<email::Area>> {
    let (email, notice) = notice(event).filter(|_| !is_restored_by(commit))?;
    let revision = commit.revision.to_be_bytes();
    let occasion = [b"deletion", commit.id.0.bytes().as_slice(), &revision];
    let template = Template::Deletion { notice };
    Some(request(&occasion, email, template))
}

fn notice(event: &Event) -> Option<(&EmailAddress, DeletionNotice)> {
    if let Event::DeletionRequested { at, email } = event {
        return Some((email, DeletionNotice::Requested { at: *at }));
    }
    if let Event::DeletionCancelled { email } = event {
        return Some((email, DeletionNotice::Cancelled));
    }
    if let Event::DeletionStopped { email } = event {
        return Some((email, DeletionNotice::Stopped));
    }
    if let Event::Closed { email } = event {
        return Some((email.as_ref()?, DeletionNotice::Done));
    }
    None
}

#[cfg(test)]
mod tests {
    use events_schema::{Time, secret::derived_id};

    use super::*;
    use crate::reaction::{
        account_mail::AccountMail,
        testing::{ID, REVISION, requested, when},
    };

    fn ada() -> EmailAddress {
        EmailAddress::parse("ada@example.com").unwrap()
    }

    #[test]
    fn each_step_of_a_deletion_is_mailed() {
        let email = ada;
        let asked = Event::DeletionRequested {
            at: Time(9),
            email: email(),
        };
        let revision = REVISION.to_be_bytes();
        let id = derived_id(&[b"email", b"deletion", ID.bytes(), &revision]);
        for (event, notice) in [
            (asked, DeletionNotice::Requested { at: Time(9) }),
            (
                Event::DeletionCancelled { email: email() },
                DeletionNotice::Cancelled,
            ),
            (
                Event::DeletionStopped { email: email() },
                DeletionNotice::Stopped,
            ),
            (
                Event::Closed {
                    email: Some(email()),
                },
                DeletionNotice::Done,
            ),
        ] {
            let template = Template::Deletion { notice };
            when::<AccountMail>([event]).then([requested(id, ada(), template)]);
        }
    }

    #[test]
    fn an_address_that_nobody_has_proved_gets_no_mail_about_a_deletion() {
        when::<AccountMail>([Event::Closed { email: None }]).then([]);
    }
}
