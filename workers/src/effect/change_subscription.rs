//! Does at Stripe what a tenant has asked for: to pay for a plan, to end that, or to go on.
//!
//! Each attempt first looks at what Stripe has, so a repetition finds what was done before, also
//! after Stripe has forgotten its keys.

mod recorded;

pub(crate) use self::recorded::paid;

use events_schema::{
    CommandId, PlanVersion, PriceId, StripeCustomerId, TenantKey, Time,
    billing::{Change, Command, Event, Paid, Pending, PendingStatus, Wanted},
};

use crate::{
    config::Config,
    domain::billing::Billing,
    effect::{Effect, Failure, Lane, Undone, stripe_failure},
    stripe::{
        self, IdempotencyKey, NewCustomer, NewSubscription, OpenPayment, Proration, Stripe,
        StripeError, Subscription, SubscriptionStatus, Timestamp, Trial,
    },
};

/// What Stripe says if the owner of the card must confirm the payment.
const NEEDS_OWNER: [&str; 3] = [
    "authentication_required",
    "invoice_payment_intent_requires_action",
    "subscription_payment_intent_requires_action",
];

/// Changes subscriptions.
pub struct ChangeSubscription(Stripe);

/// What a tenant has asked for, and what is known of it.
pub struct Task {
    pending: Pending,
    customer: Option<StripeCustomerId>,
    /// When the tenant first asked for something.
    since: Time,
    /// The plan and price that it has chosen before.
    chosen: Option<(PlanVersion, PriceId)>,
    paid: Option<Paid>,
}

impl Effect for ChangeSubscription {
    type Record = Billing;
    type Task = Task;
    const NAME: &'static str = "change_subscription";
    const UNDONE: Option<Undone> = None;

    fn new(config: &Config) -> anyhow::Result<Option<Self>> {
        Ok(Stripe::new(&config.stripe)?.map(Self))
    }

    fn attempts(&self) -> i64 {
        stripe_failure::ATTEMPTS
    }

    /// A recorded customer is the first half of a change.
    fn is_requested_by(event: &Event) -> bool {
        match event {
            Event::ChangeRequested { .. }
            | Event::CancelRequested { .. }
            | Event::ResumeRequested { .. }
            | Event::CustomerRecorded { .. } => true,
            Event::Changed { .. }
            | Event::TrialStarted { .. }
            | Event::Cancelled { .. }
            | Event::Resumed
            | Event::Overridden(_)
            | Event::OverrideEnded
            | Event::Granted(_)
            | Event::GrantEnded
            | Event::CustomerExpected { .. }
            | Event::CustomerForgotten { .. }
            | Event::SubscriptionRecorded { .. }
            | Event::ActionRequired { .. }
            | Event::ChangeFailed { .. } => false,
        }
    }

    fn pending(record: &Billing) -> Option<Task> {
        let payment = record.payment();
        let pending = payment.pending.clone()?;
        let chosen = record.chosen();
        (pending.status == PendingStatus::Pending).then(|| Task {
            customer: payment.customer.clone(),
            since: payment.since.unwrap_or(pending.at),
            chosen: chosen.and_then(|chosen| Some((chosen.plan, chosen.price?))),
            paid: payment.subscription.clone(),
            pending,
        })
    }

    /// Somebody waits for it, and no tenant holds up another.
    fn lane(task: &Task) -> Lane {
        Lane {
            destination: task.pending.request.to_string(),
            is_urgent: true,
            not_before: None,
        }
    }

    async fn perform(&self, tenant: TenantKey, task: &Task) -> Result<Command, Failure> {
        match (&task.pending.change, &task.customer) {
            (Change::Subscribe { wanted, .. }, None) => {
                self.create_customer(tenant, wanted, task.since).await
            }
            (Change::Subscribe { wanted, trial_end }, Some(customer)) => {
                let done = self.subscribe(task, customer, wanted, *trial_end).await;
                match done {
                    Ok(subscription) => {
                        let plan = ((wanted.plan, wanted.price), &wanted.stripe_price);
                        self.recorded(task, &subscription, plan).await
                    }
                    Err(error) => task.refused(error),
                }
            }
            (Change::Cancel, _) => self.end_with_period(task, true).await,
            (Change::Resume, _) => self.end_with_period(task, false).await,
        }
    }

    fn failed(task: &Task, reason: String) -> Command {
        task.failed("internal", reason)
    }
}

impl ChangeSubscription {
    /// Creates the tenant's customer, unless an attempt of long ago has done so.
    async fn create_customer(
        &self,
        tenant: TenantKey,
        wanted: &Wanted,
        since: Time,
    ) -> Result<Command, Failure> {
        let name = wanted.name.clone();
        let customer = self
            .0
            .customer_of(&NewCustomer { tenant, name }, since)
            .await?;
        let customer = customer.id;
        Ok(Command::RecordCustomer { customer })
    }

