//! Connections: a tenant's own issuers, and the domains whose addresses they may name.
//!
//! All connections of a tenant are decided together. So the last domain of a connection that
//! everybody needs stays, and a domain counts for one connection only.

use events_schema::{
    BuiltInRole, Claim, ConnectionId, DomainName, EmailAddress, Permissions, Reject, RejectionKind,
    Time,
    connection::{
        Area, Changes, CheckOutcome, Command, Connection, Domain, Event, Finding, MAX_CONNECTIONS,
        MAX_DOMAINS, Settings, View, apply,
    },
    secret::derived_id,
};
use serde::Serialize;

use crate::aggregate::{Aggregate, Decision, Facts};

mod public_domain;

/// The connections of a tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connections {
    view: View,
    /// Whether the tenant was deleted.
    has_ended: bool,
}

/// Why a command to a tenant's connections is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The connection does not exist, or the tenant was deleted.
    #[error("There is no such connection.")]
    NotFound,
    /// The connection has no such domain.
    #[error("The connection has no such domain.")]
    DomainNotFound,
    /// There would be more than [`MAX_CONNECTIONS`] connections.
    #[error("A tenant has at most {MAX_CONNECTIONS} connections. Delete one first.")]
    TooManyConnections,
    /// There would be more than [`MAX_DOMAINS`] domains.
    #[error("A connection has at most {MAX_DOMAINS} domains. Remove one first.")]
    TooManyDomains,
    /// The role is that of owners.
    #[error("Nobody becomes an owner by logging in. Choose another role.")]
    OwnerRole,
    /// The role holds a permission that the actor lacks.
    #[error("The role has permissions that you do not have.")]
    BeyondOwnPermissions,
    /// The secret of one issuer must not be sent to another.
    #[error("Another issuer needs its own client secret.")]
    SecretMissing,
    /// Many organizations share the domain, or it belongs to a registry.
    #[error("Anybody can have an address of this domain. Add the domain of your organization.")]
    PublicDomain,
    /// Another connection of the tenant has the domain.
    #[error("Another connection has this domain. Remove it there first.")]
    DomainTaken,
    /// No domain counts, so nobody could be sent to the connection.
    #[error("Verify a domain of the connection first.")]
    NoVerifiedDomain,
    /// The actor has logged in by it before its issuer, its client id or its trust was changed, so
    /// nobody knows whether it still lets anybody in.
    #[error("The connection was changed after you had logged in by it. Log in by it again.")]
    IssuerChanged,
    /// Everybody needs the connection, and the change could lock all of them out.
    #[error("Everybody needs this connection. Stop enforcing it first.")]
    Enforced,
}

impl Reject for Rejection {
    fn kind(&self) -> RejectionKind {
        match self {
            Self::NotFound => RejectionKind::NotFound,
            Self::DomainNotFound | Self::PublicDomain => RejectionKind::invalid("domain"),
            Self::TooManyConnections | Self::TooManyDomains => RejectionKind::Limit,
            Self::OwnerRole => RejectionKind::invalid("role"),
            Self::BeyondOwnPermissions => RejectionKind::Forbidden,
            Self::SecretMissing => RejectionKind::invalid("client_secret"),
            Self::DomainTaken | Self::NoVerifiedDomain | Self::IssuerChanged | Self::Enforced => {
                RejectionKind::Conflict
            }
        }
    }
}

impl Aggregate for Connections {
    type Area = Area;
    type Rejection = Rejection;

    fn claims(&self, command: &Command, _facts: &Facts<Area>) -> Vec<Claim> {
        match command {
            Command::RecordCheck { domain, .. } => vec![Claim::domain(domain)],
            Command::Create { .. }
            | Command::Update { .. }
            | Command::Delete { .. }
            | Command::Enforce { .. }
            | Command::AddDomain { .. }
            | Command::RemoveDomain { .. }
            | Command::VerifyDomain { .. }
            | Command::Reseal { .. }
            | Command::End => Vec::new(),
        }
    }

