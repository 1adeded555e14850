//! Finds the addresses of a tenant's owners in the log.

use std::collections::BTreeMap;

use event_store::EventLog;
use events_schema::{
    AreaName, BuiltInRole, Commit, EmailAddress, MemberId, TenantId, TenantKey, View as _,
    member::{Area, Status, View},
    subject::events_of_tenant_in,
};

/// The most owners that get a mail.
const MAX_OWNERS: usize = 10;

/// Finds the owners of tenants.
#[derive(Clone)]
pub struct Owners {
    log: EventLog,
}

impl Owners {
    /// Reads the owners from this log.
    pub const fn new(log: EventLog) -> Self {
        Self { log }
    }

    /// Returns the addresses of the tenant's owners, at most ten.
    ///
    /// # Errors
    /// If the log does not answer.
    pub async fn of(&self, tenant: TenantKey) -> anyhow::Result<Vec<EmailAddress>> {
        let filter = events_of_tenant_in(TenantId::Tenant(tenant), AreaName::Member);
        let mut members: BTreeMap<MemberId, Option<View>> = BTreeMap::new();
        for stored in self.log.read(&filter, 0).await? {
            // A commit of a newer release makes nobody an owner here.
            let Ok(commit) = serde_json::from_slice::<Commit<Area>>(&stored.payload) else {
                continue;
            };
            let member = members.entry(commit.id).or_default();
            *member = View::fold(member.take(), &commit);
        }
        let owners = members.into_values().flatten().filter(|member| {
            member.role == BuiltInRole::Owner && member.status == Status::Accepted
        });
        Ok(owners.map(|owner| owner.email).take(MAX_OWNERS).collect())
    }
}
