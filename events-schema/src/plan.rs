//! Plans: what tenants may use, and what it costs. All plans are one aggregate, the catalogue, so
//! that a gateway keeps them in one document. Belongs to the platform.
//!
//! A version of a plan never changes. Tenants keep the version that they have chosen.

mod price;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use self::price::{Charge, Interval, MAX_UNITS, Per, Price, UnitPrice};
use crate::{
    Access, AreaName, Commit, Feature, Home, Id, Index, Limit, Meter, Name, Permission,
    StripeAccountId, StripePriceId, Time, id::typed_id, published::Private,
};

typed_id! {
    /// Identifies the catalogue of plans. There is one: [`CATALOGUE`].
    CatalogueId
}

typed_id! {
    /// Identifies a plan: the id of the command that created it.
    PlanId
}

typed_id! {
    /// Identifies a price of one version of a plan.
    PriceId
}

/// The catalogue of plans.
pub const CATALOGUE: CatalogueId = CatalogueId(Id::from_bytes(*b"plans_catalogue_"));

/// There are at most this many plans that are not archived.
pub const MAX_PLANS: usize = 100;
/// All plans together have at most this many versions. They are one document, which is announced in
/// one message.
pub const MAX_VERSIONS: usize = 1_000;
/// All plans together have at most this many prices, for the same reason as versions are bounded.
pub const MAX_PRICES: usize = 2_000;
/// All plans together have at most this many bytes, since a message of NATS has at most 1 MiB.
pub const MAX_BYTES: usize = 960 * 1024;
/// The bytes that a price takes once Stripe knows it, with an id of the longest kind that Stripe has.
const PRICE_AT_STRIPE: usize = 110;
/// A version has prices for at most this many meters: with the price of the plan, a subscription has
/// as many items as Stripe shows at once.
pub const MAX_PRICED_METERS: usize = 9;
/// The longest trial in days, as at Stripe: two years.
pub const MAX_TRIAL_DAYS: u16 = 730;

/// The area of plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area;

impl crate::Area for Area {
    const NAME: AreaName = AreaName::Plan;
    const ACCESS: &'static [Access] = &[
        Access::anyone("read"),
        Access::platform("create"),
        Access::platform("update"),
        Access::platform("delete"),
        Access::platform("set_default"),
    ];
    const INTERNAL: &'static [&'static str] = &["record_prices", "record_account"];
    const FEED: Option<Permission> = None;
    type Public = Private<View>;
    type Id = CatalogueId;
    type Command = Command;
    type Event = Event;
}

/// One version of a plan. The first one has the number 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlanVersion {
    pub plan: PlanId,
    pub number: u32,
}

/// What a version of a plan offers. It never changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Version {
    pub features: BTreeSet<Feature>,
    /// How many objects a tenant may have. What is not listed is unlimited.
    pub limits: BTreeMap<Limit, u64>,
    /// At most one for each currency and interval. A plan without prices is free.
    pub prices: Vec<Price>,
    /// How many days a tenant may try the plan before it pays; 0 if it may not.
    pub trial_days: u16,
    /// What is counted while a tenant has the plan.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub meters: BTreeSet<Meter>,
    /// What usage costs: at most one price for each meter and currency. A meter without a price
    /// costs nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unit_prices: Vec<UnitPrice>,
}

impl Version {
    /// Whether nobody has to pay for the version.
    pub fn is_free(&self) -> bool {
        self.prices.is_empty()
    }
}

/// A request to change the catalogue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Create a plan with its first version. It takes the command's id.
    Create {
        /// No other plan that is not archived may have this name.
        name: Name,
        version: Version,
    },
    /// Add a version to a plan, which differs from the latest one in the given fields. A name alone
    /// adds none: all versions have the plan's name.
    AddVersion {
        plan: PlanId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Name>,
        /// Replaces all features.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        features: Option<BTreeSet<Feature>>,
        /// Replaces all limits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limits: Option<BTreeMap<Limit, u64>>,
        /// Replaces all prices.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prices: Option<Vec<Price>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trial_days: Option<u16>,
        /// Replaces all meters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        meters: Option<BTreeSet<Meter>>,
        /// Replaces all prices for usage.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit_prices: Option<Vec<UnitPrice>>,
    },
    /// Offer a plan to no more tenants. Those that have it keep it.
    Archive { plan: PlanId },
    /// Make a free plan the default one: tenants without another plan have its latest version.
    SetDefault { plan: PlanId },
    /// Record prices as Stripe knows them. An effect sends this.
    RecordPrices {
        prices: BTreeMap<PriceId, StripePriceId>,
        /// Where they are; `None` if that is not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        account: Option<StripeAccount>,
    },
    /// Record whose prices and customers the log has. A worker sends this when it starts.
    RecordAccount {
        account: StripeAccount,
        /// Whether it may replace another account. Only an operator says so.
        adopt: bool,
    },
}

/// An account at Stripe, in one of its modes. The modes share no object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StripeAccount {
    pub id: StripeAccountId,
    /// Whether it is about real money.
    pub live: bool,
}

