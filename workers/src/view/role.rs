//! A tenant's custom roles as they are read.

use events_schema::{
    Commit,
    role::{Event, Parent, Role, View as Roles},
};

use super::{Fold, Index};

impl Fold for Roles {
    type Event = Event;
    const INDEXES: &'static [Index] = &[];

    fn fold(view: Option<Self>, commit: &Commit<Event>) -> Option<Self> {
        let mut roles = view.unwrap_or_default().roles;
        for event in &commit.events {
            match event {
                Event::Created { role, name, permissions, inherits } | Event::Updated { role, name, permissions, inherits } => {
                    let created_at = roles.get(role).map_or(commit.time, |before| before.created_at);
                    let (name, permissions, inherits) = (name.clone(), permissions.clone(), inherits.clone());
                    roles.insert(*role, Role { name, permissions, inherits, created_at, updated_at: commit.time });
                }
                Event::Deleted { role } => {
                    roles.remove(role);
                    roles.values_mut().for_each(|other| _ = other.inherits.remove(&Parent::Custom(*role)));
                }
            }
        }
        Some(Self { roles })
    }
}
