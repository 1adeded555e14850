//! Members: who belongs to a tenant, and with which roles. An invitation is a member who has not
//! accepted yet.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    Access, AccountId, AreaName, BuiltInRole, Challenge, ChallengeId, Commit, EmailAddress, Home,
    IdentityId, Index, Limit, Name, Permission, Permissions, PersonName, RoleId, Time,
    id::typed_id,
};

mod membership;
mod public;
pub use self::{
    membership::{Membership, joining_id},
    public::Public,
};

typed_id! {
    /// Identifies a member of a tenant, or an invitation.
    MemberId
}

/// An invitation may be answered for this long, so that a person who is away for a few days finds
/// it valid.
pub const INVITATION_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The permission to read members and invitations.
pub const READ: Permission = Permission::new("read_member", BuiltInRole::Member);
/// The permission to invite people.
pub const CREATE: Permission = Permission::new("create_member", BuiltInRole::Admin);
/// The permission to change the roles of members.
pub const UPDATE: Permission = Permission::new("update_member", BuiltInRole::Admin);
/// The permission to remove other members.
pub const DELETE: Permission = Permission::new("delete_member", BuiltInRole::Admin);

/// How many members and pending invitations a tenant may have.
pub const SEATS: Limit = Limit::new("seats");

/// The area of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area;

impl crate::Area for Area {
    const NAME: AreaName = AreaName::Member;
    const ACCESS: &'static [Access] = &[
        Access::permission("read", READ),
        Access::permission("invite", CREATE)
            .in_person()
            .limit(SEATS),
        Access::signed_in("accept_invitation"),
        Access::signed_in("reject_invitation"),
        Access::permission("update", UPDATE).in_person(),
        Access::permission("suspend", UPDATE).in_person(),
        Access::permission("restore", UPDATE).in_person(),
        Access::own_or("delete", DELETE).in_person(),
        Access::member("me"),
    ];
    const INTERNAL: &'static [&'static str] = &["add_founder", "follow_account", "leave"];
    // An access token finds its creator by `me`, and is not its creator.
    const FIELDS: &'static [Access] = &[Access::own_or("email", READ)];
    const FEED: Option<Permission> = Some(READ);
    // A suspended member is still one. A rejected invitation can be sent again.
    const ENDS: &'static [&'static str] = &["rejected", "removed"];
    const LAPSES: Option<(&'static str, Duration)> = Some(("invited", INVITATION_LIFETIME));
    type Id = MemberId;
    type Command = Command;
    type Event = Event;
    type Public = Public;
}

/// A request to change a member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Make the founder of a new tenant its first owner.
    AddFounder {
        account: AccountId,
        email: EmailAddress,
    },
    /// Invite an address, or send the invitation again. A new member takes the command's id.
    Invite {
        email: EmailAddress,
        role: BuiltInRole,
        /// The tenant's name in the mail.
        tenant_name: Name,
        /// The name of the person who invites, in the mail. A machine has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inviter: Option<PersonName>,
    },
    /// Accept the invitation. The gateway has checked the link.
    Accept {
        challenge: ChallengeId,
        account: AccountId,
        /// The account's verified address.
        email: EmailAddress,
    },
    /// Reject the invitation. The gateway has checked the link.
    Reject {
        challenge: ChallengeId,
        /// The account's verified address.
        email: EmailAddress,
    },
    /// Change the built-in role.
    ChangeRole {
        role: BuiltInRole,
        /// All permissions that the member holds now, by any role.
        member_holds: Permissions,
        /// Another owner who stays. Needed if the member is an owner, so that the tenant keeps one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        other_owner: Option<MemberId>,
    },
    /// Assign a custom role.
    AssignRole {
        role: RoleId,
        /// The permissions that the role grants now, inherited ones included.
        grants: Permissions,
    },
    /// Unassign a custom role.
    UnassignRole {
        role: RoleId,
        /// The permissions that the role grants now, inherited ones included.
        grants: Permissions,
    },
    /// Suspend the member: they keep their roles and lose access until they are restored.
    Suspend {
        /// All permissions that the member holds now, by any role.
        member_holds: Permissions,
    },
    /// Give a suspended member access again.
    Restore {
        /// All permissions that the member's roles hold now.
        member_holds: Permissions,
    },
    /// Remove the member, or withdraw the invitation. A member may remove themselves.
    Remove {
        /// All permissions that the member holds now, by any role.
        member_holds: Permissions,
        /// Another owner who stays. Needed if the member is an owner, so that the tenant keeps one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        other_owner: Option<MemberId>,
    },
    /// Become a member without an invitation, by a connection of the tenant. The gateway has
    /// checked the proof. A pending invitation of the address is accepted instead. A member is
    /// remembered by the identity.
    Join {
        account: AccountId,
        /// The account's verified address.
        email: EmailAddress,
        /// The role that the connection gives. `None` if only an invitation lets the person in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        role: Option<BuiltInRole>,
        /// All names of the identity at the connection, the present one first. Empty from a gateway
        /// of an earlier release.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        identities: Vec<IdentityId>,
    },
    /// Show the address that the account of the member has now.
    FollowAccount {
        account: AccountId,
        email: EmailAddress,
    },
    /// Remove the member, since the account was deleted.
    Leave {
        account: AccountId,
        /// Another owner who stays. Needed if the member is an owner, so that the tenant keeps one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        other_owner: Option<MemberId>,
    },
}

