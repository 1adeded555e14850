//! Tenants: organisations whose data is apart from all others'. The id of the aggregate is the
//! tenant's own; its commits are in the tenant's log, its view is the platform's, since it is
//! looked up before it is known whose request it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, Area, EmailAddress, Home, Id, Name, Place, SettingKey, SettingValue, Slug, Time,
};

/// A tenant has at most so many settings.
pub const MOST_SETTINGS: usize = 50;

/// What its owners wrote down for their own use.
pub type Settings = BTreeMap<SettingKey, SettingValue>;

/// What may be asked of a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Found one. The aggregate's id is the command's.
    Create {
        /// Its name.
        name: Name,
        /// Its name in addresses, if nobody holds it.
        slug: Slug,
        /// Who becomes its owner.
        owner: AccountId,
        /// The owner's address.
        email: EmailAddress,
        /// The plan that it is to be billed by.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<Id>,
        /// Where its views are to live.
        place: Place,
    },
    /// Change it; what is absent stays.
    Update {
        /// New name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Name>,
        /// New name in addresses; the old one becomes free.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slug: Option<Slug>,
        /// All settings anew.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        settings: Option<Settings>,
    },
    /// End it for ever; its slug becomes free.
    Delete {
        /// Its slug, said again by whoever ends it.
        slug: Slug,
    },
    /// Begin to keep its views in a second place, too.
    BeginMove {
        /// Where they are to live.
        to: Place,
    },
    /// Read its views in that place from now on.
    FinishMove,
    /// Go on reading them where they were.
    AbandonMove,
}

/// What happened to a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// It was founded.
    Created {
        /// Its name.
        name: Name,
        /// Its name in addresses.
        slug: Slug,
        /// Its first owner.
        owner: AccountId,
        /// That owner's address.
        email: EmailAddress,
        /// The plan that it is to be billed by.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<Id>,
        /// Where its views live.
        place: Place,
    },
    /// It was changed.
    Updated {
        /// Its name, changed or not.
        name: Name,
        /// Its name in addresses, changed or not.
        slug: Slug,
        /// Its settings, changed or not.
        settings: Settings,
    },
    /// It was ended.
    Deleted,
    /// Its views are kept in a second place, too.
    MoveBegun {
        /// Where.
        to: Place,
    },
    /// Its views are read there from now on.
    MoveFinished,
    /// They stay where they were.
    MoveAbandoned,
}

/// A tenant as it is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    /// Its name.
    pub name: Name,
    /// Its name in addresses.
    pub slug: Slug,
    /// Who founded it.
    pub founder: AccountId,
    /// The plan that it is to be billed by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Id>,
    /// What its owners wrote down.
    pub settings: Settings,
    /// Where its views are read.
    pub place: Place,
    /// Where they are written, too, while they move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving_to: Option<Place>,
    /// When it was founded.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
}

impl crate::View for View {
    const NAME: &'static str = "tenant";
    const AREA: Area = Area::Tenant;
    const HOME: Home = Home::Platform;
}
