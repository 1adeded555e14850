//! Amounts of money.

use async_graphql::{InputObject, SimpleObject};
use events_schema::{self as schema, Currency};

use super::scalars::{Long, parsed};
use crate::error::Error;

/// An amount of money.
#[derive(SimpleObject)]
pub(super) struct Money {
    /// The amount in minor units of the currency, such as cents: 1250 for 12.50 euros, 1250 for
    /// 1250 yen.
    amount: Long,
    /// The currency by its code of ISO 4217, such as `EUR`.
    currency: String,
    /// How many decimals an amount in this currency has: 2 for euros, 0 for yen.
    decimals: i32,
}

impl From<&schema::Money> for Money {
    fn from(money: &schema::Money) -> Self {
        Self {
            amount: Long(money.amount()),
            currency: money.currency().to_string(),
            decimals: money.currency().decimals().into(),
        }
    }
}

/// An amount of money.
#[derive(InputObject)]
pub(super) struct MoneyInput {
    /// The amount in minor units of the currency, such as cents: 1250 for 12.50 euros, 1250 for
    /// 1250 yen.
    amount: Long,
    /// The currency by its code of ISO 4217, such as `EUR`.
    currency: String,
}

impl MoneyInput {
    /// Parses the amount.
    ///
    /// # Errors
    /// `BadUserInput` if there is no such currency.
    pub(super) fn parse(&self) -> Result<schema::Money, Error> {
        let currency = parsed("currency", &self.currency, Currency::parse)?;
        schema::Money::new(self.amount.0, currency).map_err(Error::invalid("amount"))
    }
}
