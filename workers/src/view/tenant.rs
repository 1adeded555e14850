//! Tenants as they are read.

use events_schema::{
    Commit,
    tenant::{Event, Settings, View as Tenant},
};

use super::{Fold, Index};

impl Fold for Tenant {
    type Event = Event;
    const INDEXES: &'static [Index] = &[Index { fields: &["slug"] }, Index { fields: &["created_at"] }];

    fn fold(view: Option<Self>, commit: &Commit<Event>) -> Option<Self> {
        let folded = commit.events.iter().fold(view, |view, event| step(view, event, commit));
        folded.map(|view| Self { updated_at: commit.time, ..view })
    }
}

fn step(view: Option<Tenant>, event: &Event, commit: &Commit<Event>) -> Option<Tenant> {
    if let Event::Created { name, slug, owner, plan, place, .. } = event {
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
        Event::Updated { name, slug, settings } => {
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
