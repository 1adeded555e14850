//! The second factor of an account: an authenticator app and recovery codes.

use serde::{Deserialize, Serialize};

use crate::{Time, account::Event, id::typed_id, totp::RECOVERY_CODES};

typed_id! {
    /// Identifies an authenticator app or a set of recovery codes. Their secrets derive from it.
    CredentialId
}

/// The second factor of an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SecondFactor {
    pub totp: Totp,
    pub recovery_codes: RecoveryCodes,
}

/// An authenticator app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Totp {
    pub id: CredentialId,
    /// The id of the secret that the seed derives from; empty for a secret without one.
    pub secret_id: String,
    /// The latest step whose code was used. Its code and earlier ones are not valid.
    pub last_step: i64,
    pub enrolled_at: Time,
}

/// A set of recovery codes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RecoveryCodes {
    pub id: CredentialId,
    /// The id of the secret that the codes derive from; empty for a secret without one.
    pub secret_id: String,
    /// The indexes of the codes that were used.
    pub used: Vec<u8>,
    pub created_at: Time,
}

impl RecoveryCodes {
    /// Returns how many codes are not used yet.
    pub fn left(&self) -> usize {
        usize::from(RECOVERY_CODES).saturating_sub(self.used.len())
    }
}

/// Returns the second factor after an event of the account.
pub fn step(present: Option<SecondFactor>, event: &Event, at: Time) -> Option<SecondFactor> {
    if let Event::TotpEnrolled {
        credential,
        secret_id,
        step,
        recovery_codes,
        ..
    } = event
    {
        return Some(SecondFactor {
            totp: Totp {
                id: *credential,
                secret_id: secret_id.clone(),
                last_step: *step,
                enrolled_at: at,
            },
            recovery_codes: new_codes(*recovery_codes, secret_id, at),
        });
    }
    let mut factor = present?;
    match event {
        Event::TotpUsed { step, .. } => factor.totp.last_step = *step,
        Event::RecoveryCodeUsed { index, .. } => factor.recovery_codes.used.push(*index),
        Event::RecoveryCodesRenewed {
            credential,
            secret_id,
            ..
        } => factor.recovery_codes = new_codes(*credential, secret_id, at),
        Event::TotpRemoved { .. } => return None,
        Event::TotpEnrolled { .. }
        | Event::Registered { .. }
        | Event::Opened { .. }
        | Event::IdentityLinked { .. }
        | Event::IdentityUnlinked { .. }
        | Event::PasswordSet { .. }
        | Event::PasswordRemoved { .. }
        | Event::RegistrationRefused { .. }
        | Event::VerificationRequested { .. }
        | Event::VerificationFailed { .. }
        | Event::Verified
        | Event::PasswordResetRequested { .. }
        | Event::PasswordChanged { .. }
        | Event::PasswordHashRenewed { .. }
        | Event::PasskeyAdded { .. }
        | Event::PasskeyUsed { .. }
        | Event::PasskeyRenamed { .. }
        | Event::PasskeySuspended { .. }
        | Event::PasskeyRemoved { .. }
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
    Some(factor)
}

fn new_codes(id: CredentialId, secret_id: &str, at: Time) -> RecoveryCodes {
    RecoveryCodes {
        id,
        secret_id: secret_id.to_owned(),
        used: Vec::new(),
        created_at: at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EmailAddress, Id, PasswordHash, PersonName, account::View, view::testing::fold};

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

    #[test]
    fn an_account_shows_its_second_factor_and_what_of_it_was_used() {
        let id = |byte| CredentialId(Id::from_bytes([byte; 16]));
        let enrolled = Event::TotpEnrolled {
            credential: id(1),
            secret_id: "k1".to_owned(),
            step: 7,
            recovery_codes: id(2),
            email: email(),
        };
        let used = |index| Event::RecoveryCodeUsed {
            credential: id(2),
            index,
            email: email(),
        };
        let (credential, step) = (id(1), 9);
        let totp = Event::TotpUsed { credential, step };
        let events = [
            registered(),
            (20, enrolled),
            (30, totp),
            (40, used(4)),
            (40, used(0)),
        ];
        let shown: View = fold(events.clone()).unwrap();
        let factor = shown.second_factor.clone().unwrap();
        assert_eq!(
            (factor.totp.last_step, factor.totp.enrolled_at),
            (9, Time(20))
        );
        assert_eq!(factor.recovery_codes.left(), 8);
        assert_eq!(shown.best_aal(), 2);
        let renewed = Event::RecoveryCodesRenewed {
            credential: id(3),
            secret_id: "k2".to_owned(),
            email: email(),
        };
        let events = events.into_iter().chain([(50, renewed)]);
        let shown: View = fold(events.clone()).unwrap();
        let codes = shown.second_factor.unwrap().recovery_codes;
        assert_eq!(
            (codes.id, codes.left(), codes.created_at),
            (id(3), 10, Time(50))
        );
        let (credential, email) = (id(1), email());
        let removed = Event::TotpRemoved { credential, email };
        let shown: View = fold(events.chain([(60, removed)])).unwrap();
        assert_eq!((shown.best_aal(), shown.second_factor), (1, None));
    }
}
