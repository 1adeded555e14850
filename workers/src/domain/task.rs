//! Tasks: creation, changes and deletion. The author of a task may change it, and so may holders of
//! a permission.

use events_schema::{
    AccountId, Name, Permission, Reject, RejectionKind, Time,
    task::{Area, Command, DELETE, Event, UPDATE},
};
use serde::Serialize;

use crate::aggregate::{Aggregate, Decision, Facts};

/// One task.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Task {
    /// Not created yet.
    #[default]
    Absent,
    /// The task exists, done or not.
    Open {
        title: Name,
        done: bool,
        author: AccountId,
        /// The latest time at which another service has shown the task.
        as_of: Option<Time>,
    },
    /// Deleted for ever.
    Deleted,
}

/// Why a command to a task is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The task does not exist, or it is deleted.
    #[error("There is no such task.")]
    NotFound,
    /// The id is in use.
    #[error("This task already exists.")]
    AlreadyExists,
    /// The actor is not the author, and lacks the permission to change the tasks of others.
    #[error("Only its author may change the task, or somebody who may change the tasks of others.")]
    NotYours,
}

impl Reject for Rejection {
    fn kind(&self) -> RejectionKind {
        match self {
            Self::NotFound => RejectionKind::NotFound,
            Self::AlreadyExists => RejectionKind::Conflict,
            Self::NotYours => RejectionKind::Forbidden,
        }
    }
}

impl Aggregate for Task {
    type Area = Area;
    type Rejection = Rejection;

    fn decide(&self, command: &Command, facts: &Facts<Area>) -> Result<Decision<Event>, Rejection> {
        match (self, command) {
            (
                Self::Absent,
                Command::Create {
                    project,
                    title,
                    author,
                },
            ) => Ok(Decision::events(vec![Event::Created {
                project: *project,
                title: title.clone(),
                author: *author,
            }])),
            (
                Self::Absent,
                Command::Import {
                    project,
                    title,
                    done,
                    author,
                    as_of,
                },
            ) => Ok(Decision::events(vec![
                Event::Created {
                    project: *project,
                    title: title.clone(),
                    author: *author,
                },
                imported(title, *done, *as_of),
            ])),
            // What people have deleted stays deleted.
            (Self::Deleted, Command::Import { .. }) => Ok(Decision::unchanged()),
            (
                Self::Open { as_of: latest, .. },
                Command::Import {
                    title, done, as_of, ..
                },
            ) => {
                // The news of another service may arrive in any order.
                let is_overtaken = latest.is_some_and(|latest| *as_of <= latest);
                Ok(if is_overtaken {
                    Decision::unchanged()
                } else {
                    Decision::events(vec![imported(title, *done, *as_of)])
                })
            }
            (Self::Absent | Self::Deleted, _) => Err(Rejection::NotFound),
            (Self::Open { .. }, Command::Create { .. }) => Err(Rejection::AlreadyExists),
            (
                Self::Open {
                    title: old_title,
                    done: old_done,
                    author,
                    ..
                },
                Command::Update { title, done },
            ) => {
                own_or(*author, UPDATE, facts)?;
                let title = title.as_ref().unwrap_or(old_title);
                let done = done.unwrap_or(*old_done);
                if (title, done) == (old_title, *old_done) {
                    return Ok(Decision::unchanged());
                }
                let title = title.clone();
                Ok(Decision::events(vec![Event::Updated {
                    title,
                    done,
                    as_of: None,
                }]))
            }
            (Self::Open { author, .. }, Command::Delete) => {
                own_or(*author, DELETE, facts)?;
                Ok(Decision::events(vec![Event::Deleted]))
            }
        }
    }

    fn evolve(&mut self, event: &Event, _at: Time) {
        match (&mut *self, event) {
            (_, Event::Created { title, author, .. }) => {
                *self = Self::Open {
                    title: title.clone(),
                    done: false,
                    author: *author,
                    as_of: None,
                };
            }
            (
                Self::Open {
                    title,
                    done,
                    as_of: latest,
                    ..
                },
                Event::Updated {
                    title: new,
                    done: now,
                    as_of,
                },
            ) => {
                *title = new.clone();
                *done = *now;
                *latest = as_of.or(*latest);
            }
            (Self::Absent | Self::Deleted, Event::Updated { .. }) => {}
            (_, Event::Deleted) => *self = Self::Deleted,
        }
    }
}

fn imported(title: &Name, done: bool, as_of: Time) -> Event {
    Event::Updated {
        title: title.clone(),
        done,
        as_of: Some(as_of),
    }
}

