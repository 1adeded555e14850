//! Seals the secrets of webhooks, inbound sources and connections again, with the current secret:
//! `workers reseal`. After that, a former one need not be accepted any more for their sake.

mod connections;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use anyhow::{Context as _, bail, ensure};
use event_store::{CommandSender, EventLog, NatsOptions, SecretOptions, Trace, random_id};
use events_schema::{
    Area, AreaName, Command, CommandId, Id, RejectionKind, TenantId, TenantKey, inbound_source,
    sealed::{NONCE_BYTES, Resealed, Sealed},
    secret::ServerKey,
    webhook,
};
use futures_util::future::BoxFuture;
use tokio::time::{Duration, Instant};

use crate::{inbound::Sources, log_tenants::tenants_with, webhooks::Tenants};

/// How long a command may take to be decided.
const DECIDED_WITHIN: Duration = Duration::from_secs(30);

/// What seals again, and tells the owners of the values.
struct Resealer {
    log: EventLog,
    tenants: Tenants,
    sender: CommandSender,
    key: ServerKey,
    /// How many values no secret has opened.
    lost: AtomicU64,
}

/// Seals every secret of a webhook, inbound source or connection again that another secret than the
/// current one has sealed. Returns how many of them have changed. A value that does not open keeps
/// no other one from being sealed again.
///
/// # Errors
/// In the end, if there was such a value. At once if a server or worker does not answer.
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
            lost: AtomicU64::new(0),
        };
        let of_hooks = resealer.webhooks().await? + resealer.inbound_sources().await?;
        let changed = of_hooks + resealer.connections().await?;
        let lost = resealer.lost.load(Ordering::Relaxed);
        ensure!(
            lost == 0,
            "{changed} were sealed again, but {lost} stored secrets open with none of those in \
             UB_ACCEPTED_SECRETS; the log names them"
        );
        Ok(changed)
    })
}

impl Resealer {
    async fn webhooks(&self) -> anyhow::Result<u64> {
        let mut changed = 0;
        for tenant in tenants_with(&self.log, AreaName::Webhook, u64::MAX).await? {
            let of_tenant = self.tenants.of(tenant).await?;
            if of_tenant.is_deleted {
                continue;
            }
            for (id, found) in &of_tenant.webhooks {
                let keys = found.keys.iter().map(|key| &key.secret);
                let credentials = found.settings.credentials.iter();
                let all = keys.chain(credentials.map(|credentials| &credentials.sealed));
                let values = self.resealed(webhook::SEALED_FOR, tenant, id.0, all)?;
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
        for tenant in tenants_with(&self.log, AreaName::InboundSource, u64::MAX).await? {
            if self.tenants.of(tenant).await?.is_deleted {
                continue;
            }
            for (id, found) in &sources.of(tenant).await?.sources {
                // A former one that has expired may be of a secret that nobody has any more.
                let secrets = found.valid_secrets(SystemTime::now().into());
                let purpose = inbound_source::SEALED_FOR;
                let values = self.resealed(purpose, tenant, id.0, secrets)?;
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
    /// them. They are bound to the tenant and to this object of it. One that does not open is
    /// counted and left out.
    fn resealed<'a>(
        &self,
        purpose: &str,
        tenant: TenantKey,
        object: Id,
        values: impl Iterator<Item = &'a Sealed>,
    ) -> anyhow::Result<Vec<Resealed>> {
        let bound_to = [tenant.0.bytes().as_slice(), object.bytes()];
        let former = values.filter(|sealed| !self.key.is_current(purpose, &bound_to, sealed));
        let mut values = Vec::new();
        for former in former {
            let Some(plain) = self.key.open_sealed(purpose, &bound_to, former) else {
                tracing::error!(%tenant, %object, purpose, "no accepted secret opens a stored one");
                self.lost.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let mut nonce = [0; NONCE_BYTES];
            getrandom::fill(&mut nonce)?;
            values.push(Resealed {
                former: former.clone(),
                current: self.key.seal(purpose, &bound_to, nonce, &plain),
            });
        }
        Ok(values)
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
