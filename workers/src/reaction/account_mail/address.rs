//! Mails to both addresses about a change from one to the other.

use events_schema::{
    ChallengeId, Commit, EmailAddress,
    account::{Area, Event},
    email::{self, EmailChangeNotice, Template},
};

use super::super::{Consequence, mail};

/// Whether a former owner has got the account back in this commit.
pub(super) fn is_restored_by(commit: &Commit<Area>) -> bool {
    let mut events = commit.events.iter();
    events.any(|event| matches!(event, Event::EmailRestored { .. }))
}

/// Returns the mails that follow from an event about the address.
pub(super) fn mails(commit: &Commit<Area>, event: &Event) -> Vec<Consequence<email::Area>> {
    if let Event::EmailChangeRequested {
        challenge,
        email,
        to,
        is_held,
        silent_until,
    } = event
    {
        let silent_until = *silent_until;
        let to_new = match is_held {
            true => EmailChangeNotice::Held,
            false => EmailChangeNotice::Code,
        };
        let asked = EmailChangeNotice::Asked { silent_until };
        return both(commit, *challenge, (email, asked), (to, to_new));
    }
    if let Event::EmailChanged {
        challenge,
        from,
        to,
    } = event
    {
        let (before, after) = (EmailChangeNotice::ChangedFrom, EmailChangeNotice::ChangedTo);
        return both(commit, *challenge, (from, before), (to, after));
    }
    if let Event::EmailRestored {
        challenge,
        from,
        to,
    } = event
    {
        let lost = EmailChangeNotice::RestoredFrom;
        let restored = EmailChangeNotice::RestoredTo;
        return both(commit, *challenge, (from, lost), (to, restored));
    }
    if let Event::EmailChangeEnded { challenge, email } = event {
        let ended = EmailChangeNotice::Ended;
        return vec![notice(commit, *challenge, b"to_present", email, ended)];
    }
    Vec::new()
}

fn both(
    commit: &Commit<Area>,
    challenge: ChallengeId,
    (present, to_present): (&EmailAddress, EmailChangeNotice),
    (new, to_new): (&EmailAddress, EmailChangeNotice),
) -> Vec<Consequence<email::Area>> {
    vec![
        notice(commit, challenge, b"to_present", present, to_present),
        notice(commit, challenge, b"to_new", new, to_new),
    ]
}

/// Returns the mail to one address that a change is about.
pub(super) fn notice(
    commit: &Commit<Area>,
    challenge: ChallengeId,
    side: &[u8],
    to: &EmailAddress,
    notice: EmailChangeNotice,
) -> Consequence<email::Area> {
    let revision = commit.revision.to_be_bytes();
    let account = commit.id.0.bytes().as_slice();
    let occasion = [b"email_change", account, &revision, side];
    let account = commit.id;
    let template = Template::EmailChange {
        account,
        challenge,
        notice,
    };
    mail(&occasion, to, template)
}

#[cfg(test)]
mod tests {
    use events_schema::{AccountId, Id, Time, secret::derived_id};

    use super::*;
    use crate::reaction::{
        account_mail::AccountMail,
        testing::{ID, REVISION, requested, when},
    };

    const CHALLENGE: ChallengeId = ChallengeId(Id::from_bytes([3; 16]));

    fn old() -> EmailAddress {
        EmailAddress::parse("ada@example.com").unwrap()
    }
    fn new() -> EmailAddress {
        EmailAddress::parse("ada@example.org").unwrap()
    }
    fn asked(is_held: bool, silent_until: Option<Time>) -> Event {
        Event::EmailChangeRequested {
            challenge: CHALLENGE,
            email: old(),
            to: new(),
            is_held,
            silent_until,
        }
    }
    fn restored() -> Event {
        Event::EmailRestored {
            challenge: CHALLENGE,
            from: new(),
            to: old(),
        }
    }
    /// The mail to one side of a change.
    fn mailed(
        side: &[u8],
        to: EmailAddress,
        notice: EmailChangeNotice,
    ) -> Consequence<email::Area> {
        let revision = REVISION.to_be_bytes();
        let parts = [b"email", &b"email_change"[..], ID.bytes(), &revision, side];
        let template = Template::EmailChange {
            account: AccountId(ID),
            challenge: CHALLENGE,
            notice,
        };
        requested(derived_id(&parts), to, template)
    }

    #[test]
    fn the_present_address_gets_a_link_and_the_new_one_a_code() {
        for silent_until in [None, Some(Time(9))] {
            let link = EmailChangeNotice::Asked { silent_until };
            when::<AccountMail>([asked(false, silent_until)]).then([
                mailed(b"to_present", old(), link),
                mailed(b"to_new", new(), EmailChangeNotice::Code),
            ]);
        }
    }

    #[test]
    fn an_address_that_has_an_account_gets_no_code() {
        let link = EmailChangeNotice::Asked { silent_until: None };
        when::<AccountMail>([asked(true, None)]).then([
            mailed(b"to_present", old(), link),
            mailed(b"to_new", new(), EmailChangeNotice::Held),
        ]);
    }

    #[test]
    fn both_addresses_learn_of_the_change_and_of_its_end() {
        let changed = Event::EmailChanged {
            challenge: CHALLENGE,
            from: old(),
            to: new(),
        };
        when::<AccountMail>([changed]).then([
            mailed(b"to_present", old(), EmailChangeNotice::ChangedFrom),
            mailed(b"to_new", new(), EmailChangeNotice::ChangedTo),
        ]);
        let ended = Event::EmailChangeEnded {
            challenge: CHALLENGE,
            email: old(),
        };
        let mail = mailed(b"to_present", old(), EmailChangeNotice::Ended);
        when::<AccountMail>([ended]).then([mail]);
    }

    #[test]
    fn one_mail_to_each_address_tells_of_all_that_a_former_owner_has_ended() {
        let removed = Event::PasswordRemoved { email: old() };
        let events = [restored(), removed, Event::SessionsRevoked];
        when::<AccountMail>(events).then([
            mailed(b"to_present", new(), EmailChangeNotice::RestoredFrom),
            mailed(b"to_new", old(), EmailChangeNotice::RestoredTo),
        ]);
    }

    #[test]
    fn answers_of_one_address_are_not_mailed() {
        let challenge = CHALLENGE;
        let proved = Event::NewEmailProved { challenge };
        let confirmed = Event::EmailChangeConfirmed { challenge };
        when::<AccountMail>([proved, confirmed]).then([]);
    }
}
