//! Members: invitations, roles and removal. Nobody grants or takes away more than they hold, and a
//! tenant always has an owner.

use std::collections::BTreeSet;

use events_schema::{
    AccountId, BuiltInRole, Claim, EmailAddress, IdentityId, Permissions, Reject, RejectionKind,
    RoleId, TenantId, Time,
    member::{Area, Command, Event},
};
use serde::Serialize;

use crate::aggregate::{Aggregate, Decision, Facts};

mod account;
mod invitation;
mod joining;
mod removal;
mod roles;
mod suspension;

use invitation::Invitation;

/// A member has at most this many custom roles, since each request reads all of them.
const MAX_CUSTOM_ROLES: usize = 20;

/// One member, or one invitation.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Member {
    /// Neither invited nor added yet.
    #[default]
    Absent,
    /// A member, or invited.
    Present(Present),
    /// Removed. Only a person who has left joins again under the id.
    Removed,
}

/// A member or an invitation that exists.
#[derive(Clone, Debug, PartialEq)]
pub struct Present {
    email: EmailAddress,
    role: BuiltInRole,
    roles: BTreeSet<RoleId>,
    invitation: Invitation,
    is_suspended: bool,
    /// Those by which connections of the tenant have identified the member.
    identities: BTreeSet<IdentityId>,
}

/// Why a command to a member is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The member does not exist, is removed, or the invitation belongs to another address. The
    /// sender must not learn which.
    #[error("There is no such member.")]
    NotFound,
    /// The address or the account belongs to a member or an invitation.
    #[error("This person is already a member or invited.")]
    AlreadyMember,
    /// The role, or the member, holds a permission that the actor lacks; or the actor may not
    /// remove members.
    #[error("This needs permissions that you do not have. Ask a member who has them.")]
    BeyondOwnPermissions,
    /// The invitation was answered before, is replaced by a newer one or has expired.
    #[error("The invitation is no longer valid. Ask for a new one.")]
    ChallengeEnded,
    /// No other owner is known.
    #[error("A tenant needs an owner. Make another member an owner first.")]
    LastOwner,
    /// The member is an owner.
    #[error("An owner cannot be suspended. Change the role first.")]
    OwnerSuspended,
    /// The member is suspended, and so cannot become an owner.
    #[error("A suspended member cannot become an owner. Restore the member first.")]
    Suspended,
    /// A connection does not let the person in: the address is in none of its domains, the tenant
    /// has removed the person, or their identity has come with another account. Nor is there an
    /// invitation.
    #[error("You need an invitation. Ask an administrator for one.")]
    NotInvited,
    /// The person is invited as an owner, and a connection makes nobody an owner.
    #[error("You are invited as an owner. Open the link in the mail of the invitation.")]
    OwnerInvited,
    /// The member would have more than [`MAX_CUSTOM_ROLES`] custom roles.
    #[error("A member has at most {MAX_CUSTOM_ROLES} custom roles. Unassign one first.")]
    TooManyRoles,
}

impl Reject for Rejection {
    fn kind(&self) -> RejectionKind {
        match self {
            Self::NotFound => RejectionKind::NotFound,
            Self::AlreadyMember | Self::LastOwner | Self::OwnerSuspended | Self::Suspended => {
                RejectionKind::Conflict
            }
            Self::BeyondOwnPermissions | Self::NotInvited | Self::OwnerInvited => {
                RejectionKind::Forbidden
            }
            Self::ChallengeEnded => RejectionKind::invalid("challenge"),
            Self::TooManyRoles => RejectionKind::Limit,
        }
    }
}

impl Aggregate for Member {
    type Area = Area;
    type Rejection = Rejection;

