//! Webhooks: the tenant's events, sent to servers of customers.
//!
//! A tenant has at most fifty, so they are one list without pages.

mod delivery;
mod input;
mod object;
mod replay;

use async_graphql::{
    Context, ID, Object, SimpleObject,
    connection::{Connection, Edge},
};
use events_schema::{
    WebhookId,
    published::{self, EventType},
    webhook::{Algorithm, Command, Only, ReplayId, ReplayProgress, Start, Verdict},
};

use self::{
    delivery::{Deliveries, Delivery},
    input::{
        CreateWebhookInput, RotateWebhookSecretInput, UpdateWebhookInput, WebhookStart, number,
    },
    object::{Webhook, WebhookEventType},
    replay::{ReplayWebhookInput, WebhookReplay},
};
use super::{
    audit::page_size,
    cursor::Timeline,
    field::FieldContext,
    scalars::{DateTime, Success, id_of},
};
use crate::{
    clock::now,
    error::Error,
    use_cases::{
        list::IndexCheck,
        webhook::{DeliveryFilter, NewSecret, StoredWebhook},
    },
};

pub(super) const INDEX_CHECKS: &[IndexCheck] = &[];

/// How long former secrets stay valid if the client says nothing.
const DEFAULT_OVERLAP_HOURS: u32 = 24;

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "WebhookQueries")]
impl Queries {
    /// All webhooks of the tenant, the oldest first.
    async fn webhooks(&self, ctx: &Context<'_>) -> Result<Option<Vec<Webhook>>, Error> {
        let field = FieldContext::of(ctx);
        let webhooks = field.use_cases.webhooks.list(field.caller).await?;
        Ok(Some(webhooks.into_iter().map(Webhook::of).collect()))
    }

    /// One webhook. `NOT_FOUND` if the tenant has no such webhook.
    async fn webhook(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Webhook>, Error> {
        let field = FieldContext::of(ctx);
        let webhooks = &field.use_cases.webhooks;
        let found = webhooks.get(field.caller, id_of(&id)?).await?;
        Ok(Some(Webhook::of(found)))
    }

    /// The types of events that a webhook can get. Newer versions may add types.
    async fn webhook_event_types(&self) -> Option<Vec<WebhookEventType>> {
        let types = published::event_types().iter();
        Some(types.map(|one| WebhookEventType(*one)).collect())
    }

    /// The attempts to send events to a webhook, the latest first. They are kept for 30 days at
    /// most, and no more than 1,000 that succeeded and 1,000 that failed. An attempt is shown
    /// shortly after it has ended. `NOT_FOUND` if the tenant has no such webhook.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is an argument of the field in the API"
    )]
    async fn deliveries(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the webhook.")] webhook: ID,
        #[graphql(desc = "True for failed attempts only, false for successful ones only.")]
        failed: Option<bool>,
        #[graphql(desc = "The event has this type, such as `project.created`.")] event_type: Option<
            String,
        >,
        #[graphql(desc = "The attempt began at this time or later.")] since: Option<DateTime>,
        #[graphql(desc = "Attempts on the page: 0 to 100, 50 by default.")] first: Option<i64>,
        #[graphql(desc = "Cursor of the last attempt of the previous page.")] after: Option<String>,
    ) -> Result<Option<Deliveries>, Error> {
        let field = FieldContext::of(ctx);
        let (id, size) = (id_of(&webhook)?, page_size(first)?);
        let (tenant, cursors) = (field.membership()?.tenant.id, field.cursors());
        let timeline = Timeline::Deliveries(tenant, id);
        let before = after.map(|after| cursors.read(timeline, "after", &after));
        let before = before.transpose()?;
        let filter = DeliveryFilter {
            verdict: failed.map(|failed| {
                if failed {
                    Verdict::Failed
                } else {
                    Verdict::Succeeded
                }
            }),
            event_type,
            since: since.map(|DateTime(time)| time),
        };
        let webhooks = &field.use_cases.webhooks;
        let page = webhooks.history(field.caller, id, &filter, before, size);
        let page = page.await?;
        let mut connection = Connection::new(before.is_some(), page.has_more);
        for kept in page.attempts {
            let cursor = cursors.write(timeline, kept.sequence)?;
            let delivery = Delivery::of(kept.attempt);
            connection.edges.push(Edge::new(cursor, delivery));
        }
        Ok(Some(connection))
    }
}

