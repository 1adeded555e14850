//! Creates the prices of plans at Stripe, so that tenants can pay for them.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{anyhow, ensure};
use events_schema::{
    Meter, Name, PlanId, PlanVersion, PriceId, StripePriceId, StripeProductId,
    plan::{self, CatalogueId, Charge, Command, Event, StripeAccount},
};

use crate::{
    domain::plan::Catalogue,
    effect::{Effect, Failure, Lane, Setup, Undone, stripe_failure},
    stripe::{
        IdempotencyKey, Interval, NewPrice, Price, Stripe, UnitAmount, product_id, product_of_meter,
    },
};

/// Prices of one attempt. The rest follows when these are recorded.
const AT_ONCE: usize = 20;
/// When a worker with the key of another account looks again. It is about to end.
const OTHER_ACCOUNT_PAUSE: Duration = Duration::from_secs(60);

/// Creates prices.
pub struct RecordPrices(Stripe);

/// The prices that Stripe does not know yet.
pub struct Task {
    prices: Vec<Unknown>,
    /// Where the prices of the catalogue are, if that is known.
    account: Option<StripeAccount>,
}

/// A price that Stripe does not know yet.
#[derive(Clone)]
struct Unknown {
    id: PriceId,
    sold: Sold,
    /// Three lower-case letters.
    currency: String,
    interval: Interval,
}

/// What is paid for, and how much of the currency's minor units.
#[derive(Clone)]
enum Sold {
    Plan {
        plan: PlanId,
        name: Name,
        amount: i64,
    },
    Usage {
        meter: Meter,
        per_unit: String,
    },
}

impl Unknown {
    fn new(version: PlanVersion, name: &Name, charge: Charge<'_>) -> Self {
        let (sold, amount, due) = match charge {
            Charge::Plan(price) => {
                let sold = Sold::Plan {
                    plan: version.plan,
                    name: name.clone(),
                    amount: price.amount.amount(),
                };
                (sold, &price.amount, price.interval)
            }
            Charge::Usage(price, due) => {
                let (meter, per_unit) = (price.meter, price.per_unit());
                (Sold::Usage { meter, per_unit }, &price.amount, due)
            }
        };
        Self {
            id: charge.id(version),
            sold,
            currency: amount.currency().as_str().to_ascii_lowercase(),
            interval: match due {
                plan::Interval::Month => Interval::Month,
                plan::Interval::Year => Interval::Year,
            },
        }
    }
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
        let unknown = record.unrecorded().into_iter().take(AT_ONCE);
        let prices = unknown.map(|(version, name, charge)| Unknown::new(version, name, charge));
        let prices: Vec<Unknown> = prices.collect();
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
        let keys: Vec<String> = prices.iter().map(|price| lookup_key(price.id)).collect();
        let present = self.0.prices(&keys).await?;
        let (mut recorded, mut failed) = (BTreeMap::new(), None);
        for (price, key) in prices.iter().zip(keys) {
            match self.find_or_create(price, key, &present).await {
                Ok(id) => _ = recorded.insert(price.id, id),
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

    async fn find_or_create(
        &self,
        price: &Unknown,
        lookup_key: String,
        present: &[Price],
    ) -> Result<StripePriceId, Failure> {
        let amount = self.amount(&price.sold).await?;
        let mut present = present.iter();
        let found = present.find(|found| found.lookup_key.as_ref() == Some(&lookup_key));
        if let Some(found) = found {
            return Ok(same(found, price, &amount)?);
        }
        let step = match &amount {
            UnitAmount::Whole(amount) => format!("price {amount}"),
            UnitAmount::Metered { decimal, meter } => format!("price {decimal} {meter}"),
        };
        let new = NewPrice {
            product: self.product(&price.sold).await?,
            lookup_key,
            currency: price.currency.clone(),
            amount,
            interval: price.interval,
        };
        let key = IdempotencyKey::new(price.id.0, &step);
        Ok(self.0.create_price(key, &new).await?.id)
    }

    /// Returns what a unit costs. The meter that counts it is created if Stripe does not have it.
    async fn amount(&self, sold: &Sold) -> Result<UnitAmount, Failure> {
        Ok(match sold {
            Sold::Plan { amount, .. } => UnitAmount::Whole(*amount),
            Sold::Usage { meter, per_unit } => UnitAmount::Metered {
                decimal: per_unit.clone(),
                meter: self.0.meter(*meter).await?.id,
            },
        })
    }

    /// Returns the product of a price, which is created if Stripe does not have it.
    async fn product(&self, sold: &Sold) -> Result<StripeProductId, Failure> {
        let (product, key, name) = match sold {
            Sold::Plan { plan, name, .. } => {
                let product = product_id(*plan).map_err(anyhow::Error::from)?;
                // A plan may have had another name a minute ago.
                let step = format!("product {}", name.as_str());
                (
                    product,
                    IdempotencyKey::new(plan.0, &step),
                    name.as_str().to_owned(),
                )
            }
            Sold::Usage { meter, .. } => {
                let product = product_of_meter(*meter).map_err(anyhow::Error::from)?;
                let key = IdempotencyKey::of_meter(*meter, "product");
                (product, key, title(*meter))
            }
        };
        self.0.create_product(key, &product, &name).await?;
        Ok(product)
    }
}

/// Returns the name by which a price is found at Stripe. It derives from what the id derives from.
pub(crate) fn lookup_key(price: PriceId) -> String {
    format!("ub_{price}")
}

/// Returns the name of a meter as customers read it on invoices, such as `Tasks created`.
fn title(meter: Meter) -> String {
    let words = meter.as_str().replace('_', " ");
    let mut letters = words.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// Returns the id of a price that was found.
///
/// # Errors
/// If somebody has given its lookup key to another price.
fn same(found: &Price, price: &Unknown, amount: &UnitAmount) -> anyhow::Result<StripePriceId> {
    let recurring = found.recurring.as_ref();
    let meter = recurring.and_then(|recurring| recurring.meter.as_ref());
    let has_amount = match amount {
        UnitAmount::Whole(amount) => found.unit_amount == Some(*amount) && meter.is_none(),
        UnitAmount::Metered {
            decimal,
            meter: own,
        } => found.unit_amount_decimal.as_ref() == Some(decimal) && meter == Some(own),
    };
    let is_same = has_amount
        && found.currency == price.currency
        && recurring.map(|recurring| recurring.interval) == Some(price.interval);
    ensure!(
        is_same,
        "{} at Stripe has the lookup key of another price",
        found.id
    );
    Ok(found.id.clone())
}

#[cfg(test)]
mod tests;
