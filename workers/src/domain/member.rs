//! Members: invitations, roles, leaving, and the rule that a tenant keeps an owner.
//!
//! Owners are counted nowhere. Each holds a claim, and whoever ends an ownership names another
//! owner as witness and touches that one's claim. Two owners who remove each other at once write
//! the same two claims, so one of them is decided again, and finds its witness gone.

use std::{collections::BTreeSet, time::Duration};

use events_schema::{
    AccountId, Area, BuiltInRole, ChallengeId, Claim, EmailAddress, MemberId, Name, Permissions,
    Rejected, RoleId, Time,
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
    Pending {
        challenge: ChallengeId,
        since: Time,
    },
    // A founder answered no mail.
    Accepted {
        account: AccountId,
        challenge: Option<ChallengeId>,
    },
    Rejected {
        challenge: Option<ChallengeId>,
    },
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
    /// There is none, or no more, or the invitation is somebody else's: to the asker that is the
    /// same.
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
        Self {
            code: code.to_owned(),
            message: rejection.to_string(),
        }
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
                other_owner
                    .iter()
                    .map(|other| Claim::owner(facts.tenant, *other))
                    .collect()
            }
            Command::Found { .. }
            | Command::Reject { .. }
            | Command::AssignRole { .. }
            | Command::UnassignRole { .. } => Vec::new(),
        }
    }

    fn decide(&self, command: &Command, facts: &Facts) -> Result<Decision<Event>, Rejection> {
        match (self, command) {
            (Self::Absent, Command::Found { account, email }) => Ok(found(*account, email, facts)),
            (Self::Present(_) | Self::Removed, Command::Found { .. }) => Ok(Decision::unchanged()),
            (
                Self::Absent,
                Command::Invite {
                    email,
                    role,
                    tenant_name,
                    held,
                },
            ) => {
                within(*role, held)?;
                let claim = Claim::member_email(facts.tenant, email);
                if is_taken(&claim, facts) {
                    return Err(Rejection::AlreadyMember);
                }
                Ok(Decision {
                    take: vec![claim],
                    ..Decision::events(vec![invited(email, *role, tenant_name, facts)])
                })
            }
            (Self::Absent | Self::Removed, _) => Err(Rejection::NotFound),
            (Self::Present(present), command) => present.decide(command, facts),
        }
    }

    fn evolve(&mut self, event: &Event, at: Time) {
        match (&mut *self, event) {
            (_, Event::Founded { account, email }) => {
                let standing = Standing::Accepted {
                    account: *account,
                    challenge: None,
                };
                *self = Self::Present(Present {
                    email: email.clone(),
                    role: BuiltInRole::Owner,
                    roles: BTreeSet::new(),
                    standing,
                });
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
                let standing = Standing::Pending {
                    challenge: *challenge,
                    since: at,
                };
                *self = Self::Present(Present {
                    email: email.clone(),
                    role: *role,
                    roles: BTreeSet::new(),
                    standing,
                });
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
    Decision {
        take,
        ..Decision::events(vec![Event::Founded {
            account,
            email: email.clone(),
        }])
    }
}

fn invited(email: &EmailAddress, role: BuiltInRole, tenant_name: &Name, facts: &Facts) -> Event {
    Event::Invited {
        email: email.clone(),
        role,
        challenge: ChallengeId(facts.command.0),
        tenant_name: tenant_name.clone(),
    }
}

/// Nobody gives, changes or takes away a role that holds what they do not.
fn within(role: BuiltInRole, held: &Permissions) -> Result<(), Rejection> {
    if role.permissions().is_subset(held) {
        Ok(())
    } else {
        Err(Rejection::BeyondOwnRights)
    }
}

/// The claim of another owner, who stays one.
fn witness(other_owner: Option<MemberId>, facts: &Facts) -> Result<Claim, Rejection> {
    let other = other_owner
        .filter(|other| other.0 != facts.id)
        .ok_or(Rejection::LastOwner)?;
    let claim = Claim::owner(facts.tenant, other);
    if facts.holders.get(&claim) == Some(&other.0) {
        Ok(claim)
    } else {
        Err(Rejection::LastOwner)
    }
}

impl Present {
    fn decide(&self, command: &Command, facts: &Facts) -> Result<Decision<Event>, Rejection> {
        match command {
            Command::Found { .. } => Ok(Decision::unchanged()),
            Command::Invite {
                email,
                role,
                tenant_name,
                held,
            } => self
                .invite_again(email, *role, tenant_name, held, facts)
                .map(Decision::events),
            Command::Accept {
                challenge,
                account,
                email,
            } => self.accept(*challenge, *account, email, facts),
            Command::Reject { challenge, email } => {
                self.reject(*challenge, email, facts).map(Decision::events)
            }
            Command::ChangeRole {
                role,
                held,
                other_owner,
            } => self.change_role(*role, held, *other_owner, facts),
            Command::AssignRole { role } => self.assign_role(*role).map(Decision::events),
            Command::UnassignRole { role } => self.unassign_role(*role).map(Decision::events),
            Command::Remove {
                held,
                by,
                other_owner,
            } => self.remove(held, *by, *other_owner, facts),
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
            Standing::Pending { since, .. }
                if role == self.role && facts.now.since(since) < MAIL_EVERY =>
            {
                Vec::new()
            }
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
        if self.standing
            == (Standing::Accepted {
                account,
                challenge: Some(challenge),
            })
        {
            return Ok(Decision::unchanged());
        }
        self.answerable(challenge, facts.now)?;
        let claim = Claim::member_account(facts.tenant, account);
        if is_taken(&claim, facts) {
            return Err(Rejection::AlreadyMember);
        }
        let mut decision = Decision {
            take: vec![claim],
            ..Decision::events(vec![Event::Accepted { account }])
        };
        if self.role == BuiltInRole::Owner {
            decision
                .take
                .push(Claim::owner(facts.tenant, MemberId(facts.id)));
        }
        Ok(decision)
    }

    fn reject(
        &self,
        challenge: ChallengeId,
        email: &EmailAddress,
        facts: &Facts,
    ) -> Result<Vec<Event>, Rejection> {
        self.belongs_to(email)?;
        if self.standing
            == (Standing::Rejected {
                challenge: Some(challenge),
            })
        {
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
        Ok(if self.roles.contains(&role) {
            vec![Event::RoleUnassigned { role }]
        } else {
            Vec::new()
        })
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
        decision
            .release
            .push(Claim::member_email(facts.tenant, &self.email));
        decision.release.extend(
            self.account()
                .map(|account| Claim::member_account(facts.tenant, account)),
        );
        if self.is_owner() {
            decision.touch.push(witness(other_owner, facts)?);
            decision
                .release
                .push(Claim::owner(facts.tenant, MemberId(facts.id)));
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
        if self.email == *email {
            Ok(())
        } else {
            Err(Rejection::NotFound)
        }
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
            Standing::Pending {
                challenge: open,
                since,
            } if open == challenge && now.since(since) < INVITATION_LIFETIME => Ok(()),
            Standing::Pending { .. } | Standing::Accepted { .. } | Standing::Rejected { .. } => {
                Err(Rejection::InvitationEnded)
            }
        }
    }

    fn evolve(&mut self, event: &Event, at: Time) {
        match event {
            Event::Founded { .. } | Event::Removed => {}
            Event::Invited {
                email,
                role,
                challenge,
                ..
            } => {
                self.email = email.clone();
                self.role = *role;
                self.standing = Standing::Pending {
                    challenge: *challenge,
                    since: at,
                };
            }
            Event::Accepted { account } => {
                self.standing = Standing::Accepted {
                    account: *account,
                    challenge: self.standing.challenge(),
                };
            }
            Event::Rejected => {
                self.standing = Standing::Rejected {
                    challenge: self.standing.challenge(),
                };
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use events_schema::Id;

    use super::*;
    use crate::domain::testing::{COMMAND, OWN, TENANT, decide, decide_with, facts, given, held};

    const MINUTE: i64 = 60 * 1000;
    const WEEK: i64 = 7 * 24 * 60 * MINUTE;
    const ADA: AccountId = AccountId(Id::from_bytes([1; 16]));
    const EVE: AccountId = AccountId(Id::from_bytes([2; 16]));
    const OTHER: MemberId = MemberId(Id::from_bytes([3; 16]));
    const FIRST: ChallengeId = ChallengeId(Id::from_bytes([4; 16]));
    const SECOND: ChallengeId = ChallengeId(Id::from_bytes([5; 16]));
    const NEW: ChallengeId = ChallengeId(COMMAND);
    use BuiltInRole::{Admin, Guest, Owner};

    fn email(name: &str) -> EmailAddress {
        EmailAddress::parse(&format!("{name}@example.com")).unwrap()
    }
    fn custom(byte: u8) -> RoleId {
        RoleId(Id::from_bytes([byte; 16]))
    }
    fn acme() -> Name {
        Name::parse("Acme").unwrap()
    }
    fn found() -> Command {
        Command::Found {
            account: ADA,
            email: email("ada"),
        }
    }
    fn founded() -> Event {
        Event::Founded {
            account: ADA,
            email: email("ada"),
        }
    }
    fn invite(role: BuiltInRole, by: BuiltInRole) -> Command {
        Command::Invite {
            email: email("ada"),
            role,
            tenant_name: acme(),
            held: held(by),
        }
    }
    fn invited(role: BuiltInRole, challenge: ChallengeId) -> Event {
        Event::Invited {
            email: email("ada"),
            role,
            challenge,
            tenant_name: acme(),
        }
    }
    fn accept(challenge: ChallengeId, account: AccountId) -> Command {
        Command::Accept {
            challenge,
            account,
            email: email("ada"),
        }
    }
    fn reject(challenge: ChallengeId) -> Command {
        Command::Reject {
            challenge,
            email: email("ada"),
        }
    }
    fn change(role: BuiltInRole, by: BuiltInRole, other_owner: Option<MemberId>) -> Command {
        Command::ChangeRole {
            role,
            held: held(by),
            other_owner,
        }
    }
    fn remove(
        by: BuiltInRole,
        account: Option<AccountId>,
        other_owner: Option<MemberId>,
    ) -> Command {
        Command::Remove {
            held: held(by),
            by: account,
            other_owner,
        }
    }
    fn assign(byte: u8) -> Command {
        Command::AssignRole { role: custom(byte) }
    }
    fn assigned(byte: u8) -> Event {
        Event::RoleAssigned { role: custom(byte) }
    }
    fn unassign(byte: u8) -> Command {
        Command::UnassignRole { role: custom(byte) }
    }
    fn pending(role: BuiltInRole) -> Member {
        given([invited(role, FIRST)])
    }
    fn member(role: BuiltInRole) -> Member {
        given([invited(role, FIRST), Event::Accepted { account: ADA }])
    }
    fn refused() -> Member {
        given([invited(Guest, FIRST), Event::Rejected])
    }
    fn removed() -> Member {
        given([invited(Guest, FIRST), Event::Removed])
    }
    fn founder() -> Member {
        given([founded()])
    }
    fn email_claim() -> Claim {
        Claim::member_email(TENANT, &email("ada"))
    }
    fn account_claim() -> Claim {
        Claim::member_account(TENANT, ADA)
    }
    fn owner(member: MemberId) -> Claim {
        Claim::owner(TENANT, member)
    }
    fn own_owner() -> Claim {
        owner(MemberId(OWN))
    }
    fn other_owns() -> Facts {
        facts(0, [(owner(OTHER), OTHER.0)])
    }

    #[test]
    fn a_founder_is_an_owner_at_once_and_only_once() {
        let decision = decide_with(&Member::Absent, &found(), &facts(0, [])).unwrap();
        let take = vec![email_claim(), account_claim(), own_owner()];
        assert_eq!(
            decision,
            Decision {
                take,
                ..Decision::events(vec![founded()])
            }
        );
        for member in [founder(), pending(Guest), removed()] {
            assert_eq!(decide(&member, &found(), 0), Ok(vec![]));
        }
    }

    #[test]
    fn an_address_is_invited_and_held() {
        let decision = decide_with(&Member::Absent, &invite(Admin, Admin), &facts(0, [])).unwrap();
        assert_eq!(
            decision,
            Decision {
                take: vec![email_claim()],
                ..Decision::events(vec![invited(Admin, NEW)])
            }
        );
    }

    #[test]
    fn an_address_is_invited_to_a_tenant_under_one_id() {
        let held_by_other = facts(0, [(email_claim(), OTHER.0)]);
        assert_eq!(
            decide_with(&Member::Absent, &invite(Guest, Admin), &held_by_other),
            Err(Rejection::AlreadyMember)
        );
        assert_eq!(
            decide(&member(Guest), &invite(Guest, Admin), WEEK),
            Err(Rejection::AlreadyMember)
        );
        assert_eq!(
            decide(&removed(), &invite(Guest, Admin), WEEK),
            Err(Rejection::NotFound)
        );
        let other_address = Command::Invite {
            email: email("eve"),
            role: Guest,
            tenant_name: acme(),
            held: held(Admin),
        };
        assert_eq!(
            decide(&pending(Guest), &other_address, WEEK),
            Err(Rejection::NotFound)
        );
    }

    #[test]
    fn an_invitation_is_sent_again_after_a_minute_or_as_something_else() {
        assert_eq!(
            decide(&pending(Guest), &invite(Guest, Admin), MINUTE - 1),
            Ok(vec![])
        );
        assert_eq!(
            decide(&pending(Guest), &invite(Guest, Admin), MINUTE),
            Ok(vec![invited(Guest, NEW)])
        );
        assert_eq!(
            decide(&pending(Guest), &invite(Admin, Admin), 0),
            Ok(vec![invited(Admin, NEW)])
        );
        assert_eq!(
            decide(&refused(), &invite(Guest, Admin), 0),
            Ok(vec![invited(Guest, NEW)])
        );
    }

    #[test]
    fn nobody_invites_beyond_what_they_hold() {
        assert_eq!(
            decide(&Member::Absent, &invite(Owner, Admin), 0),
            Err(Rejection::BeyondOwnRights)
        );
        assert_eq!(
            decide(&pending(Guest), &invite(Owner, Admin), MINUTE),
            Err(Rejection::BeyondOwnRights)
        );
        assert_eq!(
            decide(&pending(Owner), &invite(Guest, Admin), MINUTE),
            Err(Rejection::BeyondOwnRights),
            "an owner's offer"
        );
        assert_eq!(
            decide(&pending(Owner), &invite(Guest, Owner), MINUTE),
            Ok(vec![invited(Guest, NEW)])
        );
    }

    #[test]
    fn an_invitation_is_accepted_and_the_account_held() {
        let decision =
            decide_with(&pending(Guest), &accept(FIRST, ADA), &facts(WEEK - 1, [])).unwrap();
        let accepted = Decision::events(vec![Event::Accepted { account: ADA }]);
        assert_eq!(
            decision,
            Decision {
                take: vec![account_claim()],
                ..accepted.clone()
            }
        );
        let decision = decide_with(&pending(Owner), &accept(FIRST, ADA), &facts(0, [])).unwrap();
        assert_eq!(
            decision,
            Decision {
                take: vec![account_claim(), own_owner()],
                ..accepted
            }
        );
    }

    #[test]
    fn accepting_again_changes_nothing_for_whoever_accepted() {
        assert_eq!(
            decide(&member(Guest), &accept(FIRST, ADA), WEEK),
            Ok(vec![])
        );
        assert_eq!(
            decide(&member(Guest), &accept(FIRST, EVE), 0),
            Err(Rejection::InvitationEnded)
        );
        assert_eq!(
            decide(&member(Guest), &accept(SECOND, ADA), 0),
            Err(Rejection::InvitationEnded)
        );
        assert_eq!(
            decide(&founder(), &accept(FIRST, ADA), 0),
            Err(Rejection::InvitationEnded)
        );
    }

    #[test]
    fn an_account_is_one_member_of_a_tenant() {
        let held_by_other = facts(0, [(account_claim(), OTHER.0)]);
        assert_eq!(
            decide_with(&pending(Guest), &accept(FIRST, ADA), &held_by_other),
            Err(Rejection::AlreadyMember)
        );
    }

    #[test]
    fn an_invitation_is_refused_and_refusing_again_changes_nothing() {
        assert_eq!(
            decide(&pending(Guest), &reject(FIRST), WEEK - 1),
            Ok(vec![Event::Rejected])
        );
        assert_eq!(decide(&refused(), &reject(FIRST), WEEK), Ok(vec![]));
        assert_eq!(
            decide(&refused(), &reject(SECOND), 0),
            Err(Rejection::InvitationEnded)
        );
        assert_eq!(
            decide(&member(Guest), &reject(FIRST), 0),
            Err(Rejection::InvitationEnded)
        );
        assert_eq!(
            decide(&refused(), &accept(FIRST, ADA), 0),
            Err(Rejection::InvitationEnded)
        );
    }

    #[test]
    fn only_the_last_mail_is_answered_and_only_for_a_week() {
        let again: Member = given([invited(Guest, FIRST), invited(Guest, SECOND)]);
        for answer in [accept(FIRST, ADA), reject(FIRST)] {
            assert_eq!(decide(&again, &answer, 0), Err(Rejection::InvitationEnded));
            assert_eq!(
                decide(&pending(Guest), &answer, WEEK),
                Err(Rejection::InvitationEnded)
            );
        }
        assert!(decide(&again, &accept(SECOND, ADA), 0).is_ok());
    }

    #[test]
    fn an_invitation_is_answered_by_its_address_only() {
        for command in [
            Command::Accept {
                challenge: FIRST,
                account: EVE,
                email: email("eve"),
            },
            Command::Reject {
                challenge: FIRST,
                email: email("eve"),
            },
        ] {
            for member in [pending(Guest), member(Guest), refused()] {
                assert_eq!(
                    decide(&member, &command, 0),
                    Err(Rejection::NotFound),
                    "{command:?}"
                );
            }
        }
    }

    #[test]
    fn a_role_is_changed_only_if_it_differs() {
        for member in [pending(Guest), member(Guest)] {
            let decision =
                decide_with(&member, &change(Admin, Admin, None), &facts(0, [])).unwrap();
            assert_eq!(
                decision,
                Decision::events(vec![Event::RoleChanged { role: Admin }])
            );
            assert_eq!(decide(&member, &change(Guest, Admin, None), 0), Ok(vec![]));
        }
        assert_eq!(
            decide(&founder(), &change(Owner, Owner, None), 0),
            Ok(vec![])
        );
    }

    #[test]
    fn nobody_changes_a_role_from_or_to_more_than_they_hold() {
        assert_eq!(
            decide(&member(Guest), &change(Owner, Admin, None), 0),
            Err(Rejection::BeyondOwnRights)
        );
        for member in [founder(), pending(Owner)] {
            assert_eq!(
                decide_with(&member, &change(Guest, Admin, Some(OTHER)), &other_owns()),
                Err(Rejection::BeyondOwnRights)
            );
        }
    }

    #[test]
    fn a_new_owner_holds_the_claim_of_one_but_not_while_only_invited() {
        let events = || Decision::events(vec![Event::RoleChanged { role: Owner }]);
        let decision =
            decide_with(&member(Admin), &change(Owner, Owner, None), &facts(0, [])).unwrap();
        assert_eq!(
            decision,
            Decision {
                take: vec![own_owner()],
                ..events()
            }
        );
        assert_eq!(
            decide_with(&pending(Admin), &change(Owner, Owner, None), &facts(0, [])),
            Ok(events())
        );
        let lowered = decide_with(&pending(Owner), &change(Guest, Owner, None), &facts(0, []));
        assert_eq!(
            lowered,
            Ok(Decision::events(vec![Event::RoleChanged { role: Guest }])),
            "no ownership ends"
        );
    }

    #[test]
    fn an_owner_becomes_less_where_another_stays() {
        let decision = decide_with(
            &founder(),
            &change(Admin, Owner, Some(OTHER)),
            &other_owns(),
        )
        .unwrap();
        let events = Decision::events(vec![Event::RoleChanged { role: Admin }]);
        assert_eq!(
            decision,
            Decision {
                release: vec![own_owner()],
                touch: vec![owner(OTHER)],
                ..events
            }
        );
    }

    #[test]
    fn the_last_owner_neither_becomes_less_nor_goes() {
        let nobody = facts(0, []);
        let only_self = facts(0, [(own_owner(), OWN)]);
        let wrong = facts(0, [(owner(OTHER), OWN)]);
        for (other, facts) in [
            (None, &other_owns()),
            (Some(OTHER), &nobody),
            (Some(OTHER), &wrong),
            (Some(MemberId(OWN)), &only_self),
        ] {
            assert_eq!(
                decide_with(&founder(), &change(Admin, Owner, other), facts),
                Err(Rejection::LastOwner),
                "{other:?}"
            );
            assert_eq!(
                decide_with(&founder(), &remove(Owner, Some(ADA), other), facts),
                Err(Rejection::LastOwner),
                "{other:?}"
            );
        }
    }

    #[test]
    fn who_goes_gives_up_what_they_held() {
        let gone = || Decision::events(vec![Event::Removed]);
        for member in [pending(Guest), refused(), pending(Owner)] {
            let decision =
                decide_with(&member, &remove(Owner, Some(EVE), None), &facts(0, [])).unwrap();
            assert_eq!(
                decision,
                Decision {
                    release: vec![email_claim()],
                    ..gone()
                }
            );
        }
        let decision = decide_with(
            &member(Guest),
            &remove(Admin, Some(EVE), None),
            &facts(0, []),
        )
        .unwrap();
        assert_eq!(
            decision,
            Decision {
                release: vec![email_claim(), account_claim()],
                ..gone()
            }
        );
        let decision = decide_with(
            &founder(),
            &remove(Owner, Some(EVE), Some(OTHER)),
            &other_owns(),
        )
        .unwrap();
        let release = vec![email_claim(), account_claim(), own_owner()];
        assert_eq!(
            decision,
            Decision {
                release,
                touch: vec![owner(OTHER)],
                ..gone()
            }
        );
    }

    #[test]
    fn everybody_may_leave_but_nobody_removes_who_holds_more() {
        assert_eq!(
            decide(&member(Admin), &remove(Guest, Some(ADA), None), 0),
            Ok(vec![Event::Removed])
        );
        assert_eq!(
            decide(&member(Admin), &remove(Guest, Some(EVE), None), 0),
            Err(Rejection::BeyondOwnRights)
        );
        assert_eq!(
            decide(&pending(Owner), &remove(Admin, None, None), 0),
            Err(Rejection::BeyondOwnRights)
        );
        assert_eq!(
            decide_with(
                &founder(),
                &remove(Admin, Some(EVE), Some(OTHER)),
                &other_owns()
            ),
            Err(Rejection::BeyondOwnRights)
        );
    }

    /// What the loop writes of a decision of this member.
    fn store(held: &mut HashMap<Claim, Id>, own: MemberId, decision: &Decision<Event>) {
        for claim in &decision.release {
            held.remove(claim);
        }
        held.extend(decision.take.iter().map(|claim| (*claim, own.0)));
    }

    #[test]
    fn of_two_owners_who_remove_each_other_one_stays() {
        let (a, b) = (MemberId(OWN), OTHER);
        let mut held = HashMap::from([(owner(a), a.0), (owner(b), b.0)]);
        let seen_by = |member: MemberId, held: &HashMap<Claim, Id>| Facts {
            id: member.0,
            ..facts(0, held.clone())
        };

        let b_goes = decide_with(
            &founder(),
            &remove(Owner, Some(ADA), Some(a)),
            &seen_by(b, &held),
        )
        .unwrap();
        let a_goes = decide_with(
            &founder(),
            &remove(Owner, Some(EVE), Some(b)),
            &seen_by(a, &held),
        )
        .unwrap();
        assert!(
            b_goes
                .touch
                .iter()
                .all(|claim| a_goes.release.contains(claim)),
            "both write what one relies on, so one is decided again"
        );
        assert!(
            a_goes
                .touch
                .iter()
                .all(|claim| b_goes.release.contains(claim))
        );

        store(&mut held, b, &b_goes);
        let again = decide_with(
            &founder(),
            &remove(Owner, Some(EVE), Some(b)),
            &seen_by(a, &held),
        );
        assert_eq!(again, Err(Rejection::LastOwner));
    }

    #[test]
    fn custom_roles_are_given_and_taken_once() {
        for member in [pending(Guest), member(Guest)] {
            assert_eq!(decide(&member, &assign(1), 0), Ok(vec![assigned(1)]));
            assert_eq!(decide(&member, &unassign(1), 0), Ok(vec![]));
        }
        let with_role: Member = given([founded(), assigned(1)]);
        assert_eq!(decide(&with_role, &assign(1), 0), Ok(vec![]));
        assert_eq!(
            decide(&with_role, &unassign(1), 0),
            Ok(vec![Event::RoleUnassigned { role: custom(1) }])
        );
        let without: Member = given([
            founded(),
            assigned(1),
            Event::RoleUnassigned { role: custom(1) },
        ]);
        assert_eq!(without, founder());
    }

    #[test]
    fn custom_roles_are_bounded() {
        let with =
            |count: u8| given::<Member>([founded()].into_iter().chain((0..count).map(assigned)));
        assert!(decide(&with(19), &assign(99), 0).is_ok());
        assert_eq!(
            decide(&with(20), &assign(99), 0),
            Err(Rejection::TooManyRoles)
        );
        assert_eq!(decide(&with(20), &assign(0), 0), Ok(vec![]));
    }

    #[test]
    fn an_invitation_keeps_its_roles_when_sent_again_and_loses_them_when_refused() {
        let again: Member = given([invited(Guest, FIRST), assigned(1), invited(Guest, SECOND)]);
        assert_eq!(decide(&again, &assign(1), 0), Ok(vec![]));
        let refused: Member = given([
            invited(Guest, FIRST),
            assigned(1),
            Event::Rejected,
            invited(Guest, SECOND),
        ]);
        assert_eq!(decide(&refused, &assign(1), 0), Ok(vec![assigned(1)]));
    }

    #[test]
    fn nothing_is_done_to_a_member_that_is_not_there() {
        let of_members = [change(Guest, Owner, None), assign(1), unassign(1)];
        for command in [accept(FIRST, ADA), reject(FIRST), remove(Owner, None, None)]
            .iter()
            .chain(&of_members)
        {
            for member in [Member::Absent, removed()] {
                assert_eq!(
                    decide(&member, command, 0),
                    Err(Rejection::NotFound),
                    "{command:?}"
                );
            }
        }
        for command in of_members {
            assert_eq!(
                decide(&refused(), &command, 0),
                Err(Rejection::NotFound),
                "{command:?}"
            );
        }
    }

    #[test]
    fn what_happened_is_taken_in_whatever_was_before() {
        let later = [
            Event::Accepted { account: ADA },
            Event::Rejected,
            Event::RoleChanged { role: Owner },
            assigned(1),
        ];
        assert_eq!(given::<Member>(later.clone()), Member::Absent);
        assert_eq!(
            given::<Member>([founded(), Event::Removed].into_iter().chain(later)),
            Member::Removed
        );
    }
}