/// A webhook with its new secret.
#[derive(SimpleObject)]
struct WebhookWithSecret {
    /// The webhook.
    webhook: Webhook,
    /// The secret that requests are verified with: `whsec_…`. It is shown this once and never again.
    /// Null for ED25519: use `publicKey` of the webhook.
    secret: Option<String>,
}

impl From<(StoredWebhook, Option<String>)> for WebhookWithSecret {
    fn from((webhook, secret): (StoredWebhook, Option<String>)) -> Self {
        Self {
            webhook: Webhook::of(webhook),
            secret,
        }
    }
}

#[derive(Default)]
pub(super) struct Mutations;

#[Object(name = "WebhookMutations")]
impl Mutations {
    /// Changes of webhooks.
    async fn webhook(&self) -> Option<WebhookMutation> {
        Some(WebhookMutation)
    }
}

pub(super) struct WebhookMutation;

/// Changes of webhooks.
#[Object(serial)]
impl WebhookMutation {
    /// Creates a webhook. It gets the events from here on. Each call creates a new one, even with an
    /// `Idempotency-Key`, since its secret is random and shown once. `FORBIDDEN` if the caller may
    /// not read all events that it would get; `LIMIT_REACHED` if the tenant has 50 webhooks.
    async fn create(
        &self,
        ctx: &Context<'_>,
        input: CreateWebhookInput,
    ) -> Result<Option<WebhookWithSecret>, Error> {
        let field = FieldContext::of(ctx);
        let algorithm = input.algorithm.map_or(Algorithm::Hmac, Algorithm::from);
        let secret = NewSecret::new(algorithm, input.secret.as_deref())?;
        let (settings, headers) = input.parse()?;
        let webhooks = &field.use_cases.webhooks;
        let created = webhooks.create(field.caller, settings, headers, secret);
        Ok(Some(created.await?.into()))
    }

    /// Changes a webhook. `FORBIDDEN` if the caller may not read all events that it gets or would
    /// get. `NOT_FOUND` if the tenant has no such webhook.
    async fn update(
        &self,
        ctx: &Context<'_>,
        input: UpdateWebhookInput,
    ) -> Result<Option<Webhook>, Error> {
        let field = FieldContext::of(ctx);
        let id = id_of(&input.id)?;
        let (changes, headers) = input.parse()?;
        let (webhooks, command) = (&field.use_cases.webhooks, field.command_id()?);
        let updated = webhooks.update(field.caller, command, id, changes, headers);
        Ok(Some(Webhook::of(updated.await?)))
    }