    fn claims(&self, command: &Command, facts: &Facts<Area>) -> Vec<Claim> {
        match command {
            Command::Invite { email, .. } => vec![Claim::member_email(facts.tenant, email)],
            Command::Accept { account, .. } => vec![Claim::member_account(facts.tenant, *account)],
            Command::Join {
                account,
                email,
                identities,
                ..
            } => {
                // They are read in this order. A removal ends the first two as it begins the third,
                // so one that comes meanwhile is not missed.
                let of_person = [
                    Claim::member_account(facts.tenant, *account),
                    Claim::member_email(facts.tenant, email),
                    Claim::removed_member(facts.tenant, *account),
                ];
                let identities = identity_claims(facts.tenant, identities);
                of_person.into_iter().chain(identities).collect()
            }
            Command::FollowAccount { email, .. } => vec![Claim::member_email(facts.tenant, email)],
            Command::ChangeRole { other_owner, .. } => {
                let owner = other_owner.map(|other| Claim::owner(facts.tenant, other));
                owner.into_iter().collect()
            }
            Command::Leave { other_owner, .. } | Command::Remove { other_owner, .. } => {
                let owner = other_owner.map(|other| Claim::owner(facts.tenant, other));
                let account = self.account();
                let removed = account.map(|account| Claim::removed_member(facts.tenant, account));
                let identities = identity_claims(facts.tenant, self.identities());
                owner.into_iter().chain(removed).chain(identities).collect()
            }
            Command::AddFounder { .. }
            | Command::Reject { .. }
            | Command::AssignRole { .. }
            | Command::UnassignRole { .. }
            | Command::Suspend { .. }
            | Command::Restore { .. } => Vec::new(),
        }
    }

    fn decide(&self, command: &Command, facts: &Facts<Area>) -> Result<Decision<Event>, Rejection> {
        match command {
            Command::AddFounder { account, email } => Ok(self.add_founder(*account, email, facts)),
            Command::Invite {
                email,
                role,
                tenant_name,
                inviter,
            } => self.invite(email, *role, tenant_name, inviter.as_ref(), facts),
            Command::Accept {
                challenge,
                account,
                email,
            } => self.present()?.accept(*challenge, *account, email, facts),
            Command::Reject { challenge, email } => {
                self.present()?.reject(*challenge, email, facts.now)
            }
            Command::ChangeRole {
                role,
                member_holds,
                other_owner,
            } => {
                let present = self.present()?;
                present.change_role(*role, member_holds, *other_owner, facts)
            }
            Command::AssignRole { role, grants } => {
                self.present()?.assign_role(*role, grants, &facts.held)
            }
            Command::UnassignRole { role, grants } => {
                self.present()?.unassign_role(*role, grants, &facts.held)
            }
            Command::Suspend { member_holds } => self.present()?.suspend(member_holds, facts),
            Command::Restore { member_holds } => self.present()?.restore(member_holds, facts),
            Command::Remove {
                member_holds,
                other_owner,
            } => self.remove(member_holds, *other_owner, facts),
            Command::Join {
                account,
                email,
                role,
                identities,
            } => self.join((*account, identities), email, *role, facts),
            Command::FollowAccount { account, email } => {
                Ok(self.follow_account(*account, email, facts))
            }
            Command::Leave {
                account,
                other_owner,
            } => self.leave(*account, *other_owner, facts),
        }
    }

    fn evolve(&mut self, event: &Event, at: Time) {
        match (&mut *self, event) {
            (_, Event::FounderAdded { account, email }) => {
                let invitation = Invitation::Accepted {
                    account: *account,
                    challenge: None,
                };
                *self = Self::Present(Present::new(email, BuiltInRole::Owner, invitation));
            }
            (
                Self::Absent | Self::Removed,
                Event::Invited {
                    email,
                    role,
                    challenge,
                    ..
                },
            ) => {
                let invitation = Invitation::Pending {
                    challenge: *challenge,
                    sent_at: at,
                };
                *self = Self::Present(Present::new(email, *role, invitation));
            }
            (
                _,
                Event::Joined {
                    account,
                    email,
                    role,
                },
            ) => {
                let invitation = Invitation::Accepted {
                    account: *account,
                    challenge: None,
                };
                *self = Self::Present(Present::new(email, *role, invitation));
            }
            (_, Event::Removed) => *self = Self::Removed,
            (Self::Present(present), event) => present.evolve(event, at),
            (Self::Absent | Self::Removed, _) => {}
        }
    }
}

impl Member {
    fn present(&self) -> Result<&Present, Rejection> {
        match self {
            Self::Present(present) => Ok(present),
            Self::Absent | Self::Removed => Err(Rejection::NotFound),
        }
    }

