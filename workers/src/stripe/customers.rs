//! Customers: one for each tenant that pays.

use std::{collections::BTreeMap, time::SystemTime};

use events_schema::{Name, StripeCardId, StripeCustomerId, TenantKey, Time};
use serde::Deserialize;

use super::{IdempotencyKey, Listed, Pages, Stripe, StripeError, Timestamp, request::Request};

/// Names the tenant of a customer in its metadata. It only serves to find a customer that we have
/// created: facts about a tenant are found by the claim of its customer.
const TENANT: &str = "ub_tenant";
/// Seconds for which Stripe certainly recognizes the repetition of a request.
const RECOGNIZED: i64 = 23 * 60 * 60;
/// Seconds by which our clocks may be ahead of Stripe's.
const CLOCKS_DIFFER: i64 = 300;

/// A customer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Customer {
    pub id: StripeCustomerId,
    /// Whether somebody has deleted it in Stripe's dashboard.
    #[serde(default)]
    pub deleted: bool,
    /// `None` if it is deleted.
    pub(super) created: Option<Timestamp>,
    metadata: Option<BTreeMap<String, String>>,
    #[serde(default)]
    invoice_settings: InvoiceSettings,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct InvoiceSettings {
    default_payment_method: Option<StripeCardId>,
}

/// A customer to create.
#[derive(Clone, Debug)]
pub struct NewCustomer {
    pub tenant: TenantKey,
    /// The name on invoices.
    pub name: Name,
}

impl Customer {
    /// Returns the card that pays for invoices.
    pub const fn default_card(&self) -> Option<&StripeCardId> {
        self.invoice_settings.default_payment_method.as_ref()
    }

    /// Returns the tenant for which we have created it.
    pub(super) fn tenant(&self) -> Option<&str> {
        let named = self.metadata.as_ref()?.get(TENANT);
        named.map(String::as_str)
    }
}

impl Listed for Customer {
    fn id(&self) -> &str {
        self.id.as_str()
    }
}

impl Stripe {
    /// Creates a customer.
    ///
    /// # Errors
    /// If Stripe does not confirm it.
    pub async fn create_customer(
        &self,
        key: IdempotencyKey,
        customer: &NewCustomer,
    ) -> Result<Customer, StripeError> {
        self.send(create(key, customer)).await
    }

    /// Returns the customer of a tenant that was created since then, and creates it if there is none.
    ///
    /// # Errors
    /// If Stripe does not confirm it, or has so many customers that a later attempt must go on.
    pub async fn customer_of(
        &self,
        customer: &NewCustomer,
        since: Time,
    ) -> Result<Customer, StripeError> {
        // After a customer is deleted, its tenant needs another one since a later time.
        let key = IdempotencyKey::new(customer.tenant.0, &format!("customer {}", since.0));
        let since = Timestamp(Timestamp::from(since).0 - CLOCKS_DIFFER);
        let now = Timestamp::from(Time::from(SystemTime::now()));
        let old = (since, Timestamp(now.0 - RECOGNIZED));
        if let Some(found) = self.find_old_customer(customer.tenant, old).await? {
            return Ok(found);
        }
        let mut stripe = self.clone();
        loop {
            let created = stripe.create_customer(key, customer).await;
            match (&created, stripe.with_further_keys()) {
                (Err(StripeError::Repeated(_)), Some(next)) => stripe = next,
                (_, _) => return created,
            }
            if let Some(found) = stripe.find_customer(customer.tenant, since).await? {
                return Ok(found);
            }
        }
    }

    /// Returns the customer that was created for a tenant at this time or later; `None` if there is
    /// none. A search by metadata would not find one of the last minute.
    ///
    /// # Errors
    /// If Stripe does not give the list.
    pub async fn find_customer(
        &self,
        tenant: TenantKey,
        since: Timestamp,
    ) -> Result<Option<Customer>, StripeError> {
        let tenant = tenant.to_string();
        let customers = Pages::<Customer>::new(self, list(since));
        customers
            .find(|found| found.tenant() == Some(&tenant))
            .await
    }

    /// Returns a customer, also one that is deleted.
    ///
    /// # Errors
    /// If it never existed, or Stripe does not answer.
    pub async fn customer(&self, id: &StripeCustomerId) -> Result<Customer, StripeError> {
        self.send(retrieve(id)).await
    }

    /// Sets the card that pays for invoices. It must be attached to the customer.
    ///
    /// # Errors
    /// If Stripe does not confirm it.
    pub async fn set_default_card(
        &self,
        key: IdempotencyKey,
        customer: &StripeCustomerId,
        card: &StripeCardId,
    ) -> Result<Customer, StripeError> {
        self.send(default_card(key, customer, card)).await
    }
}

pub(super) fn create(key: IdempotencyKey, customer: &NewCustomer) -> Request {
    Request::post("/customers", key)
        .set("name", customer.name.as_str())
        .set(format!("metadata[{TENANT}]"), customer.tenant)
}

/// The customers of this time and later.
pub(super) fn list(since: Timestamp) -> Request {
    Request::get("/customers").set("created[gte]", since.0)
}

pub(super) fn retrieve(id: &StripeCustomerId) -> Request {
    Request::get(format!("/customers/{id}"))
}

pub(super) fn default_card(
    key: IdempotencyKey,
    customer: &StripeCustomerId,
    card: &StripeCardId,
) -> Request {
    Request::post(format!("/customers/{customer}"), key)
        .set("invoice_settings[default_payment_method]", card)
}
