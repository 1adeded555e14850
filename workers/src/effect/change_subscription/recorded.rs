//! What is recorded of a subscription: always as Stripe has it now, since an answer to a repeated
//! request is as old as the first one.

use std::time::Duration;

use anyhow::anyhow;
use events_schema::{
    PlanVersion, PriceId, StripePriceId,
    billing::{Command, Paid, PaidStatus},
};

use super::{ChangeSubscription, Task};
use crate::{
    effect::Failure,
    stripe::{PaymentStatus, StripeError, Subscription, SubscriptionStatus},
};

/// How long a payment is given that Stripe is still making.
const PAYING: Duration = Duration::from_secs(5);

impl ChangeSubscription {
    /// Returns the command that records what has become of a change. If it was done, the tenant has
    /// this plan, and pays this price for it.
    pub(super) async fn recorded(
        &self,
        task: &Task,
        changed: &Subscription,
        ((plan, price), stripe_price): ((PlanVersion, PriceId), &StripePriceId),
    ) -> Result<Command, Failure> {
        let present = self.0.subscription(&changed.id).await?;
        let is_open = present.status == SubscriptionStatus::Incomplete;
        if is_open || present.has_pending_update() {
            return self.unpaid(task, &present).await;
        }
        let paid = paid(&present)?;
        if paid.price != *stripe_price {
            return Err(anyhow!("{} at Stripe has another price", present.id).into());
        }
        Ok(Command::RecordSubscription {
            plan,
            price,
            subscription: paid,
            past_due_since: None,
            request: Some(task.pending.request),
        })
    }

    /// Returns the command that records why the payment of a change is not made.
    async fn unpaid(&self, task: &Task, open: &Subscription) -> Result<Command, Failure> {
        let Some(invoice) = &open.latest_invoice else {
            return Err(anyhow!("{} at Stripe has no invoice", open.id).into());
        };
        let invoice = self.0.invoice(invoice).await?;
        let Some(payment) = invoice.payment() else {
            return Err(anyhow!("{} at Stripe has no payment", invoice.id).into());
        };
        match payment.status {
            PaymentStatus::RequiresAction | PaymentStatus::RequiresConfirmation => {
                Ok(Command::RecordAction {
                    request: task.pending.request,
                })
            }
            PaymentStatus::RequiresPaymentMethod | PaymentStatus::Canceled => {
                let error = payment.last_payment_error.as_ref();
                let code = error.map_or("declined", |error| error.code());
                let message = error.and_then(|error| error.message.clone());
                let message = message.unwrap_or_else(|| "The card was declined.".to_owned());
                Ok(task.failed(code, message))
            }
            PaymentStatus::Processing
            | PaymentStatus::Succeeded
            | PaymentStatus::RequiresCapture
            | PaymentStatus::Unknown => Err(Failure::Outage(
                anyhow!("the payment is being made"),
                PAYING,
            )),
        }
    }
}

impl Task {
    /// Returns the command that records a refusal.
    ///
    /// # Errors
    /// If Stripe or the network is away: then it is no refusal.
    pub(super) fn refused(&self, error: StripeError) -> Result<Command, Failure> {
        match error {
            StripeError::Declined { code, message } => Ok(self.failed(&code, message)),
            StripeError::Refused { code, message } => {
                tracing::error!(code, message, "Stripe refuses to change a subscription");
                let text = "The change is not possible. Ask who runs this service.";
                Ok(self.failed(&code, text.to_owned()))
            }
            StripeError::Key(_) | StripeError::RateLimited(_) | StripeError::Unavailable(_) => {
                Err(error.into())
            }
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
        PaidStatus::Ended => present.ended_at.or(Some(item.current_period_end)),
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
