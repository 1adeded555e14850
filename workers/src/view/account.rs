//! Accounts as they are read.

use events_schema::{
    Challenge, Commit,
    account::{Event, View as Account},
};

use super::{Fold, Index};

impl Fold for Account {
    type Event = Event;
    const INDEXES: &'static [Index] = &[
        Index { fields: &["email"] },
        Index {
            fields: &["created_at"],
        },
    ];

    fn fold(view: Option<Self>, commit: &Commit<Event>) -> Option<Self> {
        let folded = commit
            .events
            .iter()
            .fold(view, |view, event| step(view, event, commit));
        folded.map(|view| Self {
            updated_at: commit.time,
            ..view
        })
    }
}

fn step(view: Option<Account>, event: &Event, commit: &Commit<Event>) -> Option<Account> {
    if let Event::Registered {
        email,
        firstname,
        lastname,
        password_hash,
    } = event
    {
        return Some(Account {
            email: email.clone(),
            firstname: firstname.clone(),
            lastname: lastname.clone(),
            verified: false,
            password_hash: password_hash.clone(),
            epoch: 0,
            verification: None,
            created_at: commit.time,
            updated_at: commit.time,
        });
    }
    let mut view = view?;
    match event {
        Event::Registered { .. } | Event::PasswordResetRequested { .. } => {}
        Event::RegistrationRefused { .. } => return None,
        Event::VerificationRequested { challenge, .. } => {
            view.verification = Some(Challenge {
                id: *challenge,
                requested_at: commit.time,
                failures: 0,
            });
        }
        Event::VerificationFailed { challenge } => {
            if let Some(open) = view
                .verification
                .as_mut()
                .filter(|open| open.id == *challenge)
            {
                open.failures += 1;
            }
        }
        // The mail stays shown, so that its code may be given again, as its link may.
        Event::Verified => view.verified = true,
        Event::PasswordChanged { password_hash, .. } => {
            view.password_hash = password_hash.clone();
            view.verification = None;
            view.epoch += 1;
        }
        Event::SessionsRevoked => view.epoch += 1,
        Event::ProfileUpdated {
            firstname,
            lastname,
        } => {
            view.firstname = firstname.clone();
            view.lastname = lastname.clone();
        }
    }
    Some(view)
}

#[cfg(test)]
mod tests {
    use events_schema::{ChallengeId, EmailAddress, Id, PasswordHash, PersonName, Time};

    use super::*;
    use crate::view::testing::fold;

    fn email() -> EmailAddress {
        EmailAddress::parse("ada@example.com").unwrap()
    }
    fn name(text: &str) -> PersonName {
        PersonName::parse(text).unwrap()
    }
    fn registered() -> (i64, Event) {
        let password_hash = PasswordHash::parse("$old").unwrap();
        (
            10,
            Event::Registered {
                email: email(),
                firstname: name("Ada"),
                lastname: name("Lovelace"),
                password_hash,
            },
        )
    }
    const CHALLENGE: ChallengeId = ChallengeId(Id::from_bytes([1; 16]));
    fn mailed() -> (i64, Event) {
        (
            10,
            Event::VerificationRequested {
                challenge: CHALLENGE,
                email: email(),
                firstname: name("Ada"),
            },
        )
    }

    #[test]
    fn a_refused_registration_shows_nothing() {
        assert_eq!(
            fold::<Account>([(
                10,
                Event::RegistrationRefused {
                    email: email(),
                    holder: CHALLENGE.0
                }
            )]),
            None
        );
    }

    #[test]
    fn an_account_shows_the_mail_that_may_be_answered_also_when_it_was() {
        let failed = (
            20,
            Event::VerificationFailed {
                challenge: CHALLENGE,
            },
        );
        let shown: Account = fold([registered(), mailed(), failed.clone()]).unwrap();
        assert_eq!(
            shown.verification,
            Some(Challenge {
                id: CHALLENGE,
                requested_at: Time(10),
                failures: 1
            })
        );
        let shown: Account = fold([registered(), mailed(), failed, (30, Event::Verified)]).unwrap();
        assert_eq!(
            (shown.verified, shown.verification.map(|mail| mail.id)),
            (true, Some(CHALLENGE))
        );
        assert_eq!((shown.created_at, shown.updated_at), (Time(10), Time(30)));
    }

    #[test]
    fn whatever_ends_all_sessions_raises_the_epoch() {
        let password_hash = PasswordHash::parse("$new").unwrap();
        let changed = Event::PasswordChanged {
            password_hash: password_hash.clone(),
            email: email(),
            firstname: name("Ada"),
        };
        let shown: Account = fold([
            registered(),
            mailed(),
            (20, changed),
            (30, Event::SessionsRevoked),
        ])
        .unwrap();
        assert_eq!(
            (shown.epoch, shown.password_hash, shown.verification),
            (2, password_hash, None)
        );
    }

    #[test]
    fn an_updated_profile_is_shown() {
        let shown: Account = fold([
            registered(),
            (
                20,
                Event::ProfileUpdated {
                    firstname: name("Augusta"),
                    lastname: name("Byron"),
                },
            ),
        ])
        .unwrap();
        assert_eq!(
            (shown.firstname, shown.lastname, shown.email),
            (name("Augusta"), name("Byron"), email())
        );
    }
}