    /// Returns the account of a member; `None` for an invitation.
    fn account(&self) -> Option<AccountId> {
        match self {
            Self::Present(present) => present.invitation.account(),
            Self::Absent | Self::Removed => None,
        }
    }

    /// Returns the identities by which connections have identified the member.
    fn identities(&self) -> impl Iterator<Item = &IdentityId> {
        let present = match self {
            Self::Present(present) => Some(present),
            Self::Absent | Self::Removed => None,
        };
        present.into_iter().flat_map(|it| &it.identities)
    }

    fn add_founder(
        &self,
        account: AccountId,
        email: &EmailAddress,
        facts: &Facts<Area>,
    ) -> Decision<Event> {
        if *self != Self::Absent {
            return Decision::unchanged();
        }
        let email = email.clone();
        Decision {
            take: vec![
                Claim::member_email(facts.tenant, &email),
                Claim::member_account(facts.tenant, account),
                Claim::owner(facts.tenant, facts.id),
            ],
            ..Decision::events(vec![Event::FounderAdded { account, email }])
        }
    }
}

impl Present {
    fn new(email: &EmailAddress, role: BuiltInRole, invitation: Invitation) -> Self {
        Self {
            email: email.clone(),
            role,
            roles: BTreeSet::new(),
            invitation,
            is_suspended: false,
            identities: BTreeSet::new(),
        }
    }

    /// Whether this is an owner, not only a person who is invited as one.
    fn is_owner(&self) -> bool {
        self.role == BuiltInRole::Owner && self.invitation.account().is_some()
    }

    fn evolve(&mut self, event: &Event, at: Time) {
        match event {
            Event::FounderAdded { .. } | Event::Joined { .. } | Event::Removed => {}
            Event::Invited {
                email,
                role,
                challenge,
                ..
            } => {
                self.email = email.clone();
                self.role = *role;
                self.invitation = Invitation::Pending {
                    challenge: *challenge,
                    sent_at: at,
                };
            }
            Event::Accepted { account } => self.invitation.accept(*account),
            Event::Rejected => {
                self.invitation.reject();
                self.roles.clear();
            }
            Event::RoleChanged { role, .. } => self.role = *role,
            Event::Suspended => self.is_suspended = true,
            Event::Restored { .. } => self.is_suspended = false,
            Event::RoleAssigned { role, .. } => {
                self.roles.insert(*role);
            }
            Event::RoleUnassigned { role, .. } => {
                self.roles.remove(role);
            }
            Event::EmailChanged { email } => self.email = email.clone(),
            Event::Identified { identity } => {
                self.identities.insert(*identity);
            }
        }
    }
}

/// Returns the claims of a member to these identities.
fn identity_claims<'a>(
    tenant: TenantId,
    identities: impl IntoIterator<Item = &'a IdentityId>,
) -> Vec<Claim> {
    let identities = identities.into_iter();
    let claims = identities.map(|identity| Claim::member_identity(tenant, *identity));
    claims.collect()
}

/// Checks that the actor holds all of these permissions.
fn check_within(permissions: &Permissions, held: &Permissions) -> Result<(), Rejection> {
    if permissions.is_subset(held) {
        Ok(())
    } else {
        Err(Rejection::BeyondOwnPermissions)
    }
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests {
    use super::{testing::*, *};

    #[test]
    fn a_founder_becomes_an_owner() {
        absent().when(add_founder()).decides(Decision {
            take: vec![email_claim(), account_claim(), own_claim()],
            ..Decision::events(vec![founder_added()])
        });
    }

    #[test]
    fn a_founder_is_added_only_once() {
        for member in [founder(), pending(Guest), removed()] {
            member.when(add_founder()).changes_nothing();
        }
    }

    #[test]
    fn a_later_event_restores_no_member() {
        let later = || {
            [
                Event::Accepted { account: ADA },
                Event::Rejected,
                role_changed(Owner),
                assigned(1),
            ]
        };
        absent().and(later()).is(&Member::Absent);
        removed().and(later()).is(&Member::Removed);
    }
}
