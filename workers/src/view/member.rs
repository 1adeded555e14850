//! Members as they are read, and which tenants an account belongs to.

use std::collections::BTreeSet;

use events_schema::{
    BuiltInRole, Challenge, Commit,
    member::{Event, Membership, Status, View as Member},
};

use super::{Fold, Index};

impl Fold for Member {
    type Event = Event;
    const INDEXES: &'static [Index] =
        &[Index { fields: &["account"] }, Index { fields: &["email"] }, Index { fields: &["created_at"] }, Index { fields: &["role"] }];

    fn fold(view: Option<Self>, commit: &Commit<Event>) -> Option<Self> {
        let folded = commit.events.iter().fold(view, |view, event| step(view, event, commit));
        folded.map(|view| Self { updated_at: commit.time, ..view })
    }
}

fn step(view: Option<Member>, event: &Event, commit: &Commit<Event>) -> Option<Member> {
    let at = commit.time;
    let new = |email: &events_schema::EmailAddress, role, status| Member {
        email: email.clone(),
        account: None,
        role,
        roles: BTreeSet::new(),
        status,
        invitation: None,
        created_at: at,
        updated_at: at,
    };
    match event {
        Event::Founded { account, email } => Some(Member { account: Some(*account), ..new(email, BuiltInRole::Owner, Status::Accepted) }),
        Event::Invited { email, role, challenge, .. } => {
            let before = view.unwrap_or_else(|| new(email, *role, Status::Pending));
            let invitation = Some(Challenge { id: *challenge, requested_at: at, failures: 0 });
            Some(Member { role: *role, status: Status::Pending, invitation, ..before })
        }
        Event::Accepted { account } => {
            view.map(|view| Member { account: Some(*account), status: Status::Accepted, invitation: None, ..view })
        }
        Event::Rejected => view.map(|view| Member { status: Status::Rejected, invitation: None, roles: BTreeSet::new(), ..view }),
        Event::RoleChanged { role } => view.map(|view| Member { role: *role, ..view }),
        Event::RoleAssigned { role } => view.map(|mut view| {
            view.roles.insert(*role);
            view
        }),
        Event::RoleUnassigned { role } => view.map(|mut view| {
            view.roles.remove(role);
            view
        }),
        Event::Removed => None,
    }
}

impl Fold for Membership {
    type Event = Event;
    const INDEXES: &'static [Index] = &[Index { fields: &["account", "since"] }];

    fn fold(view: Option<Self>, commit: &Commit<Event>) -> Option<Self> {
        commit.events.iter().fold(view, |view, event| match event {
            Event::Founded { account, .. } | Event::Accepted { account } => {
                Some(Self { account: *account, tenant: commit.tenant, since: commit.time })
            }
            Event::Removed => None,
            Event::Invited { .. }
            | Event::Rejected
            | Event::RoleChanged { .. }
            | Event::RoleAssigned { .. }
            | Event::RoleUnassigned { .. } => view,
        })
    }
}
