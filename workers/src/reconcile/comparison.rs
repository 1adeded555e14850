//! Compares what tenants pay with Stripe, and mends what differs.
//!
//! Stripe wins for money, and the log for plans. So subscriptions are recorded as Stripe has them,
//! and prices and the subscriptions of deleted tenants are changed at Stripe.

use std::{collections::BTreeSet, future::Future, time::Duration};

use anyhow::Context as _;
use event_store::{EventLog, Trace, random_id};
use events_schema::{
    AreaName, Commit, StripeCustomerId, StripePriceId, StripeSubscriptionId, Subject, TenantId,
    TenantKey, View as _,
    billing::{Command, Paid},
    subject::{events_of, events_of_tenant_in},
    tenant::{self, View},
};
use serde::Serialize;
use tokio::time::sleep;

use super::{Compared, Due, Reconciler, prices};
use crate::{decode, loops::retry::is_outage, stripe::StripeError};

/// Something that Stripe has and the log has not, or the other way round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The tenant; `None` if it is about the catalogue of plans.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantKey>,
    #[serde(flatten)]
    pub kind: DifferenceKind,
    /// Whether the log and Stripe agree now.
    pub mended: bool,
}

/// What differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DifferenceKind {
    /// What the tenant pays for. Stripe's counts.
    Subscription {
        recorded: Option<Box<Paid>>,
        at_stripe: Box<Paid>,
    },
    /// A subscription does not pay for usage what its plan says. It is changed at Stripe.
    UsagePrices { subscription: StripeSubscriptionId },
    /// A change that waits for its owner, although Stripe does not wait any more.
    ExpiredChange,
    /// A change that Stripe has not confirmed for an hour. It is requested again.
    LostChange,
    /// Subscriptions to plans charge beside the one that counts. They are cancelled.
    DuplicateSubscriptions { subscriptions: usize },
    /// The customer is deleted at Stripe. The next request creates another one.
    DeletedCustomer { customer: StripeCustomerId },
    /// A tenant is deleted, and still pays. Its subscriptions are cancelled.
    DeletedTenant { subscriptions: usize },
    /// Stripe does not know prices of plans that tenants may choose. They are created.
    MissingPrices { prices: usize },
    /// A price of a plan that tenants may choose cannot be chosen at Stripe. It is made active.
    InactivePrice { price: StripePriceId },
    /// A person must look at it.
    Unclear { reason: String },
}

/// How often a tenant is compared while Stripe does not answer.
const ATTEMPTS: u32 = 3;

/// Called with each difference.
pub(crate) type Report<'a> = &'a (dyn Fn(&Difference) + Send + Sync);
/// Called with the number of tenants that are done, and of all.
pub(crate) type Progress<'a> = &'a (dyn Fn(usize, usize) + Send + Sync);

/// Compares billings with Stripe.
pub(crate) struct Comparison {
    pub(crate) reconciler: Reconciler,
    pub(crate) log: EventLog,
    /// Whether nothing may change.
    pub(crate) is_dry_run: bool,
}

impl Comparison {
    /// Compares the catalogue and all tenants. Returns how many differences remain.
    ///
    /// # Errors
    /// If the key belongs to another account, or NATS, a worker or Stripe does not answer.
    pub(crate) async fn all(
        &self,
        found: Report<'_>,
        progress: Progress<'_>,
    ) -> anyhow::Result<u64> {
        self.reconciler.refuse_other_account().await?;
        let mut remaining = report(&self.prices().await?, found);
        let tenants = self.tenants().await?;
        let tenants = in_turn(&tenants, TenantKey(random_id()?));
        for (done, tenant) in (1..).zip(&tenants) {
            remaining += self.only(*tenant, found).await?;
            progress(done, tenants.len());
        }
        Ok(remaining)
    }

    /// Compares one tenant. Returns how many differences remain.
    ///
    /// # Errors
    /// If NATS, a worker or Stripe does not answer.
    pub(crate) async fn only(&self, tenant: TenantKey, found: Report<'_>) -> anyhow::Result<u64> {
        let differences = self.tenant(tenant).await;
        let differences = differences.with_context(|| format!("tenant {tenant}"))?;
        Ok(report(&differences, found))
    }

    /// Returns the tenants that have chosen a plan or asked for one, also those that are deleted.
    async fn tenants(&self) -> anyhow::Result<BTreeSet<TenantKey>> {
        let (mut found, mut next) = (BTreeSet::new(), 1);
        loop {
            let page = self.log.page(&events_of(AreaName::Billing), next).await?;
            for stored in &page.messages {
                if let Ok(Subject::Event {
                    tenant: TenantId::Tenant(tenant),
                    ..
                }) = Subject::parse(&stored.subject)
                {
                    found.insert(tenant);
                }
            }
            match page.next().filter(|_| !page.is_last()) {
                Some(after) => next = after,
                None => return Ok(found),
            }
        }
    }

