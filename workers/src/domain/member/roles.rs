//! The roles of a member: one built-in role and any custom ones.

use events_schema::{
    BuiltInRole, Claim, MemberId, Permissions, RoleId,
    member::{Area, Event},
};

use super::{
    MAX_CUSTOM_ROLES, Present, Rejection, check_within, invitation::Invitation,
    removal::check_other_owner,
};
use crate::aggregate::{Decision, Facts};

impl Present {
    pub(super) fn change_role(
        &self,
        role: BuiltInRole,
        member_holds: &Permissions,
        other_owner: Option<MemberId>,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        self.check_has_roles()?;
        self.check_holds_no_more(member_holds, &facts.held)?;
        check_within(&role.permissions(), &facts.held)?;
        self.check_not_suspended(role)?;
        if role == self.role {
            return Ok(Decision::unchanged());
        }
        let lapses_at = self.invitation.lapses_at();
        let mut decision = Decision::events(vec![Event::RoleChanged { role, lapses_at }]);
        let own = Claim::owner(facts.tenant, facts.id);
        if self.is_owner() {
            decision.touch.push(check_other_owner(other_owner, facts)?);
            decision.release.push(own);
        } else if role == BuiltInRole::Owner && self.invitation.account().is_some() {
            decision.take.push(own);
        }
        Ok(decision)
    }

    pub(super) fn assign_role(
        &self,
        role: RoleId,
        grants: &Permissions,
        held: &Permissions,
    ) -> Result<Decision<Event>, Rejection> {
        self.check_has_roles()?;
        check_within(grants, held)?;
        if self.roles.contains(&role) {
            Ok(Decision::unchanged())
        } else if self.roles.len() >= MAX_CUSTOM_ROLES {
            Err(Rejection::TooManyRoles)
        } else {
            let lapses_at = self.invitation.lapses_at();
            Ok(Decision::events(vec![Event::RoleAssigned {
                role,
                lapses_at,
            }]))
        }
    }

    pub(super) fn unassign_role(
        &self,
        role: RoleId,
        grants: &Permissions,
        held: &Permissions,
    ) -> Result<Decision<Event>, Rejection> {
        self.check_has_roles()?;
        check_within(grants, held)?;
        let lapses_at = self.invitation.lapses_at();
        Ok(if self.roles.contains(&role) {
            Decision::events(vec![Event::RoleUnassigned { role, lapses_at }])
        } else {
            Decision::unchanged()
        })
    }

    /// Checks that the member holds no more than the actor: by the built-in role, which is known
    /// here, and by all roles, as the sender read them.
    pub(super) fn check_holds_no_more(
        &self,
        member_holds: &Permissions,
        held: &Permissions,
    ) -> Result<(), Rejection> {
        check_within(&self.role.permissions(), held)?;
        check_within(member_holds, held)
    }

    /// A rejected invitation has no roles: not now, and not after it is sent again.
    fn check_has_roles(&self) -> Result<(), Rejection> {
        match self.invitation {
            Invitation::Pending { .. } | Invitation::Accepted { .. } => Ok(()),
            Invitation::Rejected { .. } => Err(Rejection::NotFound),
        }
    }
}

#[cfg(test)]
mod tests {
    use events_schema::project;

    use super::{super::testing::*, *};
    use crate::{
        aggregate::CommandOf,
        domain::{member::Member, testing::Given},
    };

    type Command = CommandOf<Member>;

    fn deletes_tenants() -> Permissions {
        Permissions::from([events_schema::tenant::DELETE])
    }
    fn reads_projects() -> Permissions {
        Permissions::from([project::READ])
    }
    fn change_of(member_holds: Permissions, role: BuiltInRole) -> Command {
        Command::ChangeRole {
            role,
            member_holds,
            other_owner: None,
        }
    }
    fn assign_granting(grants: Permissions) -> Command {
        let role = custom(1);
        Command::AssignRole { role, grants }
    }
    fn unassign_granting(grants: Permissions) -> Command {
        let role = custom(1);
        Command::UnassignRole { role, grants }
    }
    fn with_roles(count: u8) -> Given<Member> {
        founder().and((0..count).map(assigned))
    }

    #[test]
    fn a_role_is_changed() {
        for (member, event) in [
            (pending(Guest), while_invited(role_changed(Admin))),
            (member(Guest), role_changed(Admin)),
        ] {
            let when = member.when(change(Admin)).holding(Admin);
            when.decides(Decision::events(vec![event]));
        }
    }

    #[test]
    fn a_change_to_the_present_role_changes_nothing() {
        for member in [pending(Guest), member(Guest)] {
            let when = member.when(change(Guest)).holding(Admin);
            when.changes_nothing();
        }
        founder()
            .when(change(Owner))
            .holding(Owner)
            .changes_nothing();
    }

    #[test]
    fn nobody_changes_a_role_to_one_that_holds_more_than_they_do() {
        let when = member(Guest).when(change(Owner)).holding(Admin);
        when.rejects(Rejection::BeyondOwnPermissions);
    }