    fn decide(&self, command: &Command, facts: &Facts<Area>) -> Result<Decision<Event>, Rejection> {
        if self.has_ended {
            return if *command == Command::End {
                Ok(Decision::unchanged())
            } else {
                Err(Rejection::NotFound)
            };
        }
        match command {
            Command::Create {
                settings,
                actor_holds,
            } => self.create(settings, actor_holds, facts),
            Command::Update {
                connection,
                changes,
                actor_holds,
            } => self.update(*connection, changes, actor_holds),
            Command::Delete { connection } => Ok(self.delete(*connection)),
            Command::Enforce {
                connection,
                is_enforced,
                epoch,
            } => self.enforce(*connection, *is_enforced, *epoch),
            Command::AddDomain {
                connection,
                domain,
                actor_holds,
            } => self.add_domain(*connection, domain, actor_holds, facts),
            Command::RemoveDomain { connection, domain } => self.remove_domain(*connection, domain),
            Command::VerifyDomain {
                connection,
                domain,
                actor_holds,
            } => self.verify_domain(*connection, domain, actor_holds),
            Command::RecordCheck {
                connection,
                domain,
                challenge,
                finding,
                owners,
            } => Ok(self.record_check(*connection, domain, challenge, (*finding, owners), facts)),
            Command::Reseal {
                connection,
                former,
                current,
            } => {
                let known = self.find(*connection)?;
                let is_former = known.settings.client_secret == *former;
                let resealed = Event::Resealed {
                    connection: *connection,
                    former: former.clone(),
                    current: current.clone(),
                };
                Ok(Decision::events(
                    is_former.then_some(resealed).into_iter().collect(),
                ))
            }
            Command::End => Ok(self.end()),
        }
    }

    fn evolve(&mut self, event: &Event, at: Time) {
        self.has_ended |= *event == Event::Ended;
        apply(&mut self.view, event, at);
    }
}

impl Connections {
    /// Returns the domains whose records are to be looked for, those that are due first at first.
    pub fn checks(&self) -> Vec<(ConnectionId, &Domain)> {
        self.view.checks()
    }

    fn find(&self, connection: ConnectionId) -> Result<&Connection, Rejection> {
        self.view.find(connection).ok_or(Rejection::NotFound)
    }

    fn create(
        &self,
        settings: &Settings,
        actor_holds: &Permissions,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        check_role(settings.role, actor_holds)?;
        if self.view.connections.len() >= MAX_CONNECTIONS {
            return Err(Rejection::TooManyConnections);
        }
        Ok(Decision::events(vec![Event::Created {
            connection: ConnectionId(facts.command.0),
            settings: settings.clone(),
        }]))
    }

    /// The issuer says who gets the role. So who changes more than the name must hold what it
    /// holds.
    fn update(
        &self,
        connection: ConnectionId,
        changes: &Changes,
        actor_holds: &Permissions,
    ) -> Result<Decision<Event>, Rejection> {
        let found = self.find(connection)?;
        let known = &found.settings;
        let settings = known.changed(changes);
        let renamed = Settings {
            name: settings.name.clone(),
            ..known.clone()
        };
        if settings != renamed {
            check_role(settings.role, actor_holds)?;
        }
        let is_other_issuer = settings.issuer != known.issuer;
        if found.is_enforced && (is_other_issuer || settings.client_id != known.client_id) {
            return Err(Rejection::Enforced);
        }
        if is_other_issuer && changes.client_secret.is_none() {
            return Err(Rejection::SecretMissing);
        }
        let is_changed = settings != *known;
        let updated = Event::Updated {
            connection,
            settings,
        };
        Ok(Decision::events(
            is_changed.then_some(updated).into_iter().collect(),
        ))
    }

    fn delete(&self, connection: ConnectionId) -> Decision<Event> {
        let Some(known) = self.view.find(connection) else {
            return Decision::unchanged();
        };
        Decision {
            release: claims_of(known),
            ..Decision::events(vec![Event::Deleted { connection }])
        }
    }

    fn enforce(
        &self,
        connection: ConnectionId,
        is_enforced: bool,
        epoch: Option<i64>,
    ) -> Result<Decision<Event>, Rejection> {
        let known = self.find(connection)?;
        if known.is_enforced == is_enforced {
            return Ok(Decision::unchanged());
        }
        if is_enforced && epoch.is_some_and(|epoch| epoch != known.epoch) {
            return Err(Rejection::IssuerChanged);
        }
        if is_enforced && !known.has_domain() {
            return Err(Rejection::NoVerifiedDomain);
        }
        Ok(Decision::events(vec![if is_enforced {
            Event::EnforcementBegun { connection }
        } else {
            Event::EnforcementEnded { connection }
        }]))
    }

    fn add_domain(
        &self,
        connection: ConnectionId,
        domain: &DomainName,
        actor_holds: &Permissions,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        let known = self.find(connection)?;
        check_role(known.settings.role, actor_holds)?;
        if known.domain(domain).is_some() {
            return Ok(Decision::unchanged());
        }
        if public_domain::is_public(domain) {
            return Err(Rejection::PublicDomain);
        }
        let mut others = self.view.connections.iter();
        if others.any(|other| other.domain(domain).is_some()) {
            return Err(Rejection::DomainTaken);
        }
        if known.domains.len() >= MAX_DOMAINS {
            return Err(Rejection::TooManyDomains);
        }
        Ok(Decision::events(vec![Event::DomainAdded {
            connection,
            domain: domain.clone(),
            challenge: challenge(connection, domain, facts),
        }]))
    }

