use super::*;
use crate::{
    Id,
    view::testing::{TENANT, fold},
};

const ADA: AccountId = AccountId(Id::from_bytes([1; 16]));
const CHALLENGE: ChallengeId = ChallengeId(Id::from_bytes([2; 16]));
const ROLE: RoleId = RoleId(Id::from_bytes([3; 16]));

fn email() -> EmailAddress {
    EmailAddress::parse("ada@example.com").unwrap()
}
fn founder_added() -> (i64, Event) {
    let event = Event::FounderAdded {
        account: ADA,
        email: email(),
    };
    (10, event)
}
fn invited(at: i64) -> (i64, Event) {
    let event = Event::Invited {
        email: email(),
        role: BuiltInRole::Guest,
        challenge: CHALLENGE,
        tenant_name: Name::parse("Acme").unwrap(),
        inviter: None,
    };
    (at, event)
}
fn accepted() -> (i64, Event) {
    (20, Event::Accepted { account: ADA })
}
fn assigned() -> (i64, Event) {
    (
        15,
        Event::RoleAssigned {
            role: ROLE,
            lapses_at: None,
        },
    )
}

#[test]
fn a_founder_is_shown_as_an_owner() {
    let shown: View = fold([founder_added()]).unwrap();
    assert_eq!((shown.email, shown.account), (email(), Some(ADA)));
    assert_eq!(shown.role, BuiltInRole::Owner);
    assert_eq!(shown.status, Status::Accepted);
}

#[test]
fn a_repeated_invitation_keeps_roles_and_the_first_date() {
    let shown: View = fold([invited(10), assigned(), invited(16)]).unwrap();
    let open = Challenge {
        id: CHALLENGE,
        requested_at: Time(16),
        failures: 0,
    };
    assert_eq!(shown.invitation, Some(open));
    assert_eq!((shown.status, shown.account), (Status::Pending, None));
    assert_eq!(shown.roles, BTreeSet::from([ROLE]));
    assert_eq!((shown.created_at, shown.updated_at), (Time(10), Time(16)));
}

#[test]
fn an_accepted_invitation_keeps_its_roles() {
    let shown: View = fold([invited(10), assigned(), accepted()]).unwrap();
    assert_eq!((shown.status, shown.account), (Status::Accepted, Some(ADA)));
    assert_eq!(shown.invitation, None);
    assert_eq!(shown.roles, BTreeSet::from([ROLE]));
}

#[test]
fn a_rejected_invitation_loses_its_roles() {
    let shown: View = fold([invited(10), assigned(), (20, Event::Rejected)]).unwrap();
    assert_eq!((shown.status, shown.invitation), (Status::Rejected, None));
    assert_eq!(shown.roles, BTreeSet::new());
}

#[test]
fn a_member_shows_changed_roles() {
    let events = [
        founder_added(),
        assigned(),
        (
            30,
            Event::RoleChanged {
                role: BuiltInRole::Admin,
                lapses_at: None,
            },
        ),
        (
            40,
            Event::RoleUnassigned {
                role: ROLE,
                lapses_at: None,
            },
        ),
    ];
    let shown: View = fold(events).unwrap();
    assert_eq!(
        (shown.role, shown.roles),
        (BuiltInRole::Admin, BTreeSet::new())
    );
    assert_eq!(shown.updated_at, Time(40));
}

#[test]
fn a_removed_member_is_not_shown() {
    let events = [founder_added(), (20, Event::Removed), assigned()];
    assert_eq!(fold::<View>(events), None);
}

#[test]
fn a_membership_lasts_from_acceptance_to_removal() {
    let since = |time| {
        Some(Membership {
            account: ADA,
            tenant: TENANT,
            since: Time(time),
        })
    };
    assert_eq!(fold([founder_added()]), since(10));
    assert_eq!(fold([invited(10), accepted(), assigned()]), since(20));
    for events in [
        vec![invited(10)],
        vec![invited(10), (20, Event::Rejected)],
        vec![founder_added(), (20, Event::Removed), assigned()],
    ] {
        assert_eq!(fold::<Membership>(events), None);
    }
}
