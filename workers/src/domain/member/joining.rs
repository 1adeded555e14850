//! Becoming a member by a connection of the tenant.

use events_schema::{
    AccountId, BuiltInRole, Claim, EmailAddress, IdentityId,
    member::{Area, Event},
};

use super::{Member, Present, Rejection, identity_claims};
use crate::aggregate::{Decision, Facts};

impl Member {
    /// A member is remembered by the identity: after a removal or a suspension, another account
    /// with it needs an invitation.
    ///
    /// # Errors
    /// If neither the connection nor an invitation lets the person in, the tenant has removed the
    /// person, another member has the address, the account or the identity, or the role is that of
    /// owners: who administers a connection must not make one.
    pub(super) fn join(
        &self,
        (account, identities): (AccountId, &[IdentityId]),
        email: &EmailAddress,
        role: Option<BuiltInRole>,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        match self {
            Self::Present(present) => present.join((account, identities), email, role, facts),
            Self::Absent | Self::Removed => join_first((account, identities), email, role, facts),
        }
    }
}

impl Present {
    /// A person who was invited gets the role of the invitation, and keeps its custom roles. That
    /// is so for one whom the tenant has removed before, too.
    fn join(
        &self,
        (account, identities): (AccountId, &[IdentityId]),
        email: &EmailAddress,
        role: Option<BuiltInRole>,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        if self.invitation.account() == Some(account) {
            let is_known = identities.iter().any(|it| self.identities.contains(it));
            let identities: &[IdentityId] = if is_known { &[] } else { identities };
            return Ok(with_identity(Decision::unchanged(), identities, facts));
        }
        self.check_belongs_to(email)?;
        let is_pending = self.invitation.lapses_at().is_some_and(|at| facts.now < at);
        if is_pending && self.role == BuiltInRole::Owner {
            return Err(Rejection::OwnerInvited);
        }
        let account_claim = Claim::member_account(facts.tenant, account);
        if self.invitation.account().is_some()
            || self.is_suspended
            || facts.is_taken(&account_claim)
        {
            return Err(Rejection::AlreadyMember);
        }
        if !is_pending {
            return join_first((account, identities), email, role, facts);
        }
        let accepted = Decision {
            take: vec![account_claim],
            ..Decision::events(vec![Event::Accepted { account }])
        };
        Ok(with_identity(accepted, identities, facts))
    }
}

fn join_first(
    (account, identities): (AccountId, &[IdentityId]),
    email: &EmailAddress,
    role: Option<BuiltInRole>,
    facts: &Facts<Area>,
) -> Result<Decision<Event>, Rejection> {
    let removed = Claim::removed_member(facts.tenant, account);
    let is_barred = facts.holders.contains_key(&removed) || is_of_another(identities, facts);
    let role = role.filter(|_| !is_barred).ok_or(Rejection::NotInvited)?;
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
    let joined = Decision {
        take,
        ..Decision::events(vec![Event::Joined {
            account,
            email: email.clone(),
            role,
        }])
    };
    Ok(with_identity(joined, identities, facts))
}

/// Whether another member has come by this identity, under any of its names.
fn is_of_another(identities: &[IdentityId], facts: &Facts<Area>) -> bool {
    let claims = identity_claims(facts.tenant, identities);
    claims.iter().any(|claim| facts.is_taken(claim))
}

/// Adds that a connection has identified the member. An identity stays with the first member who
/// has come by it.
fn with_identity(
    mut decision: Decision<Event>,
    identities: &[IdentityId],
    facts: &Facts<Area>,
) -> Decision<Event> {
    let own = identities.first();
    if let Some(identity) = own.filter(|_| !is_of_another(identities, facts)) {
        let identity = *identity;
        let claim = Claim::member_identity(facts.tenant, identity);
        decision.take.push(claim);
        decision.events.push(Event::Identified { identity });
    }
    decision
}

#[cfg(test)]
mod tests;
