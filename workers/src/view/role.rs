//! A tenant's custom roles as they are read: one document, shown also when none is left.

use events_schema::{
    Commit,
    role::{Event, View as Roles},
};

use super::{Fold, Index};
use crate::domain::role::take_in;

impl Fold for Roles {
    type Event = Event;
    const INDEXES: &'static [Index] = &[];

    fn fold(view: Option<Self>, commit: &Commit<Event>) -> Option<Self> {
        let mut view = view.unwrap_or_default();
        commit
            .events
            .iter()
            .for_each(|event| take_in(&mut view.roles, event, commit.time));
        Some(view)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use events_schema::{Id, Name, Permissions, RoleId, Time, role::Parent};

    use super::*;
    use crate::view::testing::fold;

    const FIRST: RoleId = RoleId(Id::from_bytes([1; 16]));
    const SECOND: RoleId = RoleId(Id::from_bytes([2; 16]));

    fn created(role: RoleId, inherits: impl IntoIterator<Item = RoleId>) -> Event {
        let inherits = inherits.into_iter().map(Parent::Custom).collect();
        Event::Created {
            role,
            name: Name::parse("Auditor").unwrap(),
            permissions: Permissions::new(),
            inherits,
        }
    }

    #[test]
    fn roles_are_shown_with_what_is_left_to_inherit() {
        let name = Name::parse("Reviewer").unwrap();
        let (permissions, inherits) = (Permissions::new(), BTreeSet::from([Parent::Custom(FIRST)]));
        let updated = Event::Updated {
            role: SECOND,
            name: name.clone(),
            permissions,
            inherits,
        };
        let shown: Roles = fold([
            (10, created(FIRST, [])),
            (20, created(SECOND, [])),
            (30, updated.clone()),
        ])
        .unwrap();
        let second = &shown.roles[&SECOND];
        assert_eq!(
            (&second.name, second.created_at, second.updated_at),
            (&name, Time(20), Time(30))
        );
        assert!(second.inherits.contains(&Parent::Custom(FIRST)));

        let deleted = Event::Deleted { role: FIRST };
        let shown: Roles = fold([
            (10, created(FIRST, [])),
            (20, created(SECOND, [FIRST])),
            (30, deleted),
        ])
        .unwrap();
        assert_eq!(shown.roles.keys().collect::<Vec<_>>(), [&SECOND]);
        assert!(shown.roles[&SECOND].inherits.is_empty());
    }

    #[test]
    fn the_document_stays_when_no_role_is_left() {
        assert_eq!(
            fold([
                (10, created(FIRST, [])),
                (20, Event::Deleted { role: FIRST })
            ]),
            Some(Roles::default())
        );
    }
}
