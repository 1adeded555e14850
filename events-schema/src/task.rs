//! Tasks of a project: the example of an area whose objects have a parent and an owner.
//!
//! A deleted project hides its tasks: the gateway reads a task only through its project. The tasks
//! stay in the log; nothing has to find and delete them one by one.

use serde::{Deserialize, Serialize};

use crate::{
    Access, AccountId, AreaName, BuiltInRole, Child, Commit, Counter, Home, Id, Index, Meter, Name,
    Permission, ProjectId, Time,
    id::typed_id,
    project,
    published::{DateTime, EventType, Person, Published},
};

typed_id! {
    /// Identifies a task: the id of the command that created it.
    TaskId
}

/// The permission to read tasks.
pub const READ: Permission = Permission::new("read_task", BuiltInRole::Guest);
/// The permission to create tasks.
pub const CREATE: Permission = Permission::new("create_task", BuiltInRole::Member);
/// The permission to change the tasks of others.
pub const UPDATE: Permission = Permission::new("update_task", BuiltInRole::Admin);
/// The permission to delete the tasks of others.
pub const DELETE: Permission = Permission::new("delete_task", BuiltInRole::Admin);

/// How many tasks a tenant has created, also by way of another service.
pub const TASKS_CREATED: Meter = Meter::new("tasks_created");

/// The area of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area;

impl crate::Area for Area {
    const NAME: AreaName = AreaName::Task;
    const ACCESS: &'static [Access] = &[
        Access::permission("read", READ),
        Access::permission("create", CREATE).creates(),
        Access::own_or("update", UPDATE),
        Access::own_or("delete", DELETE),
    ];
    const INTERNAL: &'static [&'static str] = &["import"];
    const FEED: Option<Permission> = Some(READ);
    const ENDS: &'static [&'static str] = &["deleted"];
    const METERS: &'static [Counter<Self>] = &[Counter::new(TASKS_CREATED, created)];
    type Id = TaskId;
    type Command = Command;
    type Event = Event;
    type Public = Public;
}

/// Returns how many tasks a commit creates.
fn created(commit: &Commit<Area>) -> u64 {
    let created = commit.events.iter();
    let created = created.filter(|event| matches!(event, Event::Created { .. }));
    created.count() as u64
}

/// A request to change a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Create a task.
    Create {
        project: ProjectId,
        title: Name,
        author: AccountId,
    },
    /// Change the given fields. An absent field keeps its value.
    Update {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<Name>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        done: Option<bool>,
    },
    /// Delete the task.
    Delete,
    /// Make the task what another service shows at this time. The worker that handles hooks sends
    /// this.
    Import {
        project: ProjectId,
        title: Name,
        done: bool,
        author: AccountId,
        as_of: Time,
    },
}

/// A change to a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// The task was created. It is not done yet.
    Created {
        project: ProjectId,
        title: Name,
        author: AccountId,
    },
    /// The task was changed. All fields are given, changed or not.
    Updated {
        title: Name,
        done: bool,
        /// The time at which another service shows the task like this; `None` if a person has
        /// changed it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        as_of: Option<Time>,
    },
    /// The task was deleted.
    Deleted,
}

/// The view of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    pub project: ProjectId,
    pub title: Name,
    pub done: bool,
    pub author: AccountId,
    pub created_at: Time,
    pub updated_at: Time,
}

impl crate::View for View {
    type Area = Area;
    const NAME: &'static str = "task";
    const HOME: Home = Home::Tenant;
    const INDEXES: &'static [Index] = &[Index::on(&["project", "created_at"])];

    fn fold(view: Option<Self>, commit: &Commit<Area>) -> Option<Self> {
        let at = commit.time;
        commit.events.iter().fold(view, |view, event| match event {
            Event::Created {
                project,
                title,
                author,
            } => Some(Self {
                project: *project,
                title: title.clone(),
                done: false,
                author: *author,
                created_at: at,
                updated_at: at,
            }),
            Event::Updated { title, done, .. } => view.map(|view| Self {
                title: title.clone(),
                done: *done,
                updated_at: at,
                ..view
            }),
            Event::Deleted => None,
        })
    }
}

impl Child for View {
    type Parent = project::View;

    fn parent(&self) -> ProjectId {
        self.project
    }
}

/// A task as webhooks send it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Public {
    /// Id of the task.
    id: Id,
    /// Id of the project that the task belongs to.
    project: ProjectId,
    /// What to do.
    title: Name,
    /// Whether the task is done.
    done: bool,
    /// The person who created the task, in a session or through an access token.
    author: Person,
    /// When the task was created.
    created_at: DateTime,
    /// When the task was last changed.
    updated_at: DateTime,
    /// Counts the changes of the task.
    revision: u64,
}

impl Published for Public {
    type View = View;
    const EVENTS: &'static [EventType] = &[
        EventType::new("task.created", "The task was created."),
        EventType::new("task.updated", "The task was changed."),
        EventType::new("task.deleted", "The task was deleted."),
    ];

    fn of(view: View, id: Id, revision: u64) -> Option<Self> {
        Some(Self {
            id,
            project: view.project,
            title: view.title,
            done: view.done,
            author: Person { id: view.author },
            created_at: DateTime(view.created_at),
            updated_at: DateTime(view.updated_at),
            revision,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::testing::fold;

    #[test]
    fn a_task_shows_its_latest_state_until_it_is_deleted() {
        let project = ProjectId(Id::from_bytes([1; 16]));
        let author = AccountId(Id::from_bytes([2; 16]));
        let title = |text| Name::parse(text).unwrap();
        let created = Event::Created {
            project,
            title: title("Oil it"),
            author,
        };
        let updated = Event::Updated {
            title: title("Oil the engine"),
            done: true,
            as_of: None,
        };
        let shown = View {
            project,
            title: title("Oil the engine"),
            done: true,
            author,
            created_at: Time(10),
            updated_at: Time(20),
        };
        let events = [(10, created.clone()), (20, updated.clone())];
        assert_eq!(fold(events), Some(shown));
        let deleted = [(10, created), (15, Event::Deleted), (20, updated)];
        assert_eq!(fold::<View>(deleted), None);
    }
}
