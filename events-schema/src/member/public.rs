//! Members as webhooks send them.

use serde::Serialize;

use super::{Status, View};
use crate::{
    BuiltInRole, Id, RoleId,
    published::{DateTime, EnumName, EventType, Person, Published},
};

/// A member or an invitation as webhooks send it, without the address.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Public {
    /// Id of the member. It is not the id of the account.
    id: Id,
    /// The person. Null until the invitation is accepted.
    user: Option<Person>,
    /// The built-in role.
    role: EnumName<BuiltInRole>,
    /// The custom roles that were assigned, also those that have been deleted since.
    roles: Vec<AssignedRole>,
    /// The state of the invitation.
    status: EnumName<Status>,
    /// When the member was first invited, or founded the tenant.
    created_at: DateTime,
    /// When the member was last changed.
    updated_at: DateTime,
    /// Counts the changes of the member.
    revision: u64,
}

/// A custom role of a member.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct AssignedRole {
    /// Id of the role.
    id: RoleId,
}

impl Published for Public {
    type View = View;
    const EVENTS: &'static [EventType] = &[
        EventType::new(
            "member.founder_added",
            "The founder became the first owner.",
        ),
        EventType::new("member.invited", "Somebody was invited, or invited again."),
        EventType::new("member.accepted", "The invitation was accepted."),
        EventType::new("member.rejected", "The invitation was rejected."),
        EventType::new("member.role_changed", "The built-in role was changed."),
        EventType::new("member.role_assigned", "A custom role was assigned."),
        EventType::new("member.role_unassigned", "A custom role was unassigned."),
        EventType::new(
            "member.joined",
            "A person became a member by the tenant's own issuer.",
        ),
        EventType::new("member.suspended", "The member was suspended."),
        EventType::new("member.restored", "The member has access again."),
        EventType::new(
            "member.removed",
            "The member was removed, or the invitation withdrawn.",
        ),
    ];

    // What is sent has no address, and no identity.
    const UNSENT: &'static [&'static str] = &["email_changed", "identified"];

    fn of(view: View, id: Id, revision: u64) -> Option<Self> {
        let roles = view.roles.into_iter();
        Some(Self {
            id,
            user: view.account.map(|id| Person { id }),
            role: EnumName(view.role),
            roles: roles.map(|id| AssignedRole { id }).collect(),
            status: EnumName(view.status),
            created_at: DateTime(view.created_at),
            updated_at: DateTime(view.updated_at),
            revision,
        })
    }
}
