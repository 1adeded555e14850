//! Tenants as they are read.

use events_schema::{
    Commit,
    tenant::{Event, Settings, View as Tenant},
};

use super::{Fold, Index};

impl Fold for Tenant {
    type Event = Event;
    const INDEXES: &'static [Index] = &[
        Index { fields: &["slug"] },
        Index {
            fields: &["created_at"],
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

fn step(view: Option<Tenant>, event: &Event, commit: &Commit<Event>) -> Option<Tenant> {
    if let Event::Created {
        name,
        slug,
        owner,
        email: _,
        plan,
        place,
    } = event
    {
        return Some(Tenant {
            name: name.clone(),
            slug: slug.clone(),
            founder: *owner,
            plan: *plan,
            settings: Settings::new(),
            place: place.clone(),
            moving_to: None,
            created_at: commit.time,
            updated_at: commit.time,
        });
    }
    let mut view = view?;
    match event {
        Event::Created { .. } => {}
        Event::Updated {
            name,
            slug,
            settings,
        } => {
            view.name = name.clone();
            view.slug = slug.clone();
            view.settings = settings.clone();
        }
        Event::Deleted => return None,
        Event::MoveBegun { to } => view.moving_to = Some(to.clone()),
        Event::MoveFinished => {
            if let Some(place) = view.moving_to.take() {
                view.place = place;
            }
        }
        Event::MoveAbandoned => view.moving_to = None,
    }
    Some(view)
}

#[cfg(test)]
mod tests {
    use events_schema::{
        AccountId, EmailAddress, Id, Name, Place, SettingKey, SettingValue, Slug, Time,
    };

    use super::*;
    use crate::view::testing::fold;

    const OWN_DATABASE: Place = Place::Database { host: None };

    fn created() -> (i64, Event) {
        let (name, slug) = (Name::parse("Acme").unwrap(), Slug::parse("acme").unwrap());
        let (owner, email) = (
            AccountId(Id::from_bytes([1; 16])),
            EmailAddress::parse("ada@example.com").unwrap(),
        );
        (
            10,
            Event::Created {
                name,
                slug,
                owner,
                email,
                plan: Some(owner.0),
                place: Place::Shared,
            },
        )
    }
    fn begun() -> (i64, Event) {
        (20, Event::MoveBegun { to: OWN_DATABASE })
    }
    fn places(events: Vec<(i64, Event)>) -> (Place, Option<Place>) {
        let shown: Tenant = fold(events).unwrap();
        (shown.place, shown.moving_to)
    }

    #[test]
    fn an_updated_tenant_is_shown_and_a_deleted_one_is_not() {
        let (name, slug) = (Name::parse("Apex").unwrap(), Slug::parse("apex").unwrap());
        let settings = Settings::from([(
            SettingKey::parse("theme").unwrap(),
            SettingValue::parse("dark").unwrap(),
        )]);
        let updated = (
            20,
            Event::Updated {
                name: name.clone(),
                slug: slug.clone(),
                settings: settings.clone(),
            },
        );
        let shown: Tenant = fold([created(), updated.clone()]).unwrap();
        assert_eq!(
            (shown.name, shown.slug, shown.settings),
            (name, slug, settings)
        );
        assert_eq!(
            (shown.founder.0, shown.plan),
            (Id::from_bytes([1; 16]), Some(Id::from_bytes([1; 16])))
        );
        assert_eq!((shown.created_at, shown.updated_at), (Time(10), Time(20)));
        assert_eq!(
            fold::<Tenant>([created(), (15, Event::Deleted), updated]),
            None
        );
    }

    #[test]
    fn a_tenant_is_read_in_one_place_while_it_moves_to_another() {
        assert_eq!(
            places(vec![created(), begun()]),
            (Place::Shared, Some(OWN_DATABASE))
        );
        assert_eq!(
            places(vec![created(), begun(), (30, Event::MoveFinished)]),
            (OWN_DATABASE, None)
        );
        assert_eq!(
            places(vec![created(), begun(), (30, Event::MoveAbandoned)]),
            (Place::Shared, None)
        );
    }
}
