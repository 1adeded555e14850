//! A webhook and its parts as clients see them.

use std::cmp::Reverse;

use async_graphql::{Context, Enum, ID, Object, SimpleObject};
use events_schema::{
    published::EventType,
    webhook::{
        Algorithm, AuthKind, ContentType, Cursor, DisabledReason, Key, Ordering, Payload, Settings,
    },
};
use tokio::sync::OnceCell;

use super::replay::WebhookReplay;
use crate::{
    clock::now,
    error::Error,
    graphql::{
        field::FieldContext,
        scalars::{DateTime, to_id},
    },
    use_cases::webhook::StoredWebhook,
};

/// What must not overtake each other.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "Ordering")]
pub(super) enum WebhookOrdering {
    /// The events of one object. One that fails holds up no other object.
    Aggregate,
    /// All events. One that fails holds up all that follow.
    Endpoint,
}

/// What the body says about an event.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "Payload")]
pub(super) enum WebhookPayload {
    /// Which object has changed.
    Thin,
    /// The object as it was after the change, too.
    Full,
}

/// The header `content-type`. The body is the same.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "ContentType")]
pub(super) enum WebhookContentType {
    /// `application/json`.
    Json,
    /// `application/cloudevents+json`.
    CloudEvents,
}

/// How requests are signed.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "Algorithm")]
pub(super) enum WebhookAlgorithm {
    /// HMAC with SHA-256. Both sides have the secret.
    Hmac,
    /// Ed25519. The receiver has the public key only, so it cannot sign.
    #[graphql(name = "ED25519")]
    Ed25519,
}

/// How a webhook authenticates at the receiver, besides its signature.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "AuthKind")]
enum WebhookAuthKind {
    /// Not at all.
    None,
    /// By user and password, with the scheme `Basic`.
    Basic,
    /// By a token, with the scheme `Bearer`.
    Bearer,
    /// By a header of its own.
    ApiKey,
    /// By an access token of OAuth 2.0.
    #[graphql(name = "OAUTH2")]
    OAuth2,
}

/// Why nothing is sent to a webhook.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "DisabledReason")]
enum WebhookDisabledReason {
    /// A person has disabled it.
    Requested,
    /// Every attempt of five days has failed.
    Failing,
    /// The server has answered 410 Gone.
    Gone,
}

/// A key that requests are signed with, without its secret.
#[derive(SimpleObject)]
struct WebhookSecret {
    /// How requests are signed with it.
    algorithm: WebhookAlgorithm,
    /// The public key, `whpk_…`. Null for HMAC.
    public_key: Option<String>,
    /// When it was created.
    created_at: DateTime,
    /// When it ends. Null for the current one.
    expires_at: Option<DateTime>,
}

impl WebhookSecret {
    fn of(key: &Key) -> Self {
        Self {
            algorithm: key.algorithm.into(),
            public_key: key.public.clone(),
            created_at: DateTime(key.created_at),
            expires_at: key.expires_at.map(DateTime),
        }
    }
}

pub(super) struct Webhook {
    stored: StoredWebhook,
    /// Where the delivery stands. It is read if a field shows it.
    cursor: OnceCell<Option<Cursor>>,
}

impl Webhook {
    pub(super) fn of(stored: StoredWebhook) -> Self {
        Self {
            stored,
            cursor: OnceCell::new(),
        }
    }

    fn settings(&self) -> &Settings {
        &self.stored.webhook.settings
    }

    fn current_key(&self) -> Option<&Key> {
        self.stored.webhook.keys.last()
    }

    async fn cursor(&self, ctx: &Context<'_>) -> Result<Option<&Cursor>, Error> {
        let field = FieldContext::of(ctx);
        let membership = field.membership()?;
        let webhooks = &field.use_cases.webhooks;
        let read = || webhooks.cursor(membership, self.stored.id);
        Ok(self.cursor.get_or_try_init(read).await?.as_ref())
    }
}

/// Sends the events of the tenant to a server, each as an HTTP POST. Its secrets and the values of
/// its headers are never shown.
#[Object]
impl Webhook {
    /// Id of the webhook: 32 lower-case hex digits.
    async fn id(&self) -> ID {
        to_id(self.stored.id)
    }

    /// Where the events are sent.
    async fn url(&self) -> &str {
        self.settings().url.as_str()
    }

    /// Description of the webhook, up to 10,000 characters. Empty if there is none.
    async fn description(&self) -> &str {
        let description = self.settings().description.as_ref();
        description.map_or("", |description| description.as_str())
    }

    /// The events that it gets: types such as `project.created`, all of an area such as `project.*`,
    /// or `*` for all.
    async fn event_types(&self) -> Vec<&str> {
        let filters = self.settings().event_types.iter();
        filters.map(|filter| filter.as_str()).collect()
    }

    /// What must not overtake each other.
    async fn ordering(&self) -> WebhookOrdering {
        self.settings().ordering.into()
    }

    /// What the body says about an event.
    async fn payload(&self) -> WebhookPayload {
        self.settings().payload.into()
    }

    /// The header `content-type` of requests.
    async fn content_type(&self) -> WebhookContentType {
        self.settings().content_type.into()
    }

