//! Inbound sources: create and change them, and read and replay what they have sent. A secret is
//! sealed here, and only the programs can read it from then on.

mod receiver;
mod settings;

use data_encoding::HEXLOWER;
use events_schema::{
    CommandId, InboundSourceId, Name, ProjectId, TenantKey,
    inbound_source::{self, Command, HookId, Provider, SEALED_FOR, Source},
    project,
    sealed::Sealed,
    secret::ServerKey,
    webhook_signature::SigningKey,
};

use crate::{
    backend::{
        commands::{CommandRequest, Commands},
        inbox::{Inbox, KeptHook},
    },
    error::Error,
    identity::{Caller, caller::new_command_id},
};

pub(crate) use self::{
    receiver::{Delivery, Receiver},
    settings::{Kind, ProviderSettings},
};

/// Creates, changes and reads the inbound sources of the caller's tenant.
#[derive(Clone, Debug)]
pub(crate) struct InboundSources {
    pub(crate) commands: Commands,
    pub(crate) inbox: Inbox,
    /// Seals the secrets of sources.
    pub(crate) secret: ServerKey,
    /// Where other services reach the gateway.
    pub(crate) public_url: String,
}

/// A source as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredSource {
    pub(crate) id: InboundSourceId,
    pub(crate) source: Source,
    /// Where its provider sends hooks.
    pub(crate) address: String,
}

/// A part of a source's hooks, the latest first.
pub(crate) struct HookPage {
    pub(crate) hooks: Vec<KeptHook>,
    pub(crate) has_more: bool,
}

impl InboundSources {
    /// Returns all sources of the caller's tenant, the oldest first.
    ///
    /// # Errors
    /// If the view cannot be read.
    pub(crate) async fn list(&self, caller: &Caller) -> Result<Vec<StoredSource>, Error> {
        let membership = caller.membership()?;
        let tenant = membership.tenant.id;
        let found = membership.views.get::<inbound_source::View>(tenant).await?;
        let sources = found.map(|found| found.view.sources).unwrap_or_default();
        let mut sources: Vec<_> = sources
            .into_iter()
            .map(|(id, source)| StoredSource {
                id,
                source,
                address: format!("{}{}", self.public_url, path(tenant, id)),
            })
            .collect();
        sources.sort_by_key(|stored| (stored.source.created_at, stored.id));
        Ok(sources)
    }

    /// Returns a source.
    ///
    /// # Errors
    /// `NotFound` if the caller's tenant has no such source.
    pub(crate) async fn get(
        &self,
        caller: &Caller,
        id: InboundSourceId,
    ) -> Result<StoredSource, Error> {
        let mut sources = self.list(caller).await?.into_iter();
        sources
            .find(|stored| stored.id == id)
            .ok_or(Error::NotFound)
    }

    /// Creates a source. Each call creates a new one, since its secret is shown once. Also returns
    /// the secret: the one that the client has chosen, or a random one.
    ///
    /// # Errors
    /// `BadUserInput` if the provider cannot have the secret; `NotFound` if the tenant has no such
    /// project; `Rejected` if the tenant has too many sources, or the caller may not do what the
    /// hooks do.
    pub(crate) async fn create(
        &self,
        caller: &Caller,
        name: Name,
        provider: Provider,
        secret: Option<String>,
    ) -> Result<(StoredSource, String), Error> {
        self.ensure_project(caller, &provider).await?;
        let secret = choose_secret(&provider, secret)?;
        let command = new_command_id()?;
        let id = InboundSourceId(command.0);
        let create = Command::Create {
            name,
            provider,
            secret: self.seal(caller.membership()?.tenant.id, id, &secret)?,
            creator: caller.identity()?.account_id(),
        };
        self.send(caller, command, create).await?;
        Ok((self.get(caller, id).await?, secret))
    }

    /// Changes a source. What is absent keeps its value.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such source or project; `BadUserInput` if a setting is not
    /// one of its kind; `Rejected` if the caller may not do what the hooks do.
    pub(crate) async fn update(
        &self,
        caller: &Caller,
        command: CommandId,
        id: InboundSourceId,
        name: Option<Name>,
        settings: ProviderSettings,
    ) -> Result<StoredSource, Error> {
        let present = self.get(caller, id).await?.source.provider;
        let provider = settings.change(&present)?;
        if provider != present {
            self.ensure_project(caller, &provider).await?;
        }
        let update = Command::Update {
            source: id,
            name,
            provider: Some(provider),
        };
        self.send(caller, command, update).await?;
        self.get(caller, id).await
    }

