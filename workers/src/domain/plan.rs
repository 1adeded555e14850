//! The catalogue of plans: names, versions and the default plan. A version never changes, since
//! tenants rely on the one that they have chosen.

mod unit_prices;

use std::collections::{BTreeMap, BTreeSet};

use events_schema::{
    MAX_LIMIT, Name, PlanId, PlanVersion, PriceId, Reject, RejectionKind, StripePriceId, Time,
    plan::{
        Area, Charge, Command, Event, MAX_BYTES, MAX_PLANS, MAX_PRICED_METERS, MAX_PRICES,
        MAX_TRIAL_DAYS, MAX_UNITS, MAX_VERSIONS, Plan, StripeAccount, Version, View, apply,
    },
};
use serde::Serialize;

use crate::aggregate::{Aggregate, Decision, Facts};

/// The catalogue of plans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogue(View);

/// Why a command to the catalogue is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The plan does not exist.
    #[error("There is no such plan.")]
    NotFound,
    /// Tenants keep an archived plan as it is.
    #[error("This plan is archived. Create another one.")]
    Archived,
    /// Another plan that is not archived has the name.
    #[error("Another plan has this name. Choose a different one.")]
    NameTaken,
    /// There would be more than [`MAX_PLANS`] plans that are not archived.
    #[error("There are at most {MAX_PLANS} plans. Archive one first.")]
    TooManyPlans,
    /// There would be more than [`MAX_VERSIONS`] versions.
    #[error("All plans together have at most {MAX_VERSIONS} versions.")]
    TooManyVersions,
    /// There would be more than [`MAX_PRICES`] prices.
    #[error("All versions of all plans together have at most {MAX_PRICES} prices.")]
    TooManyPrices,
    /// All plans together would have more than [`MAX_BYTES`].
    #[error("All plans together are too large. Choose shorter names, or fewer limits and prices.")]
    TooLarge,
    /// A price is zero or less.
    #[error("A price is more than zero. A plan without prices is free.")]
    PriceNotPositive,
    /// Two prices have the same currency and interval.
    #[error("A plan has at most one price for each currency and interval.")]
    PriceRepeated,
    /// A price for usage is zero or less.
    #[error("A price for usage is more than zero. Usage without a price costs nothing.")]
    UnitPriceNotPositive,
    /// A price for usage pays for another number of units.
    #[error("A price for usage pays for 1, 10, 100 … units, up to {MAX_UNITS}.")]
    UnitsOdd,
    /// A price is for a meter that the plan does not have.
    #[error("A price for usage is for one of the plan's meters.")]
    MeterMissing,
    /// A meter has a price in some currencies, or in one that the plan has no price in.
    #[error("Usage has a price in each currency of the plan's prices and in no other, or none.")]
    UnitPriceCurrencies,
    /// There are prices for more than [`MAX_PRICED_METERS`] meters.
    #[error("A plan has prices for the usage of at most {MAX_PRICED_METERS} meters.")]
    TooManyPricedMeters,
    /// A limit is larger than [`MAX_LIMIT`].
    #[error("A limit is at most {MAX_LIMIT}. Leave it out for any number.")]
    LimitTooLarge,
    /// The trial is longer than [`MAX_TRIAL_DAYS`].
    #[error("A trial has at most {MAX_TRIAL_DAYS} days.")]
    TrialTooLong,
    /// Nobody pays for the plan after the trial.
    #[error("A plan without prices is free, so it has no trial.")]
    TrialOfFreePlan,
    /// Tenants without another plan have this one.
    #[error("This is the default plan. Make another one the default plan first.")]
    IsDefault,
    /// Tenants without another plan would have one that costs money.
    #[error("The default plan is free. It cannot have prices.")]
    DefaultNotFree,
    /// The customers of tenants are in another account at Stripe.
    #[error(
        "UB_STRIPE_KEY belongs to another account or mode than before. The customers of tenants are \
         not there."
    )]
    OtherAccount,
}

impl Reject for Rejection {
    fn kind(&self) -> RejectionKind {
        match self {
            Self::NotFound => RejectionKind::NotFound,
            Self::Archived
            | Self::NameTaken
            | Self::IsDefault
            | Self::DefaultNotFree
            | Self::OtherAccount => RejectionKind::Conflict,
            Self::TooManyPlans | Self::TooManyVersions | Self::TooManyPrices | Self::TooLarge => {
                RejectionKind::Limit
            }
            Self::PriceNotPositive | Self::PriceRepeated => RejectionKind::invalid("prices"),
            Self::UnitPriceNotPositive
            | Self::UnitsOdd
            | Self::MeterMissing
            | Self::UnitPriceCurrencies
            | Self::TooManyPricedMeters => RejectionKind::invalid("unit_prices"),
            Self::LimitTooLarge => RejectionKind::invalid("limits"),
            Self::TrialTooLong | Self::TrialOfFreePlan => RejectionKind::invalid("trial_days"),
        }
    }
}