/// A change to a member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// The founder became the first owner.
    #[serde(alias = "founded")]
    FounderAdded {
        account: AccountId,
        email: EmailAddress,
    },
    /// An address was invited. An earlier invitation is no longer valid.
    Invited {
        email: EmailAddress,
        role: BuiltInRole,
        challenge: ChallengeId,
        /// The tenant's name in the mail.
        tenant_name: Name,
        /// The name of the person who invited, in the mail.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inviter: Option<PersonName>,
    },
    /// The invitation was accepted.
    Accepted { account: AccountId },
    /// The invitation was rejected.
    Rejected,
    /// The built-in role was changed.
    RoleChanged {
        role: BuiltInRole,
        /// When the invitation expires, if it is not answered yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lapses_at: Option<Time>,
    },
    /// A custom role was assigned.
    RoleAssigned {
        role: RoleId,
        /// When the invitation expires, if it is not answered yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lapses_at: Option<Time>,
    },
    /// A custom role was unassigned.
    RoleUnassigned {
        role: RoleId,
        /// When the invitation expires, if it is not answered yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lapses_at: Option<Time>,
    },
    /// The member was suspended.
    Suspended,
    /// The member has access again.
    Restored { account: AccountId },
    /// The member was removed, or the invitation withdrawn.
    Removed,
    /// A person has become a member by a connection of the tenant.
    Joined {
        account: AccountId,
        email: EmailAddress,
        role: BuiltInRole,
    },
    /// The account of the member has got another address.
    EmailChanged { email: EmailAddress },
    /// A connection of the tenant has identified the member by this identity for the first time.
    Identified { identity: IdentityId },
}

/// The state of an invitation or a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Status {
    /// The invitation is not answered yet.
    Pending,
    /// The invitation was accepted.
    Accepted,
    /// The invitation was rejected.
    Rejected,
    /// The member has no access until they are restored.
    Suspended,
}

/// The view of a member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    /// The address that was invited, or that the account has got since.
    pub email: EmailAddress,
    /// The account that accepted.
    pub account: Option<AccountId>,
    /// The built-in role.
    pub role: BuiltInRole,
    /// Custom roles beside the built-in one.
    pub roles: BTreeSet<RoleId>,
    pub status: Status,
    /// The invitation mail that may be answered.
    pub invitation: Option<Challenge>,
    /// When the member was first invited.
    pub created_at: Time,
    pub updated_at: Time,
}

impl crate::View for View {
    type Area = Area;
    const NAME: &'static str = "member";
    const HOME: Home = Home::Tenant;
    const INDEXES: &'static [Index] = &[
        Index::on(&["account"]),
        Index::on(&["email"]),
        Index::on(&["created_at"]),
        Index::on(&["status", "created_at"]),
        Index::on(&["status", "email"]),
        // Also finds another owner when one leaves.
        Index::on(&["role", "created_at"]),
        Index::on(&["role", "email"]),
    ];

    fn fold(view: Option<Self>, commit: &Commit<Area>) -> Option<Self> {
        let events = commit.events.iter();
        let folded = events.fold(view, |view, event| step(view, event, commit.time));
        folded.map(|view| Self {
            updated_at: commit.time,
            ..view
        })
    }
}

fn step(view: Option<View>, event: &Event, at: Time) -> Option<View> {
    match event {
        Event::FounderAdded { account, email } => Some(View {
            email: email.clone(),
            account: Some(*account),
            role: BuiltInRole::Owner,
            roles: BTreeSet::new(),
            status: Status::Accepted,
            invitation: None,
            created_at: at,
            updated_at: at,
        }),
        Event::Invited {
            email,
            role,
            challenge,
            tenant_name: _,
            inviter: _,
        } => {
            let before = view.map(|view| (view.created_at, view.roles));
            let (created_at, roles) = before.unwrap_or((at, BTreeSet::new()));
            Some(View {
                email: email.clone(),
                account: None,
                role: *role,
                roles,
                status: Status::Pending,
                invitation: Some(Challenge {
                    id: *challenge,
                    requested_at: at,
                    failures: 0,
                }),
                created_at,
                updated_at: at,
            })
        }
        Event::Accepted { account } => view.map(|view| View {
            account: Some(*account),
            status: Status::Accepted,
            invitation: None,
            ..view
        }),
        Event::Rejected => view.map(|view| View {
            status: Status::Rejected,
            roles: BTreeSet::new(),
            invitation: None,
            ..view
        }),
        Event::RoleChanged { role, .. } => view.map(|view| View {
            role: *role,
            ..view
        }),
        Event::RoleAssigned { role, .. } => view.map(|mut view| {
            view.roles.insert(*role);
            view
        }),
        Event::RoleUnassigned { role, .. } => view.map(|mut view| {
            view.roles.remove(role);
            view
        }),
        Event::Suspended => view.map(|view| View {
            status: Status::Suspended,
            ..view
        }),
        Event::Restored { .. } => view.map(|view| View {
            status: Status::Accepted,
            ..view
        }),
        Event::Removed => None,
        Event::Joined {
            account,
            email,
            role,
        } => Some(View {
            email: email.clone(),
            account: Some(*account),
            role: *role,
            roles: BTreeSet::new(),
            status: Status::Accepted,
            invitation: None,
            created_at: view.map_or(at, |view| view.created_at),
            updated_at: at,
        }),
        Event::EmailChanged { email } => view.map(|view| View {
            email: email.clone(),
            ..view
        }),
        Event::Identified { .. } => view,
    }
}

#[cfg(test)]
mod tests;
