//! What is to be recorded of a tenant's payments: a function of what Stripe has, and of what the log
//! has.

use std::time::Duration;

use events_schema::{
    CommandId, PlanVersion, PriceId, Time,
    billing::{Change, Command, Paid, PaidStatus, Payment, Pending, PendingStatus},
    plan,
};

use crate::{
    domain::billing::Billing,
    effect::change_subscription::{before_payment, is_lasting, paid},
    stripe::{Item, Subscription, SubscriptionStatus},
};

/// A change that is not done after this time is requested again: the request may be lost.
const LOST_AFTER: Duration = Duration::from_secs(60 * 60);

/// What Stripe has of a customer.
#[derive(Default)]
pub(super) struct AtStripe {
    /// All subscriptions, also ended ones, the latest first.
    pub(super) subscriptions: Vec<Subscription>,
    /// Since when a payment of the subscription that counts is missing.
    pub(super) past_due_since: Option<Time>,
    /// Whether a plan would begin with the subscription that counts, and its payment is still to be
    /// made.
    pub(super) is_being_paid: bool,
    /// Whether the recorded subscription does not exist any more.
    pub(super) is_gone: bool,
    /// Whether the customer is deleted.
    pub(super) is_deleted: bool,
}

/// What is to be done about the difference between the log and Stripe.
#[derive(Debug, PartialEq)]
pub(crate) enum Due {
    /// There is none.
    Nothing,
    /// Send this command.
    Record(Command),
    /// A person must look at it, for this reason.
    Unclear(String),
}

impl AtStripe {
    /// Returns the subscriptions that cost money or will, the latest first.
    pub(super) fn lasting(&self) -> impl Iterator<Item = &Subscription> {
        self.subscriptions.iter().filter(|found| is_lasting(found))
    }

    /// Returns the subscription that counts: the latest that lasts, or else the latest that has
    /// lasted. An ended one that was never recorded does not take the plan that the tenant has
    /// chosen otherwise.
    pub(super) fn counting(
        &self,
        billing: &Billing,
        catalogue: &plan::View,
    ) -> Option<&Subscription> {
        let has_other_plan = billing.chosen().is_some() && billing.payment().lasting().is_none();
        let ended = self
            .subscriptions
            .iter()
            .filter(|found| has_lasted(found) && (!has_other_plan || is_recorded(billing, found)));
        let mut all = self.lasting().chain(ended);
        all.find(|found| is_for_plan(billing, catalogue, found))
    }

    /// Returns the subscriptions to plans that cost money, or will, beside the one that counts.
    pub(super) fn duplicates(
        &self,
        billing: &Billing,
        catalogue: &plan::View,
    ) -> impl Iterator<Item = &Subscription> {
        let for_plans = self
            .lasting()
            .filter(|found| is_for_plan(billing, catalogue, found));
        for_plans.skip(1)
    }
}

/// Whether a subscription pays for a plan, and not for something else that Stripe sells.
fn is_for_plan(billing: &Billing, catalogue: &plan::View, found: &Subscription) -> bool {
    let price = found.item().map(|item| &item.price.id);
    let is_priced = price.is_some_and(|price| catalogue.priced(price).is_some());
    is_recorded(billing, found) || is_priced
}

/// Whether the log knows this subscription as what the tenant pays for.
fn is_recorded(billing: &Billing, found: &Subscription) -> bool {
    let recorded = billing.payment().subscription.as_ref();
    recorded.is_some_and(|recorded| recorded.id == found.id)
}

/// Whether a subscription may have ended before it began. That matters only if the log knows none.
pub(super) fn is_doubtful(billing: &Billing, found: &Subscription) -> bool {
    billing.payment().subscription.is_none() && has_lasted(found)
}

/// Returns what is to be recorded of a tenant. Stripe wins for money, and the log for plans: a price
/// that no plan has changes what the tenant pays, and not its plan.
pub(super) fn due(
    billing: &Billing,
    catalogue: &plan::View,
    at_stripe: &AtStripe,
    now: Time,
) -> Due {
    let counting = at_stripe.counting(billing, catalogue);
    let subscription = match counting {
        Some(found) => present(billing, catalogue, at_stripe, found, now),
        None => gone(billing, at_stripe, now),
    };
    let payment = billing.payment();
    match (subscription, payment.pending.as_ref()) {
        (Due::Nothing, Some(pending)) if counting.is_some_and(|it| is_ending(pending, it)) => {
            again(pending)
        }
        (Due::Nothing, Some(pending)) if has_expired(pending, at_stripe) => expired(pending),
        (Due::Nothing, _) if at_stripe.is_deleted => forget(payment),
        (Due::Nothing, _) => lost(payment, now).unwrap_or(Due::Nothing),
        (due, _) => due,
    }
}

/// Returns what is to be done about a request that is lost; `None` if none is.
pub(super) fn lost(payment: &Payment, now: Time) -> Option<Due> {
    let pending = payment.pending.as_ref()?;
    is_lost(pending, now).then(|| again(pending))
}

fn again(pending: &Pending) -> Due {
    let request = pending.request;
    Due::Record(Command::RequestAgain { request })
}

/// The tenant needs another customer before it can pay again.
fn forget(payment: &Payment) -> Due {
    let customer = payment.customer.clone();
    customer.map_or(Due::Nothing, |customer| {
        Due::Record(Command::ForgetCustomer { customer })
    })
}