impl Aggregate for Catalogue {
    type Area = Area;
    type Rejection = Rejection;

    fn decide(&self, command: &Command, facts: &Facts<Area>) -> Result<Decision<Event>, Rejection> {
        let events = match command {
            Command::Create { name, version } => {
                let plan = PlanId(facts.command.0);
                self.fitting(vec![self.create(plan, name, version)?], facts.now)?
            }
            Command::AddVersion {
                plan,
                name,
                features,
                limits,
                prices,
                trial_days,
                meters,
                unit_prices,
            } => {
                let (current, latest) = self.find_offered(*plan)?;
                let features = features.as_ref().unwrap_or(&latest.features);
                let limits = limits.as_ref().unwrap_or(&latest.limits);
                let prices = prices.as_ref().unwrap_or(&latest.prices);
                let version = Version {
                    features: features.clone(),
                    limits: limits.clone(),
                    prices: prices.clone(),
                    trial_days: trial_days.unwrap_or(latest.trial_days),
                    meters: meters.as_ref().unwrap_or(&latest.meters).clone(),
                    unit_prices: unit_prices.as_ref().unwrap_or(&latest.unit_prices).clone(),
                };
                let name = name.as_ref().filter(|name| **name != current.name);
                let renamed = name.map(|name| self.rename(*plan, name)).transpose()?;
                let version = Some(version).filter(|version| version != latest);
                let added = version
                    .map(|version| self.add(*plan, version))
                    .transpose()?;
                self.fitting(renamed.into_iter().chain(added).collect(), facts.now)?
            }
            Command::Archive { plan } => self.archive(*plan)?,
            Command::SetDefault { plan } => self.set_default(*plan)?,
            Command::RecordPrices { prices, account } => self.record(prices, account.as_ref())?,
            Command::RecordAccount { account, adopt } => self.record_account(account, *adopt)?,
        };
        Ok(Decision::events(events))
    }

    fn evolve(&mut self, event: &Event, at: Time) {
        apply(&mut self.0, event, at);
    }
}

impl Catalogue {
    /// Returns all plans.
    pub const fn plans(&self) -> &View {
        &self.0
    }

    fn create(&self, plan: PlanId, name: &Name, version: &Version) -> Result<Event, Rejection> {
        if self.offered().count() >= MAX_PLANS {
            return Err(Rejection::TooManyPlans);
        }
        self.ensure_free_name(plan, name)?;
        self.ensure_room(version)?;
        check(version)?;
        Ok(Event::Created {
            plan,
            name: name.clone(),
            version: version.clone(),
        })
    }

    fn rename(&self, plan: PlanId, name: &Name) -> Result<Event, Rejection> {
        self.ensure_free_name(plan, name)?;
        Ok(Event::Renamed {
            plan,
            name: name.clone(),
        })
    }

    fn add(&self, plan: PlanId, version: Version) -> Result<Event, Rejection> {
        self.ensure_room(&version)?;
        check(&version)?;
        if self.0.default == Some(plan) && !version.is_free() {
            return Err(Rejection::DefaultNotFree);
        }
        Ok(Event::VersionAdded { plan, version })
    }

    fn archive(&self, plan: PlanId) -> Result<Vec<Event>, Rejection> {
        let found = self.0.plans.get(&plan).ok_or(Rejection::NotFound)?;
        if self.0.default == Some(plan) {
            return Err(Rejection::IsDefault);
        }
        let archived = Some(Event::Archived { plan }).filter(|_| !found.archived);
        Ok(archived.into_iter().collect())
    }

    fn set_default(&self, plan: PlanId) -> Result<Vec<Event>, Rejection> {
        let (_, latest) = self.find_offered(plan)?;
        if !latest.is_free() {
            return Err(Rejection::DefaultNotFree);
        }
        let set = Some(Event::DefaultSet { plan }).filter(|_| self.0.default != Some(plan));
        Ok(set.into_iter().collect())
    }

