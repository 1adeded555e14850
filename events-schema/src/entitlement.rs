//! Entitlements: what a tenant may use, by its plan and by exceptions from it.
//!
//! An area declares its features and limits beside its access table, whose rows name them, and its
//! meters with the functions that count. So all lists of them derive from the areas. A newer
//! release may have stored one that this one does not know. It is kept with its name, and means
//! nothing here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::LazyLock,
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::{
    Access, AreaName, Invalid, PlanVersion, Time,
    billing::{self, Override, Paid, PaidStatus, Subscription},
    member::SEATS,
    names,
    plan::{self, Per},
};

/// The largest limit: JSON readers that use floating point still read it exactly.
pub const MAX_LIMIT: u64 = (1 << 53) - 1;

/// A tenant whose payment is missing may do everything for this long.
pub const GRACE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// How long after the end of a period or trial Stripe may take to tell what follows. It sends an
/// event again for so long.
pub const NEWS: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// Declares a type of names, all of which this function returns. A macro, since no function can
/// declare a type.
macro_rules! names_of_areas {
    ($(#[$doc:meta])* $name:ident from $declared:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        #[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
        pub struct $name(&'static str);

        impl $name {
            /// Declares a name: words in lower case, joined by `_`.
            pub const fn new(name: &'static str) -> Self {
                Self(name)
            }

            /// Returns all that the areas declare, in the order of their names.
            pub fn all() -> &'static [Self] {
                static ALL: LazyLock<Vec<$name>> = LazyLock::new(|| {
                    let declared: BTreeSet<$name> = $declared().collect();
                    declared.into_iter().collect()
                });
                &ALL
            }

            /// Parses a name that somebody enters.
            ///
            /// # Errors
            /// If no area declares it. The error lists the names.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                static WRONG: LazyLock<String> = LazyLock::new(|| {
                    let names: Vec<&str> = $name::all().iter().map(|one| one.0).collect();
                    format!("must be one of {}", names.join(", "))
                });
                let known = Self::all().iter().copied().find(|one| one.0 == text);
                known.ok_or_else(|| Invalid(&WRONG))
            }

            /// Returns a name that was stored, also one that this release does not know; `None` if
            /// it is malformed, or there are more than any release could have.
            pub fn from_stored(name: &str) -> Option<Self> {
                let known = Self::parse(name).ok();
                known.or_else(|| names::keep(name).map(Self))
            }

            /// Returns the name as it is entered and stored.
            pub const fn as_str(self) -> &'static str {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let stored = Self::from_stored(&String::deserialize(deserializer)?);
                stored.ok_or_else(|| D::Error::custom("must be words in lower case, joined by _"))
            }
        }
    };
}

names_of_areas! {
    /// Something that a plan has or lacks, such as `webhooks`.
    Feature from features
}

names_of_areas! {
    /// Something of which a tenant may have so many, such as `projects`.
    Limit from limits
}

names_of_areas! {
    /// Something that is counted while a tenant uses it, such as `tasks_created`.
    Meter from meters
}

fn rows() -> impl Iterator<Item = &'static Access> {
    let areas = AreaName::ALL.iter();
    areas.flat_map(|area| area.access().iter().chain(area.fields()))
}

fn features() -> impl Iterator<Item = Feature> {
    rows().filter_map(|row| row.feature)
}

fn features_to_read() -> impl Iterator<Item = Feature> {
    let reading = rows().filter(|row| row.reads);
    reading.filter_map(|row| row.feature)
}

fn limits() -> impl Iterator<Item = Limit> {
    rows().filter_map(|row| row.limit)
}

fn meters() -> impl Iterator<Item = Meter> {
    AreaName::ALL.iter().flat_map(|area| area.meters())
}

/// How a tenant stands with its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The tenant has its plan.
    Active,
    /// The tenant tries its plan.
    Trial,
    /// A payment is missing. The tenant may do everything for some days.
    Grace,
    /// A payment has been missing for too long, or the plan has ended and there is no other. The
    /// tenant creates nothing. It may read, delete, leave and pay.
    Restricted,
    /// The plan has ended. The tenant has the default plan.
    Ended,
}

/// What a tenant may use at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entitlements {
    /// The plan that counts; `None` if the platform has none for the tenant.
    pub plan: Option<PlanVersion>,
    pub standing: Standing,
    pub features: BTreeSet<Feature>,
    /// How many objects the tenant may have. What is not listed is unlimited.
    pub limits: BTreeMap<Limit, u64>,
}

impl Entitlements {
    /// Whether the tenant may create objects.
    pub fn may_create(&self) -> bool {
        self.standing != Standing::Restricted
    }

    /// Whether the tenant has this feature.
    pub fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// Returns how many objects the tenant may have; `None` for any number.
    pub fn limit(&self, limit: Limit) -> Option<u64> {
        self.limits.get(&limit).copied()
    }

    /// What this version of a plan offers; `None` if the catalogue does not have it.
    fn of_plan(
        plan: PlanVersion,
        catalogue: Option<&plan::View>,
        standing: Standing,
    ) -> Option<Self> {
        let version = catalogue?.version(plan)?;
        Some(Self {
            plan: Some(plan),
            standing,
            features: version.features.clone(),
            limits: version.limits.clone(),
        })
    }

