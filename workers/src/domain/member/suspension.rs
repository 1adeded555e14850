//! Suspending members and restoring them.

use events_schema::{
    BuiltInRole, Permissions,
    member::{Area, Event},
};

use super::{Present, Rejection};
use crate::aggregate::{Decision, Facts};

impl Present {
    /// Suspends a member. An owner cannot be, so that a tenant always has an owner with access.
    pub(super) fn suspend(
        &self,
        member_holds: &Permissions,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        self.invitation.account().ok_or(Rejection::NotFound)?;
        self.check_holds_no_more(member_holds, &facts.held)?;
        if self.is_owner() {
            return Err(Rejection::OwnerSuspended);
        }
        Ok(if self.is_suspended {
            Decision::unchanged()
        } else {
            Decision::events(vec![Event::Suspended])
        })
    }

    pub(super) fn restore(
        &self,
        member_holds: &Permissions,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        let account = self.invitation.account().ok_or(Rejection::NotFound)?;
        self.check_holds_no_more(member_holds, &facts.held)?;
        Ok(if self.is_suspended {
            Decision::events(vec![Event::Restored { account }])
        } else {
            Decision::unchanged()
        })
    }

    /// Checks that a member may have this role.
    pub(super) fn check_not_suspended(&self, role: BuiltInRole) -> Result<(), Rejection> {
        if self.is_suspended && role == BuiltInRole::Owner {
            Err(Rejection::Suspended)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use events_schema::member::Command;

    use super::*;
    use crate::domain::{
        member::{Member, testing::*},
        testing::Given,
    };

    /// What the roles of the suspended member hold.
    fn held() -> Permissions {
        BuiltInRole::Member.permissions()
    }
    fn suspend() -> Command {
        Command::Suspend {
            member_holds: held(),
        }
    }
    fn restore() -> Command {
        Command::Restore {
            member_holds: held(),
        }
    }
    fn suspended() -> Given<Member> {
        member(BuiltInRole::Member).and([Event::Suspended])
    }

    #[test]
    fn a_member_is_suspended_and_restored() {
        let present = member(BuiltInRole::Member);
        let when = present.when(suspend()).holding(Admin);
        when.then([Event::Suspended]);
        present.when(restore()).holding(Admin).changes_nothing();
        suspended().when(suspend()).holding(Admin).changes_nothing();
        let when = suspended().when(restore()).holding(Admin);
        when.then([Event::Restored { account: ADA }]);
    }

    #[test]
    fn nobody_suspends_or_restores_a_member_who_holds_more() {
        for command in [suspend(), restore()] {
            let when = suspended().when(command).holding(Guest);
            when.rejects(Rejection::BeyondOwnPermissions);
        }
    }

    #[test]
    fn an_owner_is_not_suspended_and_a_suspended_member_becomes_no_owner() {
        let when = founder().when(suspend()).holding(Owner);
        when.rejects(Rejection::OwnerSuspended);
        let promote = Command::ChangeRole {
            role: Owner,
            member_holds: held(),
            other_owner: None,
        };
        let when = suspended().when(promote).holding(Owner);
        when.rejects(Rejection::Suspended);
    }

    #[test]
    fn a_suspended_member_cannot_use_the_invitation_again() {
        let member = pending(Guest).and([accepted()]);
        let accept_again = || accept(FIRST, ADA);
        let when = member.when(accept_again());
        when.by(person(ADA)).changes_nothing();
        let suspended = member.and([Event::Suspended]);
        let when = suspended.when(accept_again());
        when.by(person(ADA)).rejects(Rejection::ChallengeEnded);
    }

    #[test]
    fn an_invitation_is_not_suspended() {
        for command in [suspend(), restore()] {
            let when = pending(BuiltInRole::Member).when(command).holding(Admin);
            when.rejects(Rejection::NotFound);
        }
    }
}
