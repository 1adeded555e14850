//! Stripe's own pages for customers.

use events_schema::{Sensitive, StripeCustomerId};
use serde::Deserialize;

use super::{Stripe, StripeError, request::Request};

#[derive(Deserialize)]
struct PortalSession {
    url: Sensitive,
}

impl Stripe {
    /// Returns a link to the pages of a customer. It is valid for minutes. `return_url` is where
    /// those pages lead back to.
    ///
    /// # Errors
    /// If Stripe gives no link.
    pub async fn portal_link(
        &self,
        customer: &StripeCustomerId,
        return_url: &str,
    ) -> Result<Sensitive, StripeError> {
        let session: PortalSession = self.send(create(customer, return_url)).await?;
        Ok(session.url)
    }
}

pub(super) fn create(customer: &StripeCustomerId, return_url: &str) -> Request {
    Request::ask("/billing_portal/sessions")
        .set("customer", customer)
        .set("return_url", return_url)
}
