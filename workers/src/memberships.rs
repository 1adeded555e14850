//! Finds the memberships of accounts and the owners of tenants in the log, by the claims that
//! members hold.

use std::collections::BTreeMap;

use event_store::EventLog;
use events_schema::{
    AccountId, Claim, ClaimHolder, ClaimKind, MemberId, Subject, TenantId, TenantKey,
    subject::{claims_of_all_tenants, claims_of_kind},
    tenant,
};

use crate::effect::wanted_mail::current;

/// A tenant that an account is a member of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) tenant: TenantKey,
    pub(crate) member: MemberId,
}

/// Returns the memberships of an account, also where it is suspended, in tenants that exist.
///
/// # Errors
/// If the log does not answer.
pub(crate) async fn of_account(
    log: &EventLog,
    account: AccountId,
) -> anyhow::Result<Vec<Membership>> {
    let filter = claims_of_all_tenants(ClaimKind::MemberAccount, account.0);
    let mut memberships = Vec::new();
    for (claim, member) in held(log, &filter).await? {
        let TenantId::Tenant(tenant) = claim.tenant else {
            continue;
        };
        if exists(log, tenant).await? {
            memberships.push(Membership { tenant, member });
        }
    }
    Ok(memberships)
}

/// Whether a tenant exists.
///
/// # Errors
/// If the log does not answer.
pub(crate) async fn exists(log: &EventLog, tenant: TenantKey) -> anyhow::Result<bool> {
    let found = current::<tenant::View>(log, TenantId::Tenant(tenant), tenant).await?;
    Ok(found.is_some())
}

/// Whether a member is an owner of the tenant.
///
/// # Errors
/// If the log does not answer.
pub(crate) async fn is_owner(log: &EventLog, of: Membership) -> anyhow::Result<bool> {
    let owners = owners(log, of.tenant).await?;
    Ok(owners.contains(&of.member))
}

/// Returns an owner of the tenant beside this member.
///
/// # Errors
/// If the log does not answer.
pub(crate) async fn other_owner(
    log: &EventLog,
    than: Membership,
) -> anyhow::Result<Option<MemberId>> {
    let owners = owners(log, than.tenant).await?;
    Ok(owners.into_iter().find(|owner| *owner != than.member))
}

async fn owners(log: &EventLog, tenant: TenantKey) -> anyhow::Result<Vec<MemberId>> {
    let filter = claims_of_kind(TenantId::Tenant(tenant), ClaimKind::Owner);
    let owners = held(log, &filter).await?.into_iter();
    Ok(owners.map(|(_, owner)| owner).collect())
}

/// Returns the claims that match a filter and are held, each with its holder.
async fn held(log: &EventLog, filter: &str) -> anyhow::Result<Vec<(Claim, MemberId)>> {
    let mut last: BTreeMap<String, ClaimHolder> = BTreeMap::new();
    for stored in log.read_all(filter, 1).await? {
        last.insert(stored.subject, serde_json::from_slice(&stored.payload)?);
    }
    let mut found = Vec::new();
    for (subject, claim) in last {
        if let (Subject::Claim { tenant, kind, hash }, Some(holder)) =
            (Subject::parse(&subject)?, claim.holder)
        {
            found.push((Claim { tenant, kind, hash }, MemberId(holder)));
        }
    }
    Ok(found)
}