/// Whether a change should have been done long ago.
fn is_lost(pending: &Pending, now: Time) -> bool {
    pending.status == PendingStatus::Pending && pending.at + LOST_AFTER <= now
}

fn present(
    billing: &Billing,
    catalogue: &plan::View,
    at_stripe: &AtStripe,
    found: &Subscription,
    now: Time,
) -> Due {
    let paid = match paid(found) {
        Ok(paid) if at_stripe.is_being_paid => before_payment(billing, paid),
        Ok(paid) => paid,
        Err(error) => return Due::Unclear(format!("{error:#}")),
    };
    let Some((plan, price)) = billing.plan_of(&paid.price, catalogue) else {
        return Due::Unclear(format!("{} has a price of no plan", found.id));
    };
    if is_in_hand(billing.payment(), &paid) {
        return Due::Nothing;
    }
    let request = fulfilled(billing.payment(), found, &paid);
    let since = at_stripe.past_due_since;
    record(billing, (plan, price), paid, since, request, now)
}

/// A recorded subscription that does not exist any more has ended.
fn gone(billing: &Billing, at_stripe: &AtStripe, now: Time) -> Due {
    let lasting = billing.payment().lasting().filter(|_| at_stripe.is_gone);
    let (Some(lasting), Some(chosen)) = (lasting, billing.chosen_price()) else {
        return Due::Nothing;
    };
    let ended = Paid {
        status: PaidStatus::Ended,
        cancel_at: Some(now),
        ..lasting.clone()
    };
    record(billing, chosen, ended, None, None, now)
}

fn record(
    billing: &Billing,
    (plan, price): (PlanVersion, PriceId),
    subscription: Paid,
    past_due_since: Option<Time>,
    request: Option<CommandId>,
    now: Time,
) -> Due {
    let chosen = (plan, price);
    let recorded = billing.record_subscription(chosen, &subscription, past_due_since, request, now);
    let command = recorded.map(|_| Command::RecordSubscription {
        plan,
        price,
        subscription,
        past_due_since,
        request,
    });
    command.map_or(Due::Nothing, Due::Record)
}

/// Whether this is a plan of the next period that an effect is about to record. Only the effect knows
/// whether a period has begun before Stripe had the plan, or after.
fn is_in_hand(payment: &Payment, paid: &Paid) -> bool {
    let wanted = payment.wanted_later();
    let has_wanted = paid.status != PaidStatus::Ended
        && wanted.is_some_and(|wanted| wanted.stripe_price == paid.price);
    let pending = payment.pending.as_ref();
    has_wanted && pending.is_some_and(|pending| pending.status == PendingStatus::Pending)
}

/// Returns the pending request, if Stripe has fulfilled it after an action of the owner. A request
/// that waits for no action is left to the effect, which may still change the subscription.
fn fulfilled(payment: &Payment, found: &Subscription, paid: &Paid) -> Option<CommandId> {
    let pending = payment
        .pending
        .as_ref()
        .filter(|pending| pending.status == PendingStatus::ActionRequired)?;
    let lasts = paid.status != PaidStatus::Ended;
    let is_done = match &pending.change {
        Change::Subscribe { wanted, .. } => {
            let wanted = (&wanted.stripe_price, wanted.quantity);
            let has_changed = (&paid.price, paid.quantity) == wanted && !found.has_pending_update();
            lasts && has_changed && paid.cancel_at.is_none()
        }
        Change::Cancel => paid.cancel_at.is_some(),
        Change::Resume => lasts && paid.cancel_at.is_none(),
        Change::End => !lasts,
    };
    is_done.then_some(pending.request)
}

/// Whether a change is confirmed of a subscription that had been given up, and still ends. The effect
/// lets it go on.
fn is_ending(pending: &Pending, found: &Subscription) -> bool {
    let has_changed = match &pending.change {
        Change::Subscribe { wanted, .. } => {
            let is_wanted = |item: &Item| {
                item.price.id == wanted.stripe_price && item.quantity == Some(wanted.quantity)
            };
            found.item().is_some_and(is_wanted) && !found.has_pending_update()
        }
        Change::Cancel | Change::Resume | Change::End => false,
    };
    let waits = pending.status == PendingStatus::ActionRequired;
    waits && has_changed && is_lasting(found) && found.cancel_at.is_some()
}

/// Whether the owner of a card has not confirmed a payment as long as Stripe has waited for it.
fn has_expired(pending: &Pending, at_stripe: &AtStripe) -> bool {
    let waits = |found: &Subscription| {
        found.status == SubscriptionStatus::Incomplete || found.has_pending_update()
    };
    pending.status == PendingStatus::ActionRequired && !at_stripe.subscriptions.iter().any(waits)
}

fn expired(pending: &Pending) -> Due {
    Due::Record(Command::RecordFailure {
        request: pending.request,
        code: "expired".to_owned(),
        message: "The payment was not confirmed in time.".to_owned(),
    })
}

/// Whether a subscription was paid for or tried, and is over.
const fn has_lasted(subscription: &Subscription) -> bool {
    match subscription.status {
        SubscriptionStatus::Canceled | SubscriptionStatus::Paused => true,
        SubscriptionStatus::Trialing
        | SubscriptionStatus::Active
        | SubscriptionStatus::PastDue
        | SubscriptionStatus::Unpaid
        | SubscriptionStatus::Incomplete
        | SubscriptionStatus::IncompleteExpired
        | SubscriptionStatus::Unknown => false,
    }
}

#[cfg(test)]
mod tests;
