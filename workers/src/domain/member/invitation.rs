//! Invitations: sent, sent again, accepted or rejected.

use std::time::Duration;

use events_schema::{
    AccountId, BuiltInRole, ChallengeId, Claim, EmailAddress, Name, PersonName, Time,
    member::{Area, Event, INVITATION_LIFETIME},
};

use super::{Member, Present, Rejection, check_within};
use crate::aggregate::{Decision, Facts};

/// The shortest time between two mails of one invitation, so that a button that is pressed twice
/// sends one.
const MIN_INTERVAL: Duration = Duration::from_secs(60);

/// The state of an invitation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Invitation {
    Pending {
        challenge: ChallengeId,
        sent_at: Time,
    },
    Accepted {
        account: AccountId,
        /// The mail that was answered; `None` for a founder, who got none.
        challenge: Option<ChallengeId>,
    },
    Rejected {
        challenge: Option<ChallengeId>,
    },
}

impl Invitation {
    /// Returns the account that accepted.
    pub(super) fn account(self) -> Option<AccountId> {
        match self {
            Self::Accepted { account, .. } => Some(account),
            Self::Pending { .. } | Self::Rejected { .. } => None,
        }
    }

    /// Returns when it expires; `None` if it is answered.
    pub(super) fn lapses_at(self) -> Option<Time> {
        match self {
            Self::Pending { sent_at, .. } => Some(sent_at + INVITATION_LIFETIME),
            Self::Accepted { .. } | Self::Rejected { .. } => None,
        }
    }

    pub(super) fn accept(&mut self, account: AccountId) {
        let challenge = self.challenge();
        *self = Self::Accepted { account, challenge };
    }

    pub(super) fn reject(&mut self) {
        let challenge = self.challenge();
        *self = Self::Rejected { challenge };
    }

    fn challenge(self) -> Option<ChallengeId> {
        match self {
            Self::Pending { challenge, .. } => Some(challenge),
            Self::Accepted { challenge, .. } | Self::Rejected { challenge } => challenge,
        }
    }

    fn check_open(self, answered: ChallengeId, now: Time) -> Result<(), Rejection> {
        match self {
            Self::Pending { challenge, sent_at }
                if challenge == answered && now.since(sent_at) < INVITATION_LIFETIME =>
            {
                Ok(())
            }
            Self::Pending { .. } | Self::Accepted { .. } | Self::Rejected { .. } => {
                Err(Rejection::ChallengeEnded)
            }
        }
    }

    fn was_sent_just_before(self, now: Time) -> bool {
        match self {
            Self::Pending { sent_at, .. } => now.since(sent_at) < MIN_INTERVAL,
            Self::Accepted { .. } | Self::Rejected { .. } => false,
        }
    }
}

impl Member {
    pub(super) fn invite(
        &self,
        email: &EmailAddress,
        role: BuiltInRole,
        tenant_name: &Name,
        inviter: Option<&PersonName>,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        let invited = Event::Invited {
            email: email.clone(),
            role,
            challenge: ChallengeId(facts.command.0),
            tenant_name: tenant_name.clone(),
            inviter: inviter.cloned(),
        };
        match self {
            Self::Absent => invite_first(email, role, invited, facts),
            Self::Present(present) => present.invite_again(email, role, invited, facts),
            Self::Removed => Err(Rejection::NotFound),
        }
    }
}

fn invite_first(
    email: &EmailAddress,
    role: BuiltInRole,
    invited: Event,
    facts: &Facts<Area>,
) -> Result<Decision<Event>, Rejection> {
    check_within(&role.permissions(), &facts.held)?;
    let claim = Claim::member_email(facts.tenant, email);
    if facts.is_taken(&claim) {
        return Err(Rejection::AlreadyMember);
    }
    Ok(Decision {
        take: vec![claim],
        ..Decision::events(vec![invited])
    })
}

impl Present {
    fn invite_again(
        &self,
        email: &EmailAddress,
        role: BuiltInRole,
        invited: Event,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        if self.invitation.account().is_some() {
            return Err(Rejection::AlreadyMember);
        }
        self.check_belongs_to(email)?;
        check_within(&self.role.permissions(), &facts.held)?;
        check_within(&role.permissions(), &facts.held)?;
        if role == self.role && self.invitation.was_sent_just_before(facts.now) {
            return Ok(Decision::unchanged());
        }
        Ok(Decision::events(vec![invited]))
    }

