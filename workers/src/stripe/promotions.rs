//! Promotion codes, and the discounts that they give. Stripe knows what each is worth.

use events_schema::{PromotionCode, StripePromotionCodeId, StripeSubscriptionId};
use serde::Deserialize;

use super::{Stripe, StripeError, Timestamp, request::Request};

/// How far a subscription shows its discounts: with what each takes off.
const COUPON: &str = "discounts.source.coupon";

/// What customers read of a code that Stripe does not have, or that can be used no more.
pub const PROMOTION_CODE_UNKNOWN: &str = "This promotion code does not exist, or has ended.";

/// What makes a subscription cheaper.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Discount {
    /// When it ends; `None` if it does not, or counts for one invoice.
    pub end: Option<Timestamp>,
    source: Source,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Source {
    coupon: Option<Coupon>,
}

/// What a discount takes off.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Coupon {
    /// What customers read.
    pub name: Option<String>,
    /// 0 to 100.
    pub percent_off: Option<f64>,
    /// Minor units of the currency.
    pub amount_off: Option<i64>,
    /// Three lower-case letters, beside an amount.
    pub currency: Option<String>,
}

#[derive(Deserialize)]
struct Codes {
    data: Vec<Code>,
}

#[derive(Deserialize)]
struct Code {
    id: StripePromotionCodeId,
}

#[derive(Deserialize)]
struct Discounted {
    discounts: Vec<Discount>,
}

impl Discount {
    /// Returns what it takes off, if it was asked for with that.
    pub const fn coupon(&self) -> Option<&Coupon> {
        self.source.coupon.as_ref()
    }
}

impl Stripe {
    /// Finds a promotion code that can be used; `None` if there is none.
    ///
    /// # Errors
    /// If Stripe does not answer.
    pub async fn promotion_code(
        &self,
        code: &PromotionCode,
    ) -> Result<Option<StripePromotionCodeId>, StripeError> {
        let codes: Codes = self.send(find(code)).await?;
        Ok(codes.data.into_iter().next().map(|code| code.id))
    }

    /// Returns what makes a subscription cheaper; `None` if nothing does.
    ///
    /// # Errors
    /// If there is no such subscription, or Stripe does not answer.
    pub async fn discount(
        &self,
        id: &StripeSubscriptionId,
    ) -> Result<Option<Discount>, StripeError> {
        let discounted: Discounted = self.send(discounts(id)).await?;
        Ok(discounted.discounts.into_iter().next())
    }
}

pub(super) fn find(code: &PromotionCode) -> Request {
    Request::get("/promotion_codes")
        .set("active", true)
        .set("code", code.as_str())
        .set("limit", 1)
}

pub(super) fn discounts(id: &StripeSubscriptionId) -> Request {
    Request::get(format!("/subscriptions/{id}")).set("expand[0]", COUPON)
}