    /// Replaces the secret of a source. The former one stays valid for some hours. Also returns the
    /// new secret.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such source; `BadUserInput` if the provider cannot have the
    /// secret; `Rejected` if the time is out of bounds.
    pub(crate) async fn rotate_secret(
        &self,
        caller: &Caller,
        id: InboundSourceId,
        secret: Option<String>,
        overlap_hours: u32,
    ) -> Result<(StoredSource, String), Error> {
        let present = self.get(caller, id).await?;
        let secret = choose_secret(&present.source.provider, secret)?;
        let rotate = Command::RotateSecret {
            source: id,
            secret: self.seal(caller.membership()?.tenant.id, id, &secret)?,
            overlap_hours,
        };
        self.send(caller, new_command_id()?, rotate).await?;
        Ok((self.get(caller, id).await?, secret))
    }

    /// Returns the hooks of a source that are kept, the latest first: up to `size` of those that
    /// came before the hook `before`.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such source; `BadUserInput` if the hook is not kept any
    /// more.
    pub(crate) async fn hooks(
        &self,
        caller: &Caller,
        id: InboundSourceId,
        before: Option<HookId>,
        size: usize,
    ) -> Result<HookPage, Error> {
        let tenant = caller.membership()?.tenant.id;
        self.get(caller, id).await?;
        let mut hooks = self.inbox.hooks((tenant, id)).await?;
        hooks.reverse();
        if let Some(before) = before {
            let at = hooks.iter().position(|hook| hook.id == before);
            let at = at.ok_or_else(|| {
                let message = "after must be the cursor of a hook that is kept: start without it.";
                Error::input("after", message)
            })?;
            hooks.drain(..=at);
        }
        let has_more = hooks.len() > size;
        hooks.truncate(size);
        Ok(HookPage { hooks, has_more })
    }

    /// Has a hook handled once more.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such source, or does not keep such a hook of it.
    pub(crate) async fn replay(
        &self,
        caller: &Caller,
        command: CommandId,
        id: InboundSourceId,
        hook: HookId,
    ) -> Result<(), Error> {
        let tenant = caller.membership()?.tenant.id;
        self.get(caller, id).await?;
        let mut kept = self.inbox.hooks((tenant, id)).await?.into_iter();
        if !kept.any(|kept| kept.id == hook) {
            return Err(Error::NotFound);
        }
        let replay = Command::Replay { source: id, hook };
        self.send(caller, command, replay).await
    }

    /// Sends a command to the tenant's sources.
    ///
    /// # Errors
    /// `Rejected` if the domain refuses the command.
    pub(crate) async fn send(
        &self,
        caller: &Caller,
        command: CommandId,
        payload: Command,
    ) -> Result<(), Error> {
        let membership = caller.membership()?;
        let (tenant, key) = (membership.tenant_id(), membership.tenant.id);
        let request = CommandRequest::new(tenant, key, command, payload);
        let (sender, views) = (caller.sender(), &membership.views);
        let sent = self
            .commands
            .send::<inbound_source::View>(&sender, views, request);
        sent.await.map(|_revision| ())
    }

    async fn ensure_project(&self, caller: &Caller, provider: &Provider) -> Result<(), Error> {
        let project: ProjectId = match provider {
            Provider::Github { project } => *project,
            Provider::StandardWebhooks | Provider::Stripe | Provider::Hmac(_) => return Ok(()),
        };
        let views = &caller.membership()?.views;
        let found = views.get::<project::View>(project).await?;
        found.map(|_project| ()).ok_or(Error::NotFound)
    }

    fn seal(&self, tenant: TenantKey, id: InboundSourceId, secret: &str) -> Result<Sealed, Error> {
        let nonce = event_store::random_bytes()?;
        let bound_to = [tenant.0.bytes().as_slice(), id.0.bytes()];
        Ok(self
            .secret
            .seal(SEALED_FOR, &bound_to, nonce, secret.as_bytes()))
    }
}

/// Returns the path where a source gets hooks. It names tenant and source, and stays the same when
/// the secret of the deployment is replaced: providers do not notice that.
fn path(tenant: TenantKey, source: InboundSourceId) -> String {
    format!("/in/{tenant}.{source}")
}

/// Returns the secret that the client has chosen, or a random one.
fn choose_secret(provider: &Provider, chosen: Option<String>) -> Result<String, Error> {
    let Some(secret) = chosen else {
        let random: [u8; 32] = event_store::random_bytes()?;
        return Ok(match provider {
            Provider::StandardWebhooks => SigningKey::hmac(random).secret(),
            Provider::Github { .. } | Provider::Stripe | Provider::Hmac(_) => {
                HEXLOWER.encode(&random)
            }
        });
    };
    let checked = provider.check_secret(&secret);
    checked.map_err(Error::invalid("secret"))?;
    Ok(secret)
}