    /// Records those that are new or different.
    fn record(
        &self,
        prices: &BTreeMap<PriceId, StripePriceId>,
        account: Option<&StripeAccount>,
    ) -> Result<Vec<Event>, Rejection> {
        let known = self.0.stripe_account.as_ref();
        if account.is_some_and(|account| known.is_some_and(|known| known != account)) {
            return Err(Rejection::OtherAccount);
        }
        let mut prices = prices.clone();
        prices.retain(|id, price| self.0.stripe_prices.get(id) != Some(price));
        let recorded = (!prices.is_empty()).then_some(Event::PricesRecorded { prices });
        Ok(recorded.into_iter().collect())
    }

    /// Returns these events, unless all plans do not fit into one message afterwards.
    fn fitting(&self, events: Vec<Event>, now: Time) -> Result<Vec<Event>, Rejection> {
        let mut after = self.0.clone();
        for event in &events {
            apply(&mut after, event, now);
        }
        let fits = after.bytes().is_some_and(|bytes| bytes <= MAX_BYTES);
        fits.then_some(events).ok_or(Rejection::TooLarge)
    }

    fn record_account(
        &self,
        account: &StripeAccount,
        adopt: bool,
    ) -> Result<Vec<Event>, Rejection> {
        let account = account.clone();
        match &self.0.stripe_account {
            Some(known) if *known == account => Ok(Vec::new()),
            Some(_) if !adopt => Err(Rejection::OtherAccount),
            Some(_) | None => Ok(vec![Event::AccountRecorded { account }]),
        }
    }

    /// Returns the prices that Stripe does not know yet, each with its version and the plan's name.
    /// Nobody can choose those of archived plans.
    pub fn unrecorded(&self) -> Vec<(PlanVersion, &Name, Charge<'_>)> {
        let charges = self.offered().filter_map(|(id, plan)| {
            let (number, version) = plan.latest()?;
            let of_plan = PlanVersion { plan: *id, number };
            let charges = version.charges();
            Some(charges.map(move |charge| (of_plan, &plan.name, charge)))
        });
        let charges = charges.flatten();
        charges
            .filter(|(version, _, charge)| !self.0.stripe_prices.contains_key(&charge.id(*version)))
            .collect()
    }

    /// Returns the plans that tenants may choose.
    fn offered(&self) -> impl Iterator<Item = (&PlanId, &Plan)> {
        self.0.plans.iter().filter(|(_, plan)| !plan.archived)
    }

    /// Finds a plan that tenants may choose, and its latest version.
    fn find_offered(&self, plan: PlanId) -> Result<(&Plan, &Version), Rejection> {
        let found = self.0.plans.get(&plan).ok_or(Rejection::NotFound)?;
        if found.archived {
            return Err(Rejection::Archived);
        }
        let (_, latest) = found.latest().ok_or(Rejection::NotFound)?;
        Ok((found, latest))
    }

    /// Names differ by more than upper and lower case.
    fn ensure_free_name(&self, plan: PlanId, name: &Name) -> Result<(), Rejection> {
        let name = name.as_str().to_lowercase();
        let mut others = self.offered().filter(|(other, _)| **other != plan);
        if others.any(|(_, other)| other.name.as_str().to_lowercase() == name) {
            Err(Rejection::NameTaken)
        } else {
            Ok(())
        }
    }

    fn ensure_room(&self, version: &Version) -> Result<(), Rejection> {
        let plans = self.0.plans.values();
        let versions: Vec<&Version> = plans.flat_map(|plan| &plan.versions).collect();
        let prices = versions.iter().map(|version| version.charges().count());
        let prices: usize = prices.sum();
        if versions.len() >= MAX_VERSIONS {
            Err(Rejection::TooManyVersions)
        } else if prices + version.charges().count() > MAX_PRICES {
            Err(Rejection::TooManyPrices)
        } else {
            Ok(())
        }
    }
}

/// Checks what a version offers by itself.
fn check(version: &Version) -> Result<(), Rejection> {
    let prices = version.prices.iter();
    let different = prices.map(|price| (price.amount.currency(), price.interval));
    let different: BTreeSet<_> = different.collect();
    if version
        .prices
        .iter()
        .any(|price| price.amount.amount() <= 0)
    {
        Err(Rejection::PriceNotPositive)
    } else if different.len() < version.prices.len() {
        Err(Rejection::PriceRepeated)
    } else if version.limits.values().any(|most| *most > MAX_LIMIT) {
        Err(Rejection::LimitTooLarge)
    } else if version.trial_days > MAX_TRIAL_DAYS {
        Err(Rejection::TrialTooLong)
    } else if version.trial_days > 0 && version.is_free() {
        Err(Rejection::TrialOfFreePlan)
    } else {
        unit_prices::check(version)
    }
}

#[cfg(test)]
mod tests;
