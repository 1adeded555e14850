//! The customer of a tenant, as the log knows it.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use event_store::Trace;
use events_schema::{
    CommandId, Name, Outcome, StripeCustomerId, TenantId, TenantKey, Time,
    billing::{Area, Command, Payment},
};
use tokio::time::Instant;

use super::{
    Payments,
    refusal::{Reason, Refusal},
};
use crate::{
    domain::billing::Billing,
    loops::history::{History, subject_of},
    stripe::NewCustomer,
};

/// How long it may take until a customer is recorded.
const RECORDED_WITHIN: Duration = Duration::from_secs(5);

impl Payments {
    /// Returns what the log says about the payments of a tenant.
    ///
    /// # Errors
    /// If the log does not answer.
    pub(super) async fn payment(&self, tenant: TenantKey) -> anyhow::Result<Payment> {
        Ok(self.billing(tenant).await?.payment().clone())
    }

    /// Returns what the log says about the billing of a tenant.
    ///
    /// # Errors
    /// If the log does not answer.
    pub(super) async fn billing(&self, tenant: TenantKey) -> anyhow::Result<Billing> {
        let mut record = History::<Billing>::default();
        let subject = subject_of::<Billing>(TenantId::Tenant(tenant), tenant);
        // A replica may lag behind and lack a customer.
        record.refresh_from_leader(&self.log, &subject).await?;
        Ok(record.state)
    }

    /// Returns the customer of a tenant.
    ///
    /// # Errors
    /// If there is none: then the tenant has no object at Stripe.
    pub(super) async fn customer(&self, tenant: TenantKey) -> Result<StripeCustomerId, Refusal> {
        let customer = self.payment(tenant).await?.customer;
        customer.ok_or_else(|| Reason::NotFound.into())
    }

    /// Returns the customer of a tenant, and creates it first if there is none, or if it is deleted at
    /// Stripe. The log learns that
    /// one is expected before Stripe does, so another attempt finds it, whenever this one is killed.
    ///
    /// # Errors
    /// If Stripe does not create it, or it cannot be recorded.
    pub(super) async fn customer_or_new(
        &self,
        tenant: TenantKey,
        name: Name,
    ) -> Result<StripeCustomerId, Refusal> {
        if let Some(customer) = self.payment(tenant).await?.customer {
            if !self.stripe.customer(&customer).await?.deleted {
                return Ok(customer);
            }
            let forget = Command::ForgetCustomer { customer };
            self.record(tenant, forget).await?;
        }
        self.record(tenant, Command::ExpectCustomer).await?;
        let payment = self.payment(tenant).await?;
        if let Some(customer) = payment.customer {
            return Ok(customer);
        }
        let since = payment.since.context("no customer is expected")?;
        let new = NewCustomer { tenant, name };
        let customer = self.stripe.customer_of(&new, since).await?.id;
        let recorded = Command::RecordCustomer {
            customer: customer.clone(),
        };
        self.record(tenant, recorded).await?;
        Ok(customer)
    }

    async fn record(&self, tenant: TenantKey, payload: Command) -> anyhow::Result<()> {
        let command = events_schema::Command::<Area>::by_system(
            CommandId(event_store::random_id()?),
            TenantId::Tenant(tenant),
            tenant,
            Time::from(SystemTime::now()),
            payload,
        );
        let deadline = Instant::now() + RECORDED_WITHIN;
        let outcome = self.sender.send(command, Trace::begin(), deadline).await;
        match outcome.context("recording a customer")? {
            Outcome::Committed { .. } | Outcome::DoneBefore { .. } | Outcome::Unchanged { .. } => {
                Ok(())
            }
            Outcome::Rejected(rejection) => {
                bail!("a customer was not recorded: {}", rejection.message)
            }
        }
    }
}
