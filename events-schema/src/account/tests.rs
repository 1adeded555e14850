use super::*;
use crate::{Id, view::testing::fold};

const CHALLENGE: ChallengeId = ChallengeId(Id::from_bytes([1; 16]));

fn email() -> EmailAddress {
    EmailAddress::parse("ada@example.com").unwrap()
}
fn name(text: &str) -> PersonName {
    PersonName::parse(text).unwrap()
}
fn registered() -> (i64, Event) {
    let event = Event::Registered {
        email: email(),
        firstname: name("Ada"),
        lastname: name("Lovelace"),
        password_hash: PasswordHash::parse("$old").unwrap(),
    };
    (10, event)
}
fn mailed() -> (i64, Event) {
    let event = Event::VerificationRequested {
        challenge: CHALLENGE,
        email: email(),
        firstname: name("Ada"),
    };
    (10, event)
}

#[test]
fn a_refused_registration_shows_nothing() {
    let refused = Event::RegistrationRefused {
        email: email(),
        holder: AccountId(CHALLENGE.0),
    };
    assert_eq!(fold::<View>([(10, refused)]), None);
}

#[test]
fn an_account_is_verified_by_an_event_of_its_own() {
    let shown: View = fold([registered(), mailed()]).unwrap();
    assert!(!shown.verified);
    let shown: View = fold([registered(), mailed(), (30, Event::Verified)]).unwrap();
    assert!(shown.verified);
    assert_eq!((shown.created_at, shown.updated_at), (Time(10), Time(30)));
}

#[test]
fn an_account_shows_whether_it_is_disabled_and_an_administrator() {
    let granted = [registered(), (20, Event::PlatformAdminGranted)];
    let disabled = granted.clone().into_iter().chain([(30, Event::Disabled)]);
    let shown: View = fold(disabled.clone()).unwrap();
    assert!(shown.is_platform_admin && shown.is_disabled);
    assert_eq!((shown.epoch, shown.epoch_began_at), (1, Time(30)));
    let later = [(40, Event::Enabled), (50, Event::PlatformAdminRevoked)];
    let shown: View = fold(disabled.chain(later)).unwrap();
    assert!(!shown.is_platform_admin && !shown.is_disabled);
    assert_eq!((shown.epoch, shown.epoch_began_at), (2, Time(40)));
}

#[test]
fn events_that_revoke_all_sessions_raise_the_epoch() {
    let password_hash = PasswordHash::parse("$new").unwrap();
    let changed = Event::PasswordChanged {
        password_hash: password_hash.clone(),
        email: email(),
        firstname: name("Ada"),
    };
    let events = [
        registered(),
        mailed(),
        (20, changed),
        (30, Event::SessionsRevoked),
    ];
    let shown: View = fold(events).unwrap();
    assert_eq!((shown.epoch, shown.epoch_began_at), (2, Time(30)));
    assert_eq!(shown.password_hash, Some(password_hash));
}

#[test]
fn an_account_shows_its_updated_profile() {
    let updated = Event::ProfileUpdated {
        firstname: name("Augusta"),
        lastname: name("Byron"),
    };
    let shown: View = fold([registered(), (20, updated)]).unwrap();
    assert_eq!(shown.firstname, name("Augusta"));
    assert_eq!(shown.lastname, name("Byron"));
    assert_eq!(shown.email, email());
}

#[test]
fn an_account_shows_the_password_that_it_has() {
    let email = email();
    let opened = Event::Opened {
        email: email.clone(),
        firstname: name("Ada"),
        lastname: name("Lovelace"),
    };
    let password_hash = PasswordHash::parse("$new").unwrap();
    let set = Event::PasswordSet {
        password_hash: password_hash.clone(),
        email: email.clone(),
    };
    let shown: View = fold([(10, opened.clone()), (20, set.clone())]).unwrap();
    assert_eq!(shown.password_hash, Some(password_hash));
    let removed = (30, Event::PasswordRemoved { email });
    let shown: View = fold([(10, opened), (20, set), removed]).unwrap();
    assert_eq!((shown.password_hash, shown.epoch), (None, 0));
}

#[test]
fn an_account_shows_when_it_is_deleted_and_nothing_after_that() {
    let requested = (
        20,
        Event::DeletionRequested {
            at: Time(90),
            email: email(),
            former: Vec::new(),
        },
    );
    let events = [registered(), requested];
    let shown: View = fold(events.clone()).unwrap();
    assert_eq!((shown.closes_at, shown.epoch), (Some(Time(90)), 0));
    for kept in [
        Event::DeletionCancelled { email: email() },
        Event::DeletionStopped { email: email() },
    ] {
        let shown: View = fold(events.clone().into_iter().chain([(30, kept)])).unwrap();
        assert_eq!(shown.closes_at, None);
    }
    let closed = Event::Closed {
        email: Some(email()),
    };
    let closed = events.into_iter().chain([(90, closed)]);
    assert_eq!(fold::<View>(closed), None);
}

#[test]
fn a_restored_address_is_shown() {
    let restored = Event::EmailRestored {
        challenge: CHALLENGE,
        from: EmailAddress::parse("thief@example.org").unwrap(),
        to: email(),
    };
    let changed = Event::EmailChanged {
        challenge: CHALLENGE,
        from: email(),
        to: EmailAddress::parse("thief@example.org").unwrap(),
    };
    let shown: View = fold([registered(), (20, changed), (30, restored)]).unwrap();
    assert_eq!(shown.email, email());
}
