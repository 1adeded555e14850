//! What is recorded of a subscription: always as Stripe has it now, since an answer to a repeated
//! request is as old as the first one.

use std::time::Duration;

use anyhow::anyhow;
use events_schema::{
    CommandId, PlanVersion, PriceId, StripePriceId,
    billing::{Change, Command, Paid, PaidStatus},
};

use super::{
    Task,
    attempt::Attempt,
    renewal::{before_payment, is_being_paid},
};
use crate::{
    effect::Failure,
    stripe::{ADDRESS_MISSING, PaymentStatus, StripeError, Subscription, SubscriptionStatus},
};

/// How long a payment is given that Stripe is still making.
const PAYING: Duration = Duration::from_secs(5);

impl Attempt<'_> {
    /// Returns the command that records what has become of a subscription. Its price tells the
    /// plan.
    pub(super) async fn recorded(&self, changed: &Subscription) -> Result<Command, Failure> {
        let present = self.stripe.subscription(&changed.id).await?;
        if self.is_unpaid(&present) {
            return self.unpaid(&present).await;
        }
        if self.has_expired(&present).await? {
            let message = "The payment was not confirmed in time. Choose the plan again.";
            return Ok(self.task.failed("expired", message.to_owned()));
        }
        let mut paid = paid(&present)?;
        let billing = &self.task.record;
        if is_being_paid(self.stripe, billing, &present).await? {
            paid = before_payment(billing, paid);
        }
        let request = Some(self.task.pending.request);
        Ok(self.record(self.plan_of(&paid.price), paid, request))
    }

    /// Returns the command that records a subscription as it is before it is changed. The request
    /// is still to be done then.
    pub(super) fn recorded_before(&self, present: &Subscription) -> Result<Command, Failure> {
        let paid = paid(present)?;
        let plan = self.task.record.plan_of(&paid.price, self.catalogue);
        Ok(self.record(plan, paid, None))
    }

    /// Returns the command that records a period which has begun just before the change. Stripe has
    /// charged it for what was paid before, so the plan that the tenant wants comes after it. That
    /// is still to be recorded then.
    pub(super) fn renewed(
        &self,
        (price, quantity): (&StripePriceId, u64),
        changed: &Subscription,
    ) -> Result<Command, Failure> {
        let renewed = Paid {
            price: price.clone(),
            quantity,
            ..paid(changed)?
        };
        let plan = self.task.record.plan_of(&renewed.price, self.catalogue);
        Ok(self.record(plan, renewed, None))
    }

    fn record(
        &self,
        plan: Option<(PlanVersion, PriceId)>,
        subscription: Paid,
        request: Option<CommandId>,
    ) -> Command {
        let Some((plan, price)) = plan else {
            let message = "The subscription has another price. Look at it, and choose again.";
            return self.task.failed("another_price", message.to_owned());
        };
        Command::RecordSubscription {
            plan,
            price,
            subscription,
            past_due_since: None,
            request,
        }
    }

    /// Whether what the tenant has asked for has ended before it was paid.
    async fn has_expired(&self, present: &Subscription) -> Result<bool, StripeError> {
        match (&self.task.pending.change, present.status) {
            (Change::Subscribe { .. }, SubscriptionStatus::IncompleteExpired) => Ok(true),
            (Change::Subscribe { .. }, SubscriptionStatus::Canceled) => {
                Ok(!self.stripe.has_paid_invoice(&present.id).await?)
            }
            (
                Change::Subscribe { .. } | Change::Cancel | Change::Resume | Change::End,
                SubscriptionStatus::Trialing
                | SubscriptionStatus::Active
                | SubscriptionStatus::Incomplete
                | SubscriptionStatus::IncompleteExpired
                | SubscriptionStatus::PastDue
                | SubscriptionStatus::Unpaid
                | SubscriptionStatus::Paused
                | SubscriptionStatus::Canceled
                | SubscriptionStatus::Unknown,
            ) => Ok(false),
        }
    }

    /// Returns the plan and price that a price at Stripe stands for; `None` if the tenant has asked
    /// for another one.
    fn plan_of(&self, price: &StripePriceId) -> Option<(PlanVersion, PriceId)> {
        match &self.task.pending.change {
            Change::Subscribe { wanted, .. } => {
                let is_wanted = wanted.stripe_price == *price;
                is_wanted.then_some((wanted.plan, wanted.price))
            }
            Change::Cancel | Change::Resume | Change::End => {
                self.task.record.plan_of(price, self.catalogue)
            }
        }
    }

    /// Whether what the tenant has asked for waits for its payment. A change of an earlier request
    /// may wait, too.
    fn is_unpaid(&self, present: &Subscription) -> bool {
        match &self.task.pending.change {
            Change::Subscribe { wanted, .. } => {
                present.status == SubscriptionStatus::Incomplete
                    || present.waits_for(&wanted.stripe_price, wanted.quantity)
            }
            Change::Cancel | Change::Resume | Change::End => false,
        }
    }

    /// Returns the command that records why the payment of a change is not made.
    async fn unpaid(&self, open: &Subscription) -> Result<Command, Failure> {
        let Some(invoice) = &open.latest_invoice else {
            return Err(anyhow!("{} at Stripe has no invoice", open.id).into());
        };
        let invoice = self.stripe.invoice(invoice).await?;
        let Some(payment) = invoice.payment() else {
            return Err(anyhow!("{} at Stripe has no payment", invoice.id).into());
        };
        match payment.status {
            PaymentStatus::RequiresAction | PaymentStatus::RequiresConfirmation => {
                Ok(Command::RecordAction {
                    request: self.task.pending.request,
                })
            }
            PaymentStatus::RequiresPaymentMethod | PaymentStatus::Canceled => {
                let error = payment.last_payment_error.as_ref();
                let code = error.map_or("declined", |error| error.code());
                let message = error.and_then(|error| error.message.clone());
                let message = message.unwrap_or_else(|| "The card was declined.".to_owned());
                Ok(self.task.failed(code, message))
            }
            PaymentStatus::Processing
            | PaymentStatus::Succeeded
            | PaymentStatus::RequiresCapture
            | PaymentStatus::Unknown => Err(being_paid()),
        }
    }
}

