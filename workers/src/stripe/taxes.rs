//! Taxes, which Stripe adds to what subscriptions pay for.

use events_schema::StripeSubscriptionId;

use super::{IdempotencyKey, Stripe, StripeError, StripeTax, Subscription, request::Request};

/// What customers read if Stripe cannot compute their taxes. Previews and changes say the same.
pub const ADDRESS_MISSING: &str = "Your country is not known, so taxes cannot be computed. Enter \
                                   your address by the billing portal, and try again.";

impl Stripe {
    /// Whether Stripe adds taxes to invoices.
    pub const fn tax(&self) -> StripeTax {
        self.tax
    }

    /// Lets Stripe add taxes to what a subscription pays for from now on, if it is to. It may have
    /// begun before the setting was made.
    ///
    /// # Errors
    /// If Stripe does not confirm it, such as for a customer whose country it does not know.
    pub async fn add_taxes(
        &self,
        key: IdempotencyKey,
        id: &StripeSubscriptionId,
    ) -> Result<(), StripeError> {
        match self.tax {
            StripeTax::Automatic => self.send::<Subscription>(add(key, id)).await.map(drop),
            StripeTax::None => Ok(()),
        }
    }
}

pub(super) fn add(key: IdempotencyKey, id: &StripeSubscriptionId) -> Request {
    Request::post(format!("/subscriptions/{id}"), key).with_tax(StripeTax::Automatic)
}
