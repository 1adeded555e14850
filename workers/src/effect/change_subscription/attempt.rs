//! One attempt to do at Stripe what a tenant has asked for.

use events_schema::{
    CommandId, StripeCustomerId, StripePromotionCodeId, TenantKey, Time,
    billing::{Change, ChangeTime, Command, Wanted},
    plan,
};

use super::{Task, is_lasting};
use crate::{
    effect::Failure,
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

/// One attempt, and the plans that there are.
pub(super) struct Attempt<'a> {
    pub(super) stripe: &'a Stripe,
    pub(super) catalogue: &'a plan::View,
    pub(super) task: &'a Task,
}

impl Attempt<'_> {
    /// Does what the tenant has asked for, and returns the command that records it.
    ///
    /// # Errors
    /// If Stripe is away, or has something that nobody expects.
    pub(super) async fn perform(&self, tenant: TenantKey) -> Result<Command, Failure> {
        let payment = self.task.record.payment();
        match (&self.task.pending.change, &payment.customer) {
            (Change::Subscribe { wanted, .. }, None) => {
                let since = payment.since.unwrap_or(self.task.pending.at);
                self.create_customer(tenant, wanted, since).await
            }
            (Change::Subscribe { wanted, trial_end }, Some(customer)) => {
                match self.subscribe(customer, wanted, *trial_end).await {
                    Ok(subscription) => self.recorded(&subscription).await,
                    Err(error) => self.task.refused(error),
                }
            }
            (Change::Cancel, _) => self.end_with_period(true).await,
            (Change::Resume, _) => self.end_with_period(false).await,
        }
    }

    /// Creates the tenant's customer, unless an attempt of long ago has done so.
    async fn create_customer(
        &self,
        tenant: TenantKey,
        wanted: &Wanted,
        since: Time,
    ) -> Result<Command, Failure> {
        let name = wanted.name.clone();
        let customer = self
            .stripe
            .customer_of(&NewCustomer { tenant, name }, since)
            .await?;
        let customer = customer.id;
        Ok(Command::RecordCustomer { customer })
    }

    /// Returns the subscription that pays for the wanted plan.
    async fn subscribe(
        &self,
        customer: &StripeCustomerId,
        wanted: &Wanted,
        trial_end: Option<Time>,
    ) -> Result<Subscription, StripeError> {
        let all = self.stripe.subscriptions(customer).all().await?;
        let request = self.task.pending.request.0;
        if let Some(done) = all.iter().find(|it| it.was_requested_by(request)) {
            return Ok(done.clone());
        }
        let promotion_code = self.promotion_code(wanted).await?;
        if let Some(lasting) = all.iter().find(|it| is_lasting(it)) {
            return self.change(lasting, wanted, promotion_code).await;
        }
        self.cancel_incomplete(&all).await?;
        let new = |payment| NewSubscription {
            customer: customer.clone(),
            price: wanted.stripe_price.clone(),
            quantity: wanted.quantity,
            trial: trial_end.map_or(Trial::None, |end| Trial::Until(end.into())),
            promotion_code: promotion_code.clone(),
            payment,
            request,
        };
        let key = IdempotencyKey::new(request, "subscription");
        let declining = new(OpenPayment::Decline);
        let created = self.stripe.create_subscription(key, &declining).await;
        if !needs_owner(&created) {
            return created;
        }
        let key = IdempotencyKey::new(request, "waiting subscription");
        let waiting = new(OpenPayment::Wait);
        self.stripe.create_subscription(key, &waiting).await
    }

    /// Changes what a subscription pays for. One that would end goes on, unless the card is declined.
    async fn change(
        &self,
        present: &Subscription,
        wanted: &Wanted,
        code: Option<StripePromotionCodeId>,
    ) -> Result<Subscription, StripeError> {
        let changed = self.change_item(present, wanted, code).await?;
        if present.cancel_at.is_some() {
            let key = IdempotencyKey::new(self.task.pending.request.0, "resume");
            self.stripe.end_with_period(key, &present.id, false).await?;
        }
        Ok(changed)
    }

    async fn change_item(
        &self,
        present: &Subscription,
        wanted: &Wanted,
        code: Option<StripePromotionCodeId>,
    ) -> Result<Subscription, StripeError> {
        let CommandId(request) = self.task.pending.request;
        let Some(item) = present.item() else {
            return Err(StripeError::Refused {
                code: "no_item".to_owned(),
                message: format!("{} at Stripe pays for nothing", present.id),
            });
        };
        if item.price.id == wanted.stripe_price && item.quantity == Some(wanted.quantity) {
            self.set_discount(present, code.as_ref()).await?;
            return Ok(present.clone());
        }
        let proration = match wanted.at {
            ChangeTime::Now => Proration::Now {
                from: wanted.proration_date.map(Timestamp::from),
            },
            ChangeTime::PeriodEnd => Proration::None,
        };
        let change = |payment, promotion_code| stripe::Change {
            item: item.id.clone(),
            price: wanted.stripe_price.clone(),
            quantity: wanted.quantity,
            proration,
            payment,
            promotion_code,
        };
        let key = IdempotencyKey::new(request, "change");
        let declining = change(OpenPayment::Decline, code.clone());
        let changed = self
            .stripe
            .change_subscription(key, &present.id, &declining);
        let changed = changed.await;
        if !needs_owner(&changed) {
            return changed;
        }
        self.set_discount(present, code.as_ref()).await?;
        let key = IdempotencyKey::new(request, "waiting change");
        let waiting = change(OpenPayment::Wait, None);
        self.stripe
            .change_subscription(key, &present.id, &waiting)
            .await
    }

    /// Finds the promotion code that the tenant has entered.
    ///
    /// # Errors
    /// If there is none that can be used.
    async fn promotion_code(
        &self,
        wanted: &Wanted,
    ) -> Result<Option<StripePromotionCodeId>, StripeError> {
        let Some(code) = &wanted.promotion_code else {
            return Ok(None);
        };
        let found = self.stripe.promotion_code(code).await?;
        let found = found.ok_or_else(|| StripeError::Declined {
            code: "promotion_code_unknown".to_owned(),
            message: "This promotion code does not exist, or has ended.".to_owned(),
        });
        found.map(Some)
    }

    async fn set_discount(
        &self,
        present: &Subscription,
        code: Option<&StripePromotionCodeId>,
    ) -> Result<(), StripeError> {
        if let Some(code) = code {
            let key = IdempotencyKey::new(self.task.pending.request.0, "discount");
            self.stripe.set_discount(key, &present.id, code).await?;
        }
        Ok(())
    }

    /// Cancels subscriptions that still wait for their first payment: the tenant has asked for
    /// another one.
    async fn cancel_incomplete(&self, all: &[Subscription]) -> Result<(), StripeError> {
        let is_incomplete = |it: &&Subscription| it.status == SubscriptionStatus::Incomplete;
        for incomplete in all.iter().filter(is_incomplete) {
            match self.stripe.cancel_subscription(&incomplete.id).await {
                Err(error) if !error.is_missing() => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Lets the subscription that the record knows end with its period, or go on. If it has ended at
    /// Stripe, that is recorded.
    async fn end_with_period(&self, ends: bool) -> Result<Command, Failure> {
        let Some(paid) = &self.task.record.payment().subscription else {
            let message = "There is no subscription.".to_owned();
            return Ok(self.task.failed("no_subscription", message));
        };
        let present = self.stripe.subscription(&paid.id).await?;
        if is_lasting(&present) && present.cancel_at.is_some() != ends {
            let step = if ends { "cancel" } else { "resume" };
            let key = IdempotencyKey::new(self.task.pending.request.0, step);
            self.stripe.end_with_period(key, &paid.id, ends).await?;
        }
        self.recorded(&present).await
    }
}

fn needs_owner(done: &Result<Subscription, StripeError>) -> bool {
    matches!(done, Err(StripeError::Declined { code, .. }) if NEEDS_OWNER.contains(&code.as_str()))
}
