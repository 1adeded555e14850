//! Becoming a member by a connection of the tenant.

use events_schema::{
    AccountId, BuiltInRole, Claim, EmailAddress,
    member::{Area, Event},
};

use super::{Member, Present, Rejection};
use crate::aggregate::{Decision, Facts};

impl Member {
    /// # Errors
    /// If neither the connection nor an invitation lets the person in, the tenant has removed the
    /// person, another member has the address or the account, or the role is that of owners: who
    /// administers a connection must not make one.
    pub(super) fn join(
        &self,
        account: AccountId,
        email: &EmailAddress,
        role: Option<BuiltInRole>,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        match self {
            Self::Present(present) => present.join(account, email, role, facts),
            Self::Absent | Self::Removed => join_first(account, email, role, facts),
        }
    }
}

impl Present {
    /// A person who was invited gets the role of the invitation, and keeps its custom roles. That
    /// is so for one whom the tenant has removed before, too.
    fn join(
        &self,
        account: AccountId,
        email: &EmailAddress,
        role: Option<BuiltInRole>,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        if self.invitation.account() == Some(account) {
            return Ok(Decision::unchanged());
        }
        self.check_belongs_to(email)?;
        let is_pending = self.invitation.lapses_at().is_some_and(|at| facts.now < at);
        if is_pending && self.role == BuiltInRole::Owner {
            return Err(Rejection::AlreadyMember);
        }
        let account_claim = Claim::member_account(facts.tenant, account);
        if self.invitation.account().is_some()
            || self.is_suspended
            || facts.is_taken(&account_claim)
        {
            return Err(Rejection::AlreadyMember);
        }
        if !is_pending {
            return join_first(account, email, role, facts);
        }
        Ok(Decision {
            take: vec![account_claim],
            ..Decision::events(vec![Event::Accepted { account }])
        })
    }
}

fn join_first(
    account: AccountId,
    email: &EmailAddress,
    role: Option<BuiltInRole>,
    facts: &Facts<Area>,
) -> Result<Decision<Event>, Rejection> {
    let removed = Claim::removed_member(facts.tenant, account);
    let role = role.filter(|_| !facts.holders.contains_key(&removed));
    let role = role.ok_or(Rejection::NotInvited)?;
    if role == BuiltInRole::Owner {
        return Err(Rejection::BeyondOwnPermissions);
    }
    let take = vec![
        Claim::member_email(facts.tenant, email),
        Claim::member_account(facts.tenant, account),
    ];
    if take.iter().any(|claim| facts.is_taken(claim)) {
        return Err(Rejection::AlreadyMember);
    }
    Ok(Decision {
        take,
        ..Decision::events(vec![Event::Joined {
            account,
            email: email.clone(),
            role,
        }])
    })
}

#[cfg(test)]
mod tests {
    use events_schema::MemberId;

    use super::{super::testing::*, *};
    use crate::{aggregate::CommandOf, domain::testing::OWN};

    fn join(account: AccountId, role: impl Into<Option<BuiltInRole>>) -> CommandOf<Member> {
        CommandOf::<Member>::Join {
            account,
            email: email("ada"),
            role: role.into(),
        }
    }
    fn joined(role: BuiltInRole) -> Event {
        Event::Joined {
            account: ADA,
            email: email("ada"),
            role,
        }
    }

    #[test]
    fn a_person_joins_in_the_role_of_the_connection() {
        absent().when(join(ADA, Guest)).decides(Decision {
            take: vec![email_claim(), account_claim()],
            ..Decision::events(vec![joined(Guest)])
        });
        let again = absent().and([joined(Guest)]);
        again.when(join(ADA, Admin)).changes_nothing();
        again.when(join(ADA, None)).changes_nothing();
    }

    #[test]
    fn nobody_becomes_an_owner_by_a_connection() {
        let when = absent().when(join(ADA, Owner));
        when.rejects(Rejection::BeyondOwnPermissions);
        let when = pending(Owner).when(join(ADA, Guest));
        when.rejects(Rejection::AlreadyMember);
    }

    #[test]
    fn a_person_who_was_invited_accepts_the_invitation_until_it_expires() {
        let invited = pending(Admin).and([assigned(1)]);
        for role in [Some(Guest), None] {
            invited.when(join(ADA, role)).decides(Decision {
                take: vec![account_claim()],
                ..Decision::events(vec![accepted()])
            });
        }
        let late = pending(Admin).when(join(ADA, Guest)).at(WEEK);
        late.then([joined(Guest)]);
        rejected().when(join(ADA, Guest)).then([joined(Guest)]);
    }

    #[test]
    fn a_person_whom_the_connection_does_not_let_in_needs_an_invitation() {
        for member in [absent(), removed(), rejected()] {
            let when = member.when(join(ADA, None));
            when.rejects(Rejection::NotInvited);
        }
        let late = pending(Admin).when(join(ADA, None)).at(WEEK);
        late.rejects(Rejection::NotInvited);
    }

    #[test]
    fn a_person_whom_the_tenant_has_removed_needs_an_invitation() {
        for (member, holder) in [
            (absent(), OTHER),
            (removed(), MemberId(OWN)),
            (rejected(), OTHER),
        ] {
            let when = member.when(join(ADA, Guest));
            let when = when.while_held(removed_claim(), holder);
            when.rejects(Rejection::NotInvited);
        }
        let invited = pending(Admin).when(join(ADA, Guest));
        let invited = invited.while_held(removed_claim(), OTHER);
        invited.then([accepted()]);
    }

    #[test]
    fn a_person_who_has_left_may_join_again() {
        let left = absent().and([joined(Admin), Event::Removed]);
        left.when(join(ADA, Guest)).then([joined(Guest)]);
    }

    #[test]
    fn a_suspended_member_stays_suspended() {
        let suspended = member(Guest).and([Event::Suspended]);
        suspended.when(join(ADA, Guest)).changes_nothing();
        let suspended = pending(Guest).and([Event::Suspended]);
        let when = suspended.when(join(ADA, Guest));
        when.rejects(Rejection::AlreadyMember);
    }

    #[test]
    fn nobody_joins_in_place_of_another_person() {
        let when = member(Guest).when(join(EVE, Guest));
        when.rejects(Rejection::AlreadyMember);
        for claim in [email_claim(), account_claim()] {
            let when = absent().when(join(ADA, Guest)).while_held(claim, OTHER);
            when.rejects(Rejection::AlreadyMember);
        }
    }
}
