//! The customers of days ago, as Stripe lists them.
//!
//! For a day, Stripe recognizes the repetition of the request that creates a customer. A customer
//! that an earlier attempt has created is only found in the list of all. Each part of it is read
//! once, however many tenants wait for their customers.

use std::collections::HashMap;

use events_schema::{StripeCustomerId, TenantKey};

use super::{Customer, Pages, Stripe, StripeError, Timestamp, customers};

/// Pages that one attempt reads. The next one goes on from there.
const MAX_PAGES: usize = 20;
/// Tenants of which a customer is remembered. With more, the list is read again.
const MAX_TENANTS: usize = 100_000;

/// The customers that the list has shown.
#[derive(Default)]
pub(super) struct SeenCustomers {
    /// The time of which all customers were seen: its first second, and its last.
    seen: Option<(Timestamp, Timestamp)>,
    /// The latest customer of each tenant, and when it was created.
    latest: HashMap<String, (Timestamp, StripeCustomerId)>,
}

impl Stripe {
    /// Returns the latest customer that was created for a tenant in this time; `None` if there is none.
    ///
    /// # Errors
    /// If Stripe does not answer, or has so many customers that a later attempt must go on.
    pub(super) async fn find_old_customer(
        &self,
        tenant: TenantKey,
        (since, until): (Timestamp, Timestamp),
    ) -> Result<Option<Customer>, StripeError> {
        if since >= until {
            return Ok(None);
        }
        let found = {
            let mut seen = self.seen_customers.lock().await;
            seen.see(self, since, until).await?;
            seen.find(tenant, since)
        };
        let Some(id) = found else {
            return Ok(None);
        };
        // It may have been deleted since it was seen.
        let customer = self.customer(&id).await?;
        Ok((!customer.deleted).then_some(customer))
    }
}

impl SeenCustomers {
    fn find(&self, tenant: TenantKey, since: Timestamp) -> Option<StripeCustomerId> {
        let (created, id) = self.latest.get(&tenant.to_string())?;
        (*created >= since).then(|| id.clone())
    }

    /// Reads what was not seen of this time yet.
    async fn see(
        &mut self,
        stripe: &Stripe,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<(), StripeError> {
        if self.latest.len() > MAX_TENANTS {
            *self = Self::default();
        }
        if let Some((first, last)) = self.seen.filter(|(_, last)| *last < until) {
            let reached = self.read(stripe, last, until).await?;
            // If so many were created meanwhile, a gap would be left.
            self.seen = (reached == last).then_some((first, until));
        }
        let (first, last) = self.seen.unwrap_or((until, until));
        if since < first {
            let reached = self.read(stripe, since, first).await?;
            self.seen = Some((reached, last));
            if since < reached {
                return Err(StripeError::unavailable("its list of customers is long"));
            }
        }
        Ok(())
    }

    /// Reads the customers of a time, the latest first. Returns the second down to which all were
    /// read.
    async fn read(
        &mut self,
        stripe: &Stripe,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Timestamp, StripeError> {
        let request = customers::list(since).set("created[lte]", until.0);
        let (mut pages, mut reached) = (Pages::<Customer>::new(stripe, request), until);
        for _ in 0..MAX_PAGES {
            let Some(page) = pages.next().await? else {
                return Ok(since);
            };
            for customer in page {
                reached = customer.created.unwrap_or(reached);
                self.remember(customer, reached);
            }
        }
        Ok(reached)
    }

    fn remember(&mut self, customer: Customer, created: Timestamp) {
        let Some(tenant) = customer.tenant() else {
            return;
        };
        let latest = self.latest.entry(tenant.to_owned());
        let known = latest.or_insert_with(|| (created, customer.id.clone()));
        if known.0 < created {
            *known = (created, customer.id);
        }
    }
}

#[cfg(test)]
mod tests;
