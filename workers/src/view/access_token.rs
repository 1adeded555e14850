//! Access tokens as they are read.

use events_schema::{
    Commit,
    access_token::{Event, View as AccessToken},
};

use super::{Fold, Index};

impl Fold for AccessToken {
    type Event = Event;
    const INDEXES: &'static [Index] = &[Index { fields: &["created_at"] }];

    fn fold(view: Option<Self>, commit: &Commit<Event>) -> Option<Self> {
        commit.events.iter().fold(view, |_, event| match event {
            Event::Created { name, scopes, expires_at, creator } => Some(Self {
                name: name.clone(),
                scopes: scopes.clone(),
                expires_at: *expires_at,
                creator: *creator,
                created_at: commit.time,
            }),
            Event::Deleted => None,
        })
    }
}
