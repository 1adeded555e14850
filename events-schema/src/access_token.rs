//! Access tokens: credentials for machines, each valid in one tenant. A token's id is the head of
//! its hash, so that the token itself is stored nowhere.

use serde::{Deserialize, Serialize};

use crate::{
    Access, AccountId, AreaName, BuiltInRole, Commit, EmailAddress, Feature, Home, Id, Index,
    IpNetwork, Name, Permission, Permissions, ServiceId, Time, account,
    id::typed_id,
    member,
    published::{DateTime, EventType, Person, Published},
};

typed_id! {
    /// Identifies an access token: the first half of the SHA-256 of its text.
    AccessTokenId
}

/// The permission to read access tokens.
pub const READ: Permission = Permission::new("read_access_token", BuiltInRole::Developer);
/// The permission to create access tokens.
pub const CREATE: Permission = Permission::new("create_access_token", BuiltInRole::Developer);
/// The permission to revoke access tokens.
pub const DELETE: Permission = Permission::new("delete_access_token", BuiltInRole::Developer);

/// The feature that lets a tenant create access tokens.
pub const FEATURE: Feature = Feature::new("access_tokens");

/// An epoch that no account has.
const NO_EPOCH: i64 = -1;

/// The area of access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area;

impl crate::Area for Area {
    const NAME: AreaName = AreaName::AccessToken;
    const ACCESS: &'static [Access] = &[
        Access::permission("read", READ),
        // A token that creates tokens would outlive its own end.
        Access::permission("create", CREATE)
            .fresh()
            .feature(FEATURE)
            .creates(),
        Access::permission("delete", DELETE).in_person(),
    ];
    const FEED: Option<Permission> = Some(READ);
    const ENDS: &'static [&'static str] = &["deleted"];
    type Id = AccessTokenId;
    type Command = Command;
    type Event = Event;
    type Public = Public;
}

/// A request to change an access token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Create a token. The aggregate's id is the head of the token's hash.
    Create(NewToken),
    /// Create a token that is valid in these networks only. A variant of its own: a worker of an
    /// earlier release would ignore a new field, and create a token that is valid everywhere.
    CreateInNetworks {
        token: NewToken,
        networks: Vec<IpNetwork>,
    },
    /// Create a token of a service. A variant of its own: a worker of an earlier release would
    /// ignore a new field, and create a token that acts for its creator.
    CreateForService {
        token: NewToken,
        service: ServiceId,
        /// The networks in which the token is valid; all if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        networks: Option<Vec<IpNetwork>>,
        /// Gateways of earlier releases send none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        notice: Option<Notice>,
    },
    /// Revoke the token.
    Delete,
}

/// What a new token is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NewToken {
    pub name: Name,
    /// The most that the token may do.
    pub scopes: Permissions,
    pub expires_at: Time,
    /// The token may never do more than its creator may at the time of a request, unless it belongs
    /// to a service.
    pub creator: AccountId,
    /// The creator's address, which gets a mail. Earlier releases sent none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<EmailAddress>,
    /// The epoch of the creator's account, with which the token ends. Earlier releases sent none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
}

/// What the mails about the token of a service say, and which owners of the tenant get them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Notice {
    pub tenant_name: Name,
    pub service_name: Name,
    pub owners: Vec<EmailAddress>,
}

/// A change to an access token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// The token was created.
    Created(NewToken),
    /// A token of a service was created.
    CreatedForService {
        #[serde(flatten)]
        token: NewToken,
        service: ServiceId,
        /// Earlier releases recorded none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        notice: Option<Notice>,
    },
    /// From now on, the token is valid in these networks only.
    Restricted { networks: Vec<IpNetwork> },
    /// The token was revoked.
    Deleted,
}

