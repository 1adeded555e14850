//! Passkeys of an account: public keys whose private keys only devices of the owner have.

use serde::{Deserialize, Serialize};

use crate::{
    Base64Url, Id, Invalid, Name, Time, account::Event, id::typed_id, secret::derived_id,
    text::text,
};

typed_id! {
    /// Identifies a passkey: a digest of the id that its authenticator has given to it.
    PasskeyId
}

/// Maximum passkeys of an account: more than anybody has authenticators.
pub const MAX_PASSKEYS: usize = 20;

/// A passkey of an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Passkey {
    pub id: PasskeyId,
    pub name: Name,
    /// The id that the authenticator has given to it.
    pub credential_id: Base64Url,
    /// The public key, as COSE writes it.
    pub key: Base64Url,
    /// How often the authenticator has signed, as it says; 0 if it does not count.
    pub counter: u32,
    /// Whether the passkey may have copies. This never changes.
    pub is_backup_eligible: bool,
    /// Whether the passkey had copies when it was last used.
    pub is_backed_up: bool,
    /// How browsers reach the authenticator.
    pub transports: Vec<Transport>,
    /// The model of the authenticator, as it says; zeros if it does not tell.
    pub aaguid: Id,
    pub added_at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Time>,
    /// When the passkey was suspended: somebody may have copied it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_at: Option<Time>,
}

/// A passkey that an authenticator has made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NewPasskey {
    pub credential_id: Base64Url,
    pub key: Base64Url,
    pub counter: u32,
    pub is_backup_eligible: bool,
    pub is_backed_up: bool,
    pub transports: Vec<Transport>,
    pub aaguid: Id,
}

/// A way to reach an authenticator, such as `internal` or `usb`: 1 to 32 lower-case letters, digits
/// and hyphens. Browsers may invent further ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Transport(String);

text! { Transport }

impl Transport {
    /// Checks the name of a transport.
    ///
    /// # Errors
    /// If it is empty, too long or has other characters.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let is_allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let is_name = (1..=32).contains(&text.len()) && text.bytes().all(is_allowed);
        is_name.then(|| Self(text.to_owned())).ok_or(Invalid(
            "must have 1 to 32 lower-case letters, digits and hyphens",
        ))
    }
}

impl PasskeyId {
    /// Returns the id of the passkey to which its authenticator has given this id.
    pub fn of(credential_id: &Base64Url) -> Self {
        Self(derived_id(&[b"passkey", credential_id.bytes()]))
    }
}

impl Passkey {
    /// Whether the passkey is suspended: nobody can log in by it.
    pub const fn is_suspended(&self) -> bool {
        self.suspended_at.is_some()
    }

    /// Whether a use with this counter shows that somebody may have copied the passkey. An
    /// authenticator that counts counts each use.
    pub const fn is_copied(&self, counter: u32) -> bool {
        (counter > 0 || self.counter > 0) && counter <= self.counter
    }
}

/// Returns the passkeys after an event of the account.
pub fn step(mut passkeys: Vec<Passkey>, event: &Event, at: Time) -> Vec<Passkey> {
    match event {
        Event::PasskeyAdded { name, passkey, .. } => {
            passkeys.push(added(name.clone(), passkey.clone(), at));
        }
        Event::PasskeyUsed {
            passkey,
            counter,
            is_backed_up,
        } => {
            let used = passkeys.iter_mut().find(|one| one.id == *passkey);
            if let Some(used) = used {
                used.counter = *counter;
                used.is_backed_up = *is_backed_up;
                used.last_used_at = Some(at);
            }
        }
        Event::PasskeyRenamed { passkey, name } => {
            let renamed = passkeys.iter_mut().find(|one| one.id == *passkey);
            if let Some(renamed) = renamed {
                renamed.name = name.clone();
            }
        }
        Event::PasskeySuspended { passkey, .. } => {
            let suspended = passkeys.iter_mut().find(|one| one.id == *passkey);
            if let Some(suspended) = suspended {
                suspended.suspended_at = Some(at);
            }
        }
        Event::PasskeyRemoved { passkey, .. } => passkeys.retain(|one| one.id != *passkey),
        Event::Registered { .. } | Event::Opened { .. } => passkeys.clear(),
        Event::RegistrationRefused { .. }
        | Event::VerificationRequested { .. }
        | Event::VerificationFailed { .. }
        | Event::Verified
        | Event::IdentityLinked { .. }
        | Event::IdentityUnlinked { .. }
        | Event::PasswordResetRequested { .. }
        | Event::PasswordChanged { .. }
        | Event::PasswordHashRenewed { .. }
        | Event::PasswordSet { .. }
        | Event::PasswordRemoved { .. }
        | Event::TotpEnrolled { .. }
        | Event::TotpUsed { .. }
        | Event::RecoveryCodeUsed { .. }
        | Event::TotpRemoved { .. }
        | Event::RecoveryCodesRenewed { .. }
        | Event::SessionsRevoked
        | Event::PlatformAdminGranted
        | Event::PlatformAdminRevoked
        | Event::Disabled
        | Event::Enabled
        | Event::ProfileUpdated { .. }
        | Event::EmailChangeRequested { .. }
        | Event::NewEmailProved { .. }
        | Event::EmailChangeConfirmed { .. }
        | Event::EmailChangeEnded { .. }
        | Event::EmailChanged { .. }
        | Event::EmailRestored { .. }
        | Event::DeletionRequested { .. }
        | Event::DeletionCancelled { .. }
        | Event::DeletionStopped { .. }
        | Event::Closed { .. } => {}
    }
    passkeys
}