    /// Compares the catalogue with Stripe.
    async fn prices(&self) -> anyhow::Result<Vec<Difference>> {
        let mut differences = Vec::new();
        let offered = prices::differing(&self.reconciler).await?;
        for (price, lookup_key) in offered.absent {
            let reason = format!("Stripe has no price {price} with the lookup key {lookup_key}");
            differences.push(self.difference(None, DifferenceKind::Unclear { reason }));
        }
        // The key of another account would create all prices there.
        let is_same_account = differences.is_empty();
        let prices = self.reconciler.catalogue().await?.unrecorded().len();
        if prices > 0 && is_same_account {
            let kind = DifferenceKind::MissingPrices { prices };
            let create = prices::create_missing(&self.reconciler);
            differences.push(self.mended(None, kind, create).await?);
        }
        for price in offered.inactive {
            let kind = DifferenceKind::InactivePrice {
                price: price.clone(),
            };
            let activate = prices::activate(&self.reconciler, &price);
            differences.push(self.mended(None, kind, activate).await?);
        }
        Ok(differences)
    }

    /// Mends a difference, unless nothing may change. What Stripe refuses is for a person.
    async fn mended(
        &self,
        tenant: Option<TenantKey>,
        kind: DifferenceKind,
        mend: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<Difference> {
        let mended = if self.is_dry_run { Ok(()) } else { mend.await };
        let kind = mended.map(|()| kind).or_else(unclear)?;
        Ok(self.difference(tenant, kind))
    }

    /// Compares a tenant with Stripe. What Stripe refuses or does not answer is for a person, and
    /// holds up no other tenant.
    async fn tenant(&self, tenant: TenantKey) -> anyhow::Result<Vec<Difference>> {
        let mut attempt = 1;
        loop {
            let error = match self.compare(tenant).await {
                Ok(differences) => return Ok(differences),
                Err(error) => error,
            };
            match pause_after(&error).filter(|_| attempt < ATTEMPTS) {
                Some(pause) => sleep(pause).await,
                None => return Ok(vec![self.difference(Some(tenant), of_tenant(error)?)]),
            }
            attempt += 1;
        }
    }

    async fn compare(&self, tenant: TenantKey) -> anyhow::Result<Vec<Difference>> {
        let Some(compared) = self.reconciler.compare(tenant).await? else {
            return Ok(Vec::new());
        };
        let mut differences = Vec::new();
        let lasting = compared.lasting().count();
        let is_deleted = lasting > 0 && self.is_deleted(tenant).await?;
        if is_deleted {
            if !self.is_dry_run {
                self.reconciler.cancel_all(&compared).await?;
            }
            let subscriptions = lasting;
            let kind = DifferenceKind::DeletedTenant { subscriptions };
            differences.push(self.difference(Some(tenant), kind));
        } else if !compared.duplicates.is_empty() {
            if !self.is_dry_run {
                self.reconciler.cancel_duplicates(&compared).await?;
            }
            let subscriptions = compared.duplicates.len();
            let kind = DifferenceKind::DuplicateSubscriptions { subscriptions };
            differences.push(self.difference(Some(tenant), kind));
        }
        if let Some(kind) = kind(&compared) {
            differences.push(self.difference(Some(tenant), kind));
        }
        if let Some(other) = compared.usage.as_ref().filter(|_| !is_deleted) {
            let subscription = other.subscription.clone();
            let change = self.reconciler.change_usage(other);
            let kind = DifferenceKind::UsagePrices { subscription };
            differences.push(self.mended(Some(tenant), kind, change).await?);
        }
        if !differences.is_empty() && !self.is_dry_run {
            self.reconciler.mend(tenant, Trace::begin()).await?;
        }
        Ok(differences)
    }

    fn difference(&self, tenant: Option<TenantKey>, kind: DifferenceKind) -> Difference {
        let is_clear = !matches!(kind, DifferenceKind::Unclear { .. });
        Difference {
            tenant,
            kind,
            mended: is_clear && !self.is_dry_run,
        }
    }

    async fn is_deleted(&self, tenant: TenantKey) -> anyhow::Result<bool> {
        let subject = events_of_tenant_in(TenantId::Tenant(tenant), AreaName::Tenant);
        let (mut state, mut has_been) = (None, false);
        for stored in self.log.read_all(&subject, 1).await? {
            let commit: Commit<tenant::Area> = decode::commit(&stored.subject, &stored.payload)?;
            state = View::fold(state, &commit);
            has_been |= state.is_some();
        }
        Ok(has_been && state.is_none())
    }
}

/// Returns all tenants, beginning with the first that is not before `first`. So a run that ends early
/// leaves out others than the one before.
fn in_turn(all: &BTreeSet<TenantKey>, first: TenantKey) -> Vec<TenantKey> {
    let (later, earlier) = (all.range(first..), all.range(..first));
    later.chain(earlier).copied().collect()
}

/// Returns when it is worth another attempt after a failure of Stripe; `None` if it is none, or time
/// does not help.
fn pause_after(error: &anyhow::Error) -> Option<Duration> {
    let failure = error.chain().find_map(|cause| cause.downcast_ref())?;
    match failure {
        StripeError::RateLimited(_) | StripeError::Unavailable(_) | StripeError::Repeated(_) => {
            failure.retry_after()
        }
        StripeError::Declined { .. } | StripeError::Refused { .. } | StripeError::Key(_) => None,
    }
}

/// Returns a failure about one tenant as a difference.
///
/// # Errors
/// The error itself if all tenants would have it: the key is revoked, or the log does not answer.
fn of_tenant(error: anyhow::Error) -> anyhow::Result<DifferenceKind> {
    let of_key = |cause: &(dyn std::error::Error + 'static)| {
        matches!(cause.downcast_ref(), Some(StripeError::Key(_)))
    };
    if is_outage(&error) || error.chain().any(of_key) {
        return Err(error);
    }
    let reason = format!("{error:#}");
    Ok(DifferenceKind::Unclear { reason })
}

/// Returns a refusal of Stripe as a difference.
///
/// # Errors
/// The error itself if it is another one: then the run cannot go on.
fn unclear(error: anyhow::Error) -> anyhow::Result<DifferenceKind> {
    let mut causes = error.chain();
    let is_refusal = causes.any(|cause| match cause.downcast_ref::<StripeError>() {
        // Time does not help.
        Some(error) => error.retry_after().is_none(),
        None => cause.is::<prices::NotCreated>(),
    });
    if !is_refusal {
        return Err(error);
    }
    let reason = format!("{error:#}");
    Ok(DifferenceKind::Unclear { reason })
}

/// Returns how a tenant differs from Stripe.
fn kind(compared: &Compared) -> Option<DifferenceKind> {
    let command = match &compared.due {
        Due::Nothing => return None,
        Due::Unclear(reason) => {
            let reason = reason.clone();
            return Some(DifferenceKind::Unclear { reason });
        }
        Due::Record(command) => command,
    };
    match command {
        Command::RecordSubscription { subscription, .. } => Some(DifferenceKind::Subscription {
            recorded: compared.recorded().cloned().map(Box::new),
            at_stripe: Box::new(subscription.clone()),
        }),
        Command::RecordFailure { .. } => Some(DifferenceKind::ExpiredChange),
        Command::RequestAgain { .. } => Some(DifferenceKind::LostChange),
        Command::ForgetCustomer { customer } => {
            let customer = customer.clone();
            Some(DifferenceKind::DeletedCustomer { customer })
        }
        Command::Change { .. }
        | Command::Cancel
        | Command::Resume
        | Command::Override(_)
        | Command::EndOverride
        | Command::Grant(_)
        | Command::EndGrant
        | Command::Subscribe { .. }
        | Command::ExpectCustomer
        | Command::RecordCustomer { .. }
        | Command::RecordAction { .. }
        | Command::SetSeats { .. }
        | Command::End => None,
    }
}

/// Reports differences, and returns how many of them are not mended.
fn report(differences: &[Difference], found: Report<'_>) -> u64 {
    differences.iter().for_each(found);
    let remaining = differences.iter().filter(|difference| !difference.mended);
    remaining.count() as u64
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use events_schema::Id;

    use super::*;

    #[test]
    fn what_one_tenant_meets_is_a_difference_and_what_all_would_meet_ends_the_run() {
        let refused = || StripeError::Refused {
            code: "resource_missing".to_owned(),
            message: "No such customer".to_owned(),
        };
        let away = || StripeError::Unavailable("503".to_owned());
        let of_one = |error: anyhow::Error| of_tenant(error.context("tenant")).is_ok();
        assert!(of_one(refused().into()) && of_one(away().into()));
        assert!(of_one(anyhow!("a commit cannot be decoded")));
        assert!(!of_one(StripeError::Key("revoked".to_owned()).into()));
        let pause = |error: StripeError| pause_after(&anyhow::Error::from(error).context("tenant"));
        assert!(pause(away()).is_some());
        let limited = Duration::from_secs(7);
        assert_eq!(pause(StripeError::RateLimited(limited)), Some(limited));
        assert_eq!(pause(refused()), None);
        assert_eq!(pause(StripeError::Key("revoked".to_owned())), None);
    }

    #[test]
    fn each_tenant_has_its_turn_wherever_a_run_begins() {
        let tenant = |number| TenantKey(Id::from_bytes([number; 16]));
        let all = [1, 3, 5].map(tenant).into();
        for (first, order) in [(0, [1, 3, 5]), (3, [3, 5, 1]), (6, [1, 3, 5])] {
            assert_eq!(in_turn(&all, tenant(first)), order.map(tenant), "{first}");
        }
    }
}
