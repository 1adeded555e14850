//! Access tokens: creation and revocation. Nobody grants a token more than they hold, and nobody but
//! its creator revokes one that holds more. At each request, the gateway limits a token to its scopes and to its creator's permissions.

use std::time::Duration;

use events_schema::{
    AccountId, Actor, IpNetwork, Permissions, Reject, RejectionKind, Time,
    access_token::{Area, Command, Event, NewToken},
    service,
};
use serde::Serialize;

use crate::aggregate::{Aggregate, Decision, Facts};

/// A token expires at most this long after its creation: 366 days, so that the same date of the
/// next year is allowed. A token that is never replaced leaks some day, unnoticed.
pub const MAX_LIFETIME: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// More networks than a company has offices and a program has servers. Each request compares all.
const MAX_NETWORKS: usize = 20;

/// One access token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessToken {
    /// Not created yet.
    #[default]
    Absent,
    /// Created and not revoked. It may have expired; readers check that by the clock.
    Live {
        scopes: Permissions,
        creator: AccountId,
    },
    /// Revoked for ever.
    Revoked,
}

/// Why a command to an access token is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The token does not exist, or it is revoked.
    #[error("There is no such access token.")]
    NotFound,
    /// The id is in use.
    #[error("This access token already exists.")]
    AlreadyExists,
    /// The token could do nothing.
    #[error("An access token needs at least one permission.")]
    ScopesMissing,
    /// The token would hold a permission that its creator lacks.
    #[error("You cannot grant permissions that you do not have. Remove them from the scopes.")]
    BeyondOwnPermissions,
    /// The token would belong to a service, and the actor may not change services.
    #[error("You may not create access tokens of services. Ask an administrator of the tenant.")]
    ServicesNotManaged,
    /// The token holds a permission that the actor lacks, and somebody else has created it.
    #[error("This token may do more than you. Ask its creator or an owner to revoke it.")]
    TokenHoldsMore,
    /// The token would expire in the past, or later than [`MAX_LIFETIME`] from now.
    #[error("An access token must expire within the next 366 days. Choose another date.")]
    ExpiryOutOfBounds,
    /// The token would be valid nowhere, or in more than [`MAX_NETWORKS`] networks.
    #[error("Name 1 to 20 networks, or leave them out.")]
    NetworksOutOfBounds,
}

impl Reject for Rejection {
    fn kind(&self) -> RejectionKind {
        match self {
            Self::NotFound => RejectionKind::NotFound,
            Self::AlreadyExists => RejectionKind::Conflict,
            Self::ScopesMissing => RejectionKind::invalid("scopes"),
            Self::BeyondOwnPermissions | Self::ServicesNotManaged | Self::TokenHoldsMore => {
                RejectionKind::Forbidden
            }
            Self::ExpiryOutOfBounds => RejectionKind::invalid("expires_at"),
            Self::NetworksOutOfBounds => RejectionKind::invalid("networks"),
        }
    }
}

impl Aggregate for AccessToken {
    type Area = Area;
    type Rejection = Rejection;

    fn decide(&self, command: &Command, facts: &Facts<Area>) -> Result<Decision<Event>, Rejection> {
        let events = match (self, command) {
            (Self::Absent, Command::Create(token)) => vec![create(token, facts)?],
            (Self::Absent, Command::CreateInNetworks { token, networks }) => {
                vec![create(token, facts)?, restrict(networks)?]
            }
            (
                Self::Absent,
                Command::CreateForService {
                    token,
                    service,
                    networks,
                    notice,
                },
            ) => {
                let created = Event::CreatedForService {
                    token: token.clone(),
                    service: *service,
                    notice: notice.clone(),
                };
                create_for(created, token, networks.as_deref(), facts)?
            }
            (
                Self::Live { .. },
                Command::Create(_)
                | Command::CreateInNetworks { .. }
                | Command::CreateForService { .. },
            ) => return Err(Rejection::AlreadyExists),
            (Self::Live { scopes, creator }, Command::Delete) => {
                let is_own = facts.actor == Actor::Account(*creator);
                if !is_own && !scopes.is_subset(&facts.held) {
                    return Err(Rejection::TokenHoldsMore);
                }
                vec![Event::Deleted]
            }
            (Self::Absent | Self::Revoked, _) => return Err(Rejection::NotFound),
        };
        Ok(Decision::events(events))
    }

