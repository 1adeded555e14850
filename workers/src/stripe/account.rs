//! The account to which the key belongs.

use events_schema::{StripeAccountId, plan::StripeAccount};
use serde::Deserialize;

use super::{Stripe, StripeError, request::Request};

#[derive(Deserialize)]
struct Account {
    id: StripeAccountId,
}

impl Stripe {
    /// Returns the account of the key, and the mode. It is asked for once.
    ///
    /// # Errors
    /// If Stripe does not answer, or the key may not read it.
    pub async fn account(&self) -> Result<StripeAccount, StripeError> {
        let live = self.is_live;
        let found = self.account.get_or_try_init(|| async {
            let Account { id } = self.send(Request::get("/account")).await?;
            Ok(StripeAccount { id, live })
        });
        found.await.cloned()
    }

    /// Returns the account of the key; `None` if the key may not read it.
    ///
    /// # Errors
    /// If Stripe does not answer.
    pub async fn known_account(&self) -> Result<Option<StripeAccount>, StripeError> {
        match self.account().await {
            Ok(account) => Ok(Some(account)),
            Err(StripeError::Key(_) | StripeError::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
