//! The choice of a plan, checked against the catalogue: the domain of billing has none.

use std::time::Duration;

use events_schema::{
    CommandId, PlanId, PlanVersion, PriceId, PromotionCode, Reject, RejectionKind, StripePriceId,
    Time,
    billing::{
        ChangeTime, Command, Subscription, Wanted,
        refusal::{CANCEL_FIRST, PAYMENT_MISSING, PAYMENTS_NOT_SET_UP, PLAN_COMING},
    },
    member::SEATS,
    paid_seats,
    plan::{Per, Price, Version, View},
};
use serde::Serialize;

use super::{
    Billings, TenantBilling,
    timing::{Aim, change_time, pays_less_with},
};
use crate::{clock::now, error::Error, identity::Caller};

/// When a new price is usually known to Stripe.
const PRICE_KNOWN_WITHIN: Duration = Duration::from_secs(5);
/// How long a preview holds. Somebody who could choose an earlier time would pay nothing for the
/// rest of a period, or get money back for a plan that the tenant did not have.
const PREVIEW_HOLDS: Duration = Duration::from_secs(15 * 60);

/// A plan that a tenant chooses.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub(crate) plan: PlanId,
    /// `None` if the plan is free.
    pub(crate) price: Option<PriceId>,
    /// The time from which the difference to the plan before counts; `None` for that of the change.
    pub(crate) proration_date: Option<Time>,
    /// When the tenant gets the plan; `None` for the rule of [`change_time`].
    pub(crate) at: Option<ChangeTime>,
    pub(crate) promotion_code: Option<PromotionCode>,
}

/// A version that a tenant may choose.
pub(super) struct Offer<'c> {
    pub(super) plan: PlanVersion,
    pub(super) version: &'c Version,
    /// `None` if the plan is free.
    pub(super) price: Option<&'c Price>,
}

/// Why a plan cannot be chosen, or what that would cost cannot be shown. The domain of billing has
/// no catalogue, and answers no questions.
#[derive(Debug, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unavailable {
    #[error("This plan is archived. Choose another one.")]
    PlanArchived,
    #[error("{PAYMENTS_NOT_SET_UP}")]
    PaymentsNotSetUp,
    #[error("{CANCEL_FIRST}")]
    CancelFirst,
    #[error("{PLAN_COMING}")]
    PlanComing,
    #[error("{PAYMENT_MISSING}")]
    PaymentMissing,
}

impl Unavailable {
    pub(super) fn to_error(&self) -> Error {
        Error::Rejected(self.to_rejection())
    }
}

impl Reject for Unavailable {
    fn kind(&self) -> RejectionKind {
        RejectionKind::Conflict
    }
}

impl Billings {
    /// Chooses a plan for the caller's tenant. Where payments are set up, a plan with prices is
    /// paid for.
    ///
    /// # Errors
    /// `NotFound` if there is no such plan; `BadUserInput` if it does not have the price, or needs
    /// one, or the time is wrong; `PaymentsAway` if Stripe does not know the price yet;
    /// `Rejected` if the plan is archived or the domain refuses it.
    pub(crate) async fn choose(
        &self,
        caller: &Caller,
        id: CommandId,
        choice: Choice,
    ) -> Result<TenantBilling, Error> {
        ensure_recent(choice.proration_date, now())?;
        let present = self.own(caller).await?;
        let offer = present.offer(&choice)?;
        let trial_days = offer.version.trial_days;
        let command = match offer.price {
            Some(price) if self.publishable_key.is_some() => Command::Subscribe {
                wanted: wanted(caller, &present, &offer, (price, &choice)).await?,
                trial_days,
            },
            Some(_) | None => Command::Change {
                plan: offer.plan,
                price: choice.price,
                trial_days,
            },
        };
        self.change_own(caller, id, command).await
    }
}

/// Checks the time from which a change counts.
///
/// # Errors
/// `BadUserInput` if no preview that holds could have shown it.
pub(super) fn ensure_recent(proration_date: Option<Time>, now: Time) -> Result<(), Error> {
    let is_recent = |date: Time| date <= now && now.since(date) <= PREVIEW_HOLDS;
    if proration_date.is_none_or(is_recent) {
        return Ok(());
    }
    let message = "prorationDate must be that of a preview of the last 15 minutes.";
    Err(Error::input("prorationDate", message))
}

