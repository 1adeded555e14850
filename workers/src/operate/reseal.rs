//! Seals the secrets of webhooks and connections again, with the current secret: `workers reseal`. After that, a
//! former one need not be accepted any more for their sake.

use std::time::SystemTime;

use anyhow::{Context as _, bail};
use event_store::{CommandSender, EventLog, NatsOptions, SecretOptions, Trace, random_id};
use events_schema::{
    Area, Command, CommandId, TenantId, TenantKey, WebhookId,
    sealed::{NONCE_BYTES, Sealed},
    secret::ServerKey,
    webhook::{self, Resealed, SEALED_FOR, Webhook},
};
use futures_util::future::BoxFuture;
use tokio::time::{Duration, Instant};

use self::connections::reseal_connections;
use super::reset_webhooks::with_webhooks;
use crate::webhooks::Tenants;

mod connections;

/// How long a command may take to be decided.
const DECIDED_WITHIN: Duration = Duration::from_secs(30);

/// Seals every secret of a webhook or a connection again that another secret than the current one has
/// sealed. Returns how many webhooks and connections have changed.
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
        let sender = CommandSender::start(client).await?;
        let (tenants, key) = (Tenants::new(log.clone()), secrets.key());
        let mut changed = reseal_connections(&log, &sender, &key).await?;
        for tenant in with_webhooks(&log).await? {
            let webhooks = tenants.of(tenant).await?;
            for (id, webhook) in &webhooks.webhooks {
                let values = resealed(&key, tenant, *id, webhook)?;
                if webhooks.is_deleted || values.is_empty() {
                    continue;
                }
                let webhook = *id;
                let reseal = webhook::Command::Reseal { webhook, values };
                let owner = TenantId::Tenant(tenant);
                send::<webhook::Area>(&sender, owner, tenant, reseal).await?;
                tracing::info!(%tenant, webhook = %id, "sealed again");
                changed += 1;
            }
        }
        Ok(changed)
    })
}

/// Returns what the current secret has not sealed, and what it makes of it.
fn resealed(
    key: &ServerKey,
    tenant: TenantKey,
    id: WebhookId,
    webhook: &Webhook,
) -> anyhow::Result<Vec<Resealed>> {
    let bound_to = [tenant.0.bytes().as_slice(), id.0.bytes()];
    let keys = webhook.keys.iter().map(|key| &key.secret);
    let credentials = webhook.settings.credentials.iter();
    let all = keys.chain(credentials.map(|credentials| &credentials.sealed));
    let former = all.filter(|sealed| !key.is_current(SEALED_FOR, &bound_to, sealed));
    let seal = |former: &Sealed| {
        let current = sealed_again(key, SEALED_FOR, &bound_to, former);
        let current = current.with_context(|| format!("webhook {id} of tenant {tenant}"))?;
        Ok(Resealed {
            former: former.clone(),
            current,
        })
    };
    former.map(seal).collect()
}

/// Returns the same value, sealed by the current secret.
fn sealed_again(
    key: &ServerKey,
    purpose: &str,
    bound_to: &[&[u8]],
    former: &Sealed,
) -> anyhow::Result<Sealed> {
    let plain = key.open_sealed(purpose, bound_to, former);
    let plain = plain.context("no secret in UB_ACCEPTED_SECRETS opens it")?;
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce)?;
    Ok(key.seal(purpose, bound_to, nonce, &plain))
}

async fn send<A: Area>(
    sender: &CommandSender,
    owner: TenantId,
    aggregate: A::Id,
    payload: A::Command,
) -> anyhow::Result<()> {
    let id = CommandId(random_id()?);
    let now = SystemTime::now().into();
    let command = Command::<A>::by_system(id, owner, aggregate, now, payload);
    let deadline = Instant::now() + DECIDED_WITHIN;
    let outcome = sender.send(command, Trace::begin(), deadline).await;
    let outcome = outcome.context("sending a command; is a worker running?")?;
    if let Err(rejection) = outcome.revision() {
        bail!("the command was refused: {}", rejection.message);
    }
    Ok(())
}
