//! Projects: the example of an area that belongs to a tenant. Copy it to begin one of your own.

use serde::{Deserialize, Serialize};

use crate::{AccountId, Area, Description, Home, Name, Time};

/// How a project stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Status {
    /// Under way.
    #[default]
    Active,
    /// Resting.
    OnHold,
    /// Done.
    Completed,
    /// Out of sight.
    Archived,
}

impl Status {
    /// How it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::OnHold => "on_hold",
            Self::Completed => "completed",
            Self::Archived => "archived",
        }
    }
}

/// What may be asked of a project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Begin one. The aggregate's id is the command's.
    Create {
        /// Its name.
        name: Name,
        /// What it is about.
        description: Description,
        /// How it stands.
        status: Status,
        /// Who begins it.
        creator: AccountId,
    },
    /// Change it; what is absent stays.
    Update {
        /// New name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Name>,
        /// New description.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<Description>,
        /// New status.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<Status>,
    },
    /// End it.
    Delete,
}

/// What happened to a project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// It was begun.
    Created {
        /// Its name.
        name: Name,
        /// What it is about.
        description: Description,
        /// How it stands.
        status: Status,
        /// Who began it.
        creator: AccountId,
    },
    /// It was changed.
    Updated {
        /// Its name, changed or not.
        name: Name,
        /// What it is about, changed or not.
        description: Description,
        /// How it stands, changed or not.
        status: Status,
    },
    /// It was ended.
    Deleted,
}

/// A project as it is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    /// Its name.
    pub name: Name,
    /// What it is about.
    pub description: Description,
    /// How it stands.
    pub status: Status,
    /// Who began it.
    pub creator: AccountId,
    /// When it was begun.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
}

impl crate::View for View {
    const NAME: &'static str = "project";
    const AREA: Area = Area::Project;
    const HOME: Home = Home::Tenant;
}