    #[test]
    fn nobody_changes_a_role_that_holds_more_than_they_do() {
        for member in [founder(), pending(Owner)] {
            let when = member.when(change(Guest)).holding(Admin);
            let when = when.while_held(owner_claim(OTHER), OTHER);
            when.rejects(Rejection::BeyondOwnPermissions);
        }
    }

    #[test]
    fn nobody_changes_the_role_of_a_member_who_holds_more_than_they_do() {
        for role in [Guest, Admin] {
            let when = member(Guest).when(change_of(deletes_tenants(), role));
            let when = when.holding(Admin);
            when.rejects(Rejection::BeyondOwnPermissions);
        }
    }

    #[test]
    fn a_member_who_holds_no_more_than_the_actor_is_changed() {
        let when = member(Guest).when(change_of(Admin.permissions(), Admin));
        when.holding(Admin).then([role_changed(Admin)]);
    }

    #[test]
    fn a_new_owner_takes_the_owner_claim() {
        let when = member(Admin).when(change(Owner)).holding(Owner);
        when.decides(Decision {
            take: vec![own_claim()],
            ..Decision::events(vec![role_changed(Owner)])
        });
    }

    #[test]
    fn an_invited_owner_has_no_claim_to_take_or_release() {
        let when = pending(Admin).when(change(Owner)).holding(Owner);
        when.decides(Decision::events(vec![while_invited(role_changed(Owner))]));
        let lowered = pending(Owner).when(change(Guest)).holding(Owner);
        lowered.decides(Decision::events(vec![while_invited(role_changed(Guest))]));
    }

    #[test]
    fn an_owner_becomes_an_admin_while_another_owner_stays() {
        let when = founder().when(change(Admin)).holding(Owner);
        let when = when.while_held(owner_claim(OTHER), OTHER);
        when.decides(Decision {
            release: vec![own_claim()],
            touch: vec![owner_claim(OTHER)],
            ..Decision::events(vec![role_changed(Admin)])
        });
    }

    #[test]
    fn a_custom_role_is_assigned() {
        member(Guest).when(assign(1)).then([assigned(1)]);
        let invited = pending(Guest).when(assign(1));
        invited.then([while_invited(assigned(1))]);
    }

    #[test]
    fn assigning_a_role_again_changes_nothing() {
        with_roles(2).when(assign(1)).changes_nothing();
    }

    #[test]
    fn a_custom_role_is_unassigned() {
        with_roles(2).when(unassign(1)).then([unassigned(1)]);
        with_roles(1).and([unassigned(0)]).is(founder().state());
        let invited = pending(Guest).and([assigned(1)]).when(unassign(1));
        invited.then([while_invited(unassigned(1))]);
    }

    #[test]
    fn unassigning_a_role_that_is_not_assigned_changes_nothing() {
        for member in [pending(Guest), member(Guest)] {
            member.when(unassign(1)).changes_nothing();
        }
    }

    #[test]
    fn nobody_assigns_a_role_that_grants_more_than_they_hold() {
        let when = member(Guest).when(assign_granting(deletes_tenants()));
        let by_admin = when.clone().holding(Admin);
        by_admin.rejects(Rejection::BeyondOwnPermissions);
        when.holding(Owner).then([assigned(1)]);
    }

    #[test]
    fn nobody_unassigns_a_role_that_grants_more_than_they_hold() {
        let when = with_roles(2).when(unassign_granting(deletes_tenants()));
        let by_admin = when.clone().holding(Admin);
        by_admin.rejects(Rejection::BeyondOwnPermissions);
        when.holding(Owner).then([unassigned(1)]);
    }

    #[test]
    fn a_role_that_grants_more_than_the_actor_holds_is_refused_even_if_nothing_would_change() {
        let assign = assign_granting(deletes_tenants());
        let unassign = unassign_granting(deletes_tenants());
        for (member, command) in [(with_roles(2), assign), (member(Guest), unassign)] {
            let when = member.when(command).holding(Admin);
            when.rejects(Rejection::BeyondOwnPermissions);
        }
    }

    #[test]
    fn a_role_that_grants_just_what_the_actor_holds_is_assigned_and_unassigned() {
        let assigns = member(Guest).when(assign_granting(reads_projects()));
        let assigns = assigns.holding_only(reads_projects());
        assigns.then([assigned(1)]);
        let unassigns = with_roles(2).when(unassign_granting(reads_projects()));
        let unassigns = unassigns.holding_only(reads_projects());
        unassigns.then([unassigned(1)]);
    }

    #[test]
    fn a_member_has_at_most_20_custom_roles() {
        with_roles(19).when(assign(99)).then([assigned(99)]);
        let when = with_roles(20).when(assign(99));
        when.rejects(Rejection::TooManyRoles);
        with_roles(20).when(assign(0)).changes_nothing();
    }

    #[test]
    fn only_a_member_or_an_open_invitation_has_roles() {
        for command in [change(Guest), assign(1), unassign(1)] {
            for member in [absent(), rejected(), removed()] {
                let when = member.when(command.clone()).holding(Owner);
                when.rejects(Rejection::NotFound);
            }
        }
    }
}
