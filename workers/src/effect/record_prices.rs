//! Creates the prices of plans at Stripe, so that tenants can pay for them.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{anyhow, ensure};
use events_schema::{
    Name, PlanId, PlanVersion, PriceId, StripePriceId,
    plan::{self, CatalogueId, Command, Event, StripeAccount},
};

use crate::{
    domain::plan::Catalogue,
    effect::{Effect, Failure, Lane, Setup, Undone, stripe_failure},
    stripe::{IdempotencyKey, Interval, NewPrice, Price, Stripe, product_id},
};

/// Prices of one attempt. The rest follows when these are recorded.
const AT_ONCE: usize = 20;
/// When a worker with the key of another account looks again. It is about to end.
const OTHER_ACCOUNT_PAUSE: Duration = Duration::from_secs(60);

/// Creates prices.
pub struct RecordPrices(Stripe);

/// The prices that Stripe does not know yet.
pub struct Task {
    /// Each with its version and the name of its plan.
    prices: Vec<(PlanVersion, Name, plan::Price)>,
    /// Where the prices of the catalogue are, if that is known.
    account: Option<StripeAccount>,
}

impl Effect for RecordPrices {
    type Record = Catalogue;
    type Task = Task;
    const NAME: &'static str = "record_prices";
    const UNDONE: Option<Undone> = None;

    fn new(setup: &Setup<'_>) -> anyhow::Result<Option<Self>> {
        Ok(setup.stripe.cloned().map(Self))
    }

    fn attempts(&self) -> i64 {
        stripe_failure::ATTEMPTS
    }

    fn is_requested_by(event: &Event) -> bool {
        match event {
            Event::Created { .. }
            | Event::VersionAdded { .. }
            | Event::PricesRecorded { .. }
            | Event::AccountRecorded { .. } => true,
            Event::Renamed { .. } | Event::Archived { .. } | Event::DefaultSet { .. } => false,
        }
    }

    fn pending(record: &Catalogue) -> Option<Task> {
        let mut prices = record.unrecorded();
        prices.truncate(AT_ONCE);
        (!prices.is_empty()).then(|| Task {
            prices,
            account: record.plans().stripe_account.clone(),
        })
    }

    /// Nobody waits for it, and there is one catalogue.
    fn lane(_: &Task) -> Lane {
        Lane {
            destination: "stripe".to_owned(),
            is_urgent: false,
            not_before: None,
        }
    }

    async fn perform(&self, _: CatalogueId, task: &Task) -> Result<Command, Failure> {
        let account = self.own_account(task).await?;
        let mut round = Self(self.0.clone());
        loop {
            let done = round.create_missing(task, account.as_ref()).await;
            match stripe_failure::next_round(&round.0, &done) {
                Some(next) => round = Self(next),
                None => return done,
            }
        }
    }

    /// There is no last attempt, so this is never sent.
    fn failed(_: &Task, _: String) -> Command {
        Command::RecordPrices {
            prices: BTreeMap::new(),
            account: None,
        }
    }
}

impl RecordPrices {
    /// Creates prices with this client.
    pub(crate) const fn new_with(stripe: Stripe) -> Self {
        Self(stripe)
    }

    /// Returns the account of the key; `None` if the key may not read it.
    ///
    /// # Errors
    /// If the prices of the catalogue are in another account. A worker with the key of that creates
    /// them.
    async fn own_account(&self, task: &Task) -> Result<Option<StripeAccount>, Failure> {
        let own = self.0.known_account().await?;
        if let (Some(own), Some(known)) = (&own, &task.account)
            && own != known
        {
            let error = anyhow!("UB_STRIPE_KEY belongs to another account than {}", known.id);
            return Err(Failure::Outage(error, OTHER_ACCOUNT_PAUSE));
        }
        Ok(own)
    }

    /// Creates the prices that are not there. What was created is recorded, also if the rest fails.
    async fn create_missing(
        &self,
        task: &Task,
        account: Option<&StripeAccount>,
    ) -> Result<Command, Failure> {
        let prices = &task.prices;
        let keys: Vec<String> = prices
            .iter()
            .map(|(version, _, price)| lookup_key(*version, price))
            .collect();
        let present = self.0.prices(&keys).await?;
        let (mut recorded, mut failed) = (BTreeMap::new(), None);
        for ((version, name, price), key) in prices.iter().zip(keys) {
            let mut present = present.iter();
            let present = present.find(|found| found.lookup_key.as_ref() == Some(&key));
            let id = match present {
                Some(found) => same(found, price).map_err(Failure::from),
                None => self.create(*version, name, price, key).await,
            };
            match id {
                Ok(id) => _ = recorded.insert(version.price_id(price), id),
                Err(failure) => {
                    let is_outage = matches!(failure, Failure::Outage(..));
                    _ = failed.get_or_insert(failure);
                    if is_outage {
                        break;
                    }
                }
            }
        }
        match failed {
            Some(failure) if recorded.is_empty() => Err(failure),
            Some(_) | None => Ok(Command::RecordPrices {
                prices: recorded,
                account: account.cloned(),
            }),
        }
    }

    async fn create(
        &self,
        version: PlanVersion,
        name: &Name,
        price: &plan::Price,
        lookup_key: String,
    ) -> Result<StripePriceId, Failure> {
        let PlanId(plan) = version.plan;
        let product = product_id(version.plan).map_err(anyhow::Error::from)?;
        // A plan may have had another name a minute ago.
        let key = IdempotencyKey::new(plan, &format!("product {}", name.as_str()));
        self.0.create_product(key, &product, name.as_str()).await?;
        let PriceId(id) = version.price_id(price);
        let new = NewPrice {
            product,
            lookup_key,
            currency: currency(price),
            unit_amount: price.amount.amount(),
            interval: interval(price),
        };
        let key = IdempotencyKey::new(id, &format!("price {}", new.unit_amount));
        Ok(self.0.create_price(key, &new).await?.id)
    }
}

/// Returns the name by which a price is found at Stripe. It derives from plan, version, currency and
/// interval.
pub(crate) fn lookup_key(version: PlanVersion, price: &plan::Price) -> String {
    format!("ub_{}", version.price_id(price))
}

/// Returns the id of a price that was found.
///
/// # Errors
/// If somebody has given its lookup key to another price.
fn same(found: &Price, price: &plan::Price) -> anyhow::Result<StripePriceId> {
    let is_same = found.unit_amount == Some(price.amount.amount())
        && found.currency == currency(price)
        && found.recurring.as_ref().map(|it| it.interval) == Some(interval(price));
    ensure!(
        is_same,
        "{} at Stripe has the lookup key of another price",
        found.id
    );
    Ok(found.id.clone())
}

fn currency(price: &plan::Price) -> String {
    price.amount.currency().as_str().to_ascii_lowercase()
}

const fn interval(price: &plan::Price) -> Interval {
    match price.interval {
        plan::Interval::Month => Interval::Month,
        plan::Interval::Year => Interval::Year,
    }
}

#[cfg(test)]
mod tests;
