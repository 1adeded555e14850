//! Connections: a tenant's own OpenID Connect issuers, by which its people log in. All connections
//! of a tenant are one aggregate with the tenant's id, since their number and domains concern all
//! of them.
//!
//! The view belongs to the platform: it is read before anybody is logged in. So the commits do,
//! too.

use serde::{Deserialize, Serialize};

use crate::{
    Access, AreaName, BuiltInRole, EmailAddress, Permission, Permissions, TenantKey, id::typed_id,
    published::Private, sealed::Sealed,
};

mod domain;
mod settings;
mod view;

pub use self::{
    domain::{
        CHECKED_EVERY, CheckOutcome, Domain, DomainName, Finding, LOST_AFTER, SILENT_AFTER, Warning,
    },
    settings::{Changes, ClientId, Issuer, Settings},
    view::{Connection, View, apply},
};

typed_id! {
    /// Identifies a connection: the id of the command that created it.
    ConnectionId
}

/// A tenant has at most this many connections.
pub const MAX_CONNECTIONS: usize = 10;
/// A connection has at most this many domains.
pub const MAX_DOMAINS: usize = 20;
/// What a sealed client secret of a connection is for. It is part of the key.
pub const SEALED_FOR: &str = "connection";

/// The permission to read connections.
pub const READ: Permission = Permission::new("read_connection", BuiltInRole::Admin);
/// The permission to create connections.
pub const CREATE: Permission = Permission::new("create_connection", BuiltInRole::Admin);
/// The permission to change connections and their domains.
pub const UPDATE: Permission = Permission::new("update_connection", BuiltInRole::Admin);
/// The permission to delete connections.
pub const DELETE: Permission = Permission::new("delete_connection", BuiltInRole::Admin);

/// The area of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area;

impl crate::Area for Area {
    const NAME: AreaName = AreaName::Connection;
    const ACCESS: &'static [Access] = &[
        Access::permission("sso", READ),
        Access::permission("sso_create", CREATE).fresh().creates(),
        Access::permission("sso_update", UPDATE).fresh(),
        Access::permission("sso_delete", DELETE).fresh(),
        Access::permission("sso_enforce", UPDATE).fresh(),
        Access::permission("sso_add_domain", UPDATE).fresh(),
        Access::permission("sso_verify_domain", UPDATE).fresh(),
        Access::permission("sso_remove_domain", UPDATE).fresh(),
    ];
    const INTERNAL: &'static [&'static str] = &["record_check", "reseal", "end"];
    const FEED: Option<Permission> = None;
    const ENDS: &'static [&'static str] = &["ended"];
    type Id = TenantKey;
    type Command = Command;
    type Event = Event;
    type Public = Private<View>;
}

/// A request to change a tenant's connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Create a connection. It takes the command's id.
    Create {
        settings: Settings,
        /// The permissions that the actor holds in the tenant.
        actor_holds: Permissions,
    },
    /// Change the given settings. An absent one keeps its value.
    Update {
        connection: ConnectionId,
        changes: Changes,
        /// The permissions that the actor holds in the tenant.
        actor_holds: Permissions,
    },
    /// Delete a connection. Its domains become free, and its sessions end.
    Delete { connection: ConnectionId },
    /// Demand the connection of everybody in the tenant, or do so no longer. The gateway has
    /// checked that the actor has logged in by it.
    Enforce {
        connection: ConnectionId,
        is_enforced: bool,
        /// The epoch of the connection in which the actor has logged in by it. `None` if nobody
        /// demands it any more, and from a gateway of an earlier release.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<i64>,
    },
    /// Add a domain, which does not count yet.
    AddDomain {
        connection: ConnectionId,
        domain: DomainName,
        /// The permissions that the actor holds in the tenant.
        actor_holds: Permissions,
    },
    /// Remove a domain.
    RemoveDomain {
        connection: ConnectionId,
        domain: DomainName,
    },
    /// Look for the record of a domain now.
    VerifyDomain {
        connection: ConnectionId,
        domain: DomainName,
        /// The permissions that the actor holds in the tenant.
        actor_holds: Permissions,
    },
    /// Record what was found of a domain. A worker sends this.
    RecordCheck {
        connection: ConnectionId,
        domain: DomainName,
        /// What was looked for.
        challenge: String,
        finding: Finding,
        /// The owners of the tenant, who get a mail if the record is missing for the first time, or
        /// DNS has not answered for long.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        owners: Vec<EmailAddress>,
    },
    /// Replace the client secret by the same one, sealed under another secret. An operator's
    /// command sends this.
    Reseal {
        connection: ConnectionId,
        former: Sealed,
        current: Sealed,
    },
    /// End all connections, since the tenant was deleted.
    End,
}

/// A change to a tenant's connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// A connection was created.
    Created {
        connection: ConnectionId,
        settings: Settings,
    },
    /// A connection was changed. All settings are given, changed or not.
    Updated {
        connection: ConnectionId,
        settings: Settings,
    },
    /// A connection was deleted.
    Deleted { connection: ConnectionId },
    /// Everybody in the tenant needs the connection.
    EnforcementBegun { connection: ConnectionId },
    /// Nobody needs the connection any more.
    EnforcementEnded { connection: ConnectionId },
    /// A domain was added.
    DomainAdded {
        connection: ConnectionId,
        domain: DomainName,
        /// What the record must say.
        challenge: String,
    },
    /// A domain was removed.
    DomainRemoved {
        connection: ConnectionId,
        domain: DomainName,
    },
    /// The record of a domain is looked for now.
    DomainCheckRequested {
        connection: ConnectionId,
        domain: DomainName,
    },
    /// The record was found: the addresses of the domain count as proved.
    DomainVerified {
        connection: ConnectionId,
        domain: DomainName,
    },
    /// The record was looked for, and the domain counts as before.
    DomainChecked {
        connection: ConnectionId,
        domain: DomainName,
        outcome: CheckOutcome,
        /// What the owners are warned of; `None` if there is nothing new.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        warning: Option<Warning>,
        /// The addresses that get the warning.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        owners: Vec<EmailAddress>,
    },
    /// The record has been missing for too long: the domain does not count any more.
    DomainLost {
        connection: ConnectionId,
        domain: DomainName,
        /// The addresses that get a mail.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        owners: Vec<EmailAddress>,
    },
    /// The client secret was replaced by the same one under another secret.
    Resealed {
        connection: ConnectionId,
        former: Sealed,
        current: Sealed,
    },
    /// The tenant was deleted, and its connections with it.
    Ended,
}
