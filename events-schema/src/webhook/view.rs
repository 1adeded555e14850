//! The webhooks of a tenant, as their view, their aggregate and their delivery have them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Algorithm, Area, DisabledReason, Event, NewKey, Replay, ReplayId, Settings, WebhookId, replay,
};
use crate::{
    Commit, Home, Index, Time,
    sealed::{self, Resealed, Sealed},
};

/// A webhook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Webhook {
    pub settings: Settings,
    /// The signing keys, the current one last.
    pub keys: Vec<Key>,
    /// Why nothing is sent; `None` if it is enabled.
    pub disabled: Option<DisabledReason>,
    /// The latest replays, running or not.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replays: BTreeMap<ReplayId, Replay>,
    pub created_at: Time,
    pub updated_at: Time,
}

/// A signing key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Key {
    pub algorithm: Algorithm,
    /// The secret, which only the programs can read.
    pub secret: Sealed,
    /// The public key of an ed25519 key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<String>,
    pub created_at: Time,
    /// When it ends; `None` for the current key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
}

impl Key {
    fn new(key: &NewKey, created_at: Time) -> Self {
        Self {
            algorithm: key.algorithm,
            secret: key.secret.clone(),
            public: key.public.clone(),
            created_at,
            expires_at: None,
        }
    }

    /// Whether the key signs at this time.
    pub fn is_valid(&self, now: Time) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// The view of a tenant's webhooks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    pub webhooks: BTreeMap<WebhookId, Webhook>,
}

impl crate::View for View {
    type Area = Area;
    const NAME: &'static str = "webhook";
    const HOME: Home = Home::Tenant;
    const INDEXES: &'static [Index] = &[];

    /// The document stays when the last webhook is deleted.
    fn fold(view: Option<Self>, commit: &Commit<Area>) -> Option<Self> {
        let mut view = view.unwrap_or_default();
        for event in &commit.events {
            apply(&mut view.webhooks, event, commit.time);
        }
        Some(view)
    }
}

/// Applies an event to a tenant's webhooks. The view, the aggregate and the delivery have the same
/// state.
pub fn apply(webhooks: &mut BTreeMap<WebhookId, Webhook>, event: &Event, at: Time) {
    if let Event::Created {
        webhook,
        settings,
        key,
    } = event
    {
        let created = Webhook {
            settings: settings.clone(),
            keys: vec![Key::new(key, at)],
            disabled: None,
            replays: BTreeMap::new(),
            created_at: at,
            updated_at: at,
        };
        webhooks.insert(*webhook, created);
        return;
    }
    if matches!(event, Event::Deleted { .. }) {
        webhooks.remove(&event.webhook());
        return;
    }
    if let Some(webhook) = webhooks.get_mut(&event.webhook()) {
        change(webhook, event, at);
    }
}

fn change(webhook: &mut Webhook, event: &Event, at: Time) {
    match event {
        Event::Updated { settings, .. } => webhook.settings = settings.clone(),
        Event::Enabled { .. } => webhook.disabled = None,
        Event::Disabled { reason, .. } => webhook.disabled = Some(*reason),
        Event::SecretRotated {
            key,
            former_expire_at,
            ..
        } => {
            webhook.keys.retain(|key| key.is_valid(at));
            for former in &mut webhook.keys {
                let end = former.expires_at.unwrap_or(*former_expire_at);
                former.expires_at = Some(end.min(*former_expire_at));
            }
            webhook.keys.push(Key::new(key, at));
        }
        Event::Resealed { values, .. } => return reseal(webhook, values),
        Event::ReplayRequested { .. }
        | Event::ReplayCancelled { .. }
        | Event::ReplayFinished { .. } => return replay::apply(&mut webhook.replays, event, at),
        Event::Created { .. }
        | Event::Deleted { .. }
        | Event::TestRequested { .. }
        | Event::RedeliveryRequested { .. }
        | Event::FailureWarned { .. } => return,
    }
    webhook.updated_at = at;
}

fn reseal(webhook: &mut Webhook, values: &[Resealed]) {
    let keys = webhook.keys.iter_mut().map(|key| &mut key.secret);
    let credentials = webhook.settings.credentials.iter_mut();
    let credentials = credentials.map(|credentials| &mut credentials.sealed);
    sealed::replace(keys.chain(credentials), values);
}
