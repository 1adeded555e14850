//! Brings the billing of a tenant to what Stripe has: after each of Stripe's events, and when an
//! operator asks for it.
//!
//! Events only say that something has changed. What has become of it is read at Stripe, after the
//! revision of the billing was read that the record must still have, or that the record before it had.
//! So the last record is never older than what a record before has seen, whatever the order of events
//! is.

mod account;
mod comparison;
mod due;
mod hooks;
mod listed;
mod nightly;
pub(crate) mod prices;

use std::time::SystemTime;

use anyhow::{Context as _, bail};
use event_store::{CommandSender, EventLog, Trace, random_id};
use events_schema::{
    Claim, ClaimHolder, Command, CommandId, StripeCustomerId, StripeSubscriptionId, TenantId,
    TenantKey, Time,
    billing::{self, Paid, PaidStatus},
    plan,
};

pub use self::comparison::{Difference, DifferenceKind};
use self::due::{AtStripe, due, is_doubtful, lost};
pub(crate) use self::hooks::run;
use self::listed::{Known, ListedCustomer};
pub(crate) use self::{
    account::watch as watch_account, comparison::Comparison, due::Due, nightly::run as run_nightly,
};
use crate::{
    catalogue::LatestCatalogue,
    domain::{billing::Billing, plan::Catalogue},
    effect::change_subscription::{is_being_paid, is_lasting, paid, usage_changes},
    loops::history::{History, subject_of},
    record::{Recorded, record},
    stripe::{IdempotencyKey, Rest, Stripe, StripeError, Subscription, UsageChange},
};

/// How many records may follow each other, or lose against another one. After a lost one, Stripe is
/// asked again.
const ROUNDS: usize = 10;

/// Compares billings with Stripe, and records what differs.
pub(crate) struct Reconciler {
    stripe: Stripe,
    log: EventLog,
    sender: CommandSender,
    catalogue: LatestCatalogue,
}

/// The billing of a tenant beside what Stripe has.
pub(crate) struct Compared {
    billing: History<Billing>,
    listed: ListedCustomer,
    at_stripe: AtStripe,
    /// Subscriptions to plans that charge beside the one that counts.
    pub(crate) duplicates: Vec<Subscription>,
    /// What is to be recorded.
    pub(crate) due: Due,
    /// What is to be changed at Stripe, so that the subscription pays for usage as its plan says.
    pub(crate) usage: Option<OtherUsage>,
}

/// A subscription that pays for usage otherwise than its plan says.
pub(crate) struct OtherUsage {
    pub(crate) subscription: StripeSubscriptionId,
    pub(crate) changes: Vec<UsageChange>,
}

impl Compared {
    /// Returns what the tenant pays for, as the log has it.
    pub(crate) const fn recorded(&self) -> Option<&Paid> {
        self.billing.state.payment().subscription.as_ref()
    }

    /// Returns the subscriptions at Stripe that cost money or will.
    pub(crate) fn lasting(&self) -> impl Iterator<Item = &Subscription> {
        self.at_stripe.lasting()
    }
}

impl Reconciler {
    pub(crate) fn new(stripe: Stripe, log: EventLog, sender: CommandSender) -> Self {
        Self {
            stripe,
            catalogue: LatestCatalogue::new(log.clone()),
            log,
            sender,
        }
    }

    /// Returns the tenant that has a customer. Its claim says so, and nothing at Stripe.
    ///
    /// # Errors
    /// If the log does not answer.
    pub(crate) async fn tenant_of(
        &self,
        customer: &StripeCustomerId,
    ) -> anyhow::Result<Option<TenantKey>> {
        let subject = Claim::stripe_customer(customer).subject().to_string();
        let Some(last) = self.log.last(&subject).await? else {
            return Ok(None);
        };
        let holder: ClaimHolder =
            serde_json::from_slice(&last.payload).context("reading a claim")?;
        Ok(holder.holder.map(TenantKey))
    }

    /// Returns the catalogue as the log has it now.
    ///
    /// # Errors
    /// If the log does not answer.
    pub(crate) async fn catalogue(&self) -> anyhow::Result<Catalogue> {
        self.catalogue.read().await
    }

    /// Compares a tenant with Stripe; `None` if it has no customer there, and no lost request for one.
    ///
    /// # Errors
    /// If the log or Stripe does not answer, or Stripe does not know the customer.
    pub(crate) async fn compare(&self, tenant: TenantKey) -> anyhow::Result<Option<Compared>> {
        self.compare_after(tenant, None).await
    }

