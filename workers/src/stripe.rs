//! Stripe, as far as the workers need it: what they ask, and the few fields of its answers that
//! they read.
//!
//! Stripe is the record of money. Every request that creates something has an `Idempotency-Key`, so
//! that a repetition within a day gets the first answer. Requests are written by hand. Tests
//! compare each with the one that async-stripe generates from Stripe's own description.

use std::sync::Arc;

use events_schema::plan::StripeAccount;
use tokio::sync::{Mutex, OnceCell};

pub use self::{
    cards::{Card, CardDetails, SetupIntent, SetupIntentStatus},
    customers::{Customer, NewCustomer},
    error::StripeError,
    invoices::{Invoice, InvoiceStatus, Payment, PaymentStatus, Preview, PreviewedChange},
    key::{IdempotencyKey, Timestamp},
    list::{Listed, Pages},
    meters::{MeterEvent, StripeMeter},
    options::{StripeKey, StripeOptions, StripeTax, StripeUrl},
    prices::{Interval, NewPrice, Price, Product, UnitAmount, product_id, product_of_meter},
    promotions::{Coupon, Discount, PROMOTION_CODE_UNKNOWN},
    subscriptions::{
        Change, Item, NewDiscount, NewSubscription, OpenPayment, Proration, Rest, Subscription,
        SubscriptionStatus, Trial, TrialChange,
    },
    taxes::ADDRESS_MISSING,
    usage_items::UsageChange,
};
use self::{seen_customers::SeenCustomers, transport::Transport};

mod account;
mod cards;
mod customers;
mod error;
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
mod seen_customers;
mod subscriptions;
mod taxes;
mod transport;
mod usage_items;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

/// Sends requests to Stripe. Clones share their connections, their pace, and what they know of the
/// account and its customers.
#[derive(Clone)]
pub struct Stripe {
    transport: Arc<Transport>,
    tax: StripeTax,
    is_live: bool,
    seen_customers: Arc<Mutex<SeenCustomers>>,
    account: Arc<OnceCell<StripeAccount>>,
    is_urgent: bool,
    /// How often the keys of requests were replaced.
    round: u8,
}

/// How often the keys of a request are replaced, since Stripe repeats a failure of its own.
const MAX_ROUNDS: u8 = 4;

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
            is_live: options.is_live(),
            seen_customers: Arc::default(),
            account: Arc::default(),
            is_urgent: false,
            round: 0,
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

    /// Returns the same client with further keys for the same requests; `None` if they were
    /// replaced too often. Use it after [`StripeError::Repeated`], and look first at what Stripe
    /// has: the failed request may have been done.
    #[must_use]
    pub fn with_further_keys(&self) -> Option<Self> {
        (self.round < MAX_ROUNDS).then(|| Self {
            round: self.round + 1,
            ..self.clone()
        })
    }
}
