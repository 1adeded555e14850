//! Webhooks: create and change them, and read what was sent to them. A secret is sealed here, and
//! only the programs can read it from then on.

mod credentials;
mod history;
mod keys;

use events_schema::{
    CommandId, IpNetwork, TenantKey, WebhookId,
    outbound::WebhookUrl,
    sealed::Sealed,
    secret::ServerKey,
    webhook::{self, Changes, Command, Cursor, ReplayId, SEALED_FOR, Settings, Webhook},
};

use crate::{
    backend::{
        commands::{CommandRequest, Commands},
        deliveries::Deliveries,
    },
    error::Error,
    identity::{Caller, Membership, caller::new_command_id},
};

pub(crate) use self::{
    credentials::{Auth, Headers},
    history::DeliveryFilter,
    keys::NewSecret,
};

/// Creates, changes and reads the webhooks of the caller's tenant.
#[derive(Clone, Debug)]
pub(crate) struct Webhooks {
    pub(crate) commands: Commands,
    pub(crate) deliveries: Deliveries,
    /// Seals the secrets of webhooks.
    pub(crate) secret: ServerKey,
    /// Networks to which webhooks may go although they are not public.
    pub(crate) allowed: Vec<IpNetwork>,
}

/// A webhook as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredWebhook {
    pub(crate) id: WebhookId,
    pub(crate) webhook: Webhook,
    /// Counts the changes of all webhooks of the tenant.
    pub(crate) revision: i64,
}

impl Webhooks {
    /// Returns all webhooks of the caller's tenant, the oldest first.
    ///
    /// # Errors
    /// If the view cannot be read.
    pub(crate) async fn list(&self, caller: &Caller) -> Result<Vec<StoredWebhook>, Error> {
        let membership = caller.membership()?;
        let found = membership.views.get::<webhook::View>(membership.tenant.id);
        let Some(found) = found.await? else {
            return Ok(Vec::new());
        };
        let revision = found.revision;
        let webhooks = found.view.webhooks.into_iter();
        let mut webhooks: Vec<_> = webhooks
            .map(|(id, webhook)| StoredWebhook {
                id,
                webhook,
                revision,
            })
            .collect();
        webhooks.sort_by_key(|stored| (stored.webhook.created_at, stored.id));
        Ok(webhooks)
    }

    /// Returns a webhook.
    ///
    /// # Errors
    /// `NotFound` if the caller's tenant has no such webhook.
    pub(crate) async fn get(&self, caller: &Caller, id: WebhookId) -> Result<StoredWebhook, Error> {
        let mut webhooks = self.list(caller).await?.into_iter();
        webhooks
            .find(|stored| stored.id == id)
            .ok_or(Error::NotFound)
    }

    /// Creates a webhook with a secret. Each call creates a new one, since the secret is random and
    /// shown once. Also returns the secret, if the customer needs it to verify requests.
    ///
    /// # Errors
    /// `BadUserInput` if requests must not go to the URL; `Rejected` if a setting is out of bounds,
    /// the tenant has too many webhooks, or the caller may not read the events.
    pub(crate) async fn create(
        &self,
        caller: &Caller,
        settings: Settings,
        headers: Option<Headers>,
        secret: NewSecret,
    ) -> Result<(StoredWebhook, Option<String>), Error> {
        self.check_url(&settings.url)?;
        let command = new_command_id()?;
        let (tenant, id) = (caller.membership()?.tenant.id, WebhookId(command.0));
        let headers = headers.map(|headers| headers.seal(self, tenant, id));
        let create = Command::Create {
            settings: Settings {
                credentials: headers.transpose()?,
                ..settings
            },
            key: secret.seal(self, tenant, id)?,
        };
        let created = self.change(caller, command, id, create).await?;
        Ok((created, secret.shown()))
    }

    /// Changes the settings of a webhook. `headers` replaces all of its headers.
    ///
    /// # Errors
    /// `BadUserInput` if requests must not go to the URL; `Rejected` if there is no such webhook, a
    /// setting is out of bounds, or the caller may not read the events.
    pub(crate) async fn update(
        &self,
        caller: &Caller,
        command: CommandId,
        id: WebhookId,
        changes: Changes,
        headers: Option<Headers>,
    ) -> Result<StoredWebhook, Error> {
        if let Some(url) = &changes.url {
            self.check_url(url)?;
        }
        let tenant = caller.membership()?.tenant.id;
        let headers = headers.map(|headers| headers.seal(self, tenant, id));
        let update = Command::Update {
            webhook: id,
            changes: Changes {
                credentials: headers.transpose()?,
                ..changes
            },
        };
        self.change(caller, command, id, update).await
    }