    /// Compares again after a record. Unless another one has followed, Stripe is not asked again for
    /// the list that has led to it.
    async fn compare_after(
        &self,
        tenant: TenantKey,
        known: Option<Known>,
    ) -> anyhow::Result<Option<Compared>> {
        let mut billing = History::<Billing>::default();
        let subject = subject_of::<Billing>(TenantId::Tenant(tenant), tenant);
        billing.refresh_from_leader(&self.log, &subject).await?;
        let now = Time::from(SystemTime::now());
        let Some(customer) = &billing.state.payment().customer else {
            let due = lost(billing.state.payment(), now);
            return Ok(due.map(|due| Compared {
                billing,
                listed: ListedCustomer::default(),
                at_stripe: AtStripe::default(),
                duplicates: Vec::new(),
                due,
                usage: None,
            }));
        };
        let catalogue = self.catalogue().await?;
        let catalogue = catalogue.plans();
        let listed = match known.and_then(|known| known.at(billing.revision)) {
            Some(listed) => listed,
            None => self.list(customer).await?,
        };
        let at_stripe = self.look(&listed, &billing.state, catalogue).await?;
        let due = due(&billing.state, catalogue, &at_stripe, now);
        // What is recorded first may be that another plan has begun.
        let usage = match due {
            Due::Nothing => other_usage(&billing.state, catalogue, &at_stripe, now),
            Due::Record(_) | Due::Unclear(_) => None,
        };
        let duplicates = at_stripe.duplicates(&billing.state, catalogue);
        Ok(Some(Compared {
            duplicates: duplicates.cloned().collect(),
            billing,
            listed,
            at_stripe,
            due,
            usage,
        }))
    }

    /// Records what differs between a tenant and Stripe, and lets usage cost what the plan says that
    /// the tenant has then. Returns how many records that took.
    ///
    /// # Errors
    /// If the log, a worker or Stripe does not answer.
    pub(crate) async fn mend(&self, tenant: TenantKey, trace: Trace) -> anyhow::Result<u64> {
        let (mut records, mut known) = (0, None);
        for _ in 0..ROUNDS {
            let is_listed_now = known.is_none();
            let Some(compared) = self.compare_after(tenant, known.take()).await? else {
                return Ok(records);
            };
            match compared.due {
                // Before something is changed at Stripe, it is asked again.
                Due::Nothing if compared.usage.is_some() && !is_listed_now => {}
                Due::Nothing => {
                    self.follow_plan(tenant, compared.usage.as_ref()).await?;
                    return Ok(records);
                }
                Due::Unclear(reason) => {
                    tracing::error!(%tenant, reason, "what a tenant pays at Stripe is not recorded");
                    return Ok(records);
                }
                Due::Record(command) => {
                    let revision = compared.billing.revision;
                    let is_recorded = self.record(tenant, revision, command, trace).await?;
                    if is_recorded {
                        records += 1;
                        known = Some(Known {
                            revision: revision + 1,
                            listed: compared.listed,
                        });
                    }
                }
            }
        }
        bail!("the billing of tenant {tenant} changes all the time")
    }

    /// Changes what a subscription pays for usage. What Stripe refuses is for a person.
    async fn follow_plan(
        &self,
        tenant: TenantKey,
        usage: Option<&OtherUsage>,
    ) -> anyhow::Result<()> {
        let Some(other) = usage else {
            return Ok(());
        };
        let changed = self.change_usage(other).await;
        let refusal = changed
            .as_ref()
            .err()
            .and_then(|error| error.downcast_ref());
        match refusal {
            Some(refusal @ (StripeError::Refused { .. } | StripeError::Declined { .. })) => {
                tracing::error!(%tenant, "usage does not cost what the plan says: {refusal}");
                Ok(())
            }
            Some(_) | None => changed,
        }
    }

    /// Ends all subscriptions of a tenant at Stripe. Invoices stay.
    ///
    /// # Errors
    /// If Stripe does not confirm it.
    pub(crate) async fn cancel_all(&self, compared: &Compared) -> anyhow::Result<()> {
        for lasting in compared.lasting() {
            self.cancel(lasting, Rest::Charged).await?;
        }
        Ok(())
    }

    /// Lets a subscription pay for usage as its plan says.
    ///
    /// # Errors
    /// If Stripe does not confirm it.
    pub(crate) async fn change_usage(&self, other: &OtherUsage) -> anyhow::Result<()> {
        // Somebody may change it twice within a day.
        let key = IdempotencyKey::new(random_id()?, "usage");
        let changed = self
            .stripe
            .change_usage(key, &other.subscription, &other.changes);
        changed.await?;
        Ok(())
    }

    /// Ends the subscriptions beside the one that counts. What is paid for the rest of their periods
    /// is credited.
    ///
    /// # Errors
    /// If Stripe does not confirm it.
    pub(crate) async fn cancel_duplicates(&self, compared: &Compared) -> anyhow::Result<()> {
        for duplicate in &compared.duplicates {
            let rest = if is_past_due(duplicate) {
                Rest::Dropped
            } else {
                Rest::Credited
            };
            self.cancel(duplicate, rest).await?;
        }
        Ok(())
    }

