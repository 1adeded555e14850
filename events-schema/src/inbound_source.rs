//! Inbound sources: other services send hooks to a tenant. All sources of a tenant are one
//! aggregate with the tenant's id, since their number concerns all of them at once.
//!
//! A hook is no fact of the business. It is in the stream `INBOX`, and what follows from it is in
//! the log.

mod hook;
mod provider;
mod verification;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{
    hook::{Handling, Hook, HookId, Receipt, Verdict},
    provider::{Encoding, HeaderName, HmacScheme, Provider},
    verification::{Accepted, Refused, TOLERANCE, verify},
};
use crate::{
    Access, AccountId, AreaName, BuiltInRole, Commit, Feature, Home, Index, Name, Permission,
    TenantKey, Time,
    id::typed_id,
    published::Private,
    sealed::{self, Resealed, Sealed},
};

typed_id! {
    /// Identifies an inbound source: the id of the command that created it. Nobody can guess it.
    InboundSourceId
}

/// A tenant has at most this many inbound sources.
pub const MAX_SOURCES: usize = 50;
/// The longest time in hours that the former secret stays valid after a rotation: a week.
pub const MAX_OVERLAP_HOURS: u32 = 168;
/// What a sealed secret of a source is for. It is part of the key.
pub const SEALED_FOR: &str = "inbound-source";

/// The permission to read inbound sources and their hooks.
pub const READ: Permission = Permission::new("read_inbound_source", BuiltInRole::Admin);
/// The permission to create inbound sources.
pub const CREATE: Permission = Permission::new("create_inbound_source", BuiltInRole::Admin);
/// The permission to change inbound sources and to replay their hooks.
pub const UPDATE: Permission = Permission::new("update_inbound_source", BuiltInRole::Admin);
/// The permission to delete inbound sources.
pub const DELETE: Permission = Permission::new("delete_inbound_source", BuiltInRole::Admin);

/// The feature that lets a tenant create and change inbound sources, and replay their hooks.
pub const FEATURE: Feature = Feature::new("inbound_hooks");

/// The area of inbound sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area;

impl crate::Area for Area {
    const NAME: AreaName = AreaName::InboundSource;
    const ACCESS: &'static [Access] = &[
        Access::permission("read", READ),
        Access::permission("inbound_hooks", READ),
        Access::permission("create", CREATE)
            .in_person()
            .feature(FEATURE)
            .creates(),
        Access::permission("update", UPDATE)
            .in_person()
            .feature(FEATURE),
        Access::permission("delete", DELETE),
        Access::permission("rotate_secret", UPDATE).in_person(),
        Access::permission("inbound_hook_replay", UPDATE).feature(FEATURE),
    ];
    const INTERNAL: &'static [&'static str] = &["reseal"];
    const FEED: Option<Permission> = Some(READ);
    type Public = Private<View>;
    type Id = TenantKey;
    type Command = Command;
    type Event = Event;
}

/// A request to change a tenant's inbound sources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Create a source. It takes the command's id.
    Create {
        name: Name,
        provider: Provider,
        secret: Sealed,
        /// The author of what the hooks create.
        creator: AccountId,
    },
    /// Change the given fields. An absent field keeps its value.
    Update {
        source: InboundSourceId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Name>,
        /// Replaces all settings of the provider, which stays of the same kind.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider: Option<Provider>,
    },
    /// Delete a source. Its hooks are refused from then on.
    Delete { source: InboundSourceId },
    /// Verify hooks with a new secret. The former one stays valid for some hours.
    RotateSecret {
        source: InboundSourceId,
        secret: Sealed,
        overlap_hours: u32,
    },
    /// Keep these secrets sealed with another secret of the server.
    Reseal {
        source: InboundSourceId,
        values: Vec<Resealed>,
    },
    /// Handle a hook once more.
    Replay {
        source: InboundSourceId,
        hook: HookId,
    },
}

