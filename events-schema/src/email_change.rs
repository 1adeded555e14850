//! A change of the address of an account. The owner of the new address proves it by a code, and the
//! owner of the present one agrees by a link, or is silent for long enough.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ChallengeId, EmailAddress, Time, account::Event};

/// The mailed code is valid for this long.
pub const CODE_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// The link to the present address confirms or refuses for this long.
pub const LIFETIME: Duration = Duration::from_secs(72 * 60 * 60);
/// The link to the former address restores it for this long.
pub const UNDO_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A change of the address that waits for its owners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EmailChange {
    pub challenge: ChallengeId,
    /// The new address.
    pub to: EmailAddress,
    pub status: Status,
    pub requested_at: Time,
    /// If the new address is proved, the change happens at this time unless the present address
    /// refuses. Absent if the present address must confirm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_until: Option<Time>,
}

/// A change that gave an account its present address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MadeChange {
    pub challenge: ChallengeId,
    pub at: Time,
}

/// An address that an account had before a change which its owner may undo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FormerAddress {
    /// The change.
    pub challenge: ChallengeId,
    pub email: EmailAddress,
}

/// Who has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Status {
    /// Nobody.
    Requested,
    /// The owner of the present address.
    Confirmed,
    /// The owner of the new address.
    Proved,
}

impl EmailChange {
    /// Whether somebody may still answer. A proved change whose time comes without an answer waits
    /// for the worker that makes it.
    pub fn is_open(&self, now: Time) -> bool {
        now.since(self.requested_at) < LIFETIME || self.changes_at().is_some()
    }

    /// Returns when the change happens without an answer of the present address; `None` if it does
    /// not.
    pub fn changes_at(&self) -> Option<Time> {
        self.silent_until.filter(|_| self.status == Status::Proved)
    }
}

/// Returns the change that waits after an event of the account.
pub fn step(present: Option<EmailChange>, event: &Event, at: Time) -> Option<EmailChange> {
    match event {
        Event::EmailChangeRequested {
            challenge,
            to,
            silent_until,
            ..
        } => Some(EmailChange {
            challenge: *challenge,
            to: to.clone(),
            status: Status::Requested,
            requested_at: at,
            silent_until: *silent_until,
        }),
        Event::NewEmailProved { challenge } => with(present, *challenge, Status::Proved),
        Event::EmailChangeConfirmed { challenge } => with(present, *challenge, Status::Confirmed),
        Event::EmailChangeEnded { challenge, .. } => {
            present.filter(|change| change.challenge != *challenge)
        }
        // The session that asked for the change may have been proved by what ends here.
        Event::PasswordChanged { .. }
        | Event::PasswordRemoved { .. }
        | Event::RecoveryCodesRenewed { .. }
        | Event::SessionsRevoked
        | Event::IdentityUnlinked { .. }
        | Event::TotpRemoved { .. }
        | Event::PasskeySuspended { .. }
        | Event::PasskeyRemoved { .. }
        | Event::EmailChanged { .. }
        | Event::EmailRestored { .. }
        | Event::Disabled
        | Event::Registered { .. }
        | Event::Opened { .. }
        | Event::RegistrationRefused { .. }
        | Event::Closed { .. } => None,
        Event::VerificationRequested { .. }
        | Event::VerificationFailed { .. }
        | Event::Verified
        | Event::IdentityLinked { .. }
        | Event::PasswordResetRequested { .. }
        | Event::PasswordHashRenewed { .. }
        | Event::PasswordSet { .. }
        | Event::TotpEnrolled { .. }
        | Event::TotpUsed { .. }
        | Event::RecoveryCodeUsed { .. }
        | Event::PasskeyAdded { .. }
        | Event::PasskeyUsed { .. }
        | Event::PasskeyRenamed { .. }
        | Event::DeletionRequested { .. }
        | Event::DeletionCancelled { .. }
        | Event::DeletionStopped { .. }
        | Event::PlatformAdminGranted
        | Event::PlatformAdminRevoked
        | Event::Enabled
        | Event::ProfileUpdated { .. } => present,
    }
}