/// A change to the catalogue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// A plan was created, with its first version.
    Created {
        plan: PlanId,
        name: Name,
        version: Version,
    },
    /// A plan has another name.
    Renamed { plan: PlanId, name: Name },
    /// A plan has a new latest version.
    VersionAdded { plan: PlanId, version: Version },
    /// No more tenants may choose the plan.
    Archived { plan: PlanId },
    /// Tenants without another plan have this one.
    DefaultSet { plan: PlanId },
    /// Stripe knows these prices.
    PricesRecorded {
        prices: BTreeMap<PriceId, StripePriceId>,
    },
    /// Customers and prices are in this account. It does not know the prices of another one.
    AccountRecorded { account: StripeAccount },
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Plan {
    pub name: Name,
    /// The versions 1, 2, 3 …
    pub versions: Vec<Version>,
    /// Whether no more tenants may choose it.
    pub archived: bool,
    pub created_at: Time,
    pub updated_at: Time,
}

impl Plan {
    /// Returns the latest version and its number.
    pub fn latest(&self) -> Option<(u32, &Version)> {
        let number = u32::try_from(self.versions.len()).ok()?;
        Some((number, self.versions.last()?))
    }
}

/// The view of all plans.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    pub plans: BTreeMap<PlanId, Plan>,
    /// The plan of tenants without another one.
    pub default: Option<PlanId>,
    /// Where the customers of tenants are, and these prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stripe_account: Option<StripeAccount>,
    /// The prices that Stripe knows. Tenants can pay for these only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stripe_prices: BTreeMap<PriceId, StripePriceId>,
}

impl View {
    /// Returns how many bytes all plans may have once Stripe knows all prices; `None` if they cannot
    /// be written.
    pub fn bytes(&self) -> Option<usize> {
        let plans = serde_json::to_vec(&self.plans).ok()?;
        Some(plans.len() + PRICE_AT_STRIPE * self.charges().count())
    }

    /// Finds a version of a plan, archived or not.
    pub fn version(&self, wanted: PlanVersion) -> Option<&Version> {
        let at = usize::try_from(wanted.number).ok()?.checked_sub(1)?;
        self.plans.get(&wanted.plan)?.versions.get(at)
    }

    /// Finds the latest version of a plan, archived or not.
    pub fn latest(&self, plan: PlanId) -> Option<PlanVersion> {
        let (number, _) = self.plans.get(&plan)?.latest()?;
        Some(PlanVersion { plan, number })
    }

    /// Whether a version of a plan has a meter.
    pub fn has_meters(&self) -> bool {
        let mut versions = self.plans.values().flat_map(|plan| &plan.versions);
        versions.any(|version| !version.meters.is_empty())
    }

    /// Returns the version of tenants without another plan.
    pub fn default_version(&self) -> Option<PlanVersion> {
        self.latest(self.default?)
    }

    /// Returns the names of the plans with this feature that a tenant may choose.
    pub fn with_feature(&self, feature: Feature) -> Vec<&Name> {
        self.names_of(|version| version.features.contains(&feature))
    }

    /// Returns the names of the plans that allow more than this, and that a tenant may choose.
    pub fn allowing_more(&self, limit: Limit, than: u64) -> Vec<&Name> {
        self.names_of(|version| version.limits.get(&limit).is_none_or(|most| *most > than))
    }

    /// Returns the names of the plans that a tenant may choose and whose latest version is right.
    fn names_of(&self, is_right: impl Fn(&Version) -> bool) -> Vec<&Name> {
        let offered = self.plans.values().filter(|plan| !plan.archived);
        let right =
            offered.filter(|plan| plan.latest().is_some_and(|(_, latest)| is_right(latest)));
        right.map(|plan| &plan.name).collect()
    }
}

impl crate::View for View {
    type Area = Area;
    const NAME: &'static str = "plan";
    const HOME: Home = Home::Platform;
    const INDEXES: &'static [Index] = &[];

    fn fold(view: Option<Self>, commit: &Commit<Area>) -> Option<Self> {
        let mut view = view.unwrap_or_default();
        for event in &commit.events {
            apply(&mut view, event, commit.time);
        }
        Some(view)
    }
}

/// Applies an event to the catalogue. The view and the aggregate have the same state.
pub fn apply(catalogue: &mut View, event: &Event, at: Time) {
    let id = match event {
        Event::Created { plan, .. }
        | Event::Renamed { plan, .. }
        | Event::VersionAdded { plan, .. }
        | Event::Archived { plan }
        | Event::DefaultSet { plan } => *plan,
        Event::PricesRecorded { prices } => {
            catalogue.stripe_prices.extend(prices.clone());
            return;
        }
        Event::AccountRecorded { account } => {
            if catalogue.stripe_account.replace(account.clone()).is_some() {
                catalogue.stripe_prices.clear();
            }
            return;
        }
    };
    if let Event::Created { name, version, .. } = event {
        let created = Plan {
            name: name.clone(),
            versions: vec![version.clone()],
            archived: false,
            created_at: at,
            updated_at: at,
        };
        catalogue.plans.insert(id, created);
        return;
    }
    let Some(plan) = catalogue.plans.get_mut(&id) else {
        return;
    };
    match event {
        Event::Created { .. } | Event::PricesRecorded { .. } | Event::AccountRecorded { .. } => {}
        Event::Renamed { name, .. } => plan.name = name.clone(),
        Event::VersionAdded { version, .. } => plan.versions.push(version.clone()),
        Event::Archived { .. } => plan.archived = true,
        Event::DefaultSet { .. } => {
            catalogue.default = Some(id);
            return;
        }
    }
    plan.updated_at = at;
}

#[cfg(test)]
mod tests;
