//! Products and prices: a product for each plan and each meter with a price, and a price for each
//! price of a version.

use std::fmt;

use events_schema::{Invalid, Meter, PlanId, StripePriceId, StripeProductId};
use serde::Deserialize;

use super::{IdempotencyKey, Listed, Pages, Stripe, StripeError, request::Request};

/// Lookup keys of one request: the most that Stripe takes.
const KEYS: usize = 10;

/// A product.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Product {
    pub id: StripeProductId,
}

/// A price.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Price {
    pub id: StripePriceId,
    pub product: StripeProductId,
    pub lookup_key: Option<String>,
    /// Whether new subscriptions may have it.
    #[serde(default)]
    pub active: bool,
    /// Three lower-case letters.
    pub currency: String,
    /// Minor units of the currency. `None` if it has fractions of them, as usage may have.
    pub unit_amount: Option<i64>,
    /// The same as a decimal number.
    pub unit_amount_decimal: Option<String>,
    pub recurring: Option<Recurring>,
}

/// How often a price is due.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Recurring {
    pub interval: Interval,
    /// The id of the meter at Stripe whose usage it is for; `None` if it is for something else.
    pub meter: Option<String>,
}

/// The time that a price pays for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interval {
    Month,
    Year,
    /// One that no plan of ours has.
    #[serde(other)]
    Other,
}

/// A price to create. It is never changed.
#[derive(Clone, Debug)]
pub struct NewPrice {
    pub product: StripeProductId,
    /// Names the price, so that it is created once: 1 to 200 characters.
    pub lookup_key: String,
    /// Three lower-case letters.
    pub currency: String,
    pub amount: UnitAmount,
    pub interval: Interval,
}

/// What a price is for, and what one unit costs in minor units of the currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitAmount {
    /// Each unit of a quantity costs this.
    Whole(i64),
    /// Each unit that a meter counts costs this.
    Metered {
        /// A decimal number, with at most 12 decimals.
        decimal: String,
        /// The id of the meter at Stripe.
        meter: String,
    },
}

impl Price {
    /// Whether it is for usage, which a meter counts.
    pub fn is_metered(&self) -> bool {
        let recurring = self.recurring.as_ref();
        recurring.is_some_and(|recurring| recurring.meter.is_some())
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Month => "month",
            Self::Year => "year",
            Self::Other => "other",
        })
    }
}

impl Listed for Price {
    fn id(&self) -> &str {
        self.id.as_str()
    }
}

/// Returns the id of a plan's product. We choose it, so that a plan has one product.
///
/// # Errors
/// Never: the id of a plan is a legal part of it.
pub fn product_id(plan: PlanId) -> Result<StripeProductId, Invalid> {
    StripeProductId::parse(&format!("ub_{plan}"))
}

/// Returns the id of the product that stands for what a meter counts.
///
/// # Errors
/// Never: the name of a meter is a legal part of it.
pub fn product_of_meter(meter: Meter) -> Result<StripeProductId, Invalid> {
    StripeProductId::parse(&format!("ub_meter_{meter}"))
}

impl Stripe {
    /// Creates the product of a plan, unless it exists.
    ///
    /// # Errors
    /// If Stripe does not confirm it.
    pub async fn create_product(
        &self,
        key: IdempotencyKey,
        id: &StripeProductId,
        name: &str,
    ) -> Result<(), StripeError> {
        match self.send::<Product>(create_product(key, id, name)).await {
            Err(error) if error.is_there_already() => Ok(()),
            created => created.map(drop),
        }
    }

    /// Creates a price.
    ///
    /// # Errors
    /// If Stripe does not confirm it, such as for a lookup key that another price has.
    pub async fn create_price(
        &self,
        key: IdempotencyKey,
        price: &NewPrice,
    ) -> Result<Price, StripeError> {
        self.send(create_price(key, price)).await
    }

    /// Lets new subscriptions have a price again.
    ///
    /// # Errors
    /// If Stripe does not confirm it.
    pub async fn activate_price(
        &self,
        key: IdempotencyKey,
        id: &StripePriceId,
    ) -> Result<Price, StripeError> {
        self.send(activate_price(key, id)).await
    }

    /// Returns the prices with these lookup keys. Those that do not exist are left out.
    ///
    /// # Errors
    /// If Stripe does not give the list.
    pub async fn prices(&self, lookup_keys: &[String]) -> Result<Vec<Price>, StripeError> {
        let mut prices = Vec::new();
        for keys in lookup_keys.chunks(KEYS) {
            let found = Pages::<Price>::new(self, list_prices(keys)).all().await?;
            prices.extend(found);
        }
        Ok(prices)
    }
}

pub(super) fn create_product(key: IdempotencyKey, id: &StripeProductId, name: &str) -> Request {
    Request::post("/products", key)
        .set("id", id)
        .set("name", name)
}

pub(super) fn create_price(key: IdempotencyKey, price: &NewPrice) -> Request {
    let request = Request::post("/prices", key)
        .set("currency", &price.currency)
        .set("lookup_key", &price.lookup_key)
        .set("product", &price.product)
        .set("recurring[interval]", price.interval);
    match &price.amount {
        UnitAmount::Whole(amount) => request.set("unit_amount", amount),
        UnitAmount::Metered { decimal, meter } => request
            .set("recurring[meter]", meter)
            .set("recurring[usage_type]", "metered")
            .set("unit_amount_decimal", decimal),
    }
}

pub(super) fn activate_price(key: IdempotencyKey, id: &StripePriceId) -> Request {
    Request::post(format!("/prices/{id}"), key).set("active", true)
}

pub(super) fn list_prices(lookup_keys: &[String]) -> Request {
    let keys = lookup_keys.iter().enumerate();
    keys.fold(Request::get("/prices"), |request, (at, key)| {
        request.set(format!("lookup_keys[{at}]"), key)
    })
}