    async fn cancel(&self, ending: &Subscription, rest: Rest) -> anyhow::Result<()> {
        match self.stripe.cancel_subscription(&ending.id, rest).await {
            Err(error) if !error.is_missing() => Err(error.into()),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Asks Stripe for all subscriptions of a customer.
    async fn list(&self, customer: &StripeCustomerId) -> anyhow::Result<ListedCustomer> {
        let subscriptions = self.subscriptions(customer).await?;
        let mut is_deleted = false;
        if !subscriptions.iter().any(is_lasting) {
            // With the key of another account, everything would be missing.
            let customer = self.stripe.customer(customer).await;
            let customer = customer.context("is UB_STRIPE_KEY that of the same account as before?");
            is_deleted = customer?.deleted;
        }
        Ok(ListedCustomer {
            subscriptions,
            is_deleted,
        })
    }

    /// Asks Stripe for what else decides what its list means.
    async fn look(
        &self,
        listed: &ListedCustomer,
        billing: &Billing,
        catalogue: &plan::View,
    ) -> anyhow::Result<AtStripe> {
        let mut at_stripe = AtStripe {
            subscriptions: listed.subscriptions.clone(),
            is_deleted: listed.is_deleted,
            ..AtStripe::default()
        };
        if let Some(recorded) = &billing.payment().subscription {
            self.add_recorded(&mut at_stripe, recorded).await?;
        }
        self.leave_out_unbegun(&mut at_stripe, billing, catalogue)
            .await?;
        let counting = at_stripe.counting(billing, catalogue);
        let Some(counting) = counting.cloned() else {
            return Ok(at_stripe);
        };
        if is_past_due(&counting) {
            at_stripe.past_due_since = self.unpaid_since(&counting.id).await?;
        }
        at_stripe.is_being_paid = is_being_paid(&self.stripe, billing, &counting).await?;
        Ok(at_stripe)
    }

    /// Returns the subscriptions of a customer; none if Stripe does not list those of a deleted one.
    async fn subscriptions(
        &self,
        customer: &StripeCustomerId,
    ) -> Result<Vec<Subscription>, StripeError> {
        match self.stripe.subscriptions(customer).all().await {
            Err(error) if error.is_missing() => Ok(Vec::new()),
            listed => listed,
        }
    }

    /// Adds the recorded subscription if the list lacks it.
    async fn add_recorded(&self, at_stripe: &mut AtStripe, recorded: &Paid) -> anyhow::Result<()> {
        let mut listed = at_stripe.subscriptions.iter();
        if listed.any(|found| found.id == recorded.id) {
            return Ok(());
        }
        match self.stripe.subscription(&recorded.id).await {
            Ok(found) => at_stripe.subscriptions.push(found),
            Err(error) if error.is_missing() => at_stripe.is_gone = true,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Leaves out the subscriptions that have ended before anything was paid or tried.
    async fn leave_out_unbegun(
        &self,
        at_stripe: &mut AtStripe,
        billing: &Billing,
        catalogue: &plan::View,
    ) -> Result<(), StripeError> {
        while let Some(found) = at_stripe.counting(billing, catalogue) {
            let id = found.id.clone();
            if !is_doubtful(billing, found) || self.stripe.has_paid_invoice(&id).await? {
                break;
            }
            at_stripe.subscriptions.retain(|found| found.id != id);
        }
        Ok(())
    }

    /// Returns when the oldest open invoice of a subscription was made.
    async fn unpaid_since(&self, late: &StripeSubscriptionId) -> Result<Option<Time>, StripeError> {
        let open = self.stripe.open_invoices(late).all().await?;
        let since = open.iter().map(|invoice| invoice.created).min();
        Ok(since.map(Time::from))
    }

    /// Records something, unless the billing has changed since this revision. Returns whether it is
    /// recorded.
    async fn record(
        &self,
        tenant: TenantKey,
        revision: u64,
        payload: billing::Command,
        trace: Trace,
    ) -> anyhow::Result<bool> {
        let mut command = Command::<billing::Area>::by_system(
            CommandId(random_id()?),
            TenantId::Tenant(tenant),
            tenant,
            SystemTime::now().into(),
            payload,
        );
        command.expected = Some(revision);
        let recorded = record(&self.sender, command, trace).await;
        Ok(recorded.context("recording what Stripe has")? == Recorded::Done)
    }
}

/// Returns how the subscription that counts pays for usage otherwise than the plan says that the tenant
/// has now. A plan of the next period does not count before that begins. A subscription that is being
/// changed is left to the effect that changes it, and so is one with a price that no plan has.
fn other_usage(
    billing: &Billing,
    catalogue: &plan::View,
    at_stripe: &AtStripe,
    now: Time,
) -> Option<OtherUsage> {
    let found = at_stripe.counting(billing, catalogue)?;
    let lasts = is_lasting(found) && !billing.is_changing();
    let item = found.item().filter(|_| lasts)?;
    catalogue.priced(&item.price.id)?;
    let price = billing.chosen()?.price_at(now)?;
    let price = catalogue.stripe_prices.get(&price)?;
    let changes = usage_changes(catalogue, found, price);
    (!changes.is_empty()).then(|| OtherUsage {
        subscription: found.id.clone(),
        changes,
    })
}

fn is_past_due(subscription: &Subscription) -> bool {
    paid(subscription).is_ok_and(|paid| paid.status == PaidStatus::PastDue)
}
