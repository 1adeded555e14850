//! Mails that follow from changes to an account.

use events_schema::{
    AccountId, Commit, EmailAddress, PersonName, Time,
    account::{Area, Event},
    email::{self, Template},
};

use super::{Consequence, Reaction, mail};

/// An hour, in milliseconds: in each hour of the clock, the owner of an account gets at most one
/// warning that somebody tries to register with its address.
const WARN_INTERVAL_MS: i64 = 60 * 60 * 1000;

/// Requests the mails that follow from changes to an account.
#[derive(Debug)]
pub struct AccountMail;

impl Reaction for AccountMail {
    type Source = Area;
    type Target = email::Area;
    const NAME: &'static str = "account_mail";

    fn react(commit: &Commit<Area>) -> Vec<Consequence<email::Area>> {
        let events = commit.events.iter();
        events.filter_map(|event| mail_for(commit, event)).collect()
    }
}

fn mail_for(commit: &Commit<Area>, event: &Event) -> Option<Consequence<email::Area>> {
    match event {
        Event::VerificationRequested {
            challenge,
            email,
            firstname,
        } => {
            let template = Template::Verification {
                account: commit.id,
                challenge: *challenge,
                firstname: firstname.clone(),
            };
            Some(mail(
                &[b"verification", challenge.0.bytes()],
                email,
                template,
            ))
        }
        Event::RegistrationRefused { email, holder } => Some(warning(email, *holder, commit.time)),
        Event::PasswordResetRequested {
            challenge,
            email,
            firstname,
        } => {
            let template = Template::PasswordReset {
                account: commit.id,
                challenge: *challenge,
                firstname: firstname.clone(),
            };
            Some(mail(
                &[b"password_reset", challenge.0.bytes()],
                email,
                template,
            ))
        }
        Event::PasswordChanged {
            email, firstname, ..
        } => Some(password_changed(commit, email, firstname)),
        Event::Registered { .. }
        | Event::VerificationFailed { .. }
        | Event::Verified
        | Event::SessionsRevoked
        | Event::ProfileUpdated { .. } => None,
    }
}

fn warning(email: &EmailAddress, holder: AccountId, at: Time) -> Consequence<email::Area> {
    let hour = at.0.div_euclid(WARN_INTERVAL_MS).to_be_bytes();
    let occasion = [b"already_registered", holder.0.bytes().as_slice(), &hour];
    mail(&occasion, email, Template::AlreadyRegistered)
}

fn password_changed(
    commit: &Commit<Area>,
    email: &EmailAddress,
    firstname: &PersonName,
) -> Consequence<email::Area> {
    let firstname = firstname.clone();
    let revision = commit.revision.to_be_bytes();
    let occasion = [
        b"password_changed",
        commit.id.0.bytes().as_slice(),
        &revision,
    ];
    mail(&occasion, email, Template::PasswordChanged { firstname })
}

#[cfg(test)]
mod tests {
    use events_schema::{ChallengeId, Id, PasswordHash, secret::derived_id};

    use super::*;
    use crate::reaction::testing::{ID, REVISION, requested, when};

    const CHALLENGE: ChallengeId = ChallengeId(Id::from_bytes([3; 16]));
    const HOLDER: AccountId = AccountId(Id::from_bytes([4; 16]));

    fn ada() -> EmailAddress {
        EmailAddress::parse("ada@example.com").unwrap()
    }
    fn name() -> PersonName {
        PersonName::parse("Ada").unwrap()
    }
    fn verification_requested() -> Event {
        Event::VerificationRequested {
            challenge: CHALLENGE,
            email: ada(),
            firstname: name(),
        }
    }
    fn reset_requested() -> Event {
        Event::PasswordResetRequested {
            challenge: CHALLENGE,
            email: ada(),
            firstname: name(),
        }
    }
    fn changed() -> Event {
        Event::PasswordChanged {
            password_hash: PasswordHash::parse("$x").unwrap(),
            email: ada(),
            firstname: name(),
        }
    }
    fn refused() -> Event {
        Event::RegistrationRefused {
            email: ada(),
            holder: HOLDER,
        }
    }
    fn verification() -> Consequence<email::Area> {
        let id = derived_id(&[b"email", b"verification", CHALLENGE.0.bytes()]);
        let template = Template::Verification {
            account: AccountId(ID),
            challenge: CHALLENGE,
            firstname: name(),
        };
        requested(id, ada(), template)
    }
    fn reset() -> Consequence<email::Area> {
        let id = derived_id(&[b"email", b"password_reset", CHALLENGE.0.bytes()]);
        let template = Template::PasswordReset {
            account: AccountId(ID),
            challenge: CHALLENGE,
            firstname: name(),
        };
        requested(id, ada(), template)
    }
    fn change() -> Consequence<email::Area> {
        let revision = REVISION.to_be_bytes();
        let id = derived_id(&[b"email", b"password_changed", ID.bytes(), &revision]);
        requested(id, ada(), Template::PasswordChanged { firstname: name() })
    }
    fn warning(hour: i64) -> Consequence<email::Area> {
        let (holder, hour) = (HOLDER.0.bytes(), hour.to_be_bytes());
        let id = derived_id(&[b"email", b"already_registered", holder, &hour]);
        requested(id, ada(), Template::AlreadyRegistered)
    }

    // The ids are part of the log: they never change, and a replay requests the same mails.

    #[test]
    fn a_requested_verification_is_mailed() {
        when::<AccountMail>([verification_requested()]).then([verification()]);
    }

    #[test]
    fn a_requested_password_reset_is_mailed() {
        when::<AccountMail>([reset_requested()]).then([reset()]);
    }

    #[test]
    fn a_changed_password_is_mailed() {
        when::<AccountMail>([changed()]).then([change()]);
    }

    #[test]
    fn each_occasion_has_its_own_mail() {
        let events = [verification_requested(), reset_requested(), changed()];
        let mails = [verification(), reset(), change()];
        when::<AccountMail>(events).then(mails.clone());
        let ids = std::collections::BTreeSet::from(mails.map(|mail| mail.aggregate));
        assert_eq!(ids.len(), 3);
    }

    #[test]
    fn the_time_of_a_commit_does_not_change_its_mail() {
        let when = when::<AccountMail>([verification_requested()]);
        when.at(WARN_INTERVAL_MS).then([verification()]);
    }

    #[test]
    fn the_owner_of_an_address_is_warned_once_an_hour() {
        let refused_at = |ms| when::<AccountMail>([refused()]).at(ms);
        refused_at(0).then([warning(0)]);
        refused_at(WARN_INTERVAL_MS - 1).then([warning(0)]);
        refused_at(WARN_INTERVAL_MS).then([warning(1)]);
        assert_ne!(warning(0).aggregate, warning(1).aggregate);
    }

    #[test]
    fn other_changes_are_not_mailed() {
        let failed = Event::VerificationFailed {
            challenge: CHALLENGE,
        };
        when::<AccountMail>([failed, Event::Verified, Event::SessionsRevoked]).then([]);
    }
}
