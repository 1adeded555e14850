//! Seals the secrets of webhooks, inbound sources and connections again, with the current secret:
//! `workers reseal`. After that, a former one need not be accepted any more for their sake.

mod connections;

use std::time::SystemTime;

use anyhow::{Context as _, bail};
use event_store::{CommandSender, EventLog, NatsOptions, SecretOptions, Trace, random_id};
use events_schema::{
    Area, AreaName, Command, CommandId, Id, RejectionKind, TenantId, TenantKey, inbound_source,
    sealed::{NONCE_BYTES, Resealed, Sealed},
    secret::ServerKey,
    webhook,
};
use futures_util::future::BoxFuture;
use tokio::time::{Duration, Instant};

use super::reset_webhooks::tenants_with;
use crate::{inbound::Sources, webhooks::Tenants};

/// How long a command may take to be decided.
const DECIDED_WITHIN: Duration = Duration::from_secs(30);

/// What seals again, and tells the owners of the values.
struct Resealer {
    log: EventLog,
    tenants: Tenants,
    sender: CommandSender,
    key: ServerKey,
}

/// Seals every secret of a webhook, inbound source or connection again that another secret than the
/// current one has sealed. Returns how many of them have changed.
///
/// # Errors
/// If a sealed value opens with none of the secrets, or a server or worker does not answer.
pub fn reseal<'a>(
    nats: &'a NatsOptions,
    secrets: &'a SecretOptions,
) -> BoxFuture<'a, anyhow::Result<u64>> {
    Box::pin(async move {
        let client = event_store::connect(nats, "workers").await?;
        let log = EventLog::new(client.clone());
        let resealer = Resealer {
            tenants: Tenants::new(log.clone()),
            log,
            sender: CommandSender::start(client).await?,
            key: secrets.key(),
        };
        let of_hooks = resealer.webhooks().await? + resealer.inbound_sources().await?;
        Ok(of_hooks + resealer.connections().await?)
    })
}

impl Resealer {
    async fn webhooks(&self) -> anyhow::Result<u64> {
        let mut changed = 0;
        for tenant in tenants_with(&self.log, AreaName::Webhook).await? {
            let of_tenant = self.tenants.of(tenant).await?;
            if of_tenant.is_deleted {
                continue;
            }
            for (id, found) in &of_tenant.webhooks {
                let keys = found.keys.iter().map(|key| &key.secret);
                let credentials = found.settings.credentials.iter();
                let all = keys.chain(credentials.map(|credentials| &credentials.sealed));
                let values = self.resealed(webhook::SEALED_FOR, tenant, id.0, all);
                let values = values.with_context(|| format!("webhook {id}"))?;
                if !values.is_empty() {
                    let webhook = *id;
                    let command = webhook::Command::Reseal { webhook, values };
                    let owner = TenantId::Tenant(tenant);
                    self.send::<webhook::Area>(owner, tenant, command).await?;
                    tracing::info!(%tenant, webhook = %id, "sealed again");
                    changed += 1;
                }
            }
        }
        Ok(changed)
    }

    async fn inbound_sources(&self) -> anyhow::Result<u64> {
        let (sources, mut changed) = (Sources::new(self.log.clone()), 0);
        for tenant in tenants_with(&self.log, AreaName::InboundSource).await? {
            if self.tenants.of(tenant).await?.is_deleted {
                continue;
            }
            for (id, found) in &sources.of(tenant).await?.sources {
                let purpose = inbound_source::SEALED_FOR;
                let values = self.resealed(purpose, tenant, id.0, found.secrets());
                let values = values.with_context(|| format!("inbound source {id}"))?;
                if !values.is_empty() {
                    let source = *id;
                    let command = inbound_source::Command::Reseal { source, values };
                    let owner = TenantId::Tenant(tenant);
                    self.send::<inbound_source::Area>(owner, tenant, command)
                        .await?;
                    tracing::info!(%tenant, source = %id, "sealed again");
                    changed += 1;
                }
            }
        }
        Ok(changed)
    }

    /// Returns those of the values that the current secret has not sealed, and what it makes of
    /// them. They are bound to the tenant and to this object of it.
    fn resealed<'a>(
        &self,
        purpose: &str,
        tenant: TenantKey,
        object: Id,
        values: impl Iterator<Item = &'a Sealed>,
    ) -> anyhow::Result<Vec<Resealed>> {
        let bound_to = [tenant.0.bytes().as_slice(), object.bytes()];
        let former = values.filter(|sealed| !self.key.is_current(purpose, &bound_to, sealed));
        let seal = |former: &Sealed| {
            let plain = self.key.open_sealed(purpose, &bound_to, former);
            let plain = plain.with_context(|| {
                format!("tenant {tenant}: no secret in UB_ACCEPTED_SECRETS opens a stored one")
            })?;
            let mut nonce = [0; NONCE_BYTES];
            getrandom::fill(&mut nonce)?;
            Ok(Resealed {
                former: former.clone(),
                current: self.key.seal(purpose, &bound_to, nonce, &plain),
            })
        };
        former.map(seal).collect()
    }

    async fn send<A: Area<Id = TenantKey>>(
        &self,
        owner: TenantId,
        tenant: TenantKey,
        payload: A::Command,
    ) -> anyhow::Result<()> {
        let command = Command::<A>::by_system(
            CommandId(random_id()?),
            owner,
            tenant,
            SystemTime::now().into(),
            payload,
        );
        let deadline = Instant::now() + DECIDED_WITHIN;
        let outcome = self.sender.send(command, Trace::begin(), deadline).await;
        let outcome = outcome.context("sending a command; is a worker running?")?;
        match outcome.revision() {
            Ok(_) => Ok(()),
            // It was deleted meanwhile, and its secret with it.
            Err(rejection) if rejection.kind == RejectionKind::NotFound => Ok(()),
            Err(rejection) => bail!("the command was refused: {}", rejection.message),
        }
    }
}
