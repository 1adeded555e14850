//! Projects: the example area. Copy it to begin one of your own.

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
    /// There.
    Open {
        /// Its name.
        name: Name,
        /// What it is about.
        description: Description,
        /// How it stands.
        status: Status,
    },
    /// Ended.
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
        Self { code: code.to_owned(), message: rejection.to_string() }
    }
}

impl Aggregate for Project {
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;
    const AREA: Area = Area::Project;

    fn decide(&self, command: &Command, _facts: &Facts) -> Result<Decision<Event>, Rejection> {
        match (self, command) {
            (Self::Absent, Command::Create { name, description, status, creator }) => {
                let (name, description) = (name.clone(), description.clone());
                Ok(Decision::events(vec![Event::Created { name, description, status: *status, creator: *creator }]))
            }
            (Self::Open { .. } | Self::Deleted, Command::Create { .. }) => Err(Rejection::AlreadyExists),
            (Self::Absent | Self::Deleted, Command::Update { .. } | Command::Delete) => Err(Rejection::NotFound),
            (Self::Open { .. }, Command::Delete) => Ok(Decision::events(vec![Event::Deleted])),
            (Self::Open { name, description, status }, Command::Update { name: to, description: about, status: now }) => {
                let after = (to.as_ref().unwrap_or(name), about.as_ref().unwrap_or(description), now.as_ref().unwrap_or(status));
                if after == (name, description, status) {
                    return Ok(Decision::unchanged());
                }
                let (name, description, status) = (after.0.clone(), after.1.clone(), *after.2);
                Ok(Decision::events(vec![Event::Updated { name, description, status }]))
            }
        }
    }

    fn evolve(&mut self, event: &Event, _at: Time) {
        *self = match event {
            Event::Created { name, description, status, .. } | Event::Updated { name, description, status } => {
                Self::Open { name: name.clone(), description: description.clone(), status: *status }
            }
            Event::Deleted => Self::Deleted,
        };
    }
}