    /// Deletes a webhook. Nothing is sent to it any more. `NOT_FOUND` if the tenant has no such
    /// webhook.
    async fn delete(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Success>, Error> {
        let delete = Command::Delete {
            webhook: id_of(&id)?,
        };
        send(ctx, delete).await
    }

    /// Enables a webhook that is disabled. One that is enabled stays as it is. `NOT_FOUND` if the
    /// tenant has no such webhook.
    async fn enable(
        &self,
        ctx: &Context<'_>,
        id: ID,
        #[graphql(desc = "Where it goes on. `RESUME` by default.")] from: Option<WebhookStart>,
    ) -> Result<Option<Webhook>, Error> {
        let webhook = id_of(&id)?;
        let enable = Command::Enable {
            webhook,
            from: from.map_or(Start::Resume, Start::from),
        };
        change(ctx, webhook, enable).await
    }

    /// Disables a webhook. Nothing but tests and events to redeliver is sent to it until it is
    /// enabled. `NOT_FOUND` if the tenant has no such webhook.
    async fn disable(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Webhook>, Error> {
        let webhook = id_of(&id)?;
        change(ctx, webhook, Command::Disable { webhook }).await
    }

    /// Replaces the secret of a webhook. Meanwhile, requests are signed with the new secret and the
    /// former ones, so that the server can change at any time within the overlap. Each call makes a
    /// new secret, even with an `Idempotency-Key`, since it is random and shown once. `LIMIT_REACHED`
    /// if the webhook has five valid secrets; `NOT_FOUND` if the tenant has no such webhook.
    async fn rotate_secret(
        &self,
        ctx: &Context<'_>,
        input: RotateWebhookSecretInput,
    ) -> Result<Option<WebhookWithSecret>, Error> {
        let field = FieldContext::of(ctx);
        let (webhooks, id) = (&field.use_cases.webhooks, id_of(&input.id)?);
        let present = webhooks.get(field.caller, id).await?;
        let present = present.webhook.keys.last().map(|key| key.algorithm);
        let algorithm = input.algorithm.map(Algorithm::from).or(present);
        let algorithm = algorithm.unwrap_or(Algorithm::Hmac);
        let secret = NewSecret::new(algorithm, input.secret.as_deref())?;
        let overlap = input.overlap_hours.map_or(DEFAULT_OVERLAP_HOURS, number);
        let rotated = webhooks.rotate_secret(field.caller, id, secret, overlap);
        Ok(Some(rotated.await?.into()))
    }

    /// Sends an example event of this type to a webhook, whatever events it gets. It is sent once,
    /// also if it fails; `deliveries` shows what became of it. `BAD_USER_INPUT` if there is no such
    /// type; `NOT_FOUND` if the tenant has no such webhook.
    async fn test(
        &self,
        ctx: &Context<'_>,
        id: ID,
        event_type: String,
    ) -> Result<Option<Success>, Error> {
        let found = EventType::find(&event_type).ok_or_else(|| {
            let message = "eventType must be one of webhookEventTypes, such as project.created.";
            Error::input("eventType", message)
        });
        let test = Command::Test {
            webhook: id_of(&id)?,
            event_type: found?.to_string(),
        };
        send(ctx, test).await
    }

    /// Sends an event once more, with the same id. `NOT_FOUND` if no attempt that is kept has sent
    /// it, as for test events, or the tenant has no such webhook.
    async fn redeliver(
        &self,
        ctx: &Context<'_>,
        id: ID,
        #[graphql(desc = "`eventId` of a delivery, such as `msg_0123…`.")] event_id: String,
    ) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (webhooks, command) = (&field.use_cases.webhooks, field.command_id()?);
        let sent = webhooks.redeliver(field.caller, command, id_of(&id)?, &event_id);
        sent.await?;
        Success::yes()
    }

    /// Sends the events of a time once more, in order. A part of them may have been sent by the time
    /// of the answer. `LIMIT_REACHED` if three replays of the webhook are running; `BAD_USER_INPUT`
    /// if `until` is not after `since`, or in the future; `NOT_FOUND` if the tenant has no such
    /// webhook.
    async fn replay(
        &self,
        ctx: &Context<'_>,
        input: ReplayWebhookInput,
    ) -> Result<Option<WebhookReplay>, Error> {
        let field = FieldContext::of(ctx);
        let (webhook, command) = (id_of(&input.id)?, field.command_id()?);
        let replay = Command::Replay {
            webhook,
            since: input.since.0,
            until: input.until.map_or_else(now, |DateTime(time)| time),
            only: input.only.map_or(Only::All, Only::from),
        };
        let webhooks = &field.use_cases.webhooks;
        let changed = webhooks.change(field.caller, command, webhook, replay);
        let (id, changed) = (ReplayId(command.0), changed.await?);
        let replay = changed.webhook.replays.get(&id).ok_or(Error::NotFound)?;
        Ok(Some(WebhookReplay::of(
            id,
            replay,
            ReplayProgress::default(),
        )))
    }

    /// Ends a replay early. What was sent stays sent. `NOT_FOUND` if it has ended, or there is no
    /// such replay.
    async fn cancel_replay(
        &self,
        ctx: &Context<'_>,
        id: ID,
        #[graphql(desc = "Id of the replay.")] replay: ID,
    ) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (webhooks, command) = (&field.use_cases.webhooks, field.command_id()?);
        let cancelled = webhooks.cancel_replay(field.caller, command, id_of(&id)?, id_of(&replay)?);
        cancelled.await?;
        Success::yes()
    }
}

async fn send(ctx: &Context<'_>, payload: Command) -> Result<Option<Success>, Error> {
    let field = FieldContext::of(ctx);
    let (webhooks, command) = (&field.use_cases.webhooks, field.command_id()?);
    webhooks.send(field.caller, command, payload).await?;
    Success::yes()
}

async fn change(
    ctx: &Context<'_>,
    id: WebhookId,
    payload: Command,
) -> Result<Option<Webhook>, Error> {
    let field = FieldContext::of(ctx);
    let (webhooks, command) = (&field.use_cases.webhooks, field.command_id()?);
    let changed = webhooks.change(field.caller, command, id, payload).await?;
    Ok(Some(Webhook::of(changed)))
}
