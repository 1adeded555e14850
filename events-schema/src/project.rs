//! Projects: the example of an area that belongs to tenants.

use serde::{Deserialize, Serialize};

use crate::{
    Access, AccountId, AreaName, BuiltInRole, Commit, Counter, Description, Home, Id, Index, Limit,
    Meter, Name, Permission, Time,
    id::typed_id,
    published::{DateTime, EnumName, EventType, Person, Published},
};

typed_id! {
    /// Identifies a project: the id of the command that created it.
    ProjectId
}

/// The permission to read projects.
pub const READ: Permission = Permission::new("read_project", BuiltInRole::Guest);
/// The permission to create projects.
pub const CREATE: Permission = Permission::new("create_project", BuiltInRole::Member);
/// The permission to change projects.
pub const UPDATE: Permission = Permission::new("update_project", BuiltInRole::Member);
/// The permission to delete projects.
pub const DELETE: Permission = Permission::new("delete_project", BuiltInRole::Developer);

/// How many projects a tenant may have.
pub const PROJECTS: Limit = Limit::new("projects");
/// How many projects a tenant has created.
pub const PROJECTS_CREATED: Meter = Meter::new("projects_created");

/// The area of projects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area;

impl crate::Area for Area {
    const NAME: AreaName = AreaName::Project;
    const ACCESS: &'static [Access] = &[
        Access::permission("read", READ),
        Access::permission("create", CREATE).limit(PROJECTS),
        Access::permission("update", UPDATE),
        Access::permission("delete", DELETE),
    ];
    const FEED: Option<Permission> = Some(READ);
    const ENDS: &'static [&'static str] = &["deleted"];
    const METERS: &'static [Counter<Self>] = &[Counter::new(PROJECTS_CREATED, created)];
    type Id = ProjectId;
    type Command = Command;
    type Event = Event;
    type Public = Public;
}

/// Returns how many projects a commit creates.
fn created(commit: &Commit<Area>) -> u64 {
    let created = commit.events.iter();
    let created = created.filter(|event| matches!(event, Event::Created { .. }));
    created.count() as u64
}

/// A request to change a project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Create a project.
    Create {
        name: Name,
        description: Description,
        status: Status,
        creator: AccountId,
    },
    /// Change the given fields. An absent field keeps its value.
    Update {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Name>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<Description>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<Status>,
    },
    /// Delete the project.
    Delete,
}

/// A change to a project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// The project was created.
    Created {
        name: Name,
        description: Description,
        status: Status,
        creator: AccountId,
    },
    /// The project was changed. All fields are given, changed or not.
    Updated {
        name: Name,
        description: Description,
        status: Status,
    },
    /// The project was deleted.
    Deleted,
}

/// The state of work on a project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Status {
    /// Work is under way.
    #[default]
    Active,
    /// Work is paused.
    OnHold,
    /// Work is done.
    Completed,
    /// The project is kept for reference only.
    Archived,
}

/// The view of a project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    pub name: Name,
    pub description: Description,
    pub status: Status,
    pub creator: AccountId,
    pub created_at: Time,
    pub updated_at: Time,
}

impl crate::View for View {
    type Area = Area;
    const NAME: &'static str = "project";
    const HOME: Home = Home::Tenant;
    const INDEXES: &'static [Index] = &[
        Index::on(&["created_at"]),
        Index::on(&["name"]),
        Index::on(&["status", "created_at"]),
        Index::on(&["status", "name"]),
    ];

    fn fold(view: Option<Self>, commit: &Commit<Area>) -> Option<Self> {
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
            } => view.map(|view| Self {
                name: name.clone(),
                description: description.clone(),
                status: *status,
                updated_at: at,
                ..view
            }),
            Event::Deleted => None,
        })
    }
}

/// A project as webhooks send it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Public {
    /// Id of the project.
    id: Id,
    /// Name of the project.
    name: Name,
    /// Description of the project. Empty if there is none.
    description: Description,
    /// The state of work.
    status: EnumName<Status>,
    /// The person who created the project, in a session or through an access token.
    created_by: Person,
    /// When the project was created.
    created_at: DateTime,
    /// When the project was last changed.
    updated_at: DateTime,
    /// Counts the changes of the project.
    revision: u64,
}

impl Published for Public {
    type View = View;
    const EVENTS: &'static [EventType] = &[
        EventType::new("project.created", "The project was created."),
        EventType::new("project.updated", "The project was changed."),
        EventType::new("project.deleted", "The project was deleted."),
    ];

    fn of(view: View, id: Id, revision: u64) -> Option<Self> {
        Some(Self {
            id,
            name: view.name,
            description: view.description,
            status: EnumName(view.status),
            created_by: Person { id: view.creator },
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
    fn a_project_shows_its_latest_state_until_it_is_deleted() {
        let creator = AccountId(Id::from_bytes([1; 16]));
        let (name, description) = (Name::parse("Loom"), Description::parse("It weaves."));
        let (name, description) = (name.unwrap(), description.unwrap());
        let created = Event::Created {
            name: Name::parse("Engine").unwrap(),
            description: Description::default(),
            status: Status::Active,
            creator,
        };
        let updated = Event::Updated {
            name: name.clone(),
            description: description.clone(),
            status: Status::OnHold,
        };
        let shown = View {
            name,
            description,
            status: Status::OnHold,
            creator,
            created_at: Time(10),
            updated_at: Time(20),
        };
        assert_eq!(
            fold([(10, created.clone()), (20, updated.clone())]),
            Some(shown)
        );
        let after = [(10, created), (15, Event::Deleted), (20, updated)];
        assert_eq!(fold::<View>(after), None);
    }
}