    pub(super) fn accept(
        &self,
        challenge: ChallengeId,
        account: AccountId,
        email: &EmailAddress,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        self.check_belongs_to(email)?;
        let accepted = Invitation::Accepted {
            account,
            challenge: Some(challenge),
        };
        // Also not again: the answer would show the tenant.
        if self.is_suspended {
            return Err(Rejection::ChallengeEnded);
        }
        if self.invitation == accepted {
            return Ok(Decision::unchanged());
        }
        self.invitation.check_open(challenge, facts.now)?;
        let claim = Claim::member_account(facts.tenant, account);
        if facts.is_taken(&claim) {
            return Err(Rejection::AlreadyMember);
        }
        let mut decision = Decision::events(vec![Event::Accepted { account }]);
        decision.take.push(claim);
        if self.role == BuiltInRole::Owner {
            let owner = Claim::owner(facts.tenant, facts.id);
            decision.take.push(owner);
        }
        Ok(decision)
    }

    pub(super) fn reject(
        &self,
        challenge: ChallengeId,
        email: &EmailAddress,
        now: Time,
    ) -> Result<Decision<Event>, Rejection> {
        self.check_belongs_to(email)?;
        let rejected = Invitation::Rejected {
            challenge: Some(challenge),
        };
        if self.invitation == rejected {
            return Ok(Decision::unchanged());
        }
        self.invitation.check_open(challenge, now)?;
        Ok(Decision::events(vec![Event::Rejected]))
    }