    /// How requests are signed with the current secret.
    async fn algorithm(&self) -> WebhookAlgorithm {
        let key = self.current_key();
        key.map_or(WebhookAlgorithm::Hmac, |key| key.algorithm.into())
    }

    /// The public key that requests are verified with, `whpk_…`. Null for HMAC.
    async fn public_key(&self) -> Option<&str> {
        self.current_key()?.public.as_deref()
    }

    /// The names of its own headers, without the one of `auth`.
    async fn header_names(&self) -> &[String] {
        let credentials = self.settings().credentials.as_ref();
        credentials.map_or(&[], |credentials| credentials.header_names.as_slice())
    }

    /// How the webhook authenticates at the receiver, besides its signature.
    async fn auth(&self) -> WebhookAuthKind {
        let credentials = self.settings().credentials.as_ref();
        credentials.map_or(WebhookAuthKind::None, |credentials| credentials.auth.into())
    }

    /// The most requests a second. 0 if there is no limit.
    async fn rate_limit(&self) -> u32 {
        self.settings().rate_limit
    }

    /// The most requests at once, 1 to 32.
    async fn concurrency(&self) -> u32 {
        self.settings().concurrency
    }

    /// Whether events are sent.
    async fn enabled(&self) -> bool {
        self.stored.webhook.disabled.is_none()
    }

    /// Why no events are sent. Null if they are.
    async fn disabled_reason(&self) -> Option<WebhookDisabledReason> {
        self.stored.webhook.disabled.map(Into::into)
    }

    /// Since when every attempt has failed. Null if the last one has succeeded, or if there was
    /// none.
    async fn failing_since(&self, ctx: &Context<'_>) -> Result<Option<DateTime>, Error> {
        let cursor = self.cursor(ctx).await?;
        let failing = cursor.and_then(|cursor| cursor.failing);
        Ok(failing.map(|failing| DateTime(failing.since)))
    }

    /// The age of the oldest event that is not sent yet, in seconds. 0 if all are sent. Null if
    /// that is not known: nothing was sent yet, or the webhook is disabled. Workers record it while
    /// they send, so an event is missing here that no worker has seen yet.
    async fn lag_seconds(&self, ctx: &Context<'_>) -> Result<Option<u64>, Error> {
        let is_enabled = self.stored.webhook.disabled.is_none();
        let cursor = self.cursor(ctx).await?.filter(|_| is_enabled);
        let oldest = |oldest| now().since(oldest).as_secs();
        Ok(cursor.map(|cursor| cursor.oldest.map_or(0, oldest)))
    }

    /// When the next attempt is due to send an event that has failed. Null if none waits, or if the
    /// webhook is disabled.
    async fn next_attempt_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>, Error> {
        let due = self.cursor(ctx).await?.and_then(Cursor::due);
        let is_enabled = self.stored.webhook.disabled.is_none();
        Ok(due.filter(|_| is_enabled).map(DateTime))
    }

    /// The secrets that requests are signed with, the current one last. Those that have ended are
    /// not shown.
    async fn secrets(&self) -> Vec<WebhookSecret> {
        let keys = self.stored.webhook.keys.iter();
        let valid = keys.filter(|key| key.is_valid(now()));
        valid.map(WebhookSecret::of).collect()
    }

    /// The latest ten replays, the last one first.
    async fn replays(&self, ctx: &Context<'_>) -> Result<Option<Vec<WebhookReplay>>, Error> {
        let replays = &self.stored.webhook.replays;
        let is_running = replays.values().any(|replay| replay.end.is_none());
        let progress = if is_running {
            let cursor = self.cursor(ctx).await?;
            cursor.map(|cursor| cursor.replays.clone())
        } else {
            None
        };
        let progress = progress.unwrap_or_default();
        let mut replays: Vec<_> = replays.iter().collect();
        replays.sort_by_key(|(id, replay)| Reverse((replay.requested_at, **id)));
        let shown = replays.into_iter().map(|(id, replay)| {
            let progress = progress.get(id).copied().unwrap_or_default();
            WebhookReplay::of(*id, replay, progress)
        });
        Ok(Some(shown.collect()))
    }

    /// When the webhook was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.stored.webhook.created_at)
    }

    /// When the webhook was last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.stored.webhook.updated_at)
    }

    /// Counts the changes of all webhooks of the tenant.
    async fn revision(&self) -> i64 {
        self.stored.revision
    }
}

pub(super) struct WebhookEventType(pub(super) EventType);

/// A type of events that a webhook can get.
#[Object]
impl WebhookEventType {
    /// Name of the type, such as `project.created`.
    async fn name(&self) -> &str {
        self.0.as_str()
    }

    /// What has happened.
    async fn description(&self) -> &str {
        self.0.description()
    }

    /// The JSON Schema of the body, as JSON text.
    async fn schema(&self) -> Option<String> {
        let entry = self.0.catalogue_entry()?;
        Some(entry.schema.to_string())
    }

    /// A body with the object, as JSON text.
    async fn example(&self) -> Option<String> {
        let entry = self.0.catalogue_entry()?;
        Some(entry.example.to_string())
    }
}
