//! The choice of a plan, checked against the catalogue: the domain of billing has none.

use std::time::Duration;

use events_schema::{
    CommandId, PlanId, PlanVersion, PriceId, Reject, RejectionKind, StripePriceId, Time,
    billing::{Command, Wanted},
    member::SEATS,
    plan::{Per, Price, Version, View},
};
use serde::Serialize;

use super::{Billings, TenantBilling};
use crate::{clock::now, error::Error, identity::Caller};

/// When a new price is usually known to Stripe.
const PRICE_KNOWN_WITHIN: Duration = Duration::from_secs(5);
/// Units that a tenant pays for at most: as many as Stripe multiplies with a price of any currency.
const MAX_QUANTITY: u64 = 1_000_000;
/// How long a preview holds. Somebody who could choose an earlier time would pay nothing for the
/// rest of a period, or get money back for a plan that the tenant did not have.
const PREVIEW_HOLDS: Duration = Duration::from_secs(15 * 60);

/// A plan that a tenant chooses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    pub(crate) plan: PlanId,
    /// `None` if the plan is free.
    pub(crate) price: Option<PriceId>,
    /// The seats to pay for; `None` for those in use.
    pub(crate) quantity: Option<u64>,
    /// The time from which the difference to the plan before counts; `None` for that of the change.
    pub(crate) proration_date: Option<Time>,
}

/// A version that a tenant may choose.
pub(super) struct Offer<'c> {
    pub(super) plan: PlanVersion,
    pub(super) version: &'c Version,
    /// `None` if the plan is free.
    pub(super) price: Option<&'c Price>,
}

/// Why a plan cannot be chosen. These rules are here, since the domain of billing has no catalogue.
#[derive(Debug, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unavailable {
    #[error("This plan is archived. Choose another one.")]
    PlanArchived,
    #[error("Payments are not set up here. Ask who runs this service.")]
    PaymentsNotSetUp,
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
    /// Chooses a plan for the caller's tenant. Where payments are set up, a plan with prices is paid
    /// for.
    ///
    /// # Errors
    /// `NotFound` if there is no such plan; `BadUserInput` if it does not have the price, or needs
    /// one, or the quantity or time is wrong; `PaymentsAway` if Stripe does not know the price yet;
    /// `Rejected` if the plan is archived or the domain refuses it.
    pub(crate) async fn choose(
        &self,
        caller: &Caller,
        id: CommandId,
        choice: Choice,
    ) -> Result<TenantBilling, Error> {
        ensure_recent(choice.proration_date, now())?;
        let present = self.own(caller).await?;
        let offer = offer(present.plan.catalogue(), choice)?;
        let trial_days = offer.version.trial_days;
        let command = match offer.price {
            Some(price) if self.publishable_key.is_some() => Command::Subscribe {
                wanted: wanted(caller, &present, &offer, (price, choice)).await?,
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

/// Finds the version that a tenant chooses, and its price.
pub(super) fn offer(catalogue: Option<&View>, choice: Choice) -> Result<Offer<'_>, Error> {
    let catalogue = catalogue.ok_or(Error::NotFound)?;
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
    (price, choice): (&Price, Choice),
) -> Result<Wanted, Error> {
    let id = offer.plan.price_id(price);
    Ok(Wanted {
        plan: offer.plan,
        price: id,
        stripe_price: known_price(present.plan.catalogue(), id)?,
        quantity: quantity(present, price.per, choice.quantity).await?,
        name: caller.membership()?.tenant.view.name.clone(),
        proration_date: choice.proration_date,
    })
}

/// Returns a price as Stripe knows it.
pub(super) fn known_price(
    catalogue: Option<&View>,
    price: PriceId,
) -> Result<StripePriceId, Error> {
    let known = catalogue.and_then(|catalogue| catalogue.stripe_prices.get(&price));
    known.cloned().ok_or(Error::PaymentsAway {
        retry_after: PRICE_KNOWN_WITHIN,
    })
}

/// Returns how many units a tenant pays for.
pub(super) async fn quantity(
    present: &TenantBilling,
    per: Per,
    wanted: Option<u64>,
) -> Result<u64, Error> {
    let used = match per {
        Per::Tenant => 1,
        Per::Seat => present.used(SEATS).await?.max(1),
    };
    let most = match per {
        Per::Tenant => 1,
        Per::Seat => MAX_QUANTITY,
    };
    let wanted = wanted.unwrap_or(used);
    if (used..=most).contains(&wanted) {
        Ok(wanted)
    } else {
        let message = format!("quantity must be {used} to {most}.");
        Err(Error::input("quantity", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
