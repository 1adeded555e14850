//! Removal of members and invitations, and the rule that a tenant always has an owner.
//!
//! Owners are not counted. Each owner holds a claim, and a decision that ends an ownership touches
//! the claim of another owner, who stays. If two owners remove each other at once, both decisions
//! write the same two claims. So the loser decides again, and finds that the other owner is gone.

use events_schema::{
    Actor, Claim, MemberId, Permissions,
    member::{self, Area, Event},
};

use super::{Member, Present, Rejection, identity_claims};
use crate::aggregate::{Decision, Facts};

impl Member {
    /// Members may always leave. Everybody else needs the permission to remove members, and learns
    /// nothing without it. Who acts as a member removes nobody, not even that member. A person whom
    /// somebody else has removed needs an invitation to come back.
    pub(super) fn remove(
        &self,
        member_holds: &Permissions,
        other_owner: Option<MemberId>,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        if self.leaves(facts.actor) {
            return self.present()?.leave(other_owner, facts);
        }
        let acts_as_a_member = matches!(facts.actor, Actor::Impersonated { .. });
        if acts_as_a_member || !facts.held.contains(&member::DELETE) {
            return Err(Rejection::BeyondOwnPermissions);
        }
        let present = self.present()?;
        present.check_holds_no_more(member_holds, &facts.held)?;
        let mut decision = present.remove(other_owner, facts)?;
        let account = present.invitation.account();
        let removed = account.map(|account| Claim::removed_member(facts.tenant, account));
        // The tenant may have removed the person before.
        let removed = removed.filter(|claim| !facts.is_taken(claim));
        decision.take.extend(removed);
        Ok(decision)
    }

    /// Whether the actor is the member in person. An access token is not its creator, and nobody
    /// leaves for somebody else.
    fn leaves(&self, actor: Actor) -> bool {
        match actor {
            Actor::Account(account) => self.account() == Some(account),
            Actor::Anonymous
            | Actor::AccessToken(_)
            | Actor::Service { .. }
            | Actor::Impersonated { .. }
            | Actor::System => false,
        }
    }
}

impl Present {
    /// A member who leaves of their own accord may come back by a connection, with any account. One
    /// who is suspended may not: nobody leaves a suspension behind with their account.
    pub(super) fn leave(
        &self,
        other_owner: Option<MemberId>,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        let mut decision = self.remove(other_owner, facts)?;
        if !self.is_suspended {
            let identities = identity_claims(facts.tenant, &self.identities);
            let own = |claim: &Claim| facts.holders.get(claim) == Some(&facts.id.0);
            decision.release.extend(identities.into_iter().filter(own));
        }
        Ok(decision)
    }

    fn remove(
        &self,
        other_owner: Option<MemberId>,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        let mut decision = Decision::events(vec![Event::Removed]);
        let email = Claim::member_email(facts.tenant, &self.email);
        decision.release.push(email);
        if let Some(account) = self.invitation.account() {
            let account = Claim::member_account(facts.tenant, account);
            decision.release.push(account);
        }
        if self.is_owner() {
            decision.touch.push(check_other_owner(other_owner, facts)?);
            let own = Claim::owner(facts.tenant, facts.id);
            decision.release.push(own);
        }
        Ok(decision)
    }
}

