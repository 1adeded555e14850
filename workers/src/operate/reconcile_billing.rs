//! Compares what tenants pay with Stripe, and mends what differs: `workers reconcile-billing`. Takes
//! another account at Stripe for the own one: `workers adopt-stripe-account`.

use anyhow::{Context as _, bail};
use event_store::{CommandSender, EventLog, NatsOptions};
use events_schema::{Claim, ClaimHolder, Slug, TenantKey, plan::StripeAccount};
use futures_util::future::BoxFuture;

use crate::{
    reconcile::{Comparison, Difference, Reconciler},
    stripe::{Stripe, StripeOptions},
};

/// Compares one tenant with Stripe, or the catalogue and all tenants, and mends what differs unless
/// `is_dry_run`. `found` is called with each difference, `progress` with the tenants that are done
/// and those in all. Returns how many differences remain.
///
/// # Errors
/// If there is no key of Stripe, it belongs to another account, or NATS, a worker or Stripe does
/// not answer.
pub fn reconcile_billing<'a>(
    nats: &'a NatsOptions,
    stripe: &'a StripeOptions,
    tenant: Option<&'a str>,
    is_dry_run: bool,
    found: &'a (dyn Fn(&Difference) + Send + Sync),
    progress: &'a (dyn Fn(usize, usize) + Send + Sync),
) -> BoxFuture<'a, anyhow::Result<u64>> {
    Box::pin(async move {
        let (reconciler, log) = connect(nats, stripe).await?;
        let comparison = Comparison {
            reconciler,
            log,
            is_dry_run,
        };
        match tenant {
            Some(tenant) => {
                comparison.reconciler.refuse_other_account().await?;
                let tenant = find(&comparison.log, tenant).await?;
                comparison.only(tenant, found).await
            }
            None => comparison.all(found, progress).await,
        }
    })
}

/// Records that the customers of tenants are in the account of the key from now on. Returns it.
///
/// # Errors
/// If there is no key of Stripe, or NATS, a worker or Stripe does not answer.
pub fn adopt_stripe_account<'a>(
    nats: &'a NatsOptions,
    stripe: &'a StripeOptions,
) -> BoxFuture<'a, anyhow::Result<StripeAccount>> {
    Box::pin(async move {
        let (reconciler, _) = connect(nats, stripe).await?;
        reconciler.adopt_account().await
    })
}

async fn connect(
    nats: &NatsOptions,
    stripe: &StripeOptions,
) -> anyhow::Result<(Reconciler, EventLog)> {
    let stripe = Stripe::new(stripe)?.context("UB_STRIPE_KEY is not set")?;
    let client = event_store::connect(nats, "workers").await?;
    let log = EventLog::new(client.clone());
    let sender = CommandSender::start(client).await?;
    Ok((Reconciler::new(stripe, log.clone(), sender), log))
}

/// Finds a tenant by its slug or id.
async fn find(log: &EventLog, tenant: &str) -> anyhow::Result<TenantKey> {
    let slug = Slug::parse(tenant).ok();
    if let Some(slug) = slug {
        let subject = Claim::slug(&slug).subject().to_string();
        if let Some(last) = log.last(&subject).await? {
            let holder: ClaimHolder = serde_json::from_slice(&last.payload)?;
            if let Some(holder) = holder.holder {
                return Ok(TenantKey(holder));
            }
        }
    }
    match TenantKey::parse(tenant) {
        Ok(tenant) => Ok(tenant),
        Err(_) => bail!("there is no tenant {tenant}"),
    }
}