    /// Returns the subscription that pays for the wanted plan.
    async fn subscribe(
        &self,
        task: &Task,
        customer: &StripeCustomerId,
        wanted: &Wanted,
        trial_end: Option<Time>,
    ) -> Result<Subscription, StripeError> {
        let all = self.0.subscriptions(customer).all().await?;
        let request = task.pending.request.0;
        if let Some(done) = all.iter().find(|it| it.was_requested_by(request)) {
            return Ok(done.clone());
        }
        if let Some(lasting) = all.iter().find(|it| is_lasting(it)) {
            return self.change(task.pending.request, lasting, wanted).await;
        }
        self.cancel_incomplete(&all).await?;
        let new = |payment| NewSubscription {
            customer: customer.clone(),
            price: wanted.stripe_price.clone(),
            quantity: wanted.quantity,
            trial: trial_end.map_or(Trial::None, |end| Trial::Until(end.into())),
            promotion_code: None,
            payment,
            request,
        };
        let key = IdempotencyKey::new(request, "subscription");
        let declining = new(OpenPayment::Decline);
        let created = self.0.create_subscription(key, &declining).await;
        if !needs_owner(&created) {
            return created;
        }
        let key = IdempotencyKey::new(request, "waiting subscription");
        let waiting = new(OpenPayment::Wait);
        self.0.create_subscription(key, &waiting).await
    }

    async fn change(
        &self,
        CommandId(request): CommandId,
        present: &Subscription,
        wanted: &Wanted,
    ) -> Result<Subscription, StripeError> {
        if present.cancel_at.is_some() {
            let key = IdempotencyKey::new(request, "resume");
            self.0.end_with_period(key, &present.id, false).await?;
        }
        let Some(item) = present.item() else {
            return Err(StripeError::Refused {
                code: "no_item".to_owned(),
                message: format!("{} at Stripe pays for nothing", present.id),
            });
        };
        if item.price.id == wanted.stripe_price && item.quantity == Some(wanted.quantity) {
            return Ok(present.clone());
        }
        let from = wanted.proration_date.map(Timestamp::from);
        let change = |payment| stripe::Change {
            item: item.id.clone(),
            price: wanted.stripe_price.clone(),
            quantity: wanted.quantity,
            proration: Proration::Now { from },
            payment,
        };
        let key = IdempotencyKey::new(request, "change");
        let declining = change(OpenPayment::Decline);
        let changed = self.0.change_subscription(key, &present.id, &declining);
        let changed = changed.await;
        if !needs_owner(&changed) {
            return changed;
        }
        let key = IdempotencyKey::new(request, "waiting change");
        let waiting = change(OpenPayment::Wait);
        self.0.change_subscription(key, &present.id, &waiting).await
    }

    /// Cancels subscriptions that still wait for their first payment: the tenant has asked for
    /// another one.
    async fn cancel_incomplete(&self, all: &[Subscription]) -> Result<(), StripeError> {
        let is_incomplete = |it: &&Subscription| it.status == SubscriptionStatus::Incomplete;
        for incomplete in all.iter().filter(is_incomplete) {
            match self.0.cancel_subscription(&incomplete.id).await {
                Err(error) if !error.is_missing() => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Lets the subscription that the record knows end with its period, or go on. If it has ended at
    /// Stripe, that is recorded.
    async fn end_with_period(&self, task: &Task, ends: bool) -> Result<Command, Failure> {
        let (Some(paid), Some(chosen)) = (&task.paid, task.chosen) else {
            let message = "There is no subscription.".to_owned();
            return Ok(task.failed("no_subscription", message));
        };
        let present = self.0.subscription(&paid.id).await?;
        if is_lasting(&present) && present.cancel_at.is_some() != ends {
            let step = if ends { "cancel" } else { "resume" };
            let key = IdempotencyKey::new(task.pending.request.0, step);
            self.0.end_with_period(key, &paid.id, ends).await?;
        }
        self.recorded(task, &present, (chosen, &paid.price)).await
    }
}

/// Whether a subscription is paid for, or will be, or should have been.
pub(crate) const fn is_lasting(subscription: &Subscription) -> bool {
    match subscription.status {
        SubscriptionStatus::Trialing
        | SubscriptionStatus::Active
        | SubscriptionStatus::PastDue
        | SubscriptionStatus::Unpaid => true,
        SubscriptionStatus::Paused
        | SubscriptionStatus::Incomplete
        | SubscriptionStatus::IncompleteExpired
        | SubscriptionStatus::Canceled
        | SubscriptionStatus::Unknown => false,
    }
}

fn needs_owner(done: &Result<Subscription, StripeError>) -> bool {
    matches!(done, Err(StripeError::Declined { code, .. }) if NEEDS_OWNER.contains(&code.as_str()))
}

#[cfg(test)]
mod tests;
