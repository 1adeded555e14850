//! Stripe, as far as the workers need it: what they ask, and the few fields of its answers that they
//! read.
//!
//! Stripe is the record of money. Every request that creates something has an `Idempotency-Key`, so
//! that a repetition within a day gets the first answer. Requests are written by hand. Tests compare
//! each with the one that async-stripe generates from Stripe's own description.

use std::sync::Arc;

use self::transport::Transport;
pub use self::{
    cards::{Card, CardDetails, SetupIntent, SetupIntentStatus},
    customers::{Customer, NewCustomer},
    error::StripeError,
    events::{About, StripeEvent},
    invoices::{Invoice, InvoiceStatus, Payment, PaymentStatus, Preview, PreviewedChange},
    key::{IdempotencyKey, Timestamp},
    list::{Listed, Pages},
    meters::MeterEvent,
    options::{StripeKey, StripeOptions, StripeTax, StripeUrl},
    prices::{Interval, NewPrice, Price, Product, product_id},
    promotions::{Coupon, Discount},
    subscriptions::{
        Change, Item, NewSubscription, OpenPayment, Proration, Subscription, SubscriptionStatus,
        Trial,
    },
};

mod cards;
mod customers;
mod error;
mod events;
mod invoices;
mod key;
mod list;
mod meters;
mod options;
mod pace;
mod portal;
mod prices;
mod promotions;
mod request;
mod subscriptions;
mod transport;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

/// Sends requests to Stripe. Clones share their connections and their pace.
#[derive(Clone)]
pub struct Stripe {
    transport: Arc<Transport>,
    tax: StripeTax,
    is_urgent: bool,
}

impl Stripe {
    /// Prepares the requests. Returns `None` without a key.
    ///
    /// # Errors
    /// If the key or the system's configuration of DNS is wrong.
    pub fn new(options: &StripeOptions) -> anyhow::Result<Option<Self>> {
        let Some(key) = options.key()? else {
            return Ok(None);
        };
        Ok(Some(Self {
            transport: Arc::new(Transport::new(options, key)?),
            tax: options.stripe_tax,
            is_urgent: false,
        }))
    }

    /// Returns the same client for requests that somebody waits for. They go before all others.
    #[must_use]
    pub fn urgent(&self) -> Self {
        Self {
            is_urgent: true,
            ..self.clone()
        }
    }
}