/// Finds the version that a tenant chooses, and its price. `chosen` is what it has chosen before.
fn offer<'c>(
    catalogue: Option<&'c View>,
    chosen: Option<&Subscription>,
    choice: &Choice,
    now: Time,
) -> Result<Offer<'c>, Error> {
    let catalogue = catalogue.ok_or(Error::NotFound)?;
    if let Some(kept) = chosen.and_then(|chosen| kept(catalogue, chosen, choice, now)) {
        return Ok(kept);
    }
    let latest = catalogue.latest(choice.plan).ok_or(Error::NotFound)?;
    let version = catalogue.version(latest).ok_or(Error::NotFound)?;
    let plan = catalogue.plans.get(&choice.plan);
    if plan.is_some_and(|plan| plan.archived) {
        return Err(Unavailable::PlanArchived.to_error());
    }
    Ok(Offer {
        plan: latest,
        version,
        price: chosen_price(latest, version, choice.price)?,
    })
}

/// Returns the version that a tenant has, if it stays with that instead of a planned one. It may be
/// an older version, or one of an archived plan.
fn kept<'c>(
    catalogue: &'c View,
    chosen: &Subscription,
    choice: &Choice,
    now: Time,
) -> Option<Offer<'c>> {
    chosen.coming_at(now)?;
    let (plan, price) = (chosen.plan_at(now), chosen.price_at(now)?);
    let is_present = (plan.plan, Some(price)) == (choice.plan, choice.price);
    let version = catalogue.version(plan).filter(|_| is_present)?;
    let price = Some(catalogue.price(plan, price)?);
    Some(Offer {
        plan,
        version,
        price,
    })
}

/// Finds the price that a tenant has chosen; `None` if the version is free.
fn chosen_price(
    latest: PlanVersion,
    version: &Version,
    price: Option<PriceId>,
) -> Result<Option<&Price>, Error> {
    let Some(wanted) = price else {
        let message = "price is required, since the plan is not free.";
        let is_free = version.is_free();
        return is_free
            .then_some(None)
            .ok_or_else(|| Error::input("price", message));
    };
    let mut prices = version.prices.iter();
    let price = prices.find(|price| latest.price_id(price) == wanted);
    let price = price.ok_or_else(|| Error::input("price", "price must be one of the plan."));
    price.map(Some)
}

async fn wanted(
    caller: &Caller,
    present: &TenantBilling,
    offer: &Offer<'_>,
    (price, choice): (&Price, &Choice),
) -> Result<Wanted, Error> {
    let id = offer.plan.price_id(price);
    let aim = present.aim(offer, price).await?;
    let at = present.change_time(aim, choice.at)?;
    Ok(Wanted {
        plan: offer.plan,
        price: id,
        stripe_price: known_price(present.plan.catalogue(), offer, price)?,
        quantity: aim.quantity,
        name: caller.membership()?.tenant.view.name.clone(),
        proration_date: choice.proration_date,
        at,
        once_paid: at == ChangeTime::PeriodEnd && !present.pays_less_with(aim),
        promotion_code: choice.promotion_code.clone(),
    })
}

/// Returns the price of an offer as Stripe knows it. Stripe also knows the prices for usage that
/// belong to it.
///
/// # Errors
/// `PaymentsAway` if Stripe does not know them yet.
pub(super) fn known_price(
    catalogue: Option<&View>,
    offer: &Offer<'_>,
    price: &Price,
) -> Result<StripePriceId, Error> {
    let known = |id: &PriceId| catalogue.and_then(|catalogue| catalogue.stripe_prices.get(id));
    let usage = offer.version.unit_prices_beside(price);
    let mut usage = usage.map(|unit| offer.plan.unit_price_id(unit, price.interval));
    let is_usage_known = usage.all(|id| known(&id).is_some());
    let price = known(&offer.plan.price_id(price)).filter(|_| is_usage_known);
    price.cloned().ok_or(Error::PaymentsAway {
        retry_after: PRICE_KNOWN_WITHIN,
    })
}