fn own_or(author: AccountId, permission: Permission, facts: &Facts<Area>) -> Result<(), Rejection> {
    if facts.is_own_or_holds(author, permission) {
        Ok(())
    } else {
        Err(Rejection::NotYours)
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{AccessTokenId, Actor, BuiltInRole, Id, ProjectId};

    use super::*;
    use crate::domain::testing::{Given, When, given};

    const PROJECT: ProjectId = ProjectId(Id::from_bytes([1; 16]));
    const ADA: AccountId = AccountId(Id::from_bytes([2; 16]));
    const EVE: AccountId = AccountId(Id::from_bytes([3; 16]));

    fn title(text: &str) -> Name {
        Name::parse(text).unwrap()
    }
    fn create() -> Command {
        Command::Create {
            project: PROJECT,
            title: title("Oil it"),
            author: ADA,
        }
    }
    fn created() -> Event {
        Event::Created {
            project: PROJECT,
            title: title("Oil it"),
            author: ADA,
        }
    }
    fn rename(text: &str) -> Command {
        Command::Update {
            title: Some(title(text)),
            done: None,
        }
    }
    fn finish() -> Command {
        Command::Update {
            title: None,
            done: Some(true),
        }
    }
    fn updated(text: &str, done: bool) -> Event {
        Event::Updated {
            title: title(text),
            done,
            as_of: None,
        }
    }
    fn import(text: &str, done: bool, as_of: i64) -> Command {
        Command::Import {
            project: PROJECT,
            title: title(text),
            done,
            author: ADA,
            as_of: Time(as_of),
        }
    }
    fn task(more: impl IntoIterator<Item = Event>) -> Given<Task> {
        given([created()].into_iter().chain(more))
    }
    fn by_ada(given: &Given<Task>, command: Command) -> When<Task> {
        given.when(command).by(Actor::Account(ADA))
    }

    #[test]
    fn a_task_is_created_only_once() {
        given::<Task>([]).when(create()).then([created()]);
        task([]).when(create()).rejects(Rejection::AlreadyExists);
    }

    #[test]
    fn an_author_changes_a_task() {
        by_ada(&task([]), rename("Oil the engine")).then([updated("Oil the engine", false)]);
        by_ada(&task([]), finish()).then([updated("Oil it", true)]);
    }

    #[test]
    fn an_update_to_the_present_values_changes_nothing() {
        by_ada(&task([updated("Oil it", true)]), finish()).changes_nothing();
        by_ada(&task([]), rename("Oil it")).changes_nothing();
    }

    #[test]
    fn an_author_deletes_a_task_only_once() {
        by_ada(&task([]), Command::Delete).then([Event::Deleted]);
        by_ada(&task([Event::Deleted]), Command::Delete).rejects(Rejection::NotFound);
    }

    #[test]
    fn others_need_a_permission_to_change_or_delete_a_task() {
        for command in [finish(), Command::Delete] {
            let by_eve = |role| {
                let when = task([]).when(command.clone()).by(Actor::Account(EVE));
                when.holding(role)
            };
            by_eve(BuiltInRole::Developer).rejects(Rejection::NotYours);
            assert!(by_eve(BuiltInRole::Admin).decide().is_ok());
        }
    }

    #[test]
    fn an_access_token_is_not_an_author() {
        let token = Actor::AccessToken(AccessTokenId(ADA.0));
        let when = task([]).when(finish()).by(token);
        when.rejects(Rejection::NotYours);
    }

    #[test]
    fn a_task_that_does_not_exist_is_neither_changed_nor_deleted() {
        for command in [finish(), Command::Delete] {
            by_ada(&given([]), command).rejects(Rejection::NotFound);
        }
        by_ada(&task([Event::Deleted]), create()).rejects(Rejection::NotFound);
    }

    #[test]
    fn a_task_that_another_service_shows_is_created_or_changed() {
        let created_done = [created(), imported(&title("Oil it"), true, Time(5))];
        let import_done = import("Oil it", true, 5);
        given::<Task>([])
            .when(import_done.clone())
            .then(created_done);
        task([])
            .when(import_done)
            .then([imported(&title("Oil it"), true, Time(5))]);
    }

    #[test]
    fn what_another_service_shows_later_wins_in_whatever_order_it_arrives() {
        let shown = task([imported(&title("Oil it"), false, Time(5))]);
        for overtaken in [4, 5] {
            let when = shown.when(import("Oil", true, overtaken));
            when.changes_nothing();
        }
        // It changes nothing but the time, which what is overtaken is compared with.
        let when = shown.when(import("Oil it", false, 6));
        when.then([imported(&title("Oil it"), false, Time(6))]);
        let renamed = shown.and([updated("Oil the engine", false)]);
        renamed.when(import("Oil", true, 5)).changes_nothing();
        let when = renamed.when(import("Oil", true, 6));
        when.then([imported(&title("Oil"), true, Time(6))]);
    }

    #[test]
    fn another_service_restores_no_deleted_task() {
        task([Event::Deleted])
            .when(import("Oil it", false, 5))
            .changes_nothing();
    }

    #[test]
    fn a_later_event_restores_no_task() {
        given::<Task>([updated("Oil it", true)]).is(&Task::Absent);
        let late = [Event::Deleted, updated("Oil it", true), Event::Deleted];
        task(late).is(&Task::Deleted);
    }
}