    /// A tenant that has never had a plan may use everything. One whose plan has ended may not: it
    /// would have more than it has paid for. It may read.
    fn without_plan(standing: Standing) -> Self {
        let (standing, features) = match standing {
            Standing::Ended => (Standing::Restricted, features_to_read().collect()),
            Standing::Active | Standing::Trial | Standing::Grace | Standing::Restricted => {
                (standing, Feature::all().iter().copied().collect())
            }
        };
        Self {
            plan: None,
            standing,
            features,
            limits: BTreeMap::new(),
        }
    }

    fn apply(&mut self, overrides: &Override) {
        for (feature, has) in &overrides.features {
            if *has {
                self.features.insert(*feature);
            } else {
                self.features.remove(feature);
            }
        }
        for (limit, most) in &overrides.limits {
            match most {
                Some(most) => _ = self.limits.insert(*limit, *most),
                None => _ = self.limits.remove(limit),
            }
        }
    }
}

/// Returns what a tenant may use at this time. If the platform has no default plan, a tenant that
/// has never had a plan may use everything.
pub fn entitlements(
    catalogue: Option<&plan::View>,
    billing: Option<&billing::View>,
    now: Time,
) -> Entitlements {
    let (chosen, standing) = chosen(billing, now);
    let default = catalogue.and_then(plan::View::default_version);
    let mut plans = [chosen, default].into_iter().flatten();
    let entitled = plans.find_map(|plan| Entitlements::of_plan(plan, catalogue, standing));
    let mut entitled = entitled.unwrap_or_else(|| Entitlements::without_plan(standing));
    let overrides = billing.and_then(|billing| billing.overrides.as_ref());
    if let Some(overrides) = overrides.filter(|overrides| overrides.is_valid(now)) {
        entitled.apply(overrides);
    }
    if let Some(paid) = seats_until_next_plan(catalogue, billing, now) {
        let most = entitled.limits.entry(SEATS).or_insert(paid);
        *most = paid.min(*most);
    }
    entitled
}

/// Returns how many seats are paid until another plan comes, if the present price is for each seat.
/// Stripe has the price of the coming plan by then, so it would charge too little for further ones.
fn seats_until_next_plan(
    catalogue: Option<&plan::View>,
    billing: Option<&billing::View>,
    now: Time,
) -> Option<u64> {
    let billing = billing?;
    let is_granted = billing.grant.as_ref().is_some_and(|it| it.is_valid(now));
    let chosen = billing.subscription.as_ref().filter(|_| !is_granted)?;
    let paid = chosen.coming_at(now)?.paid_quantity?;
    let price = catalogue?.price(chosen.plan, chosen.price?)?;
    (price.per == Per::Seat && billing.payment.lasting().is_some()).then_some(paid)
}

/// Returns for how many seats a tenant pays that uses so many; `most` is how many its plan allows,
/// `None` for any number. A tenant may use more than its plan allows, since a smaller plan removes
/// nobody. It does not pay for more.
pub fn paid_seats(used: u64, most: Option<u64>) -> u64 {
    used.min(most.unwrap_or(u64::MAX)).max(1)
}

/// Returns how many objects a version of a plan allows a tenant with these exceptions; `None` for
/// any number.
pub fn allowed(
    version: &plan::Version,
    overrides: Option<&Override>,
    limit: Limit,
    now: Time,
) -> Option<u64> {
    let overrides = overrides.filter(|overrides| overrides.is_valid(now));
    let exception = overrides.and_then(|overrides| overrides.limits.get(&limit).copied());
    exception.unwrap_or_else(|| version.limits.get(&limit).copied())
}

/// Returns the plan that a tenant has of its own, and how it stands.
fn chosen(billing: Option<&billing::View>, now: Time) -> (Option<PlanVersion>, Standing) {
    let Some(billing) = billing else {
        return (None, Standing::Active);
    };
    let grant = billing.grant.as_ref().filter(|grant| grant.is_valid(now));
    let paid = billing.payment.lasting();
    match (grant, &billing.subscription) {
        (Some(grant), _) => (Some(grant.plan), Standing::Active),
        (None, Some(subscription)) if has_ended(subscription, paid, now) => (None, Standing::Ended),
        (None, Some(subscription)) => {
            let plan = subscription.plan_at(now);
            (Some(plan), standing(subscription, paid, now))
        }
        (None, None) => (None, Standing::Active),
    }
}

/// Whether a plan has ended, or its trial at Stripe so long ago that no payment can be expected. So
/// a lost event leaves nobody a plan for ever.
fn has_ended(subscription: &Subscription, paid: Option<&Paid>, now: Time) -> bool {
    let is_over = |paid: &Paid| paid.known_until() + GRACE <= now;
    subscription.has_ended(now) || paid.is_some_and(|paid| is_trial(paid) && is_over(paid))
}

/// How a tenant stands with a plan that has not ended.
fn standing(subscription: &Subscription, paid: Option<&Paid>, now: Time) -> Standing {
    let since = subscription.past_due_since;
    let unheard = || paid.and_then(|paid| unheard_since(paid, now));
    match since.or_else(unheard) {
        Some(since) if now < since + GRACE => Standing::Grace,
        Some(_) => Standing::Restricted,
        None if subscription.trial_end.is_some() || paid.is_some_and(is_trial) => Standing::Trial,
        None => Standing::Active,
    }
}

/// Returns the end of what is paid for, if Stripe has told nothing of the time after it for long.
/// Then the payment counts as missing.
fn unheard_since(paid: &Paid, now: Time) -> Option<Time> {
    let end = paid.known_until();
    (end + NEWS <= now).then_some(end)
}

fn is_trial(paid: &Paid) -> bool {
    paid.status == PaidStatus::Trialing
}

#[cfg(test)]
mod tests;