impl Task {
    /// Returns the command that records a refusal.
    ///
    /// # Errors
    /// If Stripe or the network is away: then it is no refusal.
    pub(super) fn refused(&self, error: StripeError) -> Result<Command, Failure> {
        if error.needs_address() {
            return Ok(self.failed("address_missing", ADDRESS_MISSING.to_owned()));
        }
        match error {
            StripeError::Declined { code, message } => Ok(self.failed(&code, message)),
            StripeError::Refused { code, message } => {
                tracing::error!(code, message, "Stripe refuses to change a subscription");
                let text = "The change is not possible. Ask who runs this service.";
                Ok(self.failed(&code, text.to_owned()))
            }
            StripeError::Key(_)
            | StripeError::RateLimited(_)
            | StripeError::Unavailable(_)
            | StripeError::Repeated(_) => Err(error.into()),
        }
    }

    pub(super) fn failed(&self, code: &str, message: String) -> Command {
        Command::RecordFailure {
            request: self.pending.request,
            code: code.to_owned(),
            message,
        }
    }
}

/// Returns the failure of an attempt that waits for a payment which Stripe is making.
pub(super) fn being_paid() -> Failure {
    Failure::Outage(anyhow!("the payment is being made"), PAYING)
}

/// Returns a subscription as it is recorded.
///
/// # Errors
/// If it pays for nothing, or is in a state that this release does not know.
pub fn paid(present: &Subscription) -> anyhow::Result<Paid> {
    let item = present.item();
    let item = item.ok_or_else(|| anyhow!("{} at Stripe pays for nothing", present.id))?;
    let status = status(present.status);
    let status = status.ok_or_else(|| anyhow!("{} has an unknown state", present.id))?;
    let end = match status {
        // A paused one has ended with its trial.
        PaidStatus::Ended => present
            .ended_at
            .or(present.trial_end)
            .or(Some(item.current_period_end)),
        PaidStatus::Trialing | PaidStatus::Active | PaidStatus::PastDue => present.cancel_at,
    };
    Ok(Paid {
        id: present.id.clone(),
        item: item.id.clone(),
        status,
        price: item.price.id.clone(),
        quantity: item.quantity.unwrap_or(1),
        period_end: item.current_period_end.into(),
        trial_end: present.trial_end.map(Into::into),
        cancel_at: end.map(Into::into),
    })
}

const fn status(status: SubscriptionStatus) -> Option<PaidStatus> {
    match status {
        SubscriptionStatus::Trialing => Some(PaidStatus::Trialing),
        SubscriptionStatus::Active => Some(PaidStatus::Active),
        SubscriptionStatus::PastDue | SubscriptionStatus::Unpaid => Some(PaidStatus::PastDue),
        SubscriptionStatus::Canceled
        | SubscriptionStatus::IncompleteExpired
        | SubscriptionStatus::Paused => Some(PaidStatus::Ended),
        SubscriptionStatus::Incomplete | SubscriptionStatus::Unknown => None,
    }
}
