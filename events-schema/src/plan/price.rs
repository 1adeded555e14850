//! What plans cost, and what usage costs beside them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{PlanVersion, PriceId, Version, View};
use crate::{Meter, Money, StripePriceId, secret::derived_id};

/// A price for usage pays for at most this many units.
pub const MAX_UNITS: u32 = 1_000_000;

/// What a tenant pays for a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Price {
    pub amount: Money,
    pub interval: Interval,
    pub per: Per,
}

/// What a tenant pays for usage, beside the price of its plan and as often as that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UnitPrice {
    pub meter: Meter,
    pub amount: Money,
    /// The amount pays for so many units: 1, 10, 100 … up to [`MAX_UNITS`].
    pub units: u32,
}

impl UnitPrice {
    /// Returns what one unit costs in minor units, as a decimal number without needless zeros.
    pub fn per_unit(&self) -> String {
        let decimals = usize::try_from(self.units.max(1).ilog10()).unwrap_or_default();
        let digits = format!("{:0>1$}", self.amount.amount(), decimals + 1);
        let (whole, fraction) = digits.split_at(digits.len() - decimals);
        match fraction.trim_end_matches('0') {
            "" => whole.to_owned(),
            fraction => format!("{whole}.{fraction}"),
        }
    }
}

/// A price that Stripe has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge<'v> {
    /// What the plan costs.
    Plan(&'v Price),
    /// What usage costs, and how often it is paid.
    Usage(&'v UnitPrice, Interval),
}

impl Charge<'_> {
    /// Returns the id of the price of this version, which is the same everywhere and for ever.
    pub fn id(self, version: PlanVersion) -> PriceId {
        match self {
            Self::Plan(price) => version.price_id(price),
            Self::Usage(price, interval) => version.unit_price_id(price, interval),
        }
    }
}

/// How often a price is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Interval {
    /// Every month.
    Month,
    /// Every year.
    Year,
}

impl Interval {
    /// Returns the name that ids derive from.
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Month => b"month",
            Self::Year => b"year",
        }
    }
}

/// What a price is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Per {
    /// The tenant, however many members it has.
    Tenant,
    /// Each member and pending invitation.
    Seat,
}

impl PlanVersion {
    /// Returns the id of a price of this version, which is the same everywhere and for ever.
    pub fn price_id(self, price: &Price) -> PriceId {
        let interval = price.interval.name();
        let currency = price.amount.currency().as_str().as_bytes();
        let number = self.number.to_be_bytes();
        let parts: [&[u8]; 4] = [self.plan.0.bytes(), &number, currency, interval];
        PriceId(derived_id(&parts))
    }

    /// Returns the id of a price for usage that is due in this interval, which is the same everywhere
    /// and for ever.
    pub fn unit_price_id(self, price: &UnitPrice, interval: Interval) -> PriceId {
        let number = self.number.to_be_bytes();
        let parts: [&[u8]; 6] = [
            b"usage",
            self.plan.0.bytes(),
            &number,
            price.meter.as_str().as_bytes(),
            price.amount.currency().as_str().as_bytes(),
            interval.name(),
        ];
        PriceId(derived_id(&parts))
    }
}

impl Version {
    /// Returns what usage costs a tenant that has chosen this price.
    pub fn unit_prices_beside(&self, chosen: &Price) -> impl Iterator<Item = &UnitPrice> {
        let currency = chosen.amount.currency();
        let prices = self.unit_prices.iter();
        prices.filter(move |price| price.amount.currency() == currency)
    }

    /// Returns all prices that Stripe has to know. A subscription has one interval, so usage has a
    /// price for each.
    pub fn charges(&self) -> impl Iterator<Item = Charge<'_>> {
        self.prices.iter().flat_map(move |price| {
            let usage = self.unit_prices_beside(price);
            let usage = usage.map(|unit| Charge::Usage(unit, price.interval));
            std::iter::once(Charge::Plan(price)).chain(usage)
        })
    }
}

impl View {
    /// Finds the price that Stripe knows by this id, and the version that has it.
    pub fn priced(&self, wanted: &StripePriceId) -> Option<(PlanVersion, PriceId)> {
        let mut known = self.stripe_prices.iter();
        let (id, _) = known.find(|(_, known)| *known == wanted)?;
        let mut priced = self
            .prices()
            .filter(|(version, price)| version.price_id(price) == *id);
        priced.next().map(|(version, _)| (version, *id))
    }

    /// Finds a price of a version.
    pub fn price(&self, plan: PlanVersion, wanted: PriceId) -> Option<&Price> {
        let mut prices = self.version(plan)?.prices.iter();
        prices.find(|price| plan.price_id(price) == wanted)
    }

    /// Returns what a subscription to this price of Stripe pays for usage: each meter with its price
    /// at Stripe. What Stripe does not know yet is left out.
    pub fn usage_beside(&self, chosen: &StripePriceId) -> BTreeMap<Meter, StripePriceId> {
        let found = self.priced(chosen).and_then(|(version, id)| {
            let offered = self.version(version)?;
            Some((version, offered, self.price(version, id)?))
        });
        let Some((version, offered, price)) = found else {
            return BTreeMap::new();
        };
        let usage = offered.unit_prices_beside(price).filter_map(|unit| {
            let id = version.unit_price_id(unit, price.interval);
            Some((unit.meter, self.stripe_prices.get(&id)?.clone()))
        });
        usage.collect()
    }

    /// Returns the meter whose usage this price of Stripe is for; `None` if it is for something else.
    pub fn meter_of(&self, wanted: &StripePriceId) -> Option<Meter> {
        let mut known = self.stripe_prices.iter();
        let (id, _) = known.find(|(_, known)| *known == wanted)?;
        self.charges().find_map(|(version, charge)| match charge {
            Charge::Usage(unit, _) if charge.id(version) == *id => Some(unit.meter),
            Charge::Usage(..) | Charge::Plan(_) => None,
        })
    }

    /// Returns the prices of plans of all versions.
    pub fn prices(&self) -> impl Iterator<Item = (PlanVersion, &Price)> {
        self.charges().filter_map(|(version, charge)| match charge {
            Charge::Plan(price) => Some((version, price)),
            Charge::Usage(..) => None,
        })
    }

    /// Returns all prices that Stripe has to know, of all versions.
    pub fn charges(&self) -> impl Iterator<Item = (PlanVersion, Charge<'_>)> {
        let versions = self.plans.iter().flat_map(|(plan, found)| {
            let numbered = (1..).zip(&found.versions);
            numbered.map(|(number, version)| {
                (
                    PlanVersion {
                        plan: *plan,
                        number,
                    },
                    version,
                )
            })
        });
        versions.flat_map(|(id, version)| version.charges().map(move |charge| (id, charge)))
    }
}
