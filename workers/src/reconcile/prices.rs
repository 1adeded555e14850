//! The prices of plans at Stripe. The log wins: a price that tenants may choose must be there.

use std::time::SystemTime;

use anyhow::{Context as _, anyhow, bail};
use event_store::{Trace, random_id};
use events_schema::{
    Command, CommandId, StripePriceId, TenantId,
    plan::{self, CATALOGUE},
};

use super::Reconciler;
use crate::{
    domain::plan::Catalogue,
    effect::{
        Effect as _, Failure,
        record_prices::{RecordPrices, lookup_key},
    },
    record::{Recorded, record},
    stripe::IdempotencyKey,
};

/// Prices that tenants may choose here.
#[derive(Default)]
pub(crate) struct Offered {
    /// Those that Stripe does not list, each with its lookup key.
    pub(crate) absent: Vec<(StripePriceId, String)>,
    /// Those that nobody can choose at Stripe.
    pub(crate) inactive: Vec<StripePriceId>,
}

/// Why prices cannot be created: Stripe refuses it, or has another price in the place of one.
#[derive(Debug, thiserror::Error)]
#[error("prices cannot be created: {0:#}")]
pub(crate) struct NotCreated(anyhow::Error);

/// Creates the prices that Stripe does not know yet, and records them.
///
/// # Errors
/// [`NotCreated`], or another error if the log, a worker or Stripe does not answer.
pub(crate) async fn create_missing(reconciler: &Reconciler) -> anyhow::Result<()> {
    let effect = RecordPrices::new_with(reconciler.stripe.clone());
    while let Some(task) = RecordPrices::pending(&reconciler.catalogue().await?) {
        let created = effect.perform(CATALOGUE, &task).await;
        let payload = created.map_err(|failure| match failure {
            Failure::Permanent(error) | Failure::Temporary(error) => NotCreated(error).into(),
            Failure::Outage(error, _) => error,
            Failure::NotYet(wait) => anyhow!("nothing is to be done for {wait:?}"),
        });
        let payload: plan::Command = payload?;
        record_prices(reconciler, payload).await?;
    }
    Ok(())
}

/// Returns the recorded prices that tenants may choose here and not at Stripe.
///
/// # Errors
/// If the log or Stripe does not answer.
pub(crate) async fn differing(reconciler: &Reconciler) -> anyhow::Result<Offered> {
    let catalogue = reconciler.catalogue().await?;
    let keys: Vec<String> = offered(&catalogue).map(|(key, _)| key).collect();
    let found = reconciler.stripe.prices(&keys).await?;
    let mut differing = Offered::default();
    for (key, price) in offered(&catalogue) {
        match found.iter().find(|found| found.id == *price) {
            Some(found) if found.active => {}
            Some(_) => differing.inactive.push(price.clone()),
            None => differing.absent.push((price.clone(), key)),
        }
    }
    Ok(differing)
}

/// Lets tenants choose a price at Stripe again.
///
/// # Errors
/// If Stripe does not confirm it.
pub(crate) async fn activate(reconciler: &Reconciler, price: &StripePriceId) -> anyhow::Result<()> {
    // Somebody may make it inactive twice within a day.
    let key = IdempotencyKey::new(random_id()?, "activate");
    let activated = reconciler.stripe.activate_price(key, price).await?;
    if activated.active {
        Ok(())
    } else {
        Err(anyhow!("{price} at Stripe stays inactive"))
    }
}

/// Returns the prices that tenants may choose and Stripe knows, with the keys by which they are
/// found there.
fn offered(catalogue: &Catalogue) -> impl Iterator<Item = (String, &StripePriceId)> {
    let plans = catalogue.plans();
    plans.charges().filter_map(|(version, charge)| {
        let is_archived = plans.plans.get(&version.plan)?.archived;
        let is_offered = !is_archived && plans.latest(version.plan) == Some(version);
        let id = charge.id(version);
        let known = plans.stripe_prices.get(&id).filter(|_| is_offered)?;
        Some((lookup_key(id), known))
    })
}

async fn record_prices(reconciler: &Reconciler, payload: plan::Command) -> anyhow::Result<()> {
    let command = Command::<plan::Area>::by_system(
        CommandId(random_id()?),
        TenantId::Platform,
        CATALOGUE,
        SystemTime::now().into(),
        payload,
    );
    let recorded = record(&reconciler.sender, command, Trace::begin()).await;
    match recorded.context("recording prices")? {
        Recorded::Done | Recorded::Unchanged => Ok(()),
        Recorded::Conflict => bail!("another account was recorded first"),
    }
}