/// A change to a tenant's inbound sources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// A source was created.
    Created {
        source: InboundSourceId,
        name: Name,
        provider: Provider,
        secret: Sealed,
        creator: AccountId,
    },
    /// A source was changed. All fields are given, changed or not.
    Updated {
        source: InboundSourceId,
        name: Name,
        provider: Provider,
    },
    /// A source was deleted.
    Deleted { source: InboundSourceId },
    /// A source has another secret.
    SecretRotated {
        source: InboundSourceId,
        secret: Sealed,
        /// When the former secret ends.
        former_expires_at: Time,
    },
    /// Secrets were sealed with another secret of the server.
    Resealed {
        source: InboundSourceId,
        values: Vec<Resealed>,
    },
    /// A hook is handled once more.
    ReplayRequested {
        source: InboundSourceId,
        hook: HookId,
    },
}

/// An inbound source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Source {
    pub name: Name,
    pub provider: Provider,
    /// The secret, which only the programs can read.
    pub secret: Sealed,
    /// The secret before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<FormerSecret>,
    /// The author of what the hooks create.
    pub creator: AccountId,
    pub created_at: Time,
    pub updated_at: Time,
}

/// A secret that was replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FormerSecret {
    pub secret: Sealed,
    pub expires_at: Time,
}

impl Source {
    fn secrets_mut(&mut self) -> impl Iterator<Item = &mut Sealed> {
        let former = self.former.iter_mut().map(|former| &mut former.secret);
        std::iter::once(&mut self.secret).chain(former)
    }

    /// Returns the secrets that verify hooks at this time, the current one first.
    pub fn valid_secrets(&self, now: Time) -> impl Iterator<Item = &Sealed> {
        let former = self.former.iter().filter(move |it| now < it.expires_at);
        std::iter::once(&self.secret).chain(former.map(|former| &former.secret))
    }
}

/// The view of a tenant's inbound sources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    pub sources: BTreeMap<InboundSourceId, Source>,
}

impl crate::View for View {
    type Area = Area;
    const NAME: &'static str = "inbound_source";
    const HOME: Home = Home::Tenant;
    const INDEXES: &'static [Index] = &[];

    /// The document stays when the last source is deleted.
    fn fold(view: Option<Self>, commit: &Commit<Area>) -> Option<Self> {
        let mut view = view.unwrap_or_default();
        for event in &commit.events {
            apply(&mut view.sources, event, commit.time);
        }
        Some(view)
    }
}

/// Applies an event to a tenant's sources. The view, the aggregate and the loop that handles hooks
/// have the same state.
pub fn apply(sources: &mut BTreeMap<InboundSourceId, Source>, event: &Event, at: Time) {
    match event {
        Event::Created {
            source,
            name,
            provider,
            secret,
            creator,
        } => {
            let created = Source {
                name: name.clone(),
                provider: provider.clone(),
                secret: secret.clone(),
                former: None,
                creator: *creator,
                created_at: at,
                updated_at: at,
            };
            sources.insert(*source, created);
        }
        Event::Updated {
            source,
            name,
            provider,
        } => {
            if let Some(source) = sources.get_mut(source) {
                source.name = name.clone();
                source.provider = provider.clone();
                source.updated_at = at;
            }
        }
        Event::Deleted { source } => {
            sources.remove(source);
        }
        Event::SecretRotated {
            source,
            secret,
            former_expires_at,
        } => {
            if let Some(source) = sources.get_mut(source) {
                source.former = Some(FormerSecret {
                    secret: std::mem::replace(&mut source.secret, secret.clone()),
                    expires_at: *former_expires_at,
                });
                source.updated_at = at;
            }
        }
        Event::Resealed { source, values } => {
            if let Some(source) = sources.get_mut(source) {
                sealed::replace(source.secrets_mut(), values);
            }
        }
        Event::ReplayRequested { .. } => {}
    }
}

#[cfg(test)]
mod tests;