    fn remove_domain(
        &self,
        connection: ConnectionId,
        domain: &DomainName,
    ) -> Result<Decision<Event>, Rejection> {
        let known = self.find(connection)?;
        let Some(present) = known.domain(domain) else {
            return Ok(Decision::unchanged());
        };
        let mut others = known.domains.iter().filter(|other| other.name != *domain);
        if known.is_enforced && !others.any(Domain::is_verified) {
            return Err(Rejection::Enforced);
        }
        Ok(Decision {
            release: claim_of(present).into_iter().collect(),
            ..Decision::events(vec![Event::DomainRemoved {
                connection,
                domain: domain.clone(),
            }])
        })
    }

    fn verify_domain(
        &self,
        connection: ConnectionId,
        domain: &DomainName,
        actor_holds: &Permissions,
    ) -> Result<Decision<Event>, Rejection> {
        let known = self.find(connection)?;
        check_role(known.settings.role, actor_holds)?;
        let present = known.domain(domain).ok_or(Rejection::DomainNotFound)?;
        // A domain that counts is looked for each day. An administrator who has just repaired the
        // record need not wait.
        let is_awaited = !present.is_verified() && present.next_check_at.is_some();
        let requested = Event::DomainCheckRequested {
            connection,
            domain: domain.clone(),
        };
        Ok(Decision::events(
            (!is_awaited).then_some(requested).into_iter().collect(),
        ))
    }

    /// Changes nothing if the domain was removed, or added again, while its record was looked for.
    fn record_check(
        &self,
        connection: ConnectionId,
        domain: &DomainName,
        challenge: &str,
        (finding, owners): (Finding, &[EmailAddress]),
        facts: &Facts<Area>,
    ) -> Decision<Event> {
        let known = self.view.find(connection);
        let present = known.and_then(|known| known.domain(domain));
        let Some(present) = present.filter(|present| present.challenge == challenge) else {
            return Decision::unchanged();
        };
        let domain = domain.clone();
        if present.is_lost_by(finding, facts.now) {
            let owners = owners.to_vec();
            return Decision {
                release: claim_of(present).into_iter().collect(),
                ..Decision::events(vec![Event::DomainLost {
                    connection,
                    domain,
                    owners,
                }])
            };
        }
        let claim = Claim::domain(&domain);
        if finding == Finding::Found && !present.is_verified() && !facts.is_taken(&claim) {
            return Decision {
                take: vec![claim],
                ..Decision::events(vec![Event::DomainVerified { connection, domain }])
            };
        }
        let warning = present.warning(finding, facts.now);
        let told = if warning.is_some() { owners } else { &[] };
        Decision::events(vec![Event::DomainChecked {
            connection,
            domain,
            outcome: outcome(finding, present),
            warning,
            owners: told.to_vec(),
        }])
    }

    fn end(&self) -> Decision<Event> {
        Decision {
            release: self.view.connections.iter().flat_map(claims_of).collect(),
            ..Decision::events(vec![Event::Ended])
        }
    }
}

fn check_role(role: BuiltInRole, held: &Permissions) -> Result<(), Rejection> {
    if role == BuiltInRole::Owner {
        Err(Rejection::OwnerRole)
    } else if role.permissions().is_subset(held) {
        Ok(())
    } else {
        Err(Rejection::BeyondOwnPermissions)
    }
}

/// A record that was found for a domain which does not count, and cannot, is somebody else's, too.
fn outcome(finding: Finding, domain: &Domain) -> CheckOutcome {
    match finding {
        Finding::Found if domain.is_verified() => CheckOutcome::Found,
        Finding::Found => CheckOutcome::Taken,
        Finding::Missing => CheckOutcome::Missing,
        Finding::Unavailable => CheckOutcome::Unavailable,
    }
}

fn claims_of(connection: &Connection) -> Vec<Claim> {
    connection.domains.iter().filter_map(claim_of).collect()
}

fn claim_of(domain: &Domain) -> Option<Claim> {
    domain.is_verified().then(|| Claim::domain(&domain.name))
}

/// Returns what the record of a domain must say. Each tenant, connection and addition has its own,
/// so a record that was published for one proves nothing for another.
fn challenge(connection: ConnectionId, domain: &DomainName, facts: &Facts<Area>) -> String {
    let parts = [
        b"domain_challenge",
        facts.id.0.bytes().as_slice(),
        connection.0.bytes(),
        domain.as_str().as_bytes(),
        facts.command.0.bytes(),
    ];
    format!("ub-verify={}", derived_id(&parts))
}

#[cfg(test)]
mod tests;
