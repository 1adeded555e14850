//! Webhooks: a customer's server gets the events of a tenant. All webhooks of a tenant are one
//! aggregate with the tenant's id, since their number and changes concern all of them at once.
//!
//! The log is the queue: a webhook is a position in it, kept in the bucket `CURSORS`. Attempts to
//! send are no facts of the business, so they are in a stream of their own.

mod delivery;
mod replay;
mod settings;
mod view;

use serde::{Deserialize, Serialize};

pub use self::{
    delivery::{
        Attempt, Cursor, EventRef, Failing, Lease, NextStarts, Parked, ReplayProgress, Verdict,
    },
    replay::{MAX_REPLAYS, MAX_RUNNING_REPLAYS, Only, Replay, ReplayCounts, ReplayEnd, ReplayId},
    settings::{
        Algorithm, AuthKind, Changes, ContentType, Credentials, MAX_CONCURRENCY, MAX_EVENT_FILTERS,
        MAX_HEADERS, MAX_RATE, NewKey, OAuth2, Ordering, Payload, SecretHeaders, Settings,
        is_allowed_header,
    },
    view::{Key, View, Webhook, apply},
};
use crate::{
    Access, AreaName, BuiltInRole, EmailAddress, Feature, Limit, Permission, TenantKey, Time,
    id::typed_id, outbound::WebhookUrl, published::Private, sealed::Resealed,
};

typed_id! {
    /// Identifies a webhook: the id of the command that created it.
    WebhookId
}

/// A tenant has at most this many webhooks, whatever its plan says: all are one document.
pub const MAX_WEBHOOKS: usize = 50;
/// A webhook has at most this many signing keys at once: the current one, and former ones until
/// their end.
pub const MAX_KEYS: usize = 5;
/// The longest time in hours that former keys stay valid after a rotation: a week.
pub const MAX_OVERLAP_HOURS: u32 = 168;
/// What a sealed secret of a webhook is for. It is part of the key.
pub const SEALED_FOR: &str = "webhook";

/// The permission to read webhooks and their deliveries.
pub const READ: Permission = Permission::new("read_webhook", BuiltInRole::Admin);
/// The permission to create webhooks.
pub const CREATE: Permission = Permission::new("create_webhook", BuiltInRole::Admin);
/// The permission to change webhooks.
pub const UPDATE: Permission = Permission::new("update_webhook", BuiltInRole::Admin);
/// The permission to delete webhooks.
pub const DELETE: Permission = Permission::new("delete_webhook", BuiltInRole::Admin);

/// The feature that lets a tenant create, change and try webhooks.
pub const FEATURE: Feature = Feature::new("webhooks");
/// How many webhooks a tenant may have.
pub const WEBHOOKS: Limit = Limit::new("webhooks");

/// The area of webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area;

impl crate::Area for Area {
    const NAME: AreaName = AreaName::Webhook;
    const ACCESS: &'static [Access] = &[
        Access::permission("read", READ),
        Access::permission("deliveries", READ),
        Access::permission("webhook_event_types", READ),
        Access::permission("create", CREATE)
            .in_person()
            .feature(FEATURE)
            .limit(WEBHOOKS),
        Access::permission("update", UPDATE)
            .in_person()
            .feature(FEATURE),
        Access::permission("delete", DELETE),
        Access::permission("enable", UPDATE)
            .feature(FEATURE)
            .in_person(),
        Access::permission("disable", UPDATE),
        Access::permission("rotate_secret", UPDATE).in_person(),
        Access::permission("test", UPDATE)
            .in_person()
            .feature(FEATURE),
        Access::permission("redeliver", UPDATE)
            .in_person()
            .feature(FEATURE),
        Access::permission("replay", UPDATE)
            .in_person()
            .feature(FEATURE),
        Access::permission("cancel_replay", UPDATE),
    ];
    const INTERNAL: &'static [&'static str] = &["give_up", "warn", "finish_replay", "reseal"];
    const FEED: Option<Permission> = Some(READ);
    type Public = Private<View>;
    type Id = TenantKey;
    type Command = Command;
    type Event = Event;
}

