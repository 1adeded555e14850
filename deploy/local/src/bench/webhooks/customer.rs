//! Webhooks of tenants and commits of projects, made without the API: the delivery is measured and
//! not the gateway.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, ensure};
use event_store::{CommandSender, NatsOptions, Trace, random_id};
use events_schema::{
    Command, CommandId, Outcome, Permissions, ProjectId, TenantId, TenantKey, Time, WebhookId,
    outbound::WebhookUrl,
    project,
    published::EventFilter,
    secret::ServerKey,
    webhook::{
        self, Algorithm, ContentType, NewKey, Ordering, Payload, SEALED_FOR, Settings, Start,
    },
    webhook_signature::SigningKey,
};
use servers::Role;

use crate::bench::{
    fill::{Filled, commit},
    stage::Stage,
};

/// Time limit of a command.
const OUTCOME_WITHIN: Duration = Duration::from_secs(20);

/// Changes webhooks and projects.
pub(super) struct Customer {
    sender: CommandSender,
    log: async_nats::Client,
    key: ServerKey,
    commits: usize,
}

impl Customer {
    /// Prepares changes of this backend.
    ///
    /// # Errors
    /// If nats-server does not answer.
    pub(super) async fn new(stage: &Stage) -> anyhow::Result<Self> {
        let options = NatsOptions {
            nats_url: stage.servers.nats_url(Role::Gateway),
            ..NatsOptions::default()
        };
        let gateway = event_store::connect(&options, "bench").await?;
        Ok(Self {
            sender: CommandSender::start(gateway).await?,
            log: stage.jetstream().await?.client(),
            key: stage.server_key()?,
            commits: 0,
        })
    }

    /// Creates a webhook that gets the events of a tenant's projects, so many at once.
    ///
    /// # Errors
    /// If the command is rejected, or there is no outcome.
    pub(super) async fn create(
        &self,
        tenant: TenantKey,
        address: SocketAddr,
        concurrency: u32,
    ) -> anyhow::Result<WebhookId> {
        let thin = Payload::Thin;
        self.create_with(tenant, address, concurrency, thin).await
    }

    /// Creates a webhook with this payload.
    ///
    /// # Errors
    /// If the command is rejected, or there is no outcome.
    pub(super) async fn create_with(
        &self,
        tenant: TenantKey,
        address: SocketAddr,
        concurrency: u32,
        payload: Payload,
    ) -> anyhow::Result<WebhookId> {
        let webhook = WebhookId(random_id()?);
        let settings = Settings {
            url: WebhookUrl::parse(&format!("http://{address}/"))?,
            description: None,
            event_types: [EventFilter::parse("project.*")?].into(),
            ordering: Ordering::Aggregate,
            payload,
            content_type: ContentType::Json,
            credentials: None,
            rate_limit: 0,
            concurrency,
        };
        let key = self.key(tenant, webhook)?;
        let create = webhook::Command::Create { settings, key };
        self.send(tenant, CommandId(webhook.0), create).await?;
        Ok(webhook)
    }

    fn key(&self, tenant: TenantKey, webhook: WebhookId) -> anyhow::Result<NewKey> {
        let (mut random, mut nonce) = ([0; 32], [0; 12]);
        getrandom::fill(&mut random)?;
        getrandom::fill(&mut nonce)?;
        let secret = SigningKey::hmac(random).secret();
        let bound_to = [tenant.0.bytes().as_slice(), webhook.0.bytes()];
        let secret = self
            .key
            .seal(SEALED_FOR, &bound_to, nonce, secret.as_bytes());
        Ok(NewKey {
            algorithm: Algorithm::Hmac,
            secret,
            public: None,
        })
    }

    /// Sends nothing to a webhook until it goes on.
    ///
    /// # Errors
    /// If the command is rejected, or there is no outcome.
    pub(super) async fn pause(&self, tenant: TenantKey, webhook: WebhookId) -> anyhow::Result<()> {
        let disable = webhook::Command::Disable { webhook };
        self.send(tenant, CommandId(random_id()?), disable).await
    }

    /// Lets a webhook go on with the first event that it has not got.
    ///
    /// # Errors
    /// If the command is rejected, or there is no outcome.
    pub(super) async fn resume(&self, tenant: TenantKey, webhook: WebhookId) -> anyhow::Result<()> {
        let from = Start::Resume;
        let enable = webhook::Command::Enable { webhook, from };
        self.send(tenant, CommandId(random_id()?), enable).await
    }

    /// Deletes a webhook.
    ///
    /// # Errors
    /// If the command is rejected, or there is no outcome.
    pub(super) async fn delete(&self, tenant: TenantKey, webhook: WebhookId) -> anyhow::Result<()> {
        let delete = webhook::Command::Delete { webhook };
        self.send(tenant, CommandId(random_id()?), delete).await
    }

    async fn send(
        &self,
        tenant: TenantKey,
        id: CommandId,
        payload: webhook::Command,
    ) -> anyhow::Result<()> {
        let (now, of) = (Time::from(SystemTime::now()), TenantId::Tenant(tenant));
        let mut command = Command::<webhook::Area>::by_system(id, of, tenant, now, payload);
        command.held = Permissions::from([project::READ]);
        let deadline = tokio::time::Instant::now() + OUTCOME_WITHIN;
        let outcome = self.sender.send(command, Trace::begin(), deadline).await;
        let outcome = outcome.context("changing a webhook")?;
        let is_done = !matches!(outcome, Outcome::Rejected(_));
        ensure!(is_done, "the change of a webhook ended with {outcome:?}");
        Ok(())
    }

    /// Publishes the commit of a new project. Returns the project's id and when that was.
    ///
    /// # Errors
    /// If the connection is closed.
    pub(super) async fn project(&mut self, tenant: TenantKey) -> anyhow::Result<(String, Instant)> {
        let project = Filled {
            tenant: 0,
            id: ProjectId(random_id()?),
            revision: 1,
        };
        self.commits += 1;
        let commit = commit(TenantId::Tenant(tenant), &project, self.commits)?;
        let (subject, payload) = (commit.subject().to_string(), serde_json::to_vec(&commit)?);
        let at = Instant::now();
        self.log.publish(subject, payload.into()).await?;
        self.log.flush().await?;
        Ok((project.id.to_string(), at))
    }
}
