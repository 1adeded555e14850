//! Members to test with. Ada is the member, and Eve is anybody else.

pub(super) use BuiltInRole::{Admin, Guest, Owner};
use events_schema::{Actor, BuiltInRole, ChallengeId, Id, IdentityId, MemberId, Name};

use super::*;
use crate::domain::testing::{COMMAND, Given, TENANT};
pub(super) use crate::domain::testing::{OWN, given};

pub(super) const MINUTE: i64 = 60 * 1000;
pub(super) const WEEK: i64 = 7 * 24 * 60 * MINUTE;
pub(super) const ADA: AccountId = AccountId(Id::from_bytes([1; 16]));
pub(super) const EVE: AccountId = AccountId(Id::from_bytes([2; 16]));
pub(super) const OTHER: MemberId = MemberId(Id::from_bytes([3; 16]));
pub(super) const FIRST: ChallengeId = ChallengeId(Id::from_bytes([4; 16]));
pub(super) const SECOND: ChallengeId = ChallengeId(Id::from_bytes([5; 16]));
pub(super) const NEW: ChallengeId = ChallengeId(COMMAND);

pub(super) fn email(name: &str) -> EmailAddress {
    EmailAddress::parse(&format!("{name}@example.com")).unwrap()
}
pub(super) fn custom(byte: u8) -> RoleId {
    RoleId(Id::from_bytes([byte; 16]))
}
pub(super) fn acme() -> Name {
    Name::parse("Acme").unwrap()
}
pub(super) fn add_founder() -> Command {
    Command::AddFounder {
        account: ADA,
        email: email("ada"),
    }
}
pub(super) fn founder_added() -> Event {
    Event::FounderAdded {
        account: ADA,
        email: email("ada"),
    }
}
pub(super) fn invite(role: BuiltInRole) -> Command {
    Command::Invite {
        email: email("ada"),
        role,
        tenant_name: acme(),
        inviter: None,
    }
}
pub(super) fn invited(role: BuiltInRole, challenge: ChallengeId) -> Event {
    Event::Invited {
        email: email("ada"),
        role,
        challenge,
        tenant_name: acme(),
        inviter: None,
    }
}
pub(super) fn accept(challenge: ChallengeId, account: AccountId) -> Command {
    Command::Accept {
        challenge,
        account,
        email: email("ada"),
    }
}
pub(super) fn accepted() -> Event {
    Event::Accepted { account: ADA }
}
pub(super) fn reject(challenge: ChallengeId) -> Command {
    Command::Reject {
        challenge,
        email: email("ada"),
    }
}
/// A change of a member who holds nothing by their roles, so that only built-in roles count.
pub(super) fn change(role: BuiltInRole) -> Command {
    Command::ChangeRole {
        role,
        member_holds: Permissions::new(),
        other_owner: Some(OTHER),
    }
}
pub(super) fn role_changed(role: BuiltInRole) -> Event {
    Event::RoleChanged {
        role,
        lapses_at: None,
    }
}
pub(super) fn assign(byte: u8) -> Command {
    Command::AssignRole {
        role: custom(byte),
        grants: Permissions::new(),
    }
}
pub(super) fn assigned(byte: u8) -> Event {
    Event::RoleAssigned {
        role: custom(byte),
        lapses_at: None,
    }
}
/// The event of a change of roles as it is for an invitation that was sent at time zero.
pub(super) fn while_invited(mut event: Event) -> Event {
    match &mut event {
        Event::RoleChanged { lapses_at, .. }
        | Event::RoleAssigned { lapses_at, .. }
        | Event::RoleUnassigned { lapses_at, .. } => *lapses_at = Some(Time(WEEK)),
        Event::FounderAdded { .. }
        | Event::Invited { .. }
        | Event::Accepted { .. }
        | Event::Joined { .. }
        | Event::Rejected
        | Event::Suspended
        | Event::EmailChanged { .. }
        | Event::Identified { .. }
        | Event::Restored { .. }
        | Event::Removed => panic!("{event:?} changes no role"),
    }
    event
}
pub(super) fn unassign(byte: u8) -> Command {
    Command::UnassignRole {
        role: custom(byte),
        grants: Permissions::new(),
    }
}
pub(super) fn unassigned(byte: u8) -> Event {
    Event::RoleUnassigned {
        role: custom(byte),
        lapses_at: None,
    }
}
/// A removal of a member who holds nothing by their roles, so that only built-in roles count.
pub(super) fn remove() -> Command {
    Command::Remove {
        member_holds: Permissions::new(),
        other_owner: Some(OTHER),
    }
}
pub(super) fn absent() -> Given<Member> {
    given([])
}
pub(super) fn pending(role: BuiltInRole) -> Given<Member> {
    given([invited(role, FIRST)])
}
pub(super) fn member(role: BuiltInRole) -> Given<Member> {
    pending(role).and([accepted()])
}
pub(super) fn rejected() -> Given<Member> {
    pending(Guest).and([Event::Rejected])
}
pub(super) fn removed() -> Given<Member> {
    pending(Guest).and([Event::Removed])
}
pub(super) fn founder() -> Given<Member> {
    given([founder_added()])
}
pub(super) fn email_claim() -> Claim {
    Claim::member_email(TENANT, &email("ada"))
}
pub(super) fn account_claim() -> Claim {
    Claim::member_account(TENANT, ADA)
}
pub(super) fn removed_claim() -> Claim {
    Claim::removed_member(TENANT, ADA)
}
pub(super) fn identity(byte: u8) -> IdentityId {
    IdentityId(Id::from_bytes([byte; 16]))
}
pub(super) fn identified(byte: u8) -> Event {
    Event::Identified {
        identity: identity(byte),
    }
}
pub(super) fn identity_claim(byte: u8) -> Claim {
    Claim::member_identity(TENANT, identity(byte))
}
/// A person of the tenant's issuer who logs in by this identity, under all of its names.
pub(super) fn join_as(
    account: AccountId,
    role: impl Into<Option<BuiltInRole>>,
    names: &[u8],
) -> Command {
    Command::Join {
        account,
        email: email("ada"),
        role: role.into(),
        identities: names.iter().map(|byte| identity(*byte)).collect(),
    }
}
pub(super) fn owner_claim(member: MemberId) -> Claim {
    Claim::owner(TENANT, member)
}
pub(super) fn own_claim() -> Claim {
    owner_claim(MemberId(OWN))
}
/// A person with a session.
pub(super) fn person(account: AccountId) -> Actor {
    Actor::Account(account)
}