/// A request to change a tenant's webhooks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Create a webhook. It takes the command's id, and gets the events from here on.
    Create { settings: Settings, key: NewKey },
    /// Change the given settings. An absent one keeps its value.
    Update {
        webhook: WebhookId,
        changes: Changes,
    },
    /// Delete a webhook. Nothing is sent to it any more.
    Delete { webhook: WebhookId },
    /// Send to a webhook again.
    Enable { webhook: WebhookId, from: Start },
    /// Send nothing to a webhook until it is enabled.
    Disable { webhook: WebhookId },
    /// Sign with a new key. The former ones stay valid for some hours.
    RotateSecret {
        webhook: WebhookId,
        key: NewKey,
        overlap_hours: u32,
    },
    /// Send an example event of this type.
    Test {
        webhook: WebhookId,
        event_type: String,
    },
    /// Send an event of the log once more.
    Redeliver { webhook: WebhookId, event: EventRef },
    /// Send the events of a time once more. The replay takes the command's id.
    Replay {
        webhook: WebhookId,
        since: Time,
        /// The end of the time, which is excluded.
        until: Time,
        only: Only,
    },
    /// End a replay early.
    CancelReplay {
        webhook: WebhookId,
        replay: ReplayId,
        /// What it has sent, as far as its gateway knows. Earlier gateways do not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        counts: Option<ReplayCounts>,
    },
    /// Record that everything of a replay was sent. Its worker sends this.
    FinishReplay {
        webhook: WebhookId,
        replay: ReplayId,
        sent: u64,
        failed: u64,
    },
    /// Replace sealed values by the same ones under another secret. An operator's command sends
    /// this.
    Reseal {
        webhook: WebhookId,
        values: Vec<Resealed>,
    },
    /// Disable a webhook that does not work. Its worker sends this.
    GiveUp {
        webhook: WebhookId,
        reason: DisabledReason,
        /// The owners of the tenant, who get a mail.
        owners: Vec<EmailAddress>,
    },
    /// Warn the owners that a webhook does not work. Its worker sends this.
    Warn {
        webhook: WebhookId,
        failing_since: Time,
        owners: Vec<EmailAddress>,
    },
}

/// Where a webhook that is enabled again goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Start {
    /// With the first event that it has not got.
    Resume,
    /// With the next event. Those that it has missed are not sent.
    Now,
}

/// Why nothing is sent to a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum DisabledReason {
    /// A person has disabled it.
    Requested,
    /// Every attempt of five days has failed.
    Failing,
    /// The server answered 410 Gone.
    Gone,
}

/// A change to a tenant's webhooks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// A webhook was created.
    Created {
        webhook: WebhookId,
        settings: Settings,
        key: NewKey,
    },
    /// A webhook was changed. All settings are given, changed or not.
    Updated {
        webhook: WebhookId,
        settings: Settings,
    },
    /// A webhook was deleted.
    Deleted { webhook: WebhookId },
    /// Events are sent again.
    Enabled { webhook: WebhookId, from: Start },
    /// No events are sent until the webhook is enabled.
    Disabled {
        webhook: WebhookId,
        reason: DisabledReason,
        /// Where the events were sent.
        url: WebhookUrl,
        /// The addresses that get a mail.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        owners: Vec<EmailAddress>,
    },
    /// The webhook signs with another key.
    SecretRotated {
        webhook: WebhookId,
        key: NewKey,
        /// When the former keys end.
        former_expire_at: Time,
    },
    /// An example event is sent.
    TestRequested {
        webhook: WebhookId,
        event_type: String,
    },
    /// An event is sent once more.
    RedeliveryRequested { webhook: WebhookId, event: EventRef },
    /// The events of a time are sent once more.
    ReplayRequested {
        webhook: WebhookId,
        replay: ReplayId,
        since: Time,
        until: Time,
        only: Only,
    },
    /// A replay was ended early.
    ReplayCancelled {
        webhook: WebhookId,
        replay: ReplayId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        counts: Option<ReplayCounts>,
    },
    /// Everything of a replay was sent.
    ReplayFinished {
        webhook: WebhookId,
        replay: ReplayId,
        sent: u64,
        failed: u64,
    },
    /// Sealed values were replaced by the same ones under another secret.
    Resealed {
        webhook: WebhookId,
        values: Vec<Resealed>,
    },
    /// The owners were warned that the webhook does not work.
    FailureWarned {
        webhook: WebhookId,
        url: WebhookUrl,
        failing_since: Time,
        owners: Vec<EmailAddress>,
    },
}

impl Event {
    /// Returns the webhook that has changed.
    pub const fn webhook(&self) -> WebhookId {
        match self {
            Self::Created { webhook, .. }
            | Self::Updated { webhook, .. }
            | Self::Deleted { webhook }
            | Self::Enabled { webhook, .. }
            | Self::Disabled { webhook, .. }
            | Self::SecretRotated { webhook, .. }
            | Self::TestRequested { webhook, .. }
            | Self::RedeliveryRequested { webhook, .. }
            | Self::ReplayRequested { webhook, .. }
            | Self::ReplayCancelled { webhook, .. }
            | Self::ReplayFinished { webhook, .. }
            | Self::Resealed { webhook, .. }
            | Self::FailureWarned { webhook, .. } => *webhook,
        }
    }

    /// Whether the webhook gets no event before this one.
    pub const fn starts_webhook(&self) -> bool {
        match self {
            Self::Created { .. }
            | Self::Enabled {
                from: Start::Now, ..
            } => true,
            Self::Updated { .. }
            | Self::Deleted { .. }
            | Self::Enabled {
                from: Start::Resume,
                ..
            }
            | Self::Disabled { .. }
            | Self::SecretRotated { .. }
            | Self::TestRequested { .. }
            | Self::RedeliveryRequested { .. }
            | Self::ReplayRequested { .. }
            | Self::ReplayCancelled { .. }
            | Self::ReplayFinished { .. }
            | Self::Resealed { .. }
            | Self::FailureWarned { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests;
