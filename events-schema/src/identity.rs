//! Identities: what other parties, such as Google, know a person by. An account logs in by those
//! that are linked to it.

use serde::{Deserialize, Serialize};

use crate::{ProviderName, Time, account::Event, id::typed_id};

typed_id! {
    /// Identifies an identity: a keyed digest of its issuer and subject, so that the log does not
    /// show who somebody is elsewhere.
    IdentityId
}

/// What the identities at the connections of tenants are called. No provider has this name.
pub const OF_CONNECTIONS: &str = "sso";

/// Maximum identities of an account: more than anybody needs.
pub const MAX_IDENTITIES: usize = 20;

/// An identity that is linked to an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Identity {
    pub id: IdentityId,
    pub provider: ProviderName,
    pub linked_at: Time,
}

impl Identity {
    /// Whether the identity is one at a tenant's connection, whose word counts in that tenant
    /// alone.
    pub fn is_of_connection(&self) -> bool {
        self.provider.as_str() == OF_CONNECTIONS
    }
}

/// An identity that somebody has proved at a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProvedIdentity {
    pub id: IdentityId,
    /// What the same identity is called under secrets that are still accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<IdentityId>,
    pub provider: ProviderName,
}

impl ProvedIdentity {
    /// Returns all names of the identity, the present one first.
    pub fn ids(&self) -> impl Iterator<Item = IdentityId> {
        std::iter::once(self.id).chain(self.former.iter().copied())
    }
}

/// Returns the identities of an account after one of its events.
pub fn step(mut present: Vec<Identity>, event: &Event, at: Time) -> Vec<Identity> {
    match event {
        Event::IdentityLinked {
            identity, provider, ..
        } => {
            present.retain(|known| known.id != *identity);
            present.push(Identity {
                id: *identity,
                provider: provider.clone(),
                linked_at: at,
            });
        }
        Event::IdentityUnlinked { identity, .. } => present.retain(|known| known.id != *identity),
        Event::Registered { .. } | Event::Opened { .. } => present.clear(),
        Event::RegistrationRefused { .. }
        | Event::VerificationRequested { .. }
        | Event::VerificationFailed { .. }
        | Event::Verified
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
    present
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EmailAddress, Id, PersonName, account::View, view::testing::fold};

    fn opened() -> Event {
        let name = PersonName::parse("Ada").unwrap();
        Event::Opened {
            email: email(),
            firstname: name.clone(),
            lastname: name,
        }
    }
    fn linked(byte: u8) -> Event {
        Event::IdentityLinked {
            identity: id(byte),
            provider: ProviderName::parse("google").unwrap(),
            email: email(),
        }
    }
    fn unlinked(byte: u8) -> Event {
        Event::IdentityUnlinked {
            identity: id(byte),
            provider: ProviderName::parse("google").unwrap(),
            email: email(),
        }
    }
    fn email() -> EmailAddress {
        EmailAddress::parse("ada@example.com").unwrap()
    }
    fn id(byte: u8) -> IdentityId {
        IdentityId(Id::from_bytes([byte; 16]))
    }

    #[test]
    fn an_account_has_the_identities_that_are_linked_to_it() {
        let events = [opened(), linked(1), linked(2), unlinked(1)];
        let events = (10..).zip(events);
        let shown: View = fold(events.clone()).unwrap();
        let [identity] = shown.identities.as_slice() else {
            panic!("{:?}", shown.identities);
        };
        assert_eq!((identity.id, identity.linked_at), (id(2), Time(12)));
        assert!(shown.verified && shown.password_hash.is_none());
    }

    #[test]
    fn an_account_that_is_opened_in_place_of_another_keeps_no_identity_and_no_session() {
        let events = [opened(), linked(1), opened(), linked(2)];
        let shown: View = fold((10..).zip(events)).unwrap();
        let ids: Vec<_> = shown.identities.iter().map(|known| known.id).collect();
        assert_eq!(ids, [id(2)]);
        assert_eq!(shown.epoch, 1);
    }
}
