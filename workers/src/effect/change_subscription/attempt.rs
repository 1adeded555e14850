//! One attempt to do at Stripe what a tenant has asked for.

use std::time::Duration;

use events_schema::{
    CommandId, StripeCustomerId, StripePriceId, StripePromotionCodeId, TenantKey, Time,
    billing::{Change, Command, Wanted},
    plan,
};

use super::{Task, is_lasting, recorded::being_paid};
use crate::{
    effect::Failure,
    stripe::{
        IdempotencyKey, InvoiceStatus, NewCustomer, NewSubscription, OpenPayment,
        PROMOTION_CODE_UNKNOWN, Rest, Stripe, StripeError, Subscription, SubscriptionStatus, Trial,
    },
};

pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

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

    /// Returns the command that records a refusal, or what has led to it. If the customer is deleted at
    /// Stripe, the tenant gets another one. One that never existed is another account's.
    async fn refused(&self, refusal: StripeError) -> Result<Command, Failure> {
        let known = self.task.record.payment().customer.as_ref();
        let Some(customer) = known.filter(|_| refusal.is_missing()) else {
            return self.task.refused(refusal);
        };
        match self.stripe.customer(customer).await {
            Ok(found) if found.deleted => {
                let customer = customer.clone();
                Ok(Command::ForgetCustomer { customer })
            }
            Ok(found) if found.default_card().is_none() && self.task.must_pay() => Ok(self
                .task
                .failed("card_missing", "Save a card first.".to_owned())),
            Ok(_) => self.task.refused(refusal),
            Err(error) if error.is_missing() => self.task.refused(refusal),
            Err(error) => Err(error.into()),
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
                self.subscribe(customer, wanted).await
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

    /// Lets a customer pay for the wanted plan.
    async fn subscribe(
        &self,
        customer: &StripeCustomerId,
        wanted: &Wanted,
    ) -> Result<Command, Failure> {
        let all = self.stripe.subscriptions(customer).all().await?;
        let CommandId(request) = self.task.pending.request;
        if let Some(done) = all.iter().find(|it| it.was_requested_by(request)) {
            return self.recorded(done).await;
        }
        let lasting = match all.iter().find(|it| is_lasting(it)) {
            Some(lasting) => Some(lasting.clone()),
            None => self.drop_incomplete(&all).await?,
        };
        match lasting {
            Some(lasting) => self.change(&lasting, wanted).await,
            None => self.recorded(&self.create(customer, wanted).await?).await,
        }
    }

    async fn create(
        &self,
        customer: &StripeCustomerId,
        wanted: &Wanted,
    ) -> Result<Subscription, StripeError> {
        let CommandId(request) = self.task.pending.request;
        let promotion_code = self.promotion_code(wanted).await?;
        let usage = self.catalogue.usage_beside(&wanted.stripe_price);
        let usage: Vec<StripePriceId> = usage.into_values().collect();
        let new = |payment| NewSubscription {
            customer: customer.clone(),
            price: wanted.stripe_price.clone(),
            quantity: wanted.quantity,
            usage: usage.clone(),
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

    /// Finds the promotion code that the tenant has entered.
    ///
    /// # Errors
    /// If there is none that can be used.
    pub(super) async fn promotion_code(
        &self,
        wanted: &Wanted,
    ) -> Result<Option<StripePromotionCodeId>, StripeError> {
        let Some(code) = &wanted.promotion_code else {
            return Ok(None);
        };
        let found = self.stripe.promotion_code(code).await?;
        let found = found.ok_or_else(|| StripeError::Declined {
            code: "promotion_code_unknown".to_owned(),
            message: PROMOTION_CODE_UNKNOWN.to_owned(),
        });
        found.map(Some)
    }

    /// Ends the subscriptions that still wait for their first payment: the tenant has asked for
    /// another one. Returns one that its owner has just paid. It is not ended.
    async fn drop_incomplete(&self, all: &[Subscription]) -> Result<Option<Subscription>, Failure> {
        for incomplete in all.iter().filter(is_incomplete) {
            if !self.void_payment(incomplete).await? {
                let present = self.stripe.subscription(&incomplete.id).await?;
                let paid = is_lasting(&present).then_some(present);
                return paid.map(Some).ok_or_else(being_paid);
            }
            self.cancel(incomplete, Rest::Dropped).await?;
        }
        Ok(None)
    }

    /// Ends a subscription now, unless it has ended.
    async fn cancel(&self, ending: &Subscription, rest: Rest) -> Result<(), StripeError> {
        match self.stripe.cancel_subscription(&ending.id, rest).await {
            Err(error) if !error.is_missing() => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Voids the invoice that a subscription waits for, so that its owner cannot confirm it any more.
    /// Returns whether nobody can pay it: `false` if that has just been done.
    pub(super) async fn void_payment(&self, waiting: &Subscription) -> Result<bool, StripeError> {
        let Some(invoice) = &waiting.latest_invoice else {
            return Ok(true);
        };
        let CommandId(request) = self.task.pending.request;
        let key = IdempotencyKey::new(request, &format!("void {invoice}"));
        match self.stripe.void_invoice(key, invoice).await {
            Ok(()) => Ok(true),
            Err(StripeError::Refused { .. }) => {
                let status = self.stripe.invoice(invoice).await?.status;
                Ok(matches!(
                    status,
                    Some(InvoiceStatus::Void | InvoiceStatus::Uncollectible)
                ))
            }
            Err(error) => Err(error),
        }
    }

    /// Ends all subscriptions at once, also one that nothing is recorded of yet. Invoices stay.
    async fn end(&self, customer: Option<&StripeCustomerId>) -> Result<Command, Failure> {
        if let Some(customer) = customer {
            let all = self.stripe.subscriptions(customer).all().await?;
            for lasting in all.iter().filter(|it| is_lasting(it)) {
                self.cancel(lasting, Rest::Charged).await?;
            }
            for incomplete in all.iter().filter(is_incomplete) {
                self.cancel(incomplete, Rest::Dropped).await?;
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
    /// Whether a card pays for what the tenant has asked for.
    const fn must_pay(&self) -> bool {
        match self.pending.change {
            Change::Subscribe { .. } => true,
            Change::Cancel | Change::Resume | Change::End => false,
        }
    }

    /// Returns the length of the trial that the tenant gets. It begins when Stripe does what was
    /// asked for, however long that takes.
    pub(super) fn trial_days(&self) -> Option<u16> {
        let Change::Subscribe { trial_end, .. } = &self.pending.change else {
            return None;
        };
        let length = (*trial_end)?.0 - self.pending.at.0;
        let day = i64::try_from(DAY.as_millis()).ok()?;
        let days = u16::try_from(length.div_euclid(day)).ok();
        days.filter(|days| *days > 0)
    }
}

/// Whether a subscription waits for its first payment.
fn is_incomplete(subscription: &&Subscription) -> bool {
    subscription.status == SubscriptionStatus::Incomplete
}

pub(super) fn needs_owner(done: &Result<Subscription, StripeError>) -> bool {
    matches!(done, Err(StripeError::Declined { code, .. }) if NEEDS_OWNER.contains(&code.as_str()))
}
