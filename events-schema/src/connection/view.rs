//! The view of a tenant's connections. The aggregate has the same state.

use serde::{Deserialize, Serialize};

use super::{Area, CHECKED_EVERY, CheckOutcome, ConnectionId, Domain, DomainName, Event, Settings};
use crate::{Commit, Home, Index, Time};

/// A tenant's own issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Connection {
    pub id: ConnectionId,
    pub settings: Settings,
    /// Whether everybody in the tenant needs the connection.
    pub is_enforced: bool,
    /// Counts the changes after which the earlier word of the issuer is worth nothing.
    pub epoch: i64,
    pub domains: Vec<Domain>,
    pub created_at: Time,
    pub updated_at: Time,
}

/// The view of a tenant's connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    pub connections: Vec<Connection>,
    /// The domains that count, of all connections: logging in finds the tenant by them.
    pub verified_domains: Vec<DomainName>,
    /// When the record of a domain is looked for next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check_at: Option<Time>,
}

impl Connection {
    /// Finds a domain.
    pub fn domain(&self, name: &DomainName) -> Option<&Domain> {
        self.domains.iter().find(|domain| domain.name == *name)
    }

    /// Whether the addresses of this domain count as proved if this connection names them.
    pub fn has_verified(&self, name: &DomainName) -> bool {
        self.domain(name).is_some_and(Domain::is_verified)
    }

    /// Whether the word still counts that the issuer has given in this epoch. One of an epoch that
    /// is not known here yet does.
    pub const fn stands_by(&self, epoch: i64) -> bool {
        self.epoch <= epoch
    }

    /// Whether any domain counts.
    pub fn has_domain(&self) -> bool {
        self.domains.iter().any(Domain::is_verified)
    }
}

impl View {
    /// Finds a connection.
    pub fn find(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.iter().find(|known| known.id == id)
    }

    /// Finds the connection for which a domain counts.
    pub fn of_domain(&self, name: &DomainName) -> Option<&Connection> {
        let mut connections = self.connections.iter();
        connections.find(|connection| connection.has_verified(name))
    }

    /// Returns the connections that everybody in the tenant needs one of.
    pub fn enforced(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter().filter(|known| known.is_enforced)
    }

    /// Returns the domains whose records are to be looked for, those that are due first at first.
    pub fn checks(&self) -> Vec<(ConnectionId, &Domain)> {
        let all = self.connections.iter();
        let domains = all.flat_map(|known| known.domains.iter().map(|domain| (known.id, domain)));
        let awaited = domains.filter(|(_, domain)| domain.next_check_at.is_some());
        let mut awaited: Vec<_> = awaited.collect();
        awaited.sort_by_key(|(_, domain)| domain.next_check_at);
        awaited
    }
}

impl crate::View for View {
    type Area = Area;
    const NAME: &'static str = "connection";
    const HOME: Home = Home::Platform;
    const INDEXES: &'static [Index] = &[
        Index::on(&["connections.id"]),
        Index::on(&["verified_domains"]),
        // For workers that have lost what is to be done at these times.
        Index::on(&["next_check_at"]),
    ];

    /// The document stays when the last connection is deleted.
    fn fold(view: Option<Self>, commit: &Commit<Area>) -> Option<Self> {
        let mut view = view.unwrap_or_default();
        for event in &commit.events {
            if *event == Event::Ended {
                return None;
            }
            apply(&mut view, event, commit.time);
        }
        Some(view)
    }
}