impl TenantBilling {
    /// Finds the version that the tenant chooses, and its price.
    ///
    /// # Errors
    /// `NotFound` if there is no such plan; `BadUserInput` if it does not have the price, or needs
    /// one; `Rejected` if the plan is archived.
    pub(super) fn offer(&self, choice: &Choice) -> Result<Offer<'_>, Error> {
        let chosen = self.plan.billing().and_then(|it| it.subscription.as_ref());
        offer(self.plan.catalogue(), chosen, choice, self.plan.at)
    }

    /// Returns what the tenant would pay for an offer: for a price per seat the seats in use, but
    /// no more than the version allows. The workers count again when somebody comes or goes.
    ///
    /// # Errors
    /// If a view cannot be read.
    pub(super) async fn aim<'c>(
        &self,
        offer: &Offer<'_>,
        price: &'c Price,
    ) -> Result<Aim<'c>, Error> {
        let quantity = match price.per {
            Per::Tenant => 1,
            Per::Seat => {
                let most = self.allowed(offer.version, SEATS);
                paid_seats(self.used(SEATS).await?, most)
            }
        };
        Ok(Aim {
            plan: offer.plan,
            price,
            quantity,
        })
    }

    /// Returns when the tenant would get what it aims at.
    ///
    /// # Errors
    /// Those of [`change_time`].
    pub(super) fn change_time(
        &self,
        aim: Aim<'_>,
        asked: Option<ChangeTime>,
    ) -> Result<ChangeTime, Error> {
        let plan = &self.plan;
        change_time(plan.catalogue(), plan.billing(), aim, asked, plan.at)
    }

    /// Whether the tenant would pay less in each period for what it aims at.
    fn pays_less_with(&self, aim: Aim<'_>) -> bool {
        let plan = &self.plan;
        pays_less_with(plan.catalogue(), plan.billing(), aim, plan.at)
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{
        Currency, Id, Money, Name,
        billing::NextPlan,
        plan::{Event, Interval, apply},
    };

    use super::*;

    const TEAM: PlanId = PlanId(Id::from_bytes([2; 16]));
    const END: Time = Time(100);

    fn price(amount: i64) -> Price {
        Price {
            amount: Money::new(amount, Currency::parse("EUR").unwrap()).unwrap(),
            interval: Interval::Month,
            per: Per::Tenant,
        }
    }

    fn version(amount: i64) -> Version {
        Version {
            prices: vec![price(amount)],
            ..Version::default()
        }
    }

    /// An archived plan with two versions.
    fn archived() -> View {
        let mut catalogue = View::default();
        for event in [
            Event::Created {
                plan: TEAM,
                name: Name::parse("Team").unwrap(),
                version: version(900),
            },
            Event::VersionAdded {
                plan: TEAM,
                version: version(1_200),
            },
            Event::Archived { plan: TEAM },
        ] {
            apply(&mut catalogue, &event, Time(0));
        }
        catalogue
    }

    #[test]
    fn a_tenant_may_stay_with_an_older_version_of_an_archived_plan() {
        let first = PlanVersion {
            plan: TEAM,
            number: 1,
        };
        let another = PlanVersion {
            plan: PlanId(Id::from_bytes([3; 16])),
            number: 1,
        };
        let present = first.price_id(&price(900));
        let next = NextPlan {
            plan: another,
            price: another.price_id(&price(400)),
            at: END,
            paid_quantity: None,
            once_paid: false,
        };
        let leaves = Subscription {
            plan: first,
            price: Some(present),
            trial_end: None,
            cancel_at: None,
            past_due_since: None,
            next: Some(next),
        };
        let stays = Subscription {
            next: None,
            ..leaves.clone()
        };
        let second = PlanVersion { number: 2, ..first };
        let latest = second.price_id(&price(1_200));
        let catalogue = archived();
        for (chosen, price, now, is_offered) in [
            (Some(&leaves), present, Time(0), true),
            (Some(&leaves), latest, Time(0), false),
            (Some(&leaves), present, END, false),
            (Some(&stays), present, Time(0), false),
            (None, present, Time(0), false),
        ] {
            let choice = Choice {
                plan: TEAM,
                price: Some(price),
                proration_date: None,
                at: None,
                promotion_code: None,
            };
            let offered = offer(Some(&catalogue), chosen, &choice, now);
            let plan = offered.ok().map(|offered| offered.plan);
            assert_eq!(plan, is_offered.then_some(first), "{price:?} {now:?}");
        }
    }

    #[test]
    fn a_change_counts_from_a_preview_of_the_last_15_minutes() {
        const MINUTE: i64 = 60 * 1_000;
        let now = Time(100 * MINUTE);
        for (date, is_accepted) in [
            (85 * MINUTE - 1, false),
            (85 * MINUTE, true),
            (100 * MINUTE, true),
            (100 * MINUTE + 1, false),
            (i64::MIN, false),
            (i64::MAX, false),
        ] {
            let checked = ensure_recent(Some(Time(date)), now);
            assert_eq!(checked.is_ok(), is_accepted, "{date}");
            if let Err(error) = checked {
                let field = matches!(error, Error::BadUserInput { field, .. } if field == Some("prorationDate"));
                assert!(field, "{error:?}");
            }
        }
        assert!(ensure_recent(None, now).is_ok());
    }
}
