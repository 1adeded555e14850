//! Inbound sources: other services send hooks, which become commands.
//!
//! A tenant has at most fifty, so they are one list without pages.

mod input;
mod object;

use async_graphql::{
    Context, ID, Object, SimpleObject,
    connection::{Connection, Edge, EmptyFields},
};
use events_schema::{
    Name,
    inbound_source::{Command, HookId},
};

use self::{
    input::{CreateInboundSourceInput, RotateInboundSourceSecretInput, UpdateInboundSourceInput},
    object::{InboundHook, InboundSource},
};
use super::{
    audit::page_size,
    field::FieldContext,
    scalars::{Success, id_of, optional, parsed},
};
use crate::{
    error::Error,
    use_cases::{inbound_source::StoredSource, list::IndexCheck},
};

pub(super) const INDEX_CHECKS: &[IndexCheck] = &[];

/// How long the former secret stays valid if the client says nothing.
const DEFAULT_OVERLAP_HOURS: u32 = 24;

/// A page of hooks.
type InboundHooks = Connection<String, InboundHook, EmptyFields>;

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "InboundSourceQueries")]
impl Queries {
    /// All inbound sources of the tenant, the oldest first.
    async fn inbound_sources(
        &self,
        ctx: &Context<'_>,
    ) -> Result<Option<Vec<InboundSource>>, Error> {
        let field = FieldContext::of(ctx);
        let sources = field.use_cases.inbound_sources.list(field.caller).await?;
        Ok(Some(sources.into_iter().map(InboundSource).collect()))
    }

    /// One inbound source. `NOT_FOUND` if the tenant has no such source.
    async fn inbound_source(
        &self,
        ctx: &Context<'_>,
        id: ID,
    ) -> Result<Option<InboundSource>, Error> {
        let field = FieldContext::of(ctx);
        let sources = &field.use_cases.inbound_sources;
        let found = sources.get(field.caller, id_of(&id)?).await?;
        Ok(Some(InboundSource(found)))
    }

    /// The hooks that an inbound source has sent, the latest first. They are kept for 30 days at
    /// most, and no more than 10,000 of each source. `NOT_FOUND` if the tenant has no such source.
    async fn inbound_hooks(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the inbound source.")] source: ID,
        #[graphql(desc = "Hooks on the page: 0 to 100, 50 by default.")] first: Option<i64>,
        #[graphql(desc = "Cursor of the last hook of the previous page.")] after: Option<String>,
    ) -> Result<Option<InboundHooks>, Error> {
        let field = FieldContext::of(ctx);
        let before = optional("after", after, HookId::parse)?;
        let (sources, source) = (&field.use_cases.inbound_sources, id_of(&source)?);
        let page = sources.hooks(field.caller, source, before, page_size(first)?);
        let page = page.await?;
        let mut connection = Connection::new(before.is_some(), page.has_more);
        for hook in page.hooks {
            let (cursor, hook) = (hook.id.to_string(), InboundHook::of(hook));
            connection.edges.push(Edge::new(cursor, hook));
        }
        Ok(Some(connection))
    }
}

/// An inbound source with its new secret.
#[derive(SimpleObject)]
struct InboundSourceWithSecret {
    /// The inbound source.
    inbound_source: InboundSource,
    /// The secret that the provider signs hooks with. It is shown this once and never again.
    secret: String,
}

impl From<(StoredSource, String)> for InboundSourceWithSecret {
    fn from((source, secret): (StoredSource, String)) -> Self {
        Self {
            inbound_source: InboundSource(source),
            secret,
        }
    }
}

#[derive(Default)]
pub(super) struct Mutations;

#[Object(name = "InboundSourceMutations")]
impl Mutations {
    /// Changes of inbound sources.
    async fn inbound_source(&self) -> Option<InboundSourceMutation> {
        Some(InboundSourceMutation)
    }

    /// What can be done with hooks.
    async fn inbound_hook(&self) -> Option<InboundHookMutation> {
        Some(InboundHookMutation)
    }
}

pub(super) struct InboundSourceMutation;

/// Changes of inbound sources.
#[Object(serial)]
impl InboundSourceMutation {
    /// Creates an inbound source. The caller becomes the author of what its hooks create. Each call
    /// creates a new one, even with an `Idempotency-Key`, since its secret is shown once.
    /// `FORBIDDEN` if the caller may not do what the hooks do; `LIMIT_REACHED` if the tenant has 50
    /// sources.
    async fn create(
        &self,
        ctx: &Context<'_>,
        input: CreateInboundSourceInput,
    ) -> Result<Option<InboundSourceWithSecret>, Error> {
        let field = FieldContext::of(ctx);
        let name = parsed("name", &input.name, Name::parse)?;
        let (provider, secret) = input.parse()?;
        let sources = &field.use_cases.inbound_sources;
        let created = sources.create(field.caller, name, provider, secret);
        Ok(Some(created.await?.into()))
    }

    /// Changes an inbound source. `FORBIDDEN` if the caller may not do what the hooks do;
    /// `NOT_FOUND` if the tenant has no such source.
    async fn update(
        &self,
        ctx: &Context<'_>,
        input: UpdateInboundSourceInput,
    ) -> Result<Option<InboundSource>, Error> {
        let field = FieldContext::of(ctx);
        let (id, name, settings) = input.parse()?;
        let (sources, command) = (&field.use_cases.inbound_sources, field.command_id()?);
        let updated = sources.update(field.caller, command, id, name, settings);
        Ok(Some(InboundSource(updated.await?)))
    }

    /// Deletes an inbound source. Its hooks are refused from then on. `NOT_FOUND` if the tenant has
    /// no such source.
    async fn delete(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (sources, command) = (&field.use_cases.inbound_sources, field.command_id()?);
        let delete = Command::Delete {
            source: id_of(&id)?,
        };
        sources.send(field.caller, command, delete).await?;
        Success::yes()
    }

    /// Replaces the secret of an inbound source. Hooks that are signed with the former secret are
    /// accepted within the overlap, so that the provider can change at any time. Each call makes a
    /// new secret, even with an `Idempotency-Key`, since it is shown once. `NOT_FOUND` if the
    /// tenant has no such source.
    async fn rotate_secret(
        &self,
        ctx: &Context<'_>,
        input: RotateInboundSourceSecretInput,
    ) -> Result<Option<InboundSourceWithSecret>, Error> {
        let field = FieldContext::of(ctx);
        let (sources, id) = (&field.use_cases.inbound_sources, id_of(&input.id)?);
        // What does not fit is out of bounds, and the domain says so.
        let hours = input
            .overlap_hours
            .map(|it| u32::try_from(it).unwrap_or(u32::MAX));
        let overlap = hours.unwrap_or(DEFAULT_OVERLAP_HOURS);
        let rotated = sources.rotate_secret(field.caller, id, input.secret, overlap);
        Ok(Some(rotated.await?.into()))
    }
}

pub(super) struct InboundHookMutation;

/// What can be done with hooks.
#[Object(serial)]
impl InboundHookMutation {
    /// Handles a hook once more. What it has changed before is not changed again; what was rejected
    /// is tried again. `inboundHooks` shows what became of it. `NOT_FOUND` if the tenant has no
    /// such source, or its hook is not kept any more.
    async fn replay(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the inbound source.")] source: ID,
        #[graphql(desc = "Id of the hook.")] id: ID,
    ) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (sources, command) = (&field.use_cases.inbound_sources, field.command_id()?);
        let (source, hook) = (id_of(&source)?, id_of(&id)?);
        sources.replay(field.caller, command, source, hook).await?;
        Success::yes()
    }
}
