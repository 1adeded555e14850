//! Projects as they are read.

use events_schema::{
    Commit,
    project::{Event, View as Project},
};

use super::{Fold, Index};

impl Fold for Project {
    type Event = Event;
    const INDEXES: &'static [Index] =
        &[Index { fields: &["created_at"] }, Index { fields: &["name"] }, Index { fields: &["status", "created_at"] }];

    fn fold(view: Option<Self>, commit: &Commit<Event>) -> Option<Self> {
        let at = commit.time;
        commit.events.iter().fold(view, |view, event| match event {
            Event::Created { name, description, status, creator } => Some(Self {
                name: name.clone(),
                description: description.clone(),
                status: *status,
                creator: *creator,
                created_at: at,
                updated_at: at,
            }),
            Event::Updated { name, description, status } => {
                view.map(|view| Self { name: name.clone(), description: description.clone(), status: *status, updated_at: at, ..view })
            }
            Event::Deleted => None,
        })
    }
}
