//! The account to which the key belongs.

use events_schema::{StripeAccountId, plan::StripeAccount};
use serde::Deserialize;

use super::{Stripe, StripeError, request::Request};

#[derive(Deserialize)]
struct Account {
    id: StripeAccountId,
}

impl Stripe {
    /// Returns the account of the key, and the mode.
    ///
    /// # Errors
    /// If Stripe does not answer, or the key may not read it.
    pub async fn account(&self) -> Result<StripeAccount, StripeError> {
        let Account { id } = self.send(Request::get("/account")).await?;
        let live = self.is_live;
        Ok(StripeAccount { id, live })
    }
}