    pub(super) fn check_belongs_to(&self, email: &EmailAddress) -> Result<(), Rejection> {
        if self.email == *email {
            Ok(())
        } else {
            Err(Rejection::NotFound)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};
    use crate::aggregate::CommandOf;

    type Command = CommandOf<Member>;

    #[test]
    fn an_invitation_takes_its_address() {
        let when = absent().when(invite(Admin)).holding(Admin);
        when.decides(Decision {
            take: vec![email_claim()],
            ..Decision::events(vec![invited(Admin, NEW)])
        });
    }

    #[test]
    fn an_address_has_only_one_invitation() {
        let when = absent().when(invite(Guest)).holding(Admin);
        let when = when.while_held(email_claim(), OTHER);
        when.rejects(Rejection::AlreadyMember);
    }

    #[test]
    fn a_member_is_not_invited_again() {
        let when = member(Guest).when(invite(Guest)).holding(Admin).at(WEEK);
        when.rejects(Rejection::AlreadyMember);
        let when = removed().when(invite(Guest)).holding(Admin).at(WEEK);
        when.rejects(Rejection::NotFound);
    }

    #[test]
    fn an_invitation_keeps_its_address() {
        let to_eve = Command::Invite {
            email: email("eve"),
            role: Guest,
            tenant_name: acme(),
            inviter: None,
        };
        let when = pending(Guest).when(to_eve).holding(Admin).at(WEEK);
        when.rejects(Rejection::NotFound);
    }

    #[test]
    fn an_invitation_is_sent_again_after_a_minute() {
        let when = |now| pending(Guest).when(invite(Guest)).holding(Admin).at(now);
        when(MINUTE - 1).changes_nothing();
        when(MINUTE).then([invited(Guest, NEW)]);
    }

    #[test]
    fn an_invitation_with_another_role_is_sent_at_once() {
        let when = pending(Guest).when(invite(Admin)).holding(Admin);
        when.then([invited(Admin, NEW)]);
    }

    #[test]
    fn a_rejected_invitation_is_sent_again_at_once() {
        let when = rejected().when(invite(Guest)).holding(Admin);
        when.then([invited(Guest, NEW)]);
    }

    #[test]
    fn nobody_invites_with_a_role_that_holds_more_than_they_do() {
        for member in [absent(), pending(Guest)] {
            let when = member.when(invite(Owner)).holding(Admin).at(MINUTE);
            when.rejects(Rejection::BeyondOwnPermissions);
        }
    }

    #[test]
    fn nobody_weakens_an_invitation_that_offers_more_than_they_hold() {
        let when = pending(Owner).when(invite(Guest)).at(MINUTE);
        let by_admin = when.clone().holding(Admin);
        by_admin.rejects(Rejection::BeyondOwnPermissions);
        when.holding(Owner).then([invited(Guest, NEW)]);
    }

    #[test]
    fn an_accepted_invitation_takes_the_account() {
        let when = pending(Guest).when(accept(FIRST, ADA)).at(WEEK - 1);
        when.decides(Decision {
            take: vec![account_claim()],
            ..Decision::events(vec![accepted()])
        });
    }

    #[test]
    fn an_invited_owner_takes_the_owner_claim_by_accepting() {
        pending(Owner).when(accept(FIRST, ADA)).decides(Decision {
            take: vec![account_claim(), own_claim()],
            ..Decision::events(vec![accepted()])
        });
    }

    #[test]
    fn accepting_again_changes_nothing() {
        let when = member(Guest).when(accept(FIRST, ADA)).at(WEEK);
        when.changes_nothing();
    }

    #[test]
    fn an_accepted_invitation_cannot_be_accepted_by_another_account_or_mail() {
        for command in [accept(FIRST, EVE), accept(SECOND, ADA)] {
            let when = member(Guest).when(command);
            when.rejects(Rejection::ChallengeEnded);
        }
        let when = founder().when(accept(FIRST, ADA));
        when.rejects(Rejection::ChallengeEnded);
    }

    #[test]
    fn an_account_is_a_member_of_a_tenant_only_once() {
        let when = pending(Guest).when(accept(FIRST, ADA));
        let when = when.while_held(account_claim(), OTHER);
        when.rejects(Rejection::AlreadyMember);
    }

    #[test]
    fn an_invitation_is_rejected() {
        let when = pending(Guest).when(reject(FIRST)).at(WEEK - 1);
        when.then([Event::Rejected]);
    }

    #[test]
    fn rejecting_again_changes_nothing() {
        rejected().when(reject(FIRST)).at(WEEK).changes_nothing();
    }

    #[test]
    fn an_invitation_is_answered_only_once() {
        for (member, command) in [
            (rejected(), reject(SECOND)),
            (rejected(), accept(FIRST, ADA)),
            (member(Guest), reject(FIRST)),
        ] {
            member.when(command).rejects(Rejection::ChallengeEnded);
        }
    }

    #[test]
    fn only_the_latest_mail_may_be_answered() {
        let again = pending(Guest).and([invited(Guest, SECOND)]);
        for answer in [accept(FIRST, ADA), reject(FIRST)] {
            again.when(answer).rejects(Rejection::ChallengeEnded);
        }
        again.when(accept(SECOND, ADA)).then([accepted()]);
    }

    #[test]
    fn an_invitation_expires_after_a_week() {
        for answer in [accept(FIRST, ADA), reject(FIRST)] {
            let when = pending(Guest).when(answer).at(WEEK);
            when.rejects(Rejection::ChallengeEnded);
        }
    }

    #[test]
    fn only_the_invited_address_answers_an_invitation() {
        let by_eve = [
            Command::Accept {
                challenge: FIRST,
                account: EVE,
                email: email("eve"),
            },
            Command::Reject {
                challenge: FIRST,
                email: email("eve"),
            },
        ];
        for command in by_eve {
            for member in [pending(Guest), member(Guest), rejected()] {
                member.when(command.clone()).rejects(Rejection::NotFound);
            }
        }
    }

    #[test]
    fn an_invitation_that_does_not_exist_is_not_answered() {
        for command in [accept(FIRST, ADA), reject(FIRST)] {
            for member in [absent(), removed()] {
                member.when(command.clone()).rejects(Rejection::NotFound);
            }
        }
    }

    #[test]
    fn an_invitation_that_is_sent_again_keeps_its_roles() {
        let again = pending(Guest).and([assigned(1), invited(Guest, SECOND)]);
        again.when(assign(1)).changes_nothing();
    }

    #[test]
    fn a_rejected_invitation_loses_its_roles() {
        let events = [assigned(1), Event::Rejected, invited(Guest, SECOND)];
        let again = pending(Guest).and(events);
        again.when(assign(1)).then([while_invited(assigned(1))]);
    }
}
