//! What administrators choose for a plan.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::{ID, InputObject};
use events_schema::{
    Feature, Limit, Meter, Name, PlanId,
    plan::{Command, Price, UnitPrice, Version},
};

use super::object::{PriceInterval, PricePer};
use crate::{
    error::Error,
    graphql::{
        money::MoneyInput,
        scalars::{Long, optional, parsed},
    },
};

/// The data of a new plan.
#[derive(InputObject)]
pub(super) struct CreatePlanInput {
    /// Name of the plan, 1 to 100 characters.
    name: String,
    /// The features of the plan, such as `webhooks`. None by default. `BAD_USER_INPUT` if one is
    /// unknown; the message lists all.
    features: Option<Vec<String>>,
    /// How many objects a tenant may have. Unlimited by default.
    limits: Option<Vec<LimitInput>>,
    /// What the plan costs: at most one price for each currency and interval. Free by default.
    prices: Option<Vec<PriceInput>>,
    /// How many days a tenant may try the plan before it pays, up to 730. 0 by default.
    trial_days: Option<u16>,
    /// What is counted while a tenant has the plan, such as `tasks_created`. Nothing by default.
    /// `BAD_USER_INPUT` if one is unknown; the message lists all.
    meters: Option<Vec<String>>,
    /// What usage costs: for each priced meter, one price in each currency of the plan's prices.
    /// Nothing by default.
    unit_prices: Option<Vec<UnitPriceInput>>,
}

/// The change of a plan. An absent field keeps its value.
#[derive(InputObject)]
pub(super) struct UpdatePlanInput {
    /// Id of the plan.
    pub(super) id: ID,
    /// New name of all versions, 1 to 100 characters.
    name: Option<String>,
    /// Replaces all features.
    features: Option<Vec<String>>,
    /// Replaces all limits.
    limits: Option<Vec<LimitInput>>,
    /// Replaces all prices.
    prices: Option<Vec<PriceInput>>,
    /// How many days a tenant may try the plan before it pays, up to 730.
    trial_days: Option<u16>,
    /// Replaces all meters.
    meters: Option<Vec<String>>,
    /// Replaces all prices for usage.
    unit_prices: Option<Vec<UnitPriceInput>>,
}

/// How many objects of a kind a tenant may have.
#[derive(InputObject)]
struct LimitInput {
    /// Name of the limit, such as `projects`. `BAD_USER_INPUT` if it is unknown; the message lists
    /// all.
    name: String,
    /// The most objects, 0 or more.
    value: Long,
}

/// What a tenant pays for a plan.
#[derive(InputObject)]
struct PriceInput {
    /// The amount for one interval.
    amount: MoneyInput,
    /// How often it is paid.
    interval: PriceInterval,
    /// What it is paid for. The tenant by default.
    per: Option<PricePer>,
}

/// What a tenant pays for usage, as often as for the plan.
#[derive(InputObject)]
struct UnitPriceInput {
    /// Name of the meter, such as `tasks_created`. It is one of the plan's meters.
    meter: String,
    /// The amount for so many units.
    amount: MoneyInput,
    /// How many units the amount pays for: 1, 10, 100 … up to 1,000,000. 1 by default.
    units: Option<u32>,
}

impl CreatePlanInput {
    pub(super) fn parse(self) -> Result<Command, Error> {
        let features = self.features.unwrap_or_default();
        Ok(Command::Create {
            name: parsed("name", &self.name, Name::parse)?,
            version: Version {
                features: parse_features("features", &features)?,
                limits: parse_limits(&self.limits.unwrap_or_default())?,
                prices: parse_prices(self.prices.unwrap_or_default())?,
                trial_days: self.trial_days.unwrap_or_default(),
                meters: parse_meters(&self.meters.unwrap_or_default())?,
                unit_prices: parse_unit_prices(self.unit_prices.unwrap_or_default())?,
            },
        })
    }
}

impl UpdatePlanInput {
    pub(super) fn parse(self, plan: PlanId) -> Result<Command, Error> {
        let features = self.features.as_deref();
        let features = features.map(|names| parse_features("features", names));
        Ok(Command::AddVersion {
            plan,
            name: optional("name", self.name, Name::parse)?,
            features: features.transpose()?,
            limits: self.limits.as_deref().map(parse_limits).transpose()?,
            prices: self.prices.map(parse_prices).transpose()?,
            trial_days: self.trial_days,
            meters: self.meters.as_deref().map(parse_meters).transpose()?,
            unit_prices: self.unit_prices.map(parse_unit_prices).transpose()?,
        })
    }
}

/// Parses the names of features in this input.
///
/// # Errors
/// `BadUserInput` if one is unknown.
pub(in crate::graphql) fn parse_features(
    field: &'static str,
    names: &[String],
) -> Result<BTreeSet<Feature>, Error> {
    let features = names.iter().map(|name| parsed(field, name, Feature::parse));
    features.collect()
}

fn parse_meters(names: &[String]) -> Result<BTreeSet<Meter>, Error> {
    let meters = names
        .iter()
        .map(|name| parsed("meters", name, Meter::parse));
    meters.collect()
}

fn parse_limits(inputs: &[LimitInput]) -> Result<BTreeMap<Limit, u64>, Error> {
    let mut limits = BTreeMap::new();
    for input in inputs {
        let limit = parsed("limits", &input.name, Limit::parse)?;
        let most = input.value.not_negative("limits")?;
        if limits.insert(limit, most).is_some() {
            let message = format!("limits must name {limit} once.");
            return Err(Error::input("limits", message));
        }
    }
    Ok(limits)
}

fn parse_prices(inputs: Vec<PriceInput>) -> Result<Vec<Price>, Error> {
    let prices = inputs.into_iter().map(|input| {
        Ok(Price {
            amount: input.amount.parse()?,
            interval: input.interval.into(),
            per: input.per.unwrap_or(PricePer::Tenant).into(),
        })
    });
    prices.collect()
}

fn parse_unit_prices(inputs: Vec<UnitPriceInput>) -> Result<Vec<UnitPrice>, Error> {
    let prices = inputs.into_iter().map(|input| {
        Ok(UnitPrice {
            meter: parsed("unitPrices", &input.meter, Meter::parse)?,
            amount: input.amount.parse()?,
            units: input.units.unwrap_or(1),
        })
    });
    prices.collect()
}