fn with(
    present: Option<EmailChange>,
    challenge: ChallengeId,
    status: Status,
) -> Option<EmailChange> {
    present.map(|change| {
        if change.challenge == challenge {
            EmailChange { status, ..change }
        } else {
            change
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        CredentialId, Id, IdentityId, Name, PasskeyId, PasswordHash, PersonName, ProviderName,
        account::View, view::testing::fold,
    };

    const HOUR: i64 = 60 * 60 * 1000;

    fn challenge(byte: u8) -> ChallengeId {
        ChallengeId(Id::from_bytes([byte; 16]))
    }
    fn email(text: &str) -> EmailAddress {
        EmailAddress::parse(text).unwrap()
    }
    fn registered() -> (i64, Event) {
        let name = PersonName::parse("Ada").unwrap();
        let event = Event::Registered {
            email: email("ada@example.com"),
            firstname: name.clone(),
            lastname: name,
            password_hash: PasswordHash::parse("$x").unwrap(),
        };
        (0, event)
    }
    fn requested(byte: u8, silent_until: Option<Time>) -> Event {
        Event::EmailChangeRequested {
            challenge: challenge(byte),
            email: email("ada@example.com"),
            to: email("ada@example.org"),
            is_held: false,
            silent_until,
        }
    }

    #[test]
    fn an_account_shows_the_change_of_its_address_until_it_is_made() {
        let proved = Event::NewEmailProved {
            challenge: challenge(1),
        };
        let events = [
            registered(),
            (10, requested(1, Some(Time(99)))),
            (20, proved),
        ];
        let shown: View = fold(events.clone()).unwrap();
        let change = shown.email_change.unwrap();
        assert_eq!(change.status, Status::Proved);
        assert_eq!(change.changes_at(), Some(Time(99)));
        assert_eq!(shown.email, email("ada@example.com"));
        let changed = Event::EmailChanged {
            challenge: challenge(1),
            from: email("ada@example.com"),
            to: email("ada@example.org"),
        };
        let shown: View = fold(events.into_iter().chain([(30, changed)])).unwrap();
        assert_eq!(shown.email, email("ada@example.org"));
        assert_eq!(shown.email_change, None);
        let made = MadeChange {
            challenge: challenge(1),
            at: Time(30),
        };
        assert_eq!(shown.email_change_made, Some(made));
    }

    #[test]
    fn an_account_that_has_its_former_address_again_shows_no_change() {
        let changed = Event::EmailChanged {
            challenge: challenge(1),
            from: email("ada@example.com"),
            to: email("ada@example.org"),
        };
        let restored = Event::EmailRestored {
            challenge: challenge(1),
            from: email("ada@example.org"),
            to: email("ada@example.com"),
        };
        let shown: View = fold([registered(), (1, changed), (2, restored)]).unwrap();
        assert_eq!(shown.email_change_made, None);
    }

    #[test]
    fn an_answer_to_an_earlier_request_answers_no_later_one() {
        let late = Event::EmailChangeConfirmed {
            challenge: challenge(1),
        };
        let ended = Event::EmailChangeEnded {
            challenge: challenge(1),
            email: email("ada@example.com"),
        };
        for late in [late, ended] {
            let events = [
                registered(),
                (1, requested(1, None)),
                (2, requested(2, None)),
                (3, late),
            ];
            let shown: View = fold(events).unwrap();
            let change = shown.email_change.unwrap();
            assert_eq!(
                (change.challenge, change.status),
                (challenge(2), Status::Requested)
            );
        }
    }

    #[test]
    fn a_changed_password_ends_the_change_of_the_address() {
        let changed = Event::PasswordChanged {
            password_hash: PasswordHash::parse("$y").unwrap(),
            email: email("ada@example.com"),
            firstname: PersonName::parse("Ada").unwrap(),
        };
        let events = [registered(), (1, requested(1, None)), (2, changed)];
        assert_eq!(fold::<View>(events).unwrap().email_change, None);
    }

    #[test]
    fn what_may_have_proved_the_session_that_asked_ends_the_change_with_itself() {
        let passkey = PasskeyId(Id::from_bytes([5; 16]));
        let name = Name::parse("Phone").unwrap();
        let ended = [
            Event::SessionsRevoked,
            Event::PasswordRemoved {
                email: email("ada@example.com"),
            },
            Event::RecoveryCodesRenewed {
                credential: CredentialId(Id::from_bytes([4; 16])),
                secret_id: "x".to_owned(),
                email: email("ada@example.com"),
            },
            Event::TotpRemoved {
                credential: CredentialId(Id::from_bytes([4; 16])),
                email: email("ada@example.com"),
            },
            Event::PasskeySuspended {
                passkey,
                name: name.clone(),
                email: email("ada@example.com"),
            },
            Event::PasskeyRemoved {
                passkey,
                name,
                email: email("ada@example.com"),
            },
            Event::IdentityUnlinked {
                identity: IdentityId(Id::from_bytes([6; 16])),
                provider: ProviderName::parse("google").unwrap(),
                email: email("ada@example.com"),
            },
        ];
        for end in ended {
            let events = [registered(), (1, requested(1, None)), (2, end.clone())];
            let shown: View = fold(events).unwrap();
            assert_eq!(shown.email_change, None, "{end:?}");
        }
    }

    #[test]
    fn a_change_waits_for_three_days_unless_silence_suffices() {
        let change = |status, silent_until| EmailChange {
            challenge: challenge(1),
            to: email("ada@example.org"),
            status,
            requested_at: Time(0),
            silent_until,
        };
        let end = Some(Time(72 * HOUR));
        for (status, silent_until, hours, expected) in [
            (Status::Proved, None, 71, true),
            (Status::Proved, None, 72, false),
            (Status::Requested, end, 72, false),
            (Status::Confirmed, end, 72, false),
            (Status::Proved, end, 72, true),
        ] {
            let is_open = change(status, silent_until).is_open(Time(hours * HOUR));
            assert_eq!(is_open, expected, "{status:?} {silent_until:?} {hours}");
        }
    }
}
