use events_schema::MemberId;

use super::{super::testing::*, *};
use crate::{aggregate::CommandOf, domain::testing::OWN};

fn join(account: AccountId, role: impl Into<Option<BuiltInRole>>) -> CommandOf<Member> {
    join_as(account, role, &[])
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
    for role in [Some(Guest), None] {
        let when = pending(Owner).when(join(ADA, role));
        when.rejects(Rejection::OwnerInvited);
    }
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

#[test]
fn a_member_is_remembered_by_the_identity_of_the_connection() {
    absent()
        .when(join_as(ADA, Guest, &[1, 2]))
        .decides(Decision {
            take: vec![email_claim(), account_claim(), identity_claim(1)],
            ..Decision::events(vec![joined(Guest), identified(1)])
        });
    let invited = pending(Admin).when(join_as(ADA, Guest, &[1]));
    invited.decides(Decision {
        take: vec![account_claim(), identity_claim(1)],
        ..Decision::events(vec![accepted(), identified(1)])
    });
    // One who has become a member in another way, or in an earlier release.
    for known in [member(Guest), member(Guest).and([Event::Suspended])] {
        known.when(join_as(ADA, None, &[1])).decides(Decision {
            take: vec![identity_claim(1)],
            ..Decision::events(vec![identified(1)])
        });
        let again = known.and([identified(1)]);
        again.when(join_as(ADA, None, &[1])).changes_nothing();
        // The secret that names identities was replaced.
        again.when(join_as(ADA, None, &[2, 1])).changes_nothing();
        again.when(join_as(ADA, None, &[3])).then([identified(3)]);
    }
}

#[test]
fn an_identity_that_has_come_with_another_member_needs_an_invitation() {
    for names in [&[1][..], &[2, 1]] {
        for known in [absent(), removed(), rejected()] {
            let when = known.when(join_as(ADA, Guest, names));
            let when = when.while_held(identity_claim(1), OTHER);
            when.rejects(Rejection::NotInvited);
        }
        let invited = pending(Guest).when(join_as(ADA, Guest, names));
        let invited = invited.while_held(identity_claim(1), OTHER);
        invited.decides(Decision {
            take: vec![account_claim()],
            ..Decision::events(vec![accepted()])
        });
        let present = member(Guest).when(join_as(ADA, None, names));
        let present = present.while_held(identity_claim(1), OTHER);
        present.changes_nothing();
    }
    let own = absent().when(join_as(ADA, Guest, &[1]));
    let own = own.while_held(identity_claim(1), MemberId(OWN));
    own.then([joined(Guest), identified(1)]);
}

#[test]
fn a_removal_that_ends_meanwhile_is_seen() {
    // A removal releases account and address as it takes the third, so they are read before it.
    let person = [account_claim(), email_claim(), removed_claim()];
    let identities = [1, 2].map(identity_claim);
    let join = absent().when(join_as(ADA, Guest, &[1, 2]));
    join.reads(&[&person[..], &identities[..]].concat());
}
