//! Members: invitations, roles, leaving, and the rule that a tenant keeps an owner.
//!
//! Owners are counted nowhere. Each holds a claim, and whoever ends an ownership names another owner as witness and touches
//! that one's claim. Two owners who remove each other at once write the same two claims, so one of them is decided again, and
//! finds its witness gone.

use std::{collections::BTreeSet, time::Duration};

use events_schema::{
    AccountId, Area, BuiltInRole, ChallengeId, Claim, EmailAddress, MemberId, Name, Permissions, Rejected, RoleId, Time,
    member::{Command, Event},
};

use super::is_taken;
use crate::aggregate::{Aggregate, Decision, Facts};

/// An invitation may be answered for this long: whoever is away for a week may ask for a new one.
pub const INVITATION_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Between two mails of one invitation, so that a button pressed twice sends one.
pub const MAIL_EVERY: Duration = Duration::from_secs(60);
/// A member has at most so many custom roles: all of them are looked at for each request.
pub const MOST_CUSTOM_ROLES: usize = 20;

/// One member, or one invitation.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Member {
    /// Nothing has happened yet.
    #[default]
    Absent,
    /// A member, or invited.
    Present(Present),
    /// No more: this id is never used again.
    Removed,
}

/// A member or invitation proper.
#[derive(Clone, Debug, PartialEq)]
pub struct Present {
    email: EmailAddress,
    role: BuiltInRole,
    roles: BTreeSet<RoleId>,
    standing: Standing,
}

/// How far it has come, and by which mail.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Standing {
    Pending { challenge: ChallengeId, since: Time },
    // A founder answered no mail.
    Accepted { account: AccountId, challenge: Option<ChallengeId> },
    Rejected { challenge: Option<ChallengeId> },
}

impl Standing {
    fn challenge(self) -> Option<ChallengeId> {
        match self {
            Self::Pending { challenge, .. } => Some(challenge),
            Self::Accepted { challenge, .. } | Self::Rejected { challenge } => challenge,
        }
    }
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There is none, or no more, or the invitation is somebody else's: to the asker that is the same.
    #[error("There is no such member.")]
    NotFound,
    /// The address or the account is that of a member, or of somebody who is invited.
    #[error("They are a member already, or invited.")]
    AlreadyMember,
    /// The role given, or that of whom it is done to, holds what the asker does not.
    #[error("You cannot give or take more than you hold.")]
    BeyondOwnRights,
    /// The mail that is answered was answered before, replaced by a newer one, or is too old.
    #[error("The invitation is no longer valid; ask for a new one.")]
    InvitationEnded,
    /// Nobody else is known to be an owner.
    #[error("A tenant needs an owner; make somebody else an owner first.")]
    LastOwner,
    /// More custom roles than [`MOST_CUSTOM_ROLES`].
    #[error("A member has at most {MOST_CUSTOM_ROLES} custom roles.")]
    TooManyRoles,
}

impl From<Rejection> for Rejected {
    fn from(rejection: Rejection) -> Self {
        let code = match rejection {
            Rejection::NotFound => "not_found",
            Rejection::AlreadyMember => "already_member",
            Rejection::BeyondOwnRights => "forbidden",
            Rejection::InvitationEnded => "challenge_ended",
            Rejection::LastOwner => "last_owner",
            Rejection::TooManyRoles => "too_many_roles",
        };
        Self { code: code.to_owned(), message: rejection.to_string() }
    }
}

impl Aggregate for Member {
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;
    const AREA: Area = Area::Member;

    fn claims(&self, command: &Command, facts: &Facts) -> Vec<Claim> {
        match command {
            Command::Invite { email, .. } => vec![Claim::member_email(facts.tenant, email)],
            Command::Accept { account, .. } => vec![Claim::member_account(facts.tenant, *account)],
            Command::ChangeRole { other_owner, .. } | Command::Remove { other_owner, .. } => {
                other_owner.iter().map(|other| Claim::owner(facts.tenant, *other)).collect()
            }
            Command::Found { .. } | Command::Reject { .. } | Command::AssignRole { .. } | Command::UnassignRole { .. } => Vec::new(),
        }
    }

    fn decide(&self, command: &Command, facts: &Facts) -> Result<Decision<Event>, Rejection> {
        match (self, command) {
            (Self::Absent, Command::Found { account, email }) => Ok(found(*account, email, facts)),
            (Self::Present(_) | Self::Removed, Command::Found { .. }) => Ok(Decision::unchanged()),
            (Self::Absent, Command::Invite { email, role, tenant_name, held }) => {
                within(*role, held)?;
                let claim = Claim::member_email(facts.tenant, email);
                if is_taken(&claim, facts) {
                    return Err(Rejection::AlreadyMember);
                }
                Ok(Decision { take: vec![claim], ..Decision::events(vec![invited(email, *role, tenant_name, facts)]) })
            }
            (Self::Absent | Self::Removed, _) => Err(Rejection::NotFound),
            (Self::Present(present), command) => present.decide(command, facts),
        }
    }