fn added(name: Name, new: NewPasskey, at: Time) -> Passkey {
    Passkey {
        id: PasskeyId::of(&new.credential_id),
        name,
        credential_id: new.credential_id,
        key: new.key,
        counter: new.counter,
        is_backup_eligible: new.is_backup_eligible,
        is_backed_up: new.is_backed_up,
        transports: new.transports,
        aaguid: new.aaguid,
        added_at: at,
        last_used_at: None,
        suspended_at: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EmailAddress, PasswordHash, PersonName, account::View, view::testing::fold};

    fn email() -> EmailAddress {
        EmailAddress::parse("ada@example.com").unwrap()
    }
    fn registered() -> (i64, Event) {
        let name = PersonName::parse("Ada").unwrap();
        let event = Event::Registered {
            email: email(),
            firstname: name.clone(),
            lastname: name,
            password_hash: PasswordHash::parse("$x").unwrap(),
        };
        (10, event)
    }
    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }
    fn new(byte: u8) -> NewPasskey {
        NewPasskey {
            credential_id: Base64Url::from_bytes(&[byte; 16]),
            key: Base64Url::from_bytes(&[1, 2, 3]),
            counter: 4,
            is_backup_eligible: true,
            is_backed_up: false,
            transports: vec![Transport::parse("internal").unwrap()],
            aaguid: Id::from_bytes([0; 16]),
        }
    }
    fn id(byte: u8) -> PasskeyId {
        PasskeyId::of(&new(byte).credential_id)
    }
    fn add(byte: u8) -> Event {
        Event::PasskeyAdded {
            name: name("Phone"),
            passkey: new(byte),
            email: email(),
        }
    }

    #[test]
    fn an_account_shows_its_passkeys_and_how_they_were_used() {
        let used = Event::PasskeyUsed {
            passkey: id(1),
            counter: 7,
            is_backed_up: true,
        };
        let renamed = Event::PasskeyRenamed {
            passkey: id(1),
            name: name("Key"),
        };
        let events = [
            registered(),
            (20, add(1)),
            (30, add(2)),
            (40, used),
            (50, renamed),
        ];
        let shown: View = fold(events.clone()).unwrap();
        let [first, second] = &shown.passkeys[..] else {
            panic!("{:?}", shown.passkeys);
        };
        assert_eq!((first.id, &first.name), (id(1), &name("Key")));
        assert_eq!((first.counter, first.is_backed_up), (7, true));
        assert_eq!(
            (first.added_at, first.last_used_at),
            (Time(20), Some(Time(40)))
        );
        assert_eq!(
            (second.id, second.counter, second.last_used_at),
            (id(2), 4, None)
        );
        assert_eq!(shown.best_aal(), 2);
        let removed = |byte| Event::PasskeyRemoved {
            passkey: id(byte),
            name: name("Key"),
            email: email(),
        };
        let suspended = Event::PasskeySuspended {
            passkey: id(2),
            name: name("Phone"),
            email: email(),
        };
        let events = events
            .into_iter()
            .chain([(60, removed(1)), (70, suspended)]);
        let shown: View = fold(events.clone()).unwrap();
        assert_eq!(shown.passkeys.len(), 1);
        assert_eq!(shown.passkeys[0].suspended_at, Some(Time(70)));
        assert_eq!(
            shown.best_aal(),
            1,
            "nobody logs in by one that is suspended"
        );
        let shown: View = fold(events.chain([(80, removed(2))])).unwrap();
        assert_eq!(shown.passkeys, []);
    }

    #[test]
    fn a_counter_that_does_not_rise_shows_a_copy_unless_there_is_none() {
        let with = |counter| Passkey {
            counter,
            ..added(name("Phone"), new(1), Time(0))
        };
        for (before, now, expected) in [
            (0, 0, false),
            (0, 1, false),
            (4, 5, false),
            (4, 4, true),
            (4, 3, true),
            (4, 0, true),
        ] {
            assert_eq!(with(before).is_copied(now), expected, "{before} {now}");
        }
    }

    #[test]
    fn a_transport_is_a_word() {
        for good in ["internal", "smart-card", "usb", "x1"] {
            assert_eq!(Transport::parse(good).unwrap().as_str(), good);
        }
        for wrong in ["", "USB", "a b", &"x".repeat(33)] {
            assert!(Transport::parse(wrong).is_err(), "{wrong}");
        }
    }
}