/// The view of an access token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    pub name: Name,
    /// The most that the token may do.
    pub scopes: Permissions,
    pub expires_at: Time,
    pub creator: AccountId,
    /// The service that the token belongs to. Then it does what the service may, and ends with it
    /// instead of its creator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceId>,
    /// The epoch of the creator's account, with which the token ends. A token of an earlier release
    /// has none: it ends if an epoch begins after its creation. [`NO_EPOCH`] for the token of a
    /// service: gateways of earlier releases do not know `service`, and refuse it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// The networks in which the token is valid. `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<IpNetwork>>,
    pub created_at: Time,
}

impl View {
    fn of(token: &NewToken, service: Option<ServiceId>, created_at: Time) -> Self {
        Self {
            name: token.name.clone(),
            scopes: token.scopes.clone(),
            expires_at: token.expires_at,
            creator: token.creator,
            service,
            epoch: service.map_or(token.epoch, |_| Some(NO_EPOCH)),
            networks: None,
            created_at,
        }
    }

    /// Whether the token of a person has not ended. It outlives neither the epoch of its creator's
    /// account nor their membership.
    pub fn is_valid(&self, now: Time, creator: &account::View, member: &member::View) -> bool {
        let is_of_epoch = match self.epoch {
            Some(epoch) => epoch == creator.epoch,
            None => self.created_at >= creator.epoch_began_at,
        };
        let is_of_membership =
            member.status == member::Status::Accepted && self.created_at >= member.created_at;
        now < self.expires_at && is_of_epoch && is_of_membership && !creator.is_disabled
    }
}

impl crate::View for View {
    type Area = Area;
    const NAME: &'static str = "access_token";
    const HOME: Home = Home::Tenant;
    const INDEXES: &'static [Index] = &[
        Index::on(&["created_at"]),
        Index::on(&["creator", "created_at"]),
        Index::on(&["service", "created_at"]),
    ];

    fn fold(view: Option<Self>, commit: &Commit<Area>) -> Option<Self> {
        commit.events.iter().fold(view, |view, event| match event {
            Event::Created(token) => Some(Self::of(token, None, commit.time)),
            Event::CreatedForService { token, service, .. } => {
                Some(Self::of(token, Some(*service), commit.time))
            }
            Event::Restricted { networks } => view.map(|view| Self {
                networks: Some(networks.clone()),
                ..view
            }),
            Event::Deleted => None,
        })
    }
}

/// An access token as webhooks send it, without its networks, which help those who have stolen it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Public {
    /// Id of the access token.
    id: Id,
    /// Name of the token.
    name: Name,
    /// The permissions that limit the token.
    scopes: Permissions,
    /// When the token expires.
    expires_at: DateTime,
    /// The person who created the token.
    created_by: Person,
    /// The service that the token belongs to. Null if it acts for its creator.
    service: Option<Service>,
    /// When the token was created.
    created_at: DateTime,
}

/// The service of a token.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Service {
    /// Id of the service.
    id: ServiceId,
}