/// Applies an event to a tenant's connections.
pub fn apply(view: &mut View, event: &Event, at: Time) {
    match event {
        Event::Created {
            connection,
            settings,
        } => view.connections.push(Connection {
            id: *connection,
            settings: settings.clone(),
            is_enforced: false,
            epoch: 0,
            domains: Vec::new(),
            created_at: at,
            updated_at: at,
        }),
        Event::Deleted { connection } => view.connections.retain(|known| known.id != *connection),
        Event::Ended => view.connections.clear(),
        Event::Updated { connection, .. }
        | Event::EnforcementBegun { connection }
        | Event::EnforcementEnded { connection }
        | Event::DomainAdded { connection, .. }
        | Event::DomainRemoved { connection, .. }
        | Event::DomainCheckRequested { connection, .. }
        | Event::DomainVerified { connection, .. }
        | Event::DomainChecked { connection, .. }
        | Event::DomainLost { connection, .. }
        | Event::Resealed { connection, .. } => {
            let mut connections = view.connections.iter_mut();
            if let Some(known) = connections.find(|known| known.id == *connection) {
                change(known, event, at);
            }
        }
    }
    let domains = view.connections.iter().flat_map(|known| &known.domains);
    let verified = domains.filter(|domain| domain.is_verified());
    view.verified_domains = verified.map(|domain| domain.name.clone()).collect();
    let domains = view.connections.iter().flat_map(|known| &known.domains);
    view.next_check_at = domains.filter_map(|domain| domain.next_check_at).min();
}

fn change(connection: &mut Connection, event: &Event, at: Time) {
    match event {
        Event::Created { .. } | Event::Deleted { .. } | Event::Ended => return,
        Event::Updated { settings, .. } => {
            let is_same = settings.vouch_like(&connection.settings);
            connection.epoch += i64::from(!is_same);
            connection.settings = settings.clone();
        }
        Event::EnforcementBegun { .. } => connection.is_enforced = true,
        Event::EnforcementEnded { .. } => connection.is_enforced = false,
        Event::Resealed {
            former, current, ..
        } => {
            if connection.settings.client_secret == *former {
                connection.settings.client_secret = current.clone();
            }
            return;
        }
        Event::DomainAdded {
            domain, challenge, ..
        } => connection.domains.push(Domain {
            name: domain.clone(),
            challenge: challenge.clone(),
            added_at: at,
            verified_at: None,
            missing_since: None,
            silent_since: None,
            checked_at: None,
            outcome: None,
            next_check_at: None,
        }),
        Event::DomainRemoved { domain, .. } => {
            connection.domains.retain(|known| known.name != *domain);
        }
        Event::DomainCheckRequested { domain, .. }
        | Event::DomainVerified { domain, .. }
        | Event::DomainChecked { domain, .. }
        | Event::DomainLost { domain, .. } => {
            let mut domains = connection.domains.iter_mut();
            if let Some(known) = domains.find(|known| known.name == *domain) {
                check(known, event, at);
            }
            return;
        }
    }
    connection.updated_at = at;
}

/// Applies an event about the record of a domain.
fn check(domain: &mut Domain, event: &Event, at: Time) {
    match event {
        Event::DomainCheckRequested { .. } => domain.next_check_at = Some(at),
        Event::DomainVerified { .. } => {
            domain.verified_at = Some(at);
            looked(domain, CheckOutcome::Found, at);
        }
        Event::DomainChecked { outcome, .. } => looked(domain, *outcome, at),
        Event::DomainLost { .. } => {
            domain.verified_at = None;
            looked(domain, CheckOutcome::Missing, at);
        }
        Event::Created { .. }
        | Event::Updated { .. }
        | Event::Deleted { .. }
        | Event::EnforcementBegun { .. }
        | Event::EnforcementEnded { .. }
        | Event::DomainAdded { .. }
        | Event::DomainRemoved { .. }
        | Event::Resealed { .. }
        | Event::Ended => {}
    }
}

/// Only a domain that counts is looked for again by itself. DNS that does not answer says nothing
/// about a record that was missing before.
fn looked(domain: &mut Domain, outcome: CheckOutcome, at: Time) {
    domain.checked_at = Some(at);
    domain.outcome = Some(outcome);
    match outcome {
        CheckOutcome::Found | CheckOutcome::Taken => {
            domain.missing_since = None;
            domain.silent_since = None;
        }
        CheckOutcome::Missing => {
            domain.missing_since = domain.missing_since.or(Some(at));
            domain.silent_since = None;
        }
        CheckOutcome::Unavailable => domain.silent_since = domain.silent_since.or(Some(at)),
    }
    domain.next_check_at = domain.is_verified().then(|| at + CHECKED_EVERY);
}

#[cfg(test)]
mod tests;