/// Returns the claim of another owner, who stays.
///
/// # Errors
/// If the sender names no other owner, or that member is not an owner now.
pub(super) fn check_other_owner(
    other_owner: Option<MemberId>,
    facts: &Facts<Area>,
) -> Result<Claim, Rejection> {
    let other = other_owner.filter(|other| *other != facts.id);
    let other = other.ok_or(Rejection::LastOwner)?;
    let claim = Claim::owner(facts.tenant, other);
    if facts.holders.get(&claim) == Some(&other.0) {
        Ok(claim)
    } else {
        Err(Rejection::LastOwner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use events_schema::{AccessTokenId, AccountId, Id, project, tenant};

    use super::{super::testing::*, *};
    use crate::{
        aggregate::CommandOf,
        domain::testing::{Given, When},
    };

    type Command = CommandOf<Member>;

    fn remove_of(member_holds: Permissions) -> Command {
        Command::Remove {
            member_holds,
            other_owner: None,
        }
    }
    fn remove_with(other_owner: Option<MemberId>) -> Command {
        Command::Remove {
            member_holds: Permissions::new(),
            other_owner,
        }
    }
    fn change_with(other_owner: Option<MemberId>) -> Command {
        Command::ChangeRole {
            role: Admin,
            member_holds: Permissions::new(),
            other_owner,
        }
    }
    fn token() -> Actor {
        Actor::AccessToken(AccessTokenId(ADA.0))
    }
    fn all_but_removal() -> Permissions {
        let held = Owner.permissions().into_iter();
        held.filter(|held| *held != member::DELETE).collect()
    }

    #[test]
    fn a_removed_invitation_releases_its_address() {
        for invitation in [pending(Guest), rejected(), pending(Owner)] {
            let when = invitation.when(remove()).by(person(EVE)).holding(Owner);
            when.decides(Decision {
                release: vec![email_claim()],
                ..Decision::events(vec![Event::Removed])
            });
        }
    }

    #[test]
    fn a_removed_member_releases_address_and_account_and_is_remembered() {
        let when = member(Guest).when(remove()).by(person(EVE)).holding(Admin);
        when.clone().decides(Decision {
            release: vec![email_claim(), account_claim()],
            take: vec![removed_claim()],
            ..Decision::events(vec![Event::Removed])
        });
        let again = when.while_held(removed_claim(), OTHER);
        again.decides(Decision {
            release: vec![email_claim(), account_claim()],
            ..Decision::events(vec![Event::Removed])
        });
    }

    #[test]
    fn a_member_who_leaves_is_not_remembered() {
        let when = member(Guest).when(remove()).by(person(ADA));
        when.decides(Decision {
            release: vec![email_claim(), account_claim()],
            ..Decision::events(vec![Event::Removed])
        });
    }

    #[test]
    fn an_identity_stays_taken_after_a_removal_and_is_free_after_the_member_has_left() {
        let known = member(Guest).and([identified(1), identified(2)]);
        let when = known.when(remove()).by(person(EVE)).holding(Admin);
        let when = when.while_held(identity_claim(1), MemberId(OWN));
        when.decides(Decision {
            release: vec![email_claim(), account_claim()],
            take: vec![removed_claim()],
            ..Decision::events(vec![Event::Removed])
        });
        let leave = Command::Leave {
            account: ADA,
            other_owner: None,
        };
        for command in [remove(), leave] {
            let held = |known: &Given<Member>| {
                let when = known.when(command.clone()).by(person(ADA));
                let when = when.while_held(identity_claim(1), MemberId(OWN));
                // Another member has come by it before.
                when.while_held(identity_claim(2), OTHER)
            };
            held(&known).decides(Decision {
                release: vec![email_claim(), account_claim(), identity_claim(1)],
                ..Decision::events(vec![Event::Removed])
            });
            let suspended = known.clone().and([Event::Suspended]);
            held(&suspended).decides(Decision {
                release: vec![email_claim(), account_claim()],
                ..Decision::events(vec![Event::Removed])
            });
        }
    }

    #[test]
    fn a_removed_owner_releases_the_owner_claim() {
        let when = founder().when(remove()).by(person(EVE)).holding(Owner);
        let when = when.while_held(owner_claim(OTHER), OTHER);
        when.decides(Decision {
            release: vec![email_claim(), account_claim(), own_claim()],
            touch: vec![owner_claim(OTHER)],
            take: vec![removed_claim()],
            ..Decision::events(vec![Event::Removed])
        });
    }

    #[test]
    fn everybody_may_leave_whatever_their_permissions() {
        for held in [Permissions::new(), Guest.permissions()] {
            let when = member(Admin).when(remove_of(Owner.permissions()));
            let when = when.by(person(ADA)).holding_only(held);
            when.then([Event::Removed]);
        }
    }

    #[test]
    fn an_owner_may_leave_while_another_owner_stays() {
        let when = founder().when(remove()).by(person(ADA));
        let when = when.while_held(owner_claim(OTHER), OTHER);
        when.then([Event::Removed]);
    }

    #[test]
    fn an_access_token_does_not_leave_for_its_creator() {
        let when = member(Guest).when(remove()).by(token());
        let when = when.holding_only(all_but_removal());
        when.rejects(Rejection::BeyondOwnPermissions);
    }

    #[test]
    fn an_administrator_who_acts_as_a_member_removes_nobody() {
        let by = AccountId(OWN);
        for account in [ADA, EVE] {
            let impersonated = Actor::Impersonated { account, by };
            let when = member(Guest).when(remove()).by(impersonated);
            when.holding(Owner).rejects(Rejection::BeyondOwnPermissions);
        }
    }

    #[test]
    fn an_access_token_with_the_permission_removes_a_member() {
        let when = member(Guest).when(remove()).by(token()).holding(Admin);
        when.then([Event::Removed]);
    }

    #[test]
    fn an_access_token_does_not_remove_a_member_who_holds_more_than_it() {
        let when = member(Admin).when(remove()).by(token());
        let when = when.holding_only([member::DELETE, project::READ]);
        when.rejects(Rejection::BeyondOwnPermissions);
    }

    #[test]
    fn nobody_removes_another_member_without_the_permission() {
        for actor in [person(EVE), Actor::Anonymous, Actor::System] {
            let when = member(Guest).when(remove()).by(actor);
            let when = when.holding_only(all_but_removal());
            when.rejects(Rejection::BeyondOwnPermissions);
        }
    }

    #[test]
    fn without_the_permission_nobody_learns_who_is_a_member() {
        for member in [absent(), pending(Guest), rejected(), removed()] {
            let when = member.when(remove()).by(person(ADA));
            let when = when.holding_only(all_but_removal());
            when.rejects(Rejection::BeyondOwnPermissions);
        }
    }

    #[test]
    fn a_member_who_does_not_exist_is_not_removed() {
        for member in [absent(), removed()] {
            let when = member.when(remove()).by(person(ADA)).holding(Owner);
            when.rejects(Rejection::NotFound);
        }
    }

    #[test]
    fn nobody_removes_a_member_with_a_role_that_holds_more_than_they_do() {
        for (member, by) in [
            (member(Admin), Guest),
            (pending(Owner), Admin),
            (founder(), Admin),
        ] {
            let held = by.permissions().into_iter().chain([member::DELETE]);
            let when = member.when(remove()).by(person(EVE)).holding_only(held);
            let when = when.while_held(owner_claim(OTHER), OTHER);
            when.rejects(Rejection::BeyondOwnPermissions);
        }
    }

    #[test]
    fn nobody_removes_a_member_who_holds_more_than_they_do() {
        let more = Permissions::from([tenant::DELETE]);
        let when = member(Guest).when(remove_of(more)).by(person(EVE));
        let by_admin = when.clone().holding(Admin);
        by_admin.rejects(Rejection::BeyondOwnPermissions);
        when.holding(Owner).then([Event::Removed]);
    }

    #[test]
    fn the_last_owner_can_neither_leave_nor_lose_the_role() {
        let own = MemberId(OWN);
        let cases = [
            (None, owner_claim(OTHER), OTHER),
            (Some(OTHER), email_claim(), OTHER),
            (Some(OTHER), owner_claim(OTHER), own),
            (Some(own), own_claim(), own),
        ];
        for (other, claim, holder) in cases {
            for command in [change_with(other), remove_with(other)] {
                let when = founder().when(command).by(person(ADA)).holding(Owner);
                let when = when.while_held(claim, holder);
                when.rejects(Rejection::LastOwner);
            }
        }
    }

    /// Stores a member's decision as the loop does.
    fn store(held: &mut HashMap<Claim, Id>, member: MemberId, decision: &Decision<Event>) {
        for claim in &decision.release {
            held.remove(claim);
        }
        held.extend(decision.take.iter().map(|claim| (*claim, member.0)));
    }

    /// One of two owners removes the other.
    fn when_removed(removed: MemberId, by: MemberId, held: &HashMap<Claim, Id>) -> When<Member> {
        let founder: Given<Member> = founder();
        let when = founder.when(remove_with(Some(by))).to(removed);
        let when = when.by(person(EVE)).holding(Owner);
        let holders = held.iter();
        holders.fold(when, |when, (claim, holder)| {
            when.while_held(*claim, *holder)
        })
    }

    #[test]
    fn one_of_two_owners_who_remove_each_other_stays() {
        let (a, b) = (MemberId(OWN), OTHER);
        let mut held = HashMap::from([(owner_claim(a), a.0), (owner_claim(b), b.0)]);
        let b_goes = when_removed(b, a, &held).decide().unwrap();
        let a_goes = when_removed(a, b, &held).decide().unwrap();
        // Each writes a claim that the other relies on, so the loser decides again.
        assert_eq!(b_goes.touch, [owner_claim(a)]);
        assert!(a_goes.release.contains(&owner_claim(a)));
        assert_eq!(a_goes.touch, [owner_claim(b)]);
        assert!(b_goes.release.contains(&owner_claim(b)));

        store(&mut held, b, &b_goes);
        when_removed(a, b, &held).rejects(Rejection::LastOwner);
    }
}