impl Published for Public {
    type View = View;
    const EVENTS: &'static [EventType] = &[
        EventType::new("access_token.created", "The access token was created."),
        EventType::new(
            "access_token.created_for_service",
            "The access token of a service was created.",
        ),
        EventType::new("access_token.deleted", "The access token was revoked."),
    ];
    // A part of the creation.
    const UNSENT: &'static [&'static str] = &["restricted"];

    fn of(view: View, id: Id, _: u64) -> Option<Self> {
        Some(Self {
            id,
            name: view.name,
            scopes: view.scopes,
            expires_at: DateTime(view.expires_at),
            created_by: Person { id: view.creator },
            service: view.service.map(|id| Service { id }),
            created_at: DateTime(view.created_at),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{PasswordHash, PersonName, view::testing::fold};

    fn token(epoch: Option<i64>) -> View {
        View {
            name: Name::parse("Deployment").unwrap(),
            scopes: BuiltInRole::Guest.permissions(),
            expires_at: Time(99),
            creator: AccountId(Id::from_bytes([1; 16])),
            service: None,
            epoch,
            networks: None,
            created_at: Time(10),
        }
    }
    fn creator() -> account::View {
        account::View {
            email: EmailAddress::parse("ada@example.com").unwrap(),
            firstname: PersonName::parse("Ada").unwrap(),
            lastname: PersonName::parse("Lovelace").unwrap(),
            verified: true,
            password_hash: Some(PasswordHash::parse("$x").unwrap()),
            password_set_at: Some(Time(0)),
            epoch: 2,
            epoch_began_at: Time(10),
            is_platform_admin: false,
            is_disabled: false,
            second_factor: None,
            identities: Vec::new(),
            passkeys: Vec::new(),
            email_change: None,
            email_change_made: None,
            closes_at: None,
            created_at: Time(0),
            updated_at: Time(0),
        }
    }
    fn membership() -> member::View {
        member::View {
            email: EmailAddress::parse("ada@example.com").unwrap(),
            account: Some(AccountId(Id::from_bytes([1; 16]))),
            role: BuiltInRole::Owner,
            roles: BTreeSet::new(),
            status: member::Status::Accepted,
            invitation: None,
            created_at: Time(10),
            updated_at: Time(10),
        }
    }

    #[test]
    fn a_token_is_valid_until_it_expires() {
        for token in [token(Some(2)), token(None)] {
            assert!(token.is_valid(Time(98), &creator(), &membership()));
            assert!(!token.is_valid(Time(99), &creator(), &membership()));
        }
    }

    #[test]
    fn a_token_ends_with_the_epoch_of_its_creator() {
        let ended = account::View {
            epoch: 3,
            epoch_began_at: Time(11),
            ..creator()
        };
        let disabled = account::View {
            is_disabled: true,
            ..creator()
        };
        for creator in [ended, disabled] {
            for token in [token(Some(2)), token(None)] {
                assert!(!token.is_valid(Time(20), &creator, &membership()));
            }
        }
    }

    #[test]
    fn a_token_ends_with_the_membership_of_its_creator() {
        let later = member::View {
            created_at: Time(11),
            ..membership()
        };
        let suspended = member::View {
            status: member::Status::Suspended,
            ..membership()
        };
        for member in [later, suspended] {
            assert!(!token(Some(2)).is_valid(Time(20), &creator(), &member));
        }
    }

    #[test]
    fn an_access_token_is_shown_until_it_is_revoked() {
        let shown = token(Some(2));
        let created = Event::Created(NewToken {
            name: shown.name.clone(),
            scopes: shown.scopes.clone(),
            expires_at: shown.expires_at,
            creator: shown.creator,
            email: None,
            epoch: Some(2),
        });
        assert_eq!(fold([(10, created.clone())]), Some(shown.clone()));
        let networks = vec![IpNetwork::parse("192.0.2.0/24").unwrap()];
        let restricted = Event::Restricted {
            networks: networks.clone(),
        };
        let expected = View {
            networks: Some(networks),
            ..shown
        };
        assert_eq!(
            fold([(10, created.clone()), (10, restricted)]),
            Some(expected)
        );
        let revoked = [(10, created), (20, Event::Deleted)];
        assert_eq!(fold::<View>(revoked), None);
    }

    #[test]
    fn the_access_token_of_a_service_names_it() {
        let shown = token(Some(2));
        let service = ServiceId(Id::from_bytes([3; 16]));
        let token = NewToken {
            name: shown.name.clone(),
            scopes: shown.scopes.clone(),
            expires_at: shown.expires_at,
            creator: shown.creator,
            email: None,
            epoch: Some(2),
        };
        let expected = View {
            service: Some(service),
            epoch: Some(NO_EPOCH),
            ..shown
        };
        let created = Event::CreatedForService {
            token,
            service,
            notice: None,
        };
        assert_eq!(fold([(10, created)]), Some(expected.clone()));
        // A gateway of an earlier release takes it for a token of its creator.
        assert!(!expected.is_valid(Time(20), &creator(), &membership()));
    }
}