    /// Replaces the secret of a webhook. The former ones stay valid for some hours. Also returns the
    /// new secret, if the customer needs it to verify requests.
    ///
    /// # Errors
    /// `Rejected` if there is no such webhook, it has too many secrets, or the time is out of
    /// bounds.
    pub(crate) async fn rotate_secret(
        &self,
        caller: &Caller,
        id: WebhookId,
        secret: NewSecret,
        overlap_hours: u32,
    ) -> Result<(StoredWebhook, Option<String>), Error> {
        let rotate = Command::RotateSecret {
            webhook: id,
            key: secret.seal(self, caller.membership()?.tenant.id, id)?,
            overlap_hours,
        };
        let rotated = self.change(caller, new_command_id()?, id, rotate).await?;
        Ok((rotated, secret.shown()))
    }

    /// Sends an event once more that was sent before.
    ///
    /// # Errors
    /// `NotFound` if no kept attempt has sent this event of the log to the webhook; `Rejected` if
    /// there is no such webhook.
    pub(crate) async fn redeliver(
        &self,
        caller: &Caller,
        command: CommandId,
        id: WebhookId,
        event_id: &str,
    ) -> Result<(), Error> {
        let sent = self.attempts(caller.membership()?.tenant.id, id, None);
        let mut sent = sent.await?.into_iter().map(|kept| kept.attempt);
        let event = sent.find_map(|attempt| {
            let event = attempt.event?;
            (attempt.event_id == event_id).then_some(event)
        });
        let redeliver = Command::Redeliver {
            webhook: id,
            event: event.ok_or(Error::NotFound)?,
        };
        self.send(caller, command, redeliver).await
    }

    /// Ends a replay early, and records what it has sent.
    ///
    /// # Errors
    /// `Rejected` if there is no such replay, or it has ended; `Unavailable` if it is not known what
    /// it has sent.
    pub(crate) async fn cancel_replay(
        &self,
        caller: &Caller,
        command: CommandId,
        id: WebhookId,
        replay: ReplayId,
    ) -> Result<(), Error> {
        let cursor = self.cursor(caller.membership()?, id).await?;
        let progress = cursor.and_then(|cursor| cursor.replays.get(&replay).copied());
        let progress = progress.unwrap_or_default();
        let cancel = Command::CancelReplay {
            webhook: id,
            replay,
            counts: Some(progress.counts()),
        };
        self.send(caller, command, cancel).await
    }

    /// Sends a command to a webhook, and reads the webhook back.
    ///
    /// # Errors
    /// `Rejected` if the domain refuses the command.
    pub(crate) async fn change(
        &self,
        caller: &Caller,
        command: CommandId,
        id: WebhookId,
        payload: Command,
    ) -> Result<StoredWebhook, Error> {
        self.send(caller, command, payload).await?;
        self.get(caller, id).await
    }

    /// Sends a command to the tenant's webhooks.
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
        let sent = self.commands.send::<webhook::View>(&sender, views, request);
        sent.await.map(|_revision| ())
    }

    /// Returns where the delivery to a webhook stands; `None` if nothing was sent to it yet.
    ///
    /// # Errors
    /// If the record cannot be read.
    pub(crate) async fn cursor(
        &self,
        membership: &Membership,
        id: WebhookId,
    ) -> Result<Option<Cursor>, Error> {
        self.deliveries.cursor(membership.tenant.id, id).await
    }

    fn check_url(&self, url: &WebhookUrl) -> Result<(), Error> {
        url.check(&self.allowed).map_err(Error::invalid("url"))
    }

    /// Seals a secret of a webhook, as workers open it.
    fn seal(&self, tenant: TenantKey, id: WebhookId, plain: &[u8]) -> Result<Sealed, Error> {
        let nonce = event_store::random_bytes()?;
        let bound_to = [tenant.0.bytes().as_slice(), id.0.bytes()];
        Ok(self.secret.seal(SEALED_FOR, &bound_to, nonce, plain))
    }
}
