//! What a tenant has chosen and pays for, and what it has asked Stripe for.

use async_graphql::{ComplexObject, Context, Enum, SimpleObject};
use events_schema::{
    Sensitive, TenantKey,
    billing::{Change, Paid, PaidStatus, Pending, PendingStatus, UPDATE, View},
    plan,
};

use crate::{
    error::Error,
    graphql::{
        field::FieldContext,
        plan::{Plan, Price},
        scalars::{DateTime, Long},
    },
};

/// The plan that a tenant has chosen.
#[derive(SimpleObject)]
pub(in crate::graphql) struct Subscription {
    /// The version of the plan.
    plan: Option<Plan>,
    /// What the tenant pays, after the trial if there is one. Null if the plan is free.
    price: Option<Price>,
    /// How the payment stands at Stripe. Null if the tenant does not pay there.
    status: Option<SubscriptionStatus>,
    /// How many units of the price the tenant pays for. Null if it does not pay.
    quantity: Option<Long>,
    /// When the trial ends, or has ended. Null if there was none.
    trial_end: Option<DateTime>,
    /// When the next payment is due. Null if the tenant does not pay.
    current_period_end: Option<DateTime>,
    /// When the plan ends, or has ended, since the tenant has given it up. Null if it has not.
    cancel_at: Option<DateTime>,
}

/// How a subscription stands at Stripe.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "PaidStatus")]
enum SubscriptionStatus {
    /// The tenant need not pay yet.
    Trialing,
    /// Everything is paid.
    Active,
    /// A payment is missing.
    PastDue,
    /// It is over.
    Ended,
}

impl Subscription {
    /// Shows what a tenant has chosen; `None` if it has never chosen a plan.
    pub(super) fn of(billing: &View, catalogue: &plan::View) -> Option<Self> {
        let chosen = billing.subscription.as_ref()?;
        let version = catalogue.version(chosen.plan);
        let mut prices = version.into_iter().flat_map(|version| &version.prices);
        let price = prices.find(|price| chosen.price == Some(chosen.plan.price_id(price)));
        let known = chosen.price.as_ref();
        let known = known.and_then(|price| catalogue.stripe_prices.get(price));
        let is_chosen = |paid: &&Paid| Some(&paid.price) == known;
        let paid = billing.payment.subscription.as_ref().filter(is_chosen);
        let trial_end = paid.and_then(|paid| paid.trial_end).or(chosen.trial_end);
        Some(Self {
            plan: Plan::of(catalogue, chosen.plan),
            price: price.map(|price| Price::of(chosen.plan, price)),
            status: paid.map(|paid| paid.status.into()),
            quantity: paid.map(|paid| Long::from(paid.quantity)),
            trial_end: trial_end.map(DateTime),
            current_period_end: paid.map(|paid| DateTime(paid.period_end)),
            cancel_at: chosen.cancel_at.map(DateTime),
        })
    }
}

/// A change that Stripe has not confirmed.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(in crate::graphql) struct PendingChange {
    /// What was asked for.
    kind: ChangeKind,
    /// What has become of it.
    status: PendingChangeStatus,
    /// Why it was not done: Stripe's code, such as `insufficient_funds`. Null unless it has failed.
    code: Option<String>,
    /// Why it was not done, for the person who asked. Null unless it has failed.
    message: Option<String>,
    /// When it was asked for.
    requested_at: DateTime,
    #[graphql(skip)]
    tenant: TenantKey,
}

#[ComplexObject]
impl PendingChange {
    /// Lets the owner of the card confirm the payment with Stripe.js. Null unless that is needed, and
    /// for those who may not change the plan. It is read from Stripe.
    async fn client_secret(&self, ctx: &Context<'_>) -> Result<Option<String>, Error> {
        let field = FieldContext::of(ctx);
        let needs_action = self.status == PendingChangeStatus::ActionRequired;
        let Some(own) = field.membership().ok().filter(|_| needs_action) else {
            return Ok(None);
        };
        if own.tenant.id != self.tenant || !own.permissions.contains(&UPDATE) {
            return Ok(None);
        }
        let secret = field.use_cases.billings.payment_secret(field.caller);
        Ok(secret.await?.map(Sensitive::reveal))
    }
}

/// What a tenant asks Stripe for.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
enum ChangeKind {
    /// To pay for a plan.
    Subscribe,
    /// To end with the period.
    Cancel,
    /// To go on after all.
    Resume,
}

/// What has become of a change.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
enum PendingChangeStatus {
    /// Stripe has not answered yet.
    Pending,
    /// The owner of the card must confirm the payment.
    ActionRequired,
    /// It was not done. The plan before counts.
    Failed,
}

impl PendingChange {
    /// Shows a change.
    pub(super) fn of(pending: &Pending, tenant: TenantKey) -> Self {
        let kind = match pending.change {
            Change::Subscribe { .. } => ChangeKind::Subscribe,
            Change::Cancel | Change::End => ChangeKind::Cancel,
            Change::Resume => ChangeKind::Resume,
        };
        let (status, failure) = match &pending.status {
            PendingStatus::Pending => (PendingChangeStatus::Pending, None),
            PendingStatus::ActionRequired => (PendingChangeStatus::ActionRequired, None),
            PendingStatus::Failed { code, message } => {
                (PendingChangeStatus::Failed, Some((code, message)))
            }
        };
        Self {
            kind,
            status,
            code: failure.map(|(code, _)| code.clone()),
            message: failure.map(|(_, message)| message.clone()),
            requested_at: DateTime(pending.at),
            tenant,
        }
    }
}
