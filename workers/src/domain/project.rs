//! Projects: creation, changes and deletion. This is the example of an area that belongs to
//! tenants. Copy it to start an area of your own.

use events_schema::{
    Description, Name, Reject, RejectionKind, Time,
    project::{Area, Command, Event, Status},
};
use serde::Serialize;

use crate::aggregate::{Aggregate, Decision, Facts};

/// One project.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Project {
    /// Not created yet.
    #[default]
    Absent,
    /// The project exists.
    Open(Open),
    /// Deleted for ever.
    Deleted,
}

/// A project that exists, in any status.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    name: Name,
    description: Description,
    status: Status,
}

/// Why a command to a project is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The project does not exist, or it is deleted.
    #[error("There is no such project.")]
    NotFound,
    /// The id is in use.
    #[error("This project already exists.")]
    AlreadyExists,
}

impl Reject for Rejection {
    fn kind(&self) -> RejectionKind {
        match self {
            Self::NotFound => RejectionKind::NotFound,
            Self::AlreadyExists => RejectionKind::Conflict,
        }
    }
}

impl Aggregate for Project {
    type Area = Area;
    type Rejection = Rejection;

    fn decide(&self, command: &Command, _: &Facts<Area>) -> Result<Decision<Event>, Rejection> {
        let events = match (self, command) {
            (
                Self::Absent,
                Command::Create {
                    name,
                    description,
                    status,
                    creator,
                },
            ) => {
                vec![Event::Created {
                    name: name.clone(),
                    description: description.clone(),
                    status: *status,
                    creator: *creator,
                }]
            }
            (Self::Open(_), Command::Create { .. }) => return Err(Rejection::AlreadyExists),
            (
                Self::Open(open),
                Command::Update {
                    name,
                    description,
                    status,
                },
            ) => open.update(name.as_ref(), description.as_ref(), *status),
            (Self::Open(_), Command::Delete) => vec![Event::Deleted],
            (Self::Absent | Self::Deleted, _) => return Err(Rejection::NotFound),
        };
        Ok(Decision::events(events))
    }

    fn evolve(&mut self, event: &Event, _at: Time) {
        match (&mut *self, event) {
            (
                _,
                Event::Created {
                    name,
                    description,
                    status,
                    creator: _,
                },
            )
            | (
                Self::Open(_),
                Event::Updated {
                    name,
                    description,
                    status,
                },
            ) => {
                *self = Self::Open(Open {
                    name: name.clone(),
                    description: description.clone(),
                    status: *status,
                });
            }
            (Self::Absent | Self::Deleted, Event::Updated { .. }) => {}
            (_, Event::Deleted) => *self = Self::Deleted,
        }
    }
}

impl Open {
    fn update(
        &self,
        name: Option<&Name>,
        description: Option<&Description>,
        status: Option<Status>,
    ) -> Vec<Event> {
        let new = Self {
            name: name.unwrap_or(&self.name).clone(),
            description: description.unwrap_or(&self.description).clone(),
            status: status.unwrap_or(self.status),
        };
        if new == *self {
            return Vec::new();
        }
        vec![Event::Updated {
            name: new.name,
            description: new.description,
            status: new.status,
        }]
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{AccountId, Id};

    use super::*;
    use crate::domain::testing::{Given, given};

    const ADA: AccountId = AccountId(Id::from_bytes([1; 16]));

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }
    fn description(text: &str) -> Description {
        Description::parse(text).unwrap()
    }
    fn create() -> Command {
        Command::Create {
            name: name("Engine"),
            description: description("It computes."),
            status: Status::Active,
            creator: ADA,
        }
    }
    fn created() -> Event {
        Event::Created {
            name: name("Engine"),
            description: description("It computes."),
            status: Status::Active,
            creator: ADA,
        }
    }
    fn update(name: Option<&str>, description: Option<&str>, status: Option<Status>) -> Command {
        Command::Update {
            name: name.map(self::name),
            description: description.map(self::description),
            status,
        }
    }
    fn updated(name: &str, description: &str, status: Status) -> Event {
        Event::Updated {
            name: self::name(name),
            description: self::description(description),
            status,
        }
    }
    fn rename(to: &str) -> Command {
        update(Some(to), None, None)
    }
    fn absent() -> Given<Project> {
        given([])
    }
    fn project() -> Given<Project> {
        given([created()])
    }
    fn deleted() -> Given<Project> {
        given([created(), Event::Deleted])
    }

    #[test]
    fn a_project_is_created() {
        absent().when(create()).then([created()]);
    }

    #[test]
    fn a_project_is_created_only_once() {
        project().when(create()).rejects(Rejection::AlreadyExists);
    }

    #[test]
    fn an_absent_field_stays_as_it_is() {
        let on_hold = updated("Engine", "It computes.", Status::OnHold);
        let pause = update(None, None, Some(Status::OnHold));
        project().when(pause).then([on_hold.clone()]);
        let describe = update(Some("Loom"), Some(""), None);
        let described = updated("Loom", "", Status::OnHold);
        project().and([on_hold]).when(describe).then([described]);
    }

    #[test]
    fn an_update_to_the_present_values_changes_nothing() {
        project().when(update(None, None, None)).changes_nothing();
        let same = update(Some("Engine"), Some("It computes."), Some(Status::Active));
        project().when(same).changes_nothing();
        let on_hold = updated("Engine", "It computes.", Status::OnHold);
        let pause = update(None, None, Some(Status::OnHold));
        project().and([on_hold]).when(pause).changes_nothing();
    }

    #[test]
    fn a_project_is_deleted() {
        project().when(Command::Delete).then([Event::Deleted]);
    }

    #[test]
    fn a_deleted_project_accepts_no_command() {
        for command in [create(), rename("Loom"), Command::Delete] {
            deleted().when(command).rejects(Rejection::NotFound);
        }
    }

    #[test]
    fn a_project_that_does_not_exist_is_neither_changed_nor_deleted() {
        for command in [rename("Loom"), Command::Delete] {
            absent().when(command).rejects(Rejection::NotFound);
        }
    }

    #[test]
    fn an_update_restores_no_project() {
        let update = || updated("Loom", "", Status::Archived);
        absent().and([update()]).is(&Project::Absent);
        deleted()
            .and([update(), Event::Deleted])
            .is(&Project::Deleted);
    }
}
