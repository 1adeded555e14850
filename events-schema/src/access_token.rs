//! Access tokens: keys for machines, which act in one tenant. A token's id is the head of the hash
//! of its text, so the text itself is written down nowhere.

use serde::{Deserialize, Serialize};

use crate::{AccountId, Area, Home, Name, Permissions, Time};

/// What may be asked of an access token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Make one. The aggregate's id is the head of its hash.
    Create {
        /// What its owner calls it.
        name: Name,
        /// What it may do at most.
        scopes: Permissions,
        /// When it ends.
        expires_at: Time,
        /// Who makes it: it never may more than they may at the time.
        creator: AccountId,
        /// What the creator may do now.
        held: Permissions,
    },
    /// End it.
    Delete,
}

/// What happened to an access token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// It was made.
    Created {
        /// What its owner calls it.
        name: Name,
        /// What it may do at most.
        scopes: Permissions,
        /// When it ends.
        expires_at: Time,
        /// Who made it.
        creator: AccountId,
    },
    /// It was ended.
    Deleted,
}

/// An access token as it is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    /// What its owner calls it.
    pub name: Name,
    /// What it may do at most.
    pub scopes: Permissions,
    /// When it ends.
    pub expires_at: Time,
    /// Who made it.
    pub creator: AccountId,
    /// When it was made.
    pub created_at: Time,
}

impl crate::View for View {
    const NAME: &'static str = "access_token";
    const AREA: Area = Area::AccessToken;
    const HOME: Home = Home::Tenant;
}
