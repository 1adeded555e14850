//! A plan as clients see it.

use async_graphql::{Enum, ID, SimpleObject};
use events_schema::{
    Feature, Limit, Meter, PlanId, PlanVersion,
    plan::{self, Interval, Per, Version, View},
};

use crate::graphql::{
    money::Money,
    scalars::{DateTime, Long, to_id},
};

/// What tenants may use, and what it costs. This is one version, which never changes.
#[derive(SimpleObject)]
pub(in crate::graphql) struct Plan {
    /// Id of the plan, the same for all versions: 32 lower-case hex digits.
    id: ID,
    /// Name of the plan, 1 to 100 characters. No other plan that is not archived has it.
    name: String,
    /// The version: 1, 2, 3 …
    version: u32,
    /// The features of the plan, such as `webhooks`.
    features: Vec<String>,
    /// How many objects a tenant may have. What is not listed is unlimited.
    limits: Vec<PlanLimit>,
    /// What the plan costs: at most one price for each currency and interval. A free plan has none.
    prices: Vec<Price>,
    /// How many days a tenant may try the plan before it pays; 0 if it may not.
    trial_days: u16,
    /// What is counted while a tenant has the plan.
    meters: Vec<PlanMeter>,
    /// Whether nobody pays for the plan.
    free: bool,
    /// Whether tenants without another plan have this one.
    default: bool,
    /// Whether no more tenants may choose the plan. Those that have it keep it.
    archived: bool,
    /// When the plan was created.
    created_at: DateTime,
}

/// How many objects of a kind a tenant may have.
#[derive(SimpleObject)]
pub(in crate::graphql) struct PlanLimit {
    /// Name of the limit, such as `projects`.
    name: String,
    /// The most objects.
    value: Long,
}

/// Something that is counted while a tenant has a plan.
#[derive(SimpleObject)]
pub(in crate::graphql) struct PlanMeter {
    /// Name of the meter, such as `tasks_created`.
    name: String,
    /// What usage costs, in each currency of the plan's prices. Empty if it costs nothing.
    prices: Vec<UnitPrice>,
}

/// What a tenant pays for usage, as often as for the plan.
#[derive(SimpleObject)]
pub(in crate::graphql) struct UnitPrice {
    /// The amount for so many units.
    amount: Money,
    /// How many units the amount pays for: 1, 10, 100 … up to 1,000,000.
    units: u32,
}

/// What a tenant pays for a plan.
#[derive(SimpleObject)]
pub(in crate::graphql) struct Price {
    /// Id of the price: 32 lower-case hex digits.
    id: ID,
    /// The amount for one interval.
    amount: Money,
    /// How often it is paid.
    interval: PriceInterval,
    /// What it is paid for.
    per: PricePer,
}

/// How often a price is paid.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "Interval")]
pub(in crate::graphql) enum PriceInterval {
    /// Every month.
    Month,
    /// Every year.
    Year,
}

/// What a price is paid for.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "Per")]
pub(in crate::graphql) enum PricePer {
    /// The tenant, however many members it has.
    Tenant,
    /// Each member and pending invitation.
    Seat,
}

impl Plan {
    /// Shows the latest version of a plan; `None` if it does not exist.
    pub(in crate::graphql) fn latest(catalogue: &View, plan: PlanId) -> Option<Self> {
        Self::of(catalogue, catalogue.latest(plan)?)
    }

    /// Shows a version of a plan; `None` if it does not exist.
    pub(in crate::graphql) fn of(catalogue: &View, wanted: PlanVersion) -> Option<Self> {
        let plan = catalogue.plans.get(&wanted.plan)?;
        let version = catalogue.version(wanted)?;
        let prices = version.prices.iter();
        Some(Self {
            id: to_id(wanted.plan),
            name: plan.name.as_str().to_owned(),
            version: wanted.number,
            features: names_of(&version.features),
            limits: version.limits.iter().map(limit).collect(),
            prices: prices.map(|price| Price::of(wanted, price)).collect(),
            trial_days: version.trial_days,
            meters: meters_of(version),
            free: version.is_free(),
            default: catalogue.default == Some(wanted.plan),
            archived: plan.archived,
            created_at: DateTime(plan.created_at),
        })
    }
}

impl Price {
    /// Shows a price of a version.
    pub(in crate::graphql) fn of(version: PlanVersion, price: &plan::Price) -> Self {
        Self {
            id: to_id(version.price_id(price)),
            amount: Money::from(&price.amount),
            interval: price.interval.into(),
            per: price.per.into(),
        }
    }
}

/// Writes the names of features.
pub(in crate::graphql) fn names_of<'f>(
    features: impl IntoIterator<Item = &'f Feature>,
) -> Vec<String> {
    features.into_iter().map(ToString::to_string).collect()
}

fn meters_of(version: &Version) -> Vec<PlanMeter> {
    let meters = version.meters.iter().map(|meter| PlanMeter {
        name: meter.to_string(),
        prices: unit_prices_of(version, *meter),
    });
    meters.collect()
}

fn unit_prices_of(version: &Version, meter: Meter) -> Vec<UnitPrice> {
    let prices = version.unit_prices.iter();
    let prices = prices.filter(|price| price.meter == meter);
    let prices = prices.map(|price| UnitPrice {
        amount: Money::from(&price.amount),
        units: price.units,
    });
    prices.collect()
}

fn limit((limit, most): (&Limit, &u64)) -> PlanLimit {
    PlanLimit {
        name: limit.to_string(),
        value: Long::from(*most),
    }
}
