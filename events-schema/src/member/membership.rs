//! The view of a person's membership, which belongs to the platform.

use serde::{Deserialize, Serialize};

use super::{Area, Event};
use crate::{
    AccountId, Commit, Home, Index, MemberId, TenantId, TenantKey, Time, secret::derived_id,
};

/// An account's membership of a tenant: the part of a member that is read before the tenant of a
/// request is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Membership {
    pub account: AccountId,
    pub tenant: TenantId,
    /// When the account became a member, or was last restored.
    pub since: Time,
}

impl crate::View for Membership {
    type Area = Area;
    const NAME: &'static str = "membership";
    const HOME: Home = Home::Platform;
    const INDEXES: &'static [Index] = &[Index::on(&["account", "since"])];

    fn fold(view: Option<Self>, commit: &Commit<Area>) -> Option<Self> {
        commit.events.iter().fold(view, |view, event| match event {
            Event::FounderAdded { account, .. }
            | Event::Accepted { account }
            | Event::Joined { account, .. }
            | Event::Restored { account } => Some(Self {
                account: *account,
                tenant: commit.tenant,
                since: commit.time,
            }),
            Event::Removed | Event::Suspended => None,
            Event::Invited { .. }
            | Event::Rejected
            | Event::RoleChanged { .. }
            | Event::RoleAssigned { .. }
            | Event::RoleUnassigned { .. }
            | Event::EmailChanged { .. }
            | Event::Identified { .. } => view,
        })
    }
}

/// Returns the id of a member who joins by a connection without an invitation. It is the same each
/// time, so of two log-ins at once one makes the member.
pub fn joining_id(tenant: TenantKey, account: AccountId) -> MemberId {
    MemberId(derived_id(&[b"join", tenant.0.bytes(), account.0.bytes()]))
}
