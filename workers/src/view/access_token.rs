//! Access tokens as they are read.

use events_schema::{
    Commit,
    access_token::{Event, View as AccessToken},
};

use super::{Fold, Index};

impl Fold for AccessToken {
    type Event = Event;
    const INDEXES: &'static [Index] = &[
        Index {
            fields: &["created_at"],
        },
        Index {
            fields: &["creator", "created_at"],
        },
    ];

    fn fold(view: Option<Self>, commit: &Commit<Event>) -> Option<Self> {
        commit.events.iter().fold(view, |_, event| match event {
            Event::Created {
                name,
                scopes,
                expires_at,
                creator,
            } => Some(Self {
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

#[cfg(test)]
mod tests {
    use events_schema::{AccountId, BuiltInRole, Id, Name, Time};

    use super::*;
    use crate::view::testing::fold;

    #[test]
    fn a_token_is_shown_until_it_is_ended() {
        let (name, scopes) = (
            Name::parse("Deployment").unwrap(),
            BuiltInRole::Guest.permissions(),
        );
        let (expires_at, creator) = (Time(99), AccountId(Id::from_bytes([1; 16])));
        let created = (
            10,
            Event::Created {
                name: name.clone(),
                scopes: scopes.clone(),
                expires_at,
                creator,
            },
        );
        assert_eq!(
            fold([created.clone()]),
            Some(AccessToken {
                name,
                scopes,
                expires_at,
                creator,
                created_at: Time(10)
            })
        );
        assert_eq!(fold::<AccessToken>([created, (20, Event::Deleted)]), None);
    }
}
