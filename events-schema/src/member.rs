//! Members: who belongs to a tenant, as what. An invitation is a member who has not accepted yet.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, Area, BuiltInRole, Challenge, ChallengeId, EmailAddress, Home, MemberId, Name,
    Permissions, RoleId, TenantId, Time,
};

/// What may be asked of a member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Make the founder of a new tenant its first owner.
    Found {
        /// The founder.
        account: AccountId,
        /// The founder's address.
        email: EmailAddress,
    },
    /// Invite an address, or invite it again. A new member's id is the command's.
    Invite {
        /// Who is invited.
        email: EmailAddress,
        /// As what.
        role: BuiltInRole,
        /// What the mail calls the tenant.
        tenant_name: Name,
        /// What the inviter may do: nobody grants what they do not hold.
        held: Permissions,
    },
    /// Accept the invitation.
    Accept {
        /// Which mail is answered; the gateway has checked its proof.
        challenge: ChallengeId,
        /// Who accepts.
        account: AccountId,
        /// Their verified address.
        email: EmailAddress,
    },
    /// Refuse the invitation.
    Reject {
        /// Which mail is answered; the gateway has checked its proof.
        challenge: ChallengeId,
        /// The verified address of whoever refuses.
        email: EmailAddress,
    },
    /// Make it another built-in role.
    ChangeRole {
        /// Which.
        role: BuiltInRole,
        /// What whoever asks may do.
        held: Permissions,
        /// An owner who stays one, where this ends an ownership.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        other_owner: Option<MemberId>,
    },
    /// Give a custom role; the gateway has checked that the giver holds what it grants.
    AssignRole {
        /// Which.
        role: RoleId,
    },
    /// Take a custom role away.
    UnassignRole {
        /// Which.
        role: RoleId,
    },
    /// Leave, or be removed; an invitation is withdrawn.
    Remove {
        /// What whoever asks may do.
        held: Permissions,
        /// Who asks: everybody may leave by themselves.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<AccountId>,
        /// An owner who stays one, where this ends an ownership.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        other_owner: Option<MemberId>,
    },
}

/// What happened to a member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// The founder became the first owner.
    Founded {
        /// The founder.
        account: AccountId,
        /// The founder's address.
        email: EmailAddress,
    },
    /// An address was invited; an invitation from before is void.
    Invited {
        /// Who.
        email: EmailAddress,
        /// As what.
        role: BuiltInRole,
        /// Names the mail's link.
        challenge: ChallengeId,
        /// What the mail calls the tenant.
        tenant_name: Name,
    },
    /// The invitation was accepted.
    Accepted {
        /// By whom.
        account: AccountId,
    },
    /// The invitation was refused.
    Rejected,
    /// The built-in role was changed.
    RoleChanged {
        /// To which.
        role: BuiltInRole,
    },
    /// A custom role was given.
    RoleAssigned {
        /// Which.
        role: RoleId,
    },
    /// A custom role was taken away.
    RoleUnassigned {
        /// Which.
        role: RoleId,
    },
    /// They are no longer a member, or no longer invited.
    Removed,
}

/// How far an invitation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Status {
    /// Invited.
    Pending,
    /// A member.
    Accepted,
    /// Invited, and said no.
    Rejected,
}

/// A member as it is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    /// The address that was invited.
    pub email: EmailAddress,
    /// Who accepted.
    pub account: Option<AccountId>,
    /// The built-in role.
    pub role: BuiltInRole,
    /// Custom roles beside it.
    pub roles: BTreeSet<RoleId>,
    /// How far the invitation has come.
    pub status: Status,
    /// The mail that may be answered.
    pub invitation: Option<Challenge>,
    /// When they were first invited.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
}

impl crate::View for View {
    const NAME: &'static str = "member";
    const AREA: Area = Area::Member;
    const HOME: Home = Home::Tenant;
}

/// Which tenants an account belongs to: all of a member that must be known before the tenant is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Membership {
    /// Who.
    pub account: AccountId,
    /// Where.
    pub tenant: TenantId,
    /// Since when.
    pub since: Time,
}

impl crate::View for Membership {
    const NAME: &'static str = "membership";
    const AREA: Area = Area::Member;
    const HOME: Home = Home::Platform;
}
