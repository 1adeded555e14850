//! What is to be recorded of a tenant's payments: a function of what Stripe has, and of what the log
//! has.

use events_schema::{
    CommandId, PlanVersion, PriceId, Time,
    billing::{Change, Command, Paid, PaidStatus, Payment, Pending, PendingStatus},
    plan,
};

use crate::{
    domain::billing::Billing,
    effect::change_subscription::{is_lasting, paid},
    stripe::{Subscription, SubscriptionStatus},
};

/// What Stripe has of a customer.
pub(super) struct AtStripe {
    /// All subscriptions, also ended ones, the latest first.
    pub(super) subscriptions: Vec<Subscription>,
    /// Since when a payment is missing.
    pub(super) past_due_since: Option<Time>,
    /// Whether the recorded subscription does not exist any more.
    pub(super) is_gone: bool,
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
    /// lasted. So the choice does not depend on what was recorded before.
    fn counting(&self, is_ours: impl Fn(&Subscription) -> bool) -> Option<&Subscription> {
        let ended = self.subscriptions.iter().filter(|found| has_lasted(found));
        self.lasting().chain(ended).find(|found| is_ours(found))
    }
}

/// Returns what is to be recorded of a tenant. Stripe wins for money, and the log for plans: a price
/// that no plan has changes what the tenant pays, and not its plan.
pub(super) fn due(
    billing: &Billing,
    catalogue: &plan::View,
    at_stripe: &AtStripe,
    now: Time,
) -> Due {
    let payment = billing.payment();
    let recorded = payment.subscription.as_ref();
    let is_ours = |found: &Subscription| {
        let is_recorded = recorded.is_some_and(|recorded| recorded.id == found.id);
        let price = found.item().map(|item| &item.price.id);
        is_recorded || price.is_some_and(|price| catalogue.priced(price).is_some())
    };
    let subscription = match at_stripe.counting(is_ours) {
        Some(found) => present(billing, catalogue, at_stripe, found, now),
        None => gone(billing, at_stripe, now),
    };
    match (subscription, payment.pending.as_ref()) {
        (Due::Nothing, Some(pending)) if has_expired(pending, at_stripe) => expired(pending),
        (due, _) => due,
    }
}

fn present(
    billing: &Billing,
    catalogue: &plan::View,
    at_stripe: &AtStripe,
    found: &Subscription,
    now: Time,
) -> Due {
    let paid = match paid(found) {
        Ok(paid) => paid,
        Err(error) => return Due::Unclear(format!("{error:#}")),
    };
    let Some((plan, price)) = billing.plan_of(&paid.price, catalogue) else {
        return Due::Unclear(format!("{} has a price of no plan", found.id));
    };
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

/// Returns the request that Stripe has fulfilled.
fn fulfilled(payment: &Payment, found: &Subscription, paid: &Paid) -> Option<CommandId> {
    let pending = payment
        .pending
        .as_ref()
        .filter(|pending| is_open(pending))?;
    let lasts = paid.status != PaidStatus::Ended;
    let is_done = match &pending.change {
        Change::Subscribe { wanted, .. } => {
            let wanted = (&wanted.stripe_price, wanted.quantity);
            let has_changed = (&paid.price, paid.quantity) == wanted && !found.has_pending_update();
            lasts && has_changed && paid.cancel_at.is_none()
        }
        Change::Cancel => paid.cancel_at.is_some(),
        Change::Resume => lasts && paid.cancel_at.is_none(),
    };
    is_done.then_some(pending.request)
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

const fn is_open(pending: &Pending) -> bool {
    match pending.status {
        PendingStatus::Pending | PendingStatus::ActionRequired => true,
        PendingStatus::Failed { .. } => false,
    }
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
