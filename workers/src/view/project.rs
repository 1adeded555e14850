//! Projects as they are read.

use events_schema::{
    Commit,
    project::{Event, View as Project},
};

use super::{Fold, Index};

impl Fold for Project {
    type Event = Event;
    const INDEXES: &'static [Index] = &[
        Index {
            fields: &["created_at"],
        },
        Index { fields: &["name"] },
        Index {
            fields: &["status", "created_at"],
        },
    ];

    fn fold(view: Option<Self>, commit: &Commit<Event>) -> Option<Self> {
        let at = commit.time;
        commit.events.iter().fold(view, |view, event| match event {
            Event::Created {
                name,
                description,
                status,
                creator,
            } => Some(Self {
                name: name.clone(),
                description: description.clone(),
                status: *status,
                creator: *creator,
                created_at: at,
                updated_at: at,
            }),
            Event::Updated {
                name,
                description,
                status,
            } => {
                let (name, description, status) = (name.clone(), description.clone(), *status);
                view.map(|view| Self {
                    name,
                    description,
                    status,
                    updated_at: at,
                    ..view
                })
            }
            Event::Deleted => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{AccountId, Description, Id, Name, Time, project::Status};

    use super::*;
    use crate::view::testing::fold;

    #[test]
    fn a_project_is_shown_as_it_was_last_and_not_when_it_was_ended() {
        let (name, description) = (
            Name::parse("Loom").unwrap(),
            Description::parse("It weaves.").unwrap(),
        );
        let creator = AccountId(Id::from_bytes([1; 16]));
        let engine = Name::parse("Engine").unwrap();
        let created = (
            10,
            Event::Created {
                name: engine,
                description: Description::default(),
                status: Status::Active,
                creator,
            },
        );
        let updated = (
            20,
            Event::Updated {
                name: name.clone(),
                description: description.clone(),
                status: Status::OnHold,
            },
        );
        let (created_at, updated_at) = (Time(10), Time(20));
        let shown = Project {
            name,
            description,
            status: Status::OnHold,
            creator,
            created_at,
            updated_at,
        };
        assert_eq!(fold([created.clone(), updated.clone()]), Some(shown));
        assert_eq!(
            fold::<Project>([created, (15, Event::Deleted), updated]),
            None
        );
    }
}
