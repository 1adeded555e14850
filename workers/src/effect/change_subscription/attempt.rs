//! One attempt to do at Stripe what a tenant has asked for.

use std::time::Duration;

use events_schema::{
    CommandId, StripeCustomerId, StripePriceId, StripePromotionCodeId, TenantKey, Time,
    billing::{Change, ChangeTime, Command, Wanted},
    plan,
};

use super::{Task, is_lasting};
use crate::{
    effect::Failure,
    stripe::{
        self, IdempotencyKey, NewCustomer, NewSubscription, OpenPayment, Proration, Stripe,
        StripeError, Subscription, SubscriptionStatus, Timestamp, Trial, TrialChange,
    },
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

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
    pub(super) now: Time,
}

impl Attempt<'_> {
    /// Does what the tenant has asked for, and returns the command that records it, or that Stripe
    /// refuses it.
    ///
    /// # Errors
    /// If Stripe is away, or has something that nobody expects.
    pub(super) async fn perform(&self, tenant: TenantKey) -> Result<Command, Failure> {
        match self.try_to_perform(tenant).await {
            Err(Failure::Temporary(error)) => match error.downcast() {
                Ok(refusal) => self.refused(refusal).await,
                Err(error) => Err(Failure::Temporary(error)),
            },
            performed => performed,
        }
    }

    /// Returns the command that records a refusal, or what has led to it: the customer is deleted at
    /// Stripe. Then the tenant gets another one.
    async fn refused(&self, refusal: StripeError) -> Result<Command, Failure> {
        let known = self.task.record.payment().customer.as_ref();
        match known.filter(|_| refusal.is_missing()) {
            Some(customer) if self.is_deleted(customer).await? => {
                let customer = customer.clone();
                Ok(Command::ForgetCustomer { customer })
            }
            Some(_) | None => self.task.refused(refusal),
        }
    }

    /// Whether a customer was deleted. One that never existed is another account's.
    async fn is_deleted(&self, customer: &StripeCustomerId) -> Result<bool, StripeError> {
        match self.stripe.customer(customer).await {
            Ok(customer) => Ok(customer.deleted),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn try_to_perform(&self, tenant: TenantKey) -> Result<Command, Failure> {
        let payment = self.task.record.payment();
        match (&self.task.pending.change, &payment.customer) {
            (Change::Subscribe { wanted, .. }, None) => {
                let since = payment.since.unwrap_or(self.task.pending.at);
                self.create_customer(tenant, wanted, since).await
            }
            (Change::Subscribe { wanted, .. }, Some(customer)) => {
                let subscription = self.subscribe(customer, wanted).await?;
                self.recorded(&subscription).await
            }
            (Change::Cancel, _) => self.end_with_period(true).await,
            (Change::Resume, _) => self.end_with_period(false).await,
            (Change::End, customer) => self.end(customer.as_ref()).await,
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
            trial: self.task.trial_days().map_or(Trial::None, Trial::Days),
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
        self.drop_other_change(present, wanted).await?;
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
        let trial = self.trial_after(present, &item.price.id, wanted);
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
            trial,
            payment,
            promotion_code,
        };
        // With another trial, it is another request.
        let key = IdempotencyKey::new(request, &format!("change {trial:?}"));
        let declining = change(OpenPayment::Decline, code.clone());
        let changed = self
            .stripe
            .change_subscription(key, &present.id, &declining);
        let changed = changed.await;
        if !needs_owner(&changed) {
            return changed;
        }
        self.set_discount(present, code.as_ref()).await?;
        let key = IdempotencyKey::new(request, &format!("waiting change {trial:?}"));
        let waiting = change(OpenPayment::Wait, None);
        self.stripe
            .change_subscription(key, &present.id, &waiting)
            .await
    }

    /// Returns what becomes of a trial. It is one of its plan, and does not carry over to another.
    fn trial_after(
        &self,
        present: &Subscription,
        price: &StripePriceId,
        wanted: &Wanted,
    ) -> TrialChange {
        let tried = self.task.record.plan_of(price, self.catalogue);
        let is_same = tried.is_some_and(|(tried, _)| tried.plan == wanted.plan.plan);
        if present.status != SubscriptionStatus::Trialing || is_same {
            return TrialChange::Keep;
        }
        match self.task.trial_days() {
            Some(days) => TrialChange::Until((self.now + DAY * u32::from(days)).into()),
            None => TrialChange::End,
        }
    }

    /// Voids the invoice of a change that an earlier request has asked for, which ends that change.
    /// Otherwise its owner could still confirm it.
    async fn drop_other_change(
        &self,
        present: &Subscription,
        wanted: &Wanted,
    ) -> Result<(), StripeError> {
        let waits = present.has_pending_update();
        let is_other = waits && !present.waits_for(&wanted.stripe_price, wanted.quantity);
        let Some(invoice) = present.latest_invoice.as_ref().filter(|_| is_other) else {
            return Ok(());
        };
        let key = IdempotencyKey::new(self.task.pending.request.0, "void");
        match self.stripe.void_invoice(key, invoice).await {
            // It has just been paid, or has expired.
            Err(StripeError::Refused { .. }) => Ok(()),
            voided => voided,
        }
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

    /// Ends all subscriptions at once, also one that nothing is recorded of yet. Invoices stay.
    async fn end(&self, customer: Option<&StripeCustomerId>) -> Result<Command, Failure> {
        if let Some(customer) = customer {
            let all = self.stripe.subscriptions(customer).all().await?;
            self.cancel_incomplete(&all).await?;
            for lasting in all.iter().filter(|it| is_lasting(it)) {
                match self.stripe.cancel_subscription(&lasting.id).await {
                    Err(error) if !error.is_missing() => return Err(error.into()),
                    Ok(_) | Err(_) => {}
                }
            }
        }
        let Some(paid) = &self.task.record.payment().subscription else {
            let message = "There is no subscription.".to_owned();
            return Ok(self.task.failed("no_subscription", message));
        };
        self.recorded(&self.stripe.subscription(&paid.id).await?)
            .await
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

impl Task {
    /// Returns the length of the trial that the tenant gets. It begins when Stripe does what was
    /// asked for, however long that takes.
    fn trial_days(&self) -> Option<u16> {
        let Change::Subscribe { trial_end, .. } = &self.pending.change else {
            return None;
        };
        let length = (*trial_end)?.0 - self.pending.at.0;
        let day = i64::try_from(DAY.as_millis()).ok()?;
        let days = u16::try_from(length.div_euclid(day)).ok();
        days.filter(|days| *days > 0)
    }
}

fn needs_owner(done: &Result<Subscription, StripeError>) -> bool {
    matches!(done, Err(StripeError::Declined { code, .. }) if NEEDS_OWNER.contains(&code.as_str()))
}
