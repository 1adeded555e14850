//! Mails about the deletion of an account.

use events_schema::{
    Commit, EmailAddress,
    account::{Area, Event},
    email::{self, DeletionNotice, EmailChangeNotice, Template},
    email_change::FormerAddress,
};

use super::{
    super::{Consequence, mail as request},
    address::{self, is_restored_by},
};

/// Returns the mails that follow from an event about the deletion.
pub(super) fn mails(commit: &Commit<Area>, event: &Event) -> Vec<Consequence<email::Area>> {
    let told = notice(event).filter(|_| !is_restored_by(commit));
    let told = told.map(|(email, notice)| {
        let revision = commit.revision.to_be_bytes();
        let occasion = [b"deletion", commit.id.0.bytes().as_slice(), &revision];
        request(&occasion, email, Template::Deletion { notice })
    });
    told.into_iter().chain(to_former(commit, event)).collect()
}

/// Returns the mails to former addresses: a thief may have the present one.
fn to_former(commit: &Commit<Area>, event: &Event) -> Vec<Consequence<email::Area>> {
    let Event::DeletionRequested { at, former, .. } = event else {
        return Vec::new();
    };
    let mail = |former: &FormerAddress| {
        let notice = EmailChangeNotice::DeletionRequested { at: *at };
        let side = [b"to_former", former.challenge.0.bytes().as_slice()].concat();
        address::notice(commit, former.challenge, &side, &former.email, notice)
    };
    former.iter().map(mail).collect()
}

fn notice(event: &Event) -> Option<(&EmailAddress, DeletionNotice)> {
    if let Event::DeletionRequested { at, email, .. } = event {
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
    use events_schema::{AccountId, ChallengeId, Id, Time, secret::derived_id};

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
            former: Vec::new(),
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
    fn who_may_still_get_the_account_back_learns_that_it_will_be_deleted() {
        let former = [1, 2].map(|byte| FormerAddress {
            challenge: ChallengeId(Id::from_bytes([byte; 16])),
            email: EmailAddress::parse(&format!("ada{byte}@example.com")).unwrap(),
        });
        let asked = Event::DeletionRequested {
            at: Time(9),
            email: ada(),
            former: former.to_vec(),
        };
        let revision = REVISION.to_be_bytes();
        let notice = DeletionNotice::Requested { at: Time(9) };
        let id = derived_id(&[b"email", b"deletion", ID.bytes(), &revision]);
        let present = requested(id, ada(), Template::Deletion { notice });
        let [first, second] = former.map(|former| {
            let challenge = former.challenge;
            let occasion: [&[u8]; 5] = [
                b"email",
                b"email_change",
                ID.bytes(),
                &revision,
                &[b"to_former", challenge.0.bytes().as_slice()].concat(),
            ];
            let template = Template::EmailChange {
                account: AccountId(ID),
                challenge,
                notice: EmailChangeNotice::DeletionRequested { at: Time(9) },
            };
            requested(derived_id(&occasion), former.email, template)
        });
        when::<AccountMail>([asked]).then([present, first, second]);
    }

    #[test]
    fn an_address_that_nobody_has_proved_gets_no_mail_about_a_deletion() {
        when::<AccountMail>([Event::Closed { email: None }]).then([]);
    }
}
