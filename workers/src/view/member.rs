//! Members as they are read in their tenant, and, of each, what must be known before the tenant is:
//! the membership.

use std::collections::BTreeSet;

use events_schema::{
    BuiltInRole, Challenge, Commit,
    member::{Event, Membership, Status, View as Member},
};

use super::{Fold, Index};

impl Fold for Member {
    type Event = Event;
    const INDEXES: &'static [Index] = &[
        Index {
            fields: &["account"],
        },
        Index { fields: &["email"] },
        Index {
            fields: &["created_at"],
        },
        Index {
            fields: &["status", "created_at"],
        },
        // Another owner is looked for where one goes.
        Index {
            fields: &["role", "created_at"],
        },
    ];

    fn fold(view: Option<Self>, commit: &Commit<Event>) -> Option<Self> {
        let folded = commit
            .events
            .iter()
            .fold(view, |view, event| step(view, event, commit));
        folded.map(|view| Self {
            updated_at: commit.time,
            ..view
        })
    }
}

fn step(view: Option<Member>, event: &Event, commit: &Commit<Event>) -> Option<Member> {
    match event {
        Event::Founded { account, email } => Some(Member {
            email: email.clone(),
            account: Some(*account),
            role: BuiltInRole::Owner,
            roles: BTreeSet::new(),
            status: Status::Accepted,
            invitation: None,
            created_at: commit.time,
            updated_at: commit.time,
        }),
        Event::Invited {
            email,
            role,
            challenge,
            tenant_name: _,
        } => {
            let (created_at, roles) = view.map_or((commit.time, BTreeSet::new()), |view| {
                (view.created_at, view.roles)
            });
            Some(Member {
                email: email.clone(),
                account: None,
                role: *role,
                roles,
                status: Status::Pending,
                invitation: Some(Challenge {
                    id: *challenge,
                    requested_at: commit.time,
                    failures: 0,
                }),
                created_at,
                updated_at: commit.time,
            })
        }
        Event::Accepted { account } => view.map(|view| Member {
            account: Some(*account),
            status: Status::Accepted,
            invitation: None,
            ..view
        }),
        Event::Rejected => view.map(|view| Member {
            status: Status::Rejected,
            roles: BTreeSet::new(),
            invitation: None,
            ..view
        }),
        Event::RoleChanged { role } => view.map(|view| Member {
            role: *role,
            ..view
        }),
        Event::RoleAssigned { role } => view.map(|mut view| {
            view.roles.insert(*role);
            view
        }),
        Event::RoleUnassigned { role } => view.map(|mut view| {
            view.roles.remove(role);
            view
        }),
        Event::Removed => None,
    }
}

impl Fold for Membership {
    type Event = Event;
    const INDEXES: &'static [Index] = &[Index {
        fields: &["account", "since"],
    }];

    fn fold(view: Option<Self>, commit: &Commit<Event>) -> Option<Self> {
        commit.events.iter().fold(view, |view, event| match event {
            Event::Founded { account, .. } | Event::Accepted { account } => Some(Self {
                account: *account,
                tenant: commit.tenant,
                since: commit.time,
            }),
            Event::Removed => None,
            Event::Invited { .. }
            | Event::Rejected
            | Event::RoleChanged { .. }
            | Event::RoleAssigned { .. }
            | Event::RoleUnassigned { .. } => view,
        })
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{AccountId, ChallengeId, EmailAddress, Id, Name, RoleId, Time};

    use super::*;
    use crate::view::testing::{TENANT, fold};

    const ADA: AccountId = AccountId(Id::from_bytes([1; 16]));
    const CHALLENGE: ChallengeId = ChallengeId(Id::from_bytes([2; 16]));
    const ROLE: RoleId = RoleId(Id::from_bytes([3; 16]));

    fn email() -> EmailAddress {
        EmailAddress::parse("ada@example.com").unwrap()
    }
    fn founded() -> (i64, Event) {
        (
            10,
            Event::Founded {
                account: ADA,
                email: email(),
            },
        )
    }
    fn invited(at: i64) -> (i64, Event) {
        (
            at,
            Event::Invited {
                email: email(),
                role: BuiltInRole::Guest,
                challenge: CHALLENGE,
                tenant_name: Name::parse("Acme").unwrap(),
            },
        )
    }
    fn accepted() -> (i64, Event) {
        (20, Event::Accepted { account: ADA })
    }
    fn assigned() -> (i64, Event) {
        (15, Event::RoleAssigned { role: ROLE })
    }

    #[test]
    fn a_founder_is_shown_as_an_owner() {
        let shown: Member = fold([founded()]).unwrap();
        assert_eq!(
            (shown.email, shown.account, shown.role, shown.status),
            (email(), Some(ADA), BuiltInRole::Owner, Status::Accepted)
        );
    }

    #[test]
    fn an_invitation_is_shown_until_it_is_answered() {
        let shown: Member = fold([invited(10), assigned(), invited(16)]).unwrap();
        assert_eq!(
            shown.invitation,
            Some(Challenge {
                id: CHALLENGE,
                requested_at: Time(16),
                failures: 0
            })
        );
        assert_eq!(
            (shown.status, shown.account, shown.roles),
            (Status::Pending, None, BTreeSet::from([ROLE]))
        );
        assert_eq!(
            (shown.created_at, shown.updated_at),
            (Time(10), Time(16)),
            "invited first, and again"
        );

        let shown: Member = fold([invited(10), assigned(), accepted()]).unwrap();
        assert_eq!(
            (shown.status, shown.account, shown.invitation),
            (Status::Accepted, Some(ADA), None)
        );
        assert_eq!(shown.roles, BTreeSet::from([ROLE]));

        let shown: Member = fold([invited(10), assigned(), (20, Event::Rejected)]).unwrap();
        assert_eq!(
            (shown.status, shown.invitation, shown.roles),
            (Status::Rejected, None, BTreeSet::new())
        );
    }

    #[test]
    fn roles_are_shown_as_they_are_given_and_taken() {
        let changed = (
            30,
            Event::RoleChanged {
                role: BuiltInRole::Admin,
            },
        );
        let shown: Member = fold([
            founded(),
            assigned(),
            changed,
            (40, Event::RoleUnassigned { role: ROLE }),
        ])
        .unwrap();
        assert_eq!(
            (shown.role, shown.roles, shown.updated_at),
            (BuiltInRole::Admin, BTreeSet::new(), Time(40))
        );
    }

    #[test]
    fn a_membership_lasts_from_acceptance_to_removal() {
        let membership = |since| {
            Some(Membership {
                account: ADA,
                tenant: TENANT,
                since: Time(since),
            })
        };
        assert_eq!(fold([founded()]), membership(10));
        assert_eq!(fold([invited(10), accepted(), assigned()]), membership(20));
        for events in [
            vec![invited(10)],
            vec![invited(10), (20, Event::Rejected)],
            vec![founded(), (20, Event::Removed), assigned()],
        ] {
            assert_eq!(fold::<Membership>(events), None);
        }
    }

    #[test]
    fn who_was_removed_is_not_shown() {
        assert_eq!(
            fold::<Member>([founded(), (20, Event::Removed), assigned()]),
            None
        );
    }
}