    fn evolve(&mut self, event: &Event, _at: Time) {
        *self = match event {
            Event::Created(token) | Event::CreatedForService { token, .. } => Self::Live {
                scopes: token.scopes.clone(),
                creator: token.creator,
            },
            Event::Restricted { .. } => return,
            Event::Deleted => Self::Revoked,
        };
    }
}

fn create(token: &NewToken, facts: &Facts<Area>) -> Result<Event, Rejection> {
    check_scopes(&token.scopes, &facts.held)?;
    check_expiry(token.expires_at, facts.now)?;
    Ok(Event::Created(token.clone()))
}

/// Creates a token of a service. Its scopes are within what the creator holds, so nobody gets by a
/// service what they do not have.
fn create_for(
    created: Event,
    token: &NewToken,
    networks: Option<&[IpNetwork]>,
    facts: &Facts<Area>,
) -> Result<Vec<Event>, Rejection> {
    if !facts.held.contains(&service::UPDATE) {
        return Err(Rejection::ServicesNotManaged);
    }
    check_scopes(&token.scopes, &facts.held)?;
    check_expiry(token.expires_at, facts.now)?;
    let restricted = networks.map(restrict).transpose()?;
    Ok([created].into_iter().chain(restricted).collect())
}

fn restrict(networks: &[IpNetwork]) -> Result<Event, Rejection> {
    if (1..=MAX_NETWORKS).contains(&networks.len()) {
        let networks = networks.to_vec();
        Ok(Event::Restricted { networks })
    } else {
        Err(Rejection::NetworksOutOfBounds)
    }
}

fn check_scopes(scopes: &Permissions, held: &Permissions) -> Result<(), Rejection> {
    if scopes.is_empty() {
        Err(Rejection::ScopesMissing)
    } else if scopes.is_subset(held) {
        Ok(())
    } else {
        Err(Rejection::BeyondOwnPermissions)
    }
}

