//! What becomes of a member when their account gets another address or is deleted.

use events_schema::{
    AccountId, Claim, EmailAddress, MemberId,
    member::{Area, Event},
};

use super::{Member, Present, Rejection};
use crate::aggregate::{Decision, Facts};

impl Member {
    /// Changes nothing if another member has the address, or it was invited: the tenant knows this
    /// one by the former address then.
    pub(super) fn follow_account(
        &self,
        account: AccountId,
        email: &EmailAddress,
        facts: &Facts<Area>,
    ) -> Decision<Event> {
        let claim = Claim::member_email(facts.tenant, email);
        let Some(present) = self.of_account(account) else {
            return Decision::unchanged();
        };
        if present.email == *email || facts.is_taken(&claim) {
            return Decision::unchanged();
        }
        Decision {
            take: vec![claim],
            release: vec![Claim::member_email(facts.tenant, &present.email)],
            ..Decision::events(vec![Event::EmailChanged {
                email: email.clone(),
            }])
        }
    }

    /// Removes the member, unless the id stands for somebody else by now.
    ///
    /// # Errors
    /// If the tenant would lose its last owner.
    pub(super) fn leave(
        &self,
        account: AccountId,
        other_owner: Option<MemberId>,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        match self.of_account(account) {
            Some(present) => present.leave(other_owner, facts),
            None => Ok(Decision::unchanged()),
        }
    }

    fn of_account(&self, account: AccountId) -> Option<&Present> {
        match self {
            Self::Present(present) if present.invitation.account() == Some(account) => {
                Some(present)
            }
            Self::Absent | Self::Present(_) | Self::Removed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};
    use crate::aggregate::CommandOf;

    type Command = CommandOf<Member>;

    fn follow(account: AccountId, name: &str) -> Command {
        Command::FollowAccount {
            account,
            email: email(name),
        }
    }
    fn leave(account: AccountId, other_owner: Option<MemberId>) -> Command {
        Command::Leave {
            account,
            other_owner,
        }
    }
    fn moved() -> Event {
        Event::EmailChanged {
            email: email("augusta"),
        }
    }

    #[test]
    fn a_member_has_the_address_of_the_account() {
        member(Guest)
            .when(follow(ADA, "augusta"))
            .decides(Decision {
                take: vec![Claim::member_email(
                    crate::domain::testing::TENANT,
                    &email("augusta"),
                )],
                release: vec![email_claim()],
                ..Decision::events(vec![moved()])
            });
        let moved = member(Guest).and([moved()]);
        moved.when(follow(ADA, "augusta")).changes_nothing();
    }

    #[test]
    fn a_member_keeps_the_address_if_somebody_else_has_the_new_one_here() {
        let new = Claim::member_email(crate::domain::testing::TENANT, &email("augusta"));
        let when = member(Guest).when(follow(ADA, "augusta"));
        when.while_held(new, OTHER).changes_nothing();
    }

    #[test]
    fn nobody_follows_the_account_of_another_person() {
        for member in [absent(), pending(Guest), removed()] {
            member.when(follow(ADA, "augusta")).changes_nothing();
            member.when(leave(ADA, None)).changes_nothing();
        }
        member(Guest).when(follow(EVE, "augusta")).changes_nothing();
        member(Guest).when(leave(EVE, None)).changes_nothing();
    }

    #[test]
    fn a_member_whose_account_was_deleted_leaves() {
        let left = [Event::Removed];
        member(Guest).when(leave(ADA, None)).then(left.clone());
        let when = founder().when(leave(ADA, Some(OTHER)));
        when.while_held(owner_claim(OTHER), OTHER).then(left);
    }

    #[test]
    fn a_tenant_keeps_its_last_owner() {
        for other in [None, Some(OTHER)] {
            let when = founder().when(leave(ADA, other));
            when.rejects(Rejection::LastOwner);
        }
    }
}
