//! Seals the secrets of webhooks again, with the current secret: `workers reseal`. After that, a
//! former one need not be accepted any more for their sake.

use std::time::SystemTime;

use anyhow::{Context as _, bail};
use event_store::{CommandSender, EventLog, NatsOptions, SecretOptions, Trace, random_id};
use events_schema::{
    Command, CommandId, TenantId, TenantKey, WebhookId,
    sealed::{NONCE_BYTES, Sealed},
    secret::ServerKey,
    webhook::{self, Resealed, SEALED_FOR, Webhook},
};
use futures_util::future::BoxFuture;
use tokio::time::{Duration, Instant};

use super::reset_webhooks::with_webhooks;
use crate::webhooks::Tenants;

/// How long a command may take to be decided.
const DECIDED_WITHIN: Duration = Duration::from_secs(30);

/// Seals every secret of a webhook again that another secret than the current one has sealed.
/// Returns how many webhooks have changed.
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
        let mut changed = 0;
        for tenant in with_webhooks(&log).await? {
            let webhooks = tenants.of(tenant).await?;
            for (id, webhook) in &webhooks.webhooks {
                let values = resealed(&key, tenant, *id, webhook)?;
                if webhooks.is_deleted || values.is_empty() {
                    continue;
                }
                send(&sender, tenant, *id, values).await?;
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
        let plain = key.open_sealed(SEALED_FOR, &bound_to, former);
        let plain = plain.with_context(|| {
            format!("webhook {id} of tenant {tenant}: no secret in UB_ACCEPTED_SECRETS opens it")
        })?;
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce)?;
        Ok(Resealed {
            former: former.clone(),
            current: key.seal(SEALED_FOR, &bound_to, nonce, &plain),
        })
    };
    former.map(seal).collect()
}

async fn send(
    sender: &CommandSender,
    tenant: TenantKey,
    webhook: WebhookId,
    values: Vec<Resealed>,
) -> anyhow::Result<()> {
    let command = Command::<webhook::Area>::by_system(
        CommandId(random_id()?),
        TenantId::Tenant(tenant),
        tenant,
        SystemTime::now().into(),
        webhook::Command::Reseal { webhook, values },
    );
    let deadline = Instant::now() + DECIDED_WITHIN;
    let outcome = sender.send(command, Trace::begin(), deadline).await;
    let outcome = outcome.context("sending a command; is a worker running?")?;
    if let Err(rejection) = outcome.revision() {
        bail!("the command was refused: {}", rejection.message);
    }
    Ok(())
}