fn check_expiry(expires_at: Time, now: Time) -> Result<(), Rejection> {
    if expires_at > now && expires_at.since(now) <= MAX_LIFETIME {
        Ok(())
    } else {
        Err(Rejection::ExpiryOutOfBounds)
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{
        BuiltInRole::{self, Admin, Developer, Guest, Owner},
        EmailAddress, Id, Name, ServiceId,
        access_token::Notice,
    };

    use super::*;
    use crate::domain::testing::{Given, When, given};

    const NOW: i64 = 1_000;
    const LONGEST: i64 = 366 * 24 * 60 * 60 * 1000;
    const ADA: AccountId = AccountId(Id::from_bytes([1; 16]));
    const ROBOT: ServiceId = ServiceId(Id::from_bytes([3; 16]));

    fn token(scopes: Permissions, expires_at: i64) -> NewToken {
        NewToken {
            name: Name::parse("Deployment").unwrap(),
            scopes,
            expires_at: Time(expires_at),
            creator: ADA,
            email: EmailAddress::parse("ada@example.com").ok(),
            epoch: Some(2),
        }
    }
    fn create(scopes: Permissions, expires_at: i64) -> Command {
        Command::Create(token(scopes, expires_at))
    }
    fn created(scopes: Permissions, expires_at: i64) -> Event {
        Event::Created(token(scopes, expires_at))
    }
    fn networks(count: u8) -> Vec<IpNetwork> {
        let network = |number| IpNetwork::parse(&format!("10.{number}.0.0/16")).unwrap();
        (0..count).map(network).collect()
    }
    fn create_in(count: u8, expires_at: i64) -> Command {
        Command::CreateInNetworks {
            token: token(Guest.permissions(), expires_at),
            networks: networks(count),
        }
    }
    fn create_for(scopes: Permissions, networks: Option<Vec<IpNetwork>>) -> Command {
        Command::CreateForService {
            token: token(scopes, NOW + 1),
            service: ROBOT,
            networks,
            notice: Some(notice()),
        }
    }
    fn notice() -> Notice {
        Notice {
            tenant_name: Name::parse("Acme").unwrap(),
            service_name: Name::parse("Import").unwrap(),
            owners: vec![EmailAddress::parse("eve@example.com").unwrap()],
        }
    }
    fn absent() -> Given<AccessToken> {
        given([])
    }
    fn live() -> Given<AccessToken> {
        given([created(Guest.permissions(), NOW + 1)])
    }
    fn revoked() -> Given<AccessToken> {
        live().and([Event::Deleted])
    }
    /// A developer creates a token.
    fn when_created(scopes: Permissions, expires_at: i64) -> When<AccessToken> {
        let command = create(scopes, expires_at);
        absent().when(command).at(NOW).holding(Developer)
    }

    #[test]
    fn a_token_is_created() {
        let scopes = Guest.permissions();
        when_created(scopes.clone(), NOW + 1).then([created(scopes, NOW + 1)]);
    }

    #[test]
    fn a_token_may_be_restricted_to_20_networks() {
        let when = |count, expires_at| {
            let command = create_in(count, expires_at);
            absent().when(command).at(NOW).holding(Developer)
        };
        for count in [1, 20] {
            let networks = networks(count);
            let restricted = Event::Restricted { networks };
            when(count, NOW + 1).then([created(Guest.permissions(), NOW + 1), restricted]);
        }
        for count in [0, 21] {
            when(count, NOW + 1).rejects(Rejection::NetworksOutOfBounds);
        }
        when(1, NOW).rejects(Rejection::ExpiryOutOfBounds);
    }

    #[test]
    fn a_token_of_a_service_is_created_by_those_who_manage_services() {
        let when = |scopes: BuiltInRole, networks| {
            let command = create_for(scopes.permissions(), networks);
            absent().when(command).at(NOW)
        };
        let created = |scopes: BuiltInRole| Event::CreatedForService {
            token: token(scopes.permissions(), NOW + 1),
            service: ROBOT,
            notice: Some(notice()),
        };
        when(Guest, None).holding(Admin).then([created(Guest)]);
        let restricted = Event::Restricted {
            networks: networks(1),
        };
        let in_network = when(Guest, Some(networks(1))).holding(Admin);
        in_network.then([created(Guest), restricted]);
        let by_developer = when(Guest, None).holding(Developer);
        by_developer.rejects(Rejection::ServicesNotManaged);
        let more = when(Owner, None).holding(Admin);
        more.rejects(Rejection::BeyondOwnPermissions);
        let nowhere = when(Guest, Some(Vec::new())).holding(Admin);
        nowhere.rejects(Rejection::NetworksOutOfBounds);
    }

    #[test]
    fn an_id_is_used_once() {
        for again in [
            create(Guest.permissions(), NOW + 1),
            create_in(1, NOW + 1),
            create_for(Guest.permissions(), None),
        ] {
            let when = live().when(again.clone()).at(NOW).holding(Developer);
            when.rejects(Rejection::AlreadyExists);
            let when = revoked().when(again).at(NOW).holding(Developer);
            when.rejects(Rejection::NotFound);
        }
    }

    #[test]
    fn a_token_may_do_what_its_creator_may_but_no_more() {
        let all = Developer.permissions();
        when_created(all.clone(), NOW + 1).then([created(all, NOW + 1)]);
        when_created(Admin.permissions(), NOW + 1).rejects(Rejection::BeyondOwnPermissions);
    }

    #[test]
    fn a_token_needs_a_scope() {
        when_created(Permissions::new(), NOW + 1).rejects(Rejection::ScopesMissing);
    }

    #[test]
    fn a_token_expires_within_366_days() {
        let scopes = Guest.permissions();
        let last = NOW + LONGEST;
        when_created(scopes.clone(), last).then([created(scopes.clone(), last)]);
        for wrong in [i64::MIN, NOW - 1, NOW, last + 1, i64::MAX] {
            when_created(scopes.clone(), wrong).rejects(Rejection::ExpiryOutOfBounds);
        }
    }

    #[test]
    fn a_token_is_revoked_even_after_it_has_expired() {
        let when = live().when(Command::Delete).at(NOW + LONGEST);
        when.holding(Guest).then([Event::Deleted]);
    }

    #[test]
    fn a_token_that_holds_more_than_the_actor_is_revoked_by_its_creator_only() {
        let token: Given<AccessToken> = given([created(Admin.permissions(), NOW + 1)]);
        let when = |actor| token.when(Command::Delete).by(actor).holding(Developer);
        let other = AccountId(Id::from_bytes([2; 16]));
        when(Actor::Account(other)).rejects(Rejection::TokenHoldsMore);
        when(Actor::Account(ADA)).then([Event::Deleted]);
        let by_owner = token.when(Command::Delete).by(Actor::Account(other));
        by_owner.holding(Owner).then([Event::Deleted]);
    }

    #[test]
    fn a_token_that_does_not_exist_is_not_revoked() {
        for token in [absent(), revoked()] {
            token
                .when(Command::Delete)
                .at(NOW)
                .rejects(Rejection::NotFound);
        }
    }
}
