//! A change of a subscription that lasts: another plan, price, quantity or promotion code.

use events_schema::{
    CommandId, Reject as _,
    billing::{ChangeTime, Command, Paid, Wanted},
};

use super::{
    attempt::{Attempt, needs_owner},
    is_being_paid,
    recorded::{being_paid, paid},
    trial_after, usage_changes, usage_changes_with,
};
use crate::{
    domain::billing::Rejection,
    effect::Failure,
    stripe::{
        self, IdempotencyKey, Item, NewDiscount, OpenPayment, Proration, StripeError, Subscription,
        SubscriptionStatus, Timestamp,
    },
};

impl Attempt<'_> {
    /// Changes what a subscription pays for, and returns the command that records what has become
    /// of that. One that would end goes on, once the change is paid.
    pub(super) async fn change(
        &self,
        present: &Subscription,
        wanted: &Wanted,
    ) -> Result<Command, Failure> {
        let Some(item) = present.item() else {
            let message = format!("{} at Stripe pays for nothing", present.id);
            return self.task.refused(StripeError::Refused {
                code: "no_item".to_owned(),
                message,
            });
        };
        let is_so = is_so(item, wanted);
        if !is_so && is_late(present) {
            let missing = Rejection::PaymentMissing.to_rejection();
            return Ok(self.task.failed(&missing.code, missing.message));
        }
        if !is_so && wanted.at == ChangeTime::PeriodEnd && !self.is_recorded(present)? {
            if is_being_paid(self.stripe, &self.task.record, present).await? {
                return Err(being_paid());
            }
            return self.recorded_before(present);
        }
        if is_so
            && wanted.at == ChangeTime::PeriodEnd
            && let Some(before) = self.charged_before(present, item).await?
        {
            return self.renewed((&before.price, before.quantity), present);
        }
        self.drop_other_change(present, wanted).await?;
        let changed = self.change_item(present, item, wanted).await?;
        if wanted.at == ChangeTime::PeriodEnd && has_renewed(item, &changed) {
            let before = (&item.price.id, item.quantity.unwrap_or(1));
            return self.renewed(before, &changed);
        }
        self.follow_plan(&changed, wanted).await?;
        if present.cancel_at.is_some() && !changed.has_pending_update() {
            let key = IdempotencyKey::new(self.task.pending.request.0, "resume");
            self.stripe.end_with_period(key, &present.id, false).await?;
        }
        self.recorded(&changed).await
    }

    /// Whether the record has what is paid for, and until when. A plan for the next period comes at
    /// the end of the recorded one.
    fn is_recorded(&self, present: &Subscription) -> anyhow::Result<bool> {
        let paid_for = |paid: &Paid| (paid.price.clone(), paid.quantity, paid.period_end);
        let recorded = self.task.record.payment().lasting().map(paid_for);
        Ok(recorded == Some(paid_for(&paid(present)?)))
    }

    /// Returns what was paid for before Stripe had the wanted plan, if Stripe has charged that for
    /// the period which has begun since the last record. A worker was killed, or got no answer, after
    /// it had asked for the plan.
    async fn charged_before(
        &self,
        present: &Subscription,
        item: &Item,
    ) -> Result<Option<&Paid>, StripeError> {
        let recorded = self.task.record.payment().lasting().filter(|recorded| {
            recorded.price != item.price.id && recorded.period_end < item.current_period_end.into()
        });
        let (Some(recorded), Some(invoice)) = (recorded, &present.latest_invoice) else {
            return Ok(None);
        };
        let invoice = self.stripe.invoice(invoice).await?;
        Ok(invoice
            .charges_period_at(&recorded.price)
            .then_some(recorded))
    }

    async fn change_item(
        &self,
        present: &Subscription,
        item: &Item,
        wanted: &Wanted,
    ) -> Result<Subscription, StripeError> {
        let discount = self.new_discount(present, wanted).await?;
        if is_so(item, wanted) {
            self.set_discount(present, discount.as_ref()).await?;
            return Ok(present.clone());
        }
        let CommandId(request) = self.task.pending.request;
        let usage = usage_changes_with(self.catalogue, present, &wanted.stripe_price);
        let tries = (wanted.plan.plan, self.task.trial_days());
        let trial = trial_after(&self.task.record, self.catalogue, present, tries, self.now);
        let change = |payment, discount| stripe::Change {
            item: item.id.clone(),
            price: wanted.stripe_price.clone(),
            quantity: wanted.quantity,
            usage: usage.clone(),
            proration: proration(wanted),
            trial,
            payment,
            discount,
        };
        // With another trial, other items for usage or taxes, or without the code, it is another
        // request.
        let code = if discount.is_some() { " with code" } else { "" };
        let kind = format!("{trial:?} {usage:?} {:?}", self.stripe.tax());
        let key = IdempotencyKey::new(request, &format!("change {kind}{code}"));
        let declining = change(OpenPayment::Decline, discount.clone());
        let changed = self
            .stripe
            .change_subscription(key, &present.id, &declining);
        let changed = changed.await;
        if !needs_owner(&changed) {
            return changed;
        }
        self.set_discount(present, discount.as_ref()).await?;
        let key = IdempotencyKey::new(request, "taxes");
        self.stripe.add_taxes(key, &present.id).await?;
        let key = IdempotencyKey::new(request, &format!("waiting change {kind}"));
        let waiting = change(OpenPayment::Wait, None);
        let changed = self.stripe.change_subscription(key, &present.id, &waiting);
        changed.await
    }

    /// Lets usage cost what the plan says that the tenant has now. Before a plan begins, usage
    /// costs what the present one says; reconciling lets it follow then.
    async fn follow_plan(
        &self,
        changed: &Subscription,
        wanted: &Wanted,
    ) -> Result<(), StripeError> {
        if wanted.at == ChangeTime::PeriodEnd || changed.has_pending_update() {
            return Ok(());
        }
        let changes = usage_changes(self.catalogue, changed, &wanted.stripe_price);
        if !changes.is_empty() {
            let step = format!("usage {changes:?}");
            let key = IdempotencyKey::new(self.task.pending.request.0, &step);
            self.stripe.change_usage(key, &changed.id, &changes).await?;
        }
        Ok(())
    }

    /// Ends a change that an earlier request has asked for. Otherwise its owner could still confirm
    /// it.
    async fn drop_other_change(
        &self,
        present: &Subscription,
        wanted: &Wanted,
    ) -> Result<(), Failure> {
        let waits = present.has_pending_update();
        let is_other = waits && !present.waits_for(&wanted.stripe_price, wanted.quantity);
        if is_other && !self.void_payment(present).await? {
            return Err(being_paid());
        }
        Ok(())
    }

    /// Returns what is to make a subscription cheaper. A code counts once, also if it makes a
    /// change cheaper whose answer is lost.
    async fn new_discount(
        &self,
        present: &Subscription,
        wanted: &Wanted,
    ) -> Result<Option<NewDiscount>, StripeError> {
        let CommandId(request) = self.task.pending.request;
        if present.was_discounted_by(request) {
            return Ok(None);
        }
        let code = self.promotion_code(wanted).await?;
        Ok(code.map(|code| NewDiscount { code, request }))
    }

    async fn set_discount(
        &self,
        present: &Subscription,
        discount: Option<&NewDiscount>,
    ) -> Result<(), StripeError> {
        if let Some(discount) = discount {
            let key = IdempotencyKey::new(discount.request, "discount");
            self.stripe.set_discount(key, &present.id, discount).await?;
        }
        Ok(())
    }
}

/// Whether a subscription pays for what is wanted.
fn is_so(item: &Item, wanted: &Wanted) -> bool {
    item.price.id == wanted.stripe_price && item.quantity == Some(wanted.quantity)
}

/// Whether a period has begun since this was read.
fn has_renewed(before: &Item, changed: &Subscription) -> bool {
    let now = changed.item().map(|item| item.current_period_end);
    now.is_some_and(|end| end != before.current_period_end)
}

/// Whether a payment is missing. Stripe would give back what was never paid.
fn is_late(present: &Subscription) -> bool {
    match present.status {
        SubscriptionStatus::PastDue | SubscriptionStatus::Unpaid => true,
        SubscriptionStatus::Trialing
        | SubscriptionStatus::Active
        | SubscriptionStatus::Paused
        | SubscriptionStatus::Incomplete
        | SubscriptionStatus::IncompleteExpired
        | SubscriptionStatus::Canceled
        | SubscriptionStatus::Unknown => false,
    }
}

fn proration(wanted: &Wanted) -> Proration {
    match wanted.at {
        ChangeTime::Now => Proration::Now {
            from: wanted.proration_date.map(Timestamp::from),
        },
        ChangeTime::PeriodEnd => Proration::None,
    }
}