    fn evolve(&mut self, event: &Event, at: Time) {
        match (&mut *self, event) {
            (_, Event::Founded { account, email }) => {
                let standing = Standing::Accepted { account: *account, challenge: None };
                *self = Self::Present(Present { email: email.clone(), role: BuiltInRole::Owner, roles: BTreeSet::new(), standing });
            }
            (Self::Absent | Self::Removed, Event::Invited { email, role, challenge, .. }) => {
                let standing = Standing::Pending { challenge: *challenge, since: at };
                *self = Self::Present(Present { email: email.clone(), role: *role, roles: BTreeSet::new(), standing });
            }
            (_, Event::Removed) => *self = Self::Removed,
            (Self::Present(present), event) => present.evolve(event, at),
            (Self::Absent | Self::Removed, _) => {}
        }
    }
}

fn found(account: AccountId, email: &EmailAddress, facts: &Facts) -> Decision<Event> {
    let take = vec![
        Claim::member_email(facts.tenant, email),
        Claim::member_account(facts.tenant, account),
        Claim::owner(facts.tenant, MemberId(facts.id)),
    ];
    Decision { take, ..Decision::events(vec![Event::Founded { account, email: email.clone() }]) }
}

fn invited(email: &EmailAddress, role: BuiltInRole, tenant_name: &Name, facts: &Facts) -> Event {
    Event::Invited { email: email.clone(), role, challenge: ChallengeId(facts.command.0), tenant_name: tenant_name.clone() }
}

/// Nobody gives, changes or takes away a role that holds what they do not.
fn within(role: BuiltInRole, held: &Permissions) -> Result<(), Rejection> {
    if role.permissions().is_subset(held) { Ok(()) } else { Err(Rejection::BeyondOwnRights) }
}

/// The claim of another owner, who stays one.
fn witness(other_owner: Option<MemberId>, facts: &Facts) -> Result<Claim, Rejection> {
    let other = other_owner.filter(|other| other.0 != facts.id).ok_or(Rejection::LastOwner)?;
    let claim = Claim::owner(facts.tenant, other);
    if facts.holders.get(&claim) == Some(&other.0) { Ok(claim) } else { Err(Rejection::LastOwner) }
}

impl Present {
    fn decide(&self, command: &Command, facts: &Facts) -> Result<Decision<Event>, Rejection> {
        match command {
            Command::Found { .. } => Ok(Decision::unchanged()),
            Command::Invite { email, role, tenant_name, held } => {
                self.invite_again(email, *role, tenant_name, held, facts).map(Decision::events)
            }
            Command::Accept { challenge, account, email } => self.accept(*challenge, *account, email, facts),
            Command::Reject { challenge, email } => self.reject(*challenge, email, facts).map(Decision::events),
            Command::ChangeRole { role, held, other_owner } => self.change_role(*role, held, *other_owner, facts),
            Command::AssignRole { role } => self.assign_role(*role).map(Decision::events),
            Command::UnassignRole { role } => self.unassign_role(*role).map(Decision::events),
            Command::Remove { held, by, other_owner } => self.remove(held, *by, *other_owner, facts),
        }
    }

    fn invite_again(
        &self,
        email: &EmailAddress,
        role: BuiltInRole,
        tenant_name: &Name,
        held: &Permissions,
        facts: &Facts,
    ) -> Result<Vec<Event>, Rejection> {
        if self.account().is_some() {
            return Err(Rejection::AlreadyMember);
        }
        self.belongs_to(email)?;
        within(self.role, held)?;
        within(role, held)?;
        Ok(match self.standing {
            Standing::Pending { since, .. } if role == self.role && facts.now.since(since) < MAIL_EVERY => Vec::new(),
            Standing::Pending { .. } | Standing::Accepted { .. } | Standing::Rejected { .. } => {
                vec![invited(email, role, tenant_name, facts)]
            }
        })
    }

    fn accept(
        &self,
        challenge: ChallengeId,
        account: AccountId,
        email: &EmailAddress,
        facts: &Facts,
    ) -> Result<Decision<Event>, Rejection> {
        self.belongs_to(email)?;
        if self.standing == (Standing::Accepted { account, challenge: Some(challenge) }) {
            return Ok(Decision::unchanged());
        }
        self.answerable(challenge, facts.now)?;
        let claim = Claim::member_account(facts.tenant, account);
        if is_taken(&claim, facts) {
            return Err(Rejection::AlreadyMember);
        }
        let mut decision = Decision { take: vec![claim], ..Decision::events(vec![Event::Accepted { account }]) };
        if self.role == BuiltInRole::Owner {
            decision.take.push(Claim::owner(facts.tenant, MemberId(facts.id)));
        }
        Ok(decision)
    }

