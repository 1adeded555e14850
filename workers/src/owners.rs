//! Finds the addresses of a tenant's owners and members in the log.

use std::collections::{BTreeMap, HashSet};

use event_store::EventLog;
use events_schema::{
    AreaName, BuiltInRole, Commit, EmailAddress, MemberId, TenantId, TenantKey, View as _,
    member::{Area, Status, View},
    subject::events_of_tenant_in,
};

/// The most owners that get a mail.
const MAX_OWNERS: usize = 10;

/// Finds the owners and members of tenants.
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
        let members = self.members(tenant).await?.into_values();
        let owners = members
            .filter_map(Member::accepted)
            .filter(|member| member.role == BuiltInRole::Owner);
        Ok(owners.map(|owner| owner.email).take(MAX_OWNERS).collect())
    }

    /// Returns the present address of the member who has, or once had, this one; `None` if they
    /// have left.
    ///
    /// # Errors
    /// If the log does not answer.
    pub async fn present_address(
        &self,
        tenant: TenantKey,
        email: &EmailAddress,
    ) -> anyhow::Result<Option<EmailAddress>> {
        let members = self.members(tenant).await?.into_values();
        let with_address = members.filter(|member| member.addresses.contains(email));
        let accepted: Vec<_> = with_address.filter_map(Member::accepted).collect();
        // Another member may have got the address since.
        let own = accepted.iter().find(|member| member.email == *email);
        Ok(own.or(accepted.first()).map(|member| member.email.clone()))
    }

    async fn members(&self, tenant: TenantKey) -> anyhow::Result<BTreeMap<MemberId, Member>> {
        let filter = events_of_tenant_in(TenantId::Tenant(tenant), AreaName::Member);
        let mut members: BTreeMap<MemberId, Member> = BTreeMap::new();
        for stored in self.log.read(&filter, 0).await? {
            // A commit of a newer release makes nobody a member here.
            let Ok(commit) = serde_json::from_slice::<Commit<Area>>(&stored.payload) else {
                continue;
            };
            let member = members.entry(commit.id).or_default();
            member.view = View::fold(member.view.take(), &commit);
            let address = member.view.iter().map(|view| view.email.clone());
            member.addresses.extend(address);
        }
        Ok(members)
    }
}

/// A member or an invitation.
#[derive(Default)]
struct Member {
    view: Option<View>,
    /// All addresses that it has had.
    addresses: HashSet<EmailAddress>,
}

impl Member {
    fn accepted(self) -> Option<View> {
        self.view.filter(|view| view.status == Status::Accepted)
    }
}
