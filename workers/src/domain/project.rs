//! Projects: begun, changed, ended. The example of an area that belongs to a tenant: copy it to
//! begin one of your own.

use events_schema::{
    Area, Description, Name, Rejected, Time,
    project::{Command, Event, Status},
};

use crate::aggregate::{Aggregate, Decision, Facts};

/// One project.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Project {
    /// Nothing has happened yet.
    #[default]
    Absent,
    /// There, however it stands.
    Open {
        /// Its name.
        name: Name,
        /// What it is about.
        description: Description,
        /// How it stands.
        status: Status,
    },
    /// Ended for ever.
    Deleted,
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There is none, or no more.
    #[error("There is no such project.")]
    NotFound,
    /// Its id is taken.
    #[error("This project already exists.")]
    AlreadyExists,
}

impl From<Rejection> for Rejected {
    fn from(rejection: Rejection) -> Self {
        let code = match rejection {
            Rejection::NotFound => "not_found",
            Rejection::AlreadyExists => "already_exists",
        };
        Self {
            code: code.to_owned(),
            message: rejection.to_string(),
        }
    }
}

impl Aggregate for Project {
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;
    const AREA: Area = Area::Project;

    fn decide(&self, command: &Command, _facts: &Facts) -> Result<Decision<Event>, Rejection> {
        let event = match (self, command) {
            (
                Self::Absent,
                Command::Create {
                    name,
                    description,
                    status,
                    creator,
                },
            ) => Event::Created {
                name: name.clone(),
                description: description.clone(),
                status: *status,
                creator: *creator,
            },
            (Self::Absent | Self::Deleted, _) => return Err(Rejection::NotFound),
            (Self::Open { .. }, Command::Create { .. }) => return Err(Rejection::AlreadyExists),
            (
                Self::Open {
                    name: old_name,
                    description: old_description,
                    status: old_status,
                },
                Command::Update {
                    name,
                    description,
                    status,
                },
            ) => {
                let name = name.as_ref().unwrap_or(old_name);
                let description = description.as_ref().unwrap_or(old_description);
                let status = status.unwrap_or(*old_status);
                if (name, description, status) == (old_name, old_description, *old_status) {
                    return Ok(Decision::unchanged());
                }
                Event::Updated {
                    name: name.clone(),
                    description: description.clone(),
                    status,
                }
            }
            (Self::Open { .. }, Command::Delete) => Event::Deleted,
        };
        Ok(Decision::events(vec![event]))
    }

    fn evolve(&mut self, event: &Event, _at: Time) {
        match (&*self, event) {
            (
                _,
                Event::Created {
                    name,
                    description,
                    status,
                    ..
                },
            )
            | (
                Self::Open { .. },
                Event::Updated {
                    name,
                    description,
                    status,
                },
            ) => {
                *self = Self::Open {
                    name: name.clone(),
                    description: description.clone(),
                    status: *status,
                };
            }
            (Self::Absent | Self::Deleted, Event::Updated { .. }) => {}
            (_, Event::Deleted) => *self = Self::Deleted,
        }
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{AccountId, Id};

    use super::*;
    use crate::domain::testing::{decide, given};

    const ADA: AccountId = AccountId(Id::from_bytes([1; 16]));

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }
    fn about(text: &str) -> Description {
        Description::parse(text).unwrap()
    }
    fn create() -> Command {
        Command::Create {
            name: name("Engine"),
            description: about("It computes."),
            status: Status::Active,
            creator: ADA,
        }
    }
    fn created() -> Event {
        Event::Created {
            name: name("Engine"),
            description: about("It computes."),
            status: Status::Active,
            creator: ADA,
        }
    }
    fn update(name: Option<&str>, description: Option<&str>, status: Option<Status>) -> Command {
        Command::Update {
            name: name.map(self::name),
            description: description.map(about),
            status,
        }
    }
    fn updated(to: &str, description: &str, status: Status) -> Event {
        Event::Updated {
            name: name(to),
            description: about(description),
            status,
        }
    }
    fn project(more: impl IntoIterator<Item = Event>) -> Project {
        given([created()].into_iter().chain(more))
    }

    #[test]
    fn a_project_is_begun_once() {
        assert_eq!(decide(&Project::Absent, &create(), 0), Ok(vec![created()]));
        assert_eq!(
            decide(&project([]), &create(), 0),
            Err(Rejection::AlreadyExists)
        );
    }

    #[test]
    fn it_changes_in_what_is_given_and_only_if_it_differs() {
        let held = updated("Engine", "It computes.", Status::OnHold);
        assert_eq!(
            decide(&project([]), &update(None, None, Some(Status::OnHold)), 0),
            Ok(vec![held.clone()])
        );
        assert_eq!(
            decide(
                &project([held.clone()]),
                &update(None, None, Some(Status::OnHold)),
                0
            ),
            Ok(vec![])
        );
        assert_eq!(
            decide(&project([held]), &update(Some("Loom"), Some(""), None), 0),
            Ok(vec![updated("Loom", "", Status::OnHold)])
        );
        assert_eq!(
            decide(&project([]), &update(None, None, None), 0),
            Ok(vec![])
        );
        assert_eq!(
            decide(
                &project([]),
                &update(Some("Engine"), Some("It computes."), Some(Status::Active)),
                0
            ),
            Ok(vec![])
        );
    }

    #[test]
    fn it_is_ended_once() {
        assert_eq!(
            decide(&project([]), &Command::Delete, 0),
            Ok(vec![Event::Deleted])
        );
        for command in [create(), update(Some("Loom"), None, None), Command::Delete] {
            assert_eq!(
                decide(&project([Event::Deleted]), &command, 0),
                Err(Rejection::NotFound),
                "{command:?}"
            );
        }
    }

    #[test]
    fn nothing_is_done_to_a_project_that_is_not_there() {
        for command in [update(Some("Loom"), None, None), Command::Delete] {
            assert_eq!(
                decide(&Project::Absent, &command, 0),
                Err(Rejection::NotFound),
                "{command:?}"
            );
        }
    }

    #[test]
    fn what_happened_is_taken_in_whatever_was_before() {
        let renamed = || updated("Loom", "", Status::Archived);
        assert_eq!(given::<Project>([renamed()]), Project::Absent);
        assert_eq!(
            project([Event::Deleted, renamed(), Event::Deleted]),
            Project::Deleted
        );
    }
}