    fn reject(&self, challenge: ChallengeId, email: &EmailAddress, facts: &Facts) -> Result<Vec<Event>, Rejection> {
        self.belongs_to(email)?;
        if self.standing == (Standing::Rejected { challenge: Some(challenge) }) {
            return Ok(Vec::new());
        }
        self.answerable(challenge, facts.now)?;
        Ok(vec![Event::Rejected])
    }

    fn change_role(
        &self,
        role: BuiltInRole,
        held: &Permissions,
        other_owner: Option<MemberId>,
        facts: &Facts,
    ) -> Result<Decision<Event>, Rejection> {
        self.has_roles()?;
        within(self.role, held)?;
        within(role, held)?;
        if role == self.role {
            return Ok(Decision::unchanged());
        }
        let mut decision = Decision::events(vec![Event::RoleChanged { role }]);
        let own = Claim::owner(facts.tenant, MemberId(facts.id));
        if self.is_owner() {
            decision.touch.push(witness(other_owner, facts)?);
            decision.release.push(own);
        } else if role == BuiltInRole::Owner && self.account().is_some() {
            decision.take.push(own);
        }
        Ok(decision)
    }

    fn assign_role(&self, role: RoleId) -> Result<Vec<Event>, Rejection> {
        self.has_roles()?;
        if self.roles.contains(&role) {
            Ok(Vec::new())
        } else if self.roles.len() >= MOST_CUSTOM_ROLES {
            Err(Rejection::TooManyRoles)
        } else {
            Ok(vec![Event::RoleAssigned { role }])
        }
    }

    fn unassign_role(&self, role: RoleId) -> Result<Vec<Event>, Rejection> {
        self.has_roles()?;
        Ok(if self.roles.contains(&role) { vec![Event::RoleUnassigned { role }] } else { Vec::new() })
    }

    fn remove(
        &self,
        held: &Permissions,
        by: Option<AccountId>,
        other_owner: Option<MemberId>,
        facts: &Facts,
    ) -> Result<Decision<Event>, Rejection> {
        let leaves = by.is_some() && by == self.account();
        if !leaves {
            within(self.role, held)?;
        }
        let mut decision = Decision::events(vec![Event::Removed]);
        decision.release.push(Claim::member_email(facts.tenant, &self.email));
        decision.release.extend(self.account().map(|account| Claim::member_account(facts.tenant, account)));
        if self.is_owner() {
            decision.touch.push(witness(other_owner, facts)?);
            decision.release.push(Claim::owner(facts.tenant, MemberId(facts.id)));
        }
        Ok(decision)
    }

    /// Who accepted.
    fn account(&self) -> Option<AccountId> {
        match self.standing {
            Standing::Accepted { account, .. } => Some(account),
            Standing::Pending { .. } | Standing::Rejected { .. } => None,
        }
    }

    /// Whether this is an owner, and not just invited as one.
    fn is_owner(&self) -> bool {
        self.role == BuiltInRole::Owner && self.account().is_some()
    }

    fn belongs_to(&self, email: &EmailAddress) -> Result<(), Rejection> {
        if self.email == *email { Ok(()) } else { Err(Rejection::NotFound) }
    }

    /// Who said no has no roles: not now, and not by being invited again.
    fn has_roles(&self) -> Result<(), Rejection> {
        match self.standing {
            Standing::Pending { .. } | Standing::Accepted { .. } => Ok(()),
            Standing::Rejected { .. } => Err(Rejection::NotFound),
        }
    }

    fn answerable(&self, challenge: ChallengeId, now: Time) -> Result<(), Rejection> {
        match self.standing {
            Standing::Pending { challenge: open, since } if open == challenge && now.since(since) < INVITATION_LIFETIME => Ok(()),
            Standing::Pending { .. } | Standing::Accepted { .. } | Standing::Rejected { .. } => Err(Rejection::InvitationEnded),
        }
    }

    fn evolve(&mut self, event: &Event, at: Time) {
        match event {
            Event::Founded { .. } | Event::Removed => {}
            Event::Invited { email, role, challenge, .. } => {
                self.email = email.clone();
                self.role = *role;
                self.standing = Standing::Pending { challenge: *challenge, since: at };
            }
            Event::Accepted { account } => {
                self.standing = Standing::Accepted { account: *account, challenge: self.standing.challenge() };
            }
            Event::Rejected => {
                self.standing = Standing::Rejected { challenge: self.standing.challenge() };
                self.roles.clear();
            }
            Event::RoleChanged { role } => self.role = *role,
            Event::RoleAssigned { role } => {
                self.roles.insert(*role);
            }
            Event::RoleUnassigned { role } => {
                self.roles.remove(role);
            }
        }
    }
}
