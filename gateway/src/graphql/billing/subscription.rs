//! What a tenant has chosen and pays for, and what it has asked Stripe for.

use async_graphql::{ComplexObject, Context, Enum, SimpleObject};
use events_schema::{
    PlanVersion, PriceId, Sensitive, TenantKey,
    billing::{
        Change, ChangeTime, NextPlan, Paid, PaidStatus, Pending, PendingStatus, UPDATE, View,
    },
    plan,
};

use super::payments::Discount;

use crate::{
    backend::plans::TenantPlan,
    error::Error,
    graphql::{
        field::FieldContext,
        plan::{Plan, Price},
        scalars::{DateTime, Long},
    },
};

/// A plan that a tenant has chosen, or has paid for.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(in crate::graphql) struct Subscription {
    /// The version of the plan.
    plan: Option<Plan>,
    /// What the tenant pays, after the trial if there is one. Null if the plan is free.
    price: Option<Price>,
    /// How the payment stands at Stripe. Null if the tenant does not pay there.
    status: Option<SubscriptionStatus>,
    /// How many units of the price the tenant pays for: for a price per seat, the members and pending
    /// invitations, but no more than the plan allows. Null if it does not pay.
    quantity: Option<Long>,
    /// When the trial ends, or has ended. Null if there was none.
    trial_end: Option<DateTime>,
    /// When the next payment is due. Null if the tenant does not pay.
    current_period_end: Option<DateTime>,
    /// When the plan ends, or has ended, since the tenant has given it up. Null if it has not.
    cancel_at: Option<DateTime>,
    #[graphql(skip)]
    tenant: TenantKey,
    #[graphql(skip)]
    is_paid: bool,
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
    pub(super) fn of(billing: &View, catalogue: &plan::View, tenant: &TenantPlan) -> Option<Self> {
        let chosen = billing.subscription.as_ref()?;
        let (plan, price) = (chosen.plan_at(tenant.at), chosen.price_at(tenant.at));
        // Stripe has the price of a plan that comes later already.
        let prices = [chosen.price, chosen.next.as_ref().map(|next| next.price)];
        let mut known = prices
            .iter()
            .flatten()
            .filter_map(|id| catalogue.stripe_prices.get(id));
        let paid = billing.payment.subscription.as_ref();
        let paid = paid.filter(|paid| known.any(|known| *known == paid.price));
        let trial_end = paid.and_then(|paid| paid.trial_end).or(chosen.trial_end);
        Some(Self {
            plan: Plan::of(catalogue, plan),
            price: price.and_then(|price| price_of(catalogue, plan, price)),
            status: paid.map(|paid| paid.status.into()),
            quantity: paid.map(|paid| Long::from(paid.quantity)),
            trial_end: trial_end.map(DateTime),
            current_period_end: paid.map(|paid| DateTime(paid.period_end)),
            cancel_at: chosen.cancel_at.map(DateTime),
            tenant: tenant.tenant,
            is_paid: billing.payment.lasting().is_some(),
        })
    }

    /// Shows what a tenant pays for or has paid for, as Stripe has it.
    pub(super) fn at_stripe(
        paid: &Paid,
        catalogue: Option<&plan::View>,
        tenant: TenantKey,
    ) -> Self {
        let known = catalogue.and_then(|catalogue| {
            let (plan, price) = catalogue.priced(&paid.price)?;
            Some((Plan::of(catalogue, plan), price_of(catalogue, plan, price)))
        });
        let (plan, price) = known.unwrap_or_default();
        Self {
            plan,
            price,
            status: Some(paid.status.into()),
            quantity: Some(Long::from(paid.quantity)),
            trial_end: paid.trial_end.map(DateTime),
            current_period_end: Some(DateTime(paid.period_end)),
            cancel_at: paid.cancel_at.map(DateTime),
            tenant,
            is_paid: paid.status != PaidStatus::Ended,
        }
    }
}

#[ComplexObject]
impl Subscription {
    /// What makes the plan cheaper. Null if nothing does. It is read from Stripe.
    async fn discount(&self, ctx: &Context<'_>) -> Result<Option<Discount>, Error> {
        if !self.is_paid {
            return Ok(None);
        }
        let field = FieldContext::of(ctx);
        let billings = &field.use_cases.billings;
        let discount = billings.discount(field.caller, self.tenant);
        Ok(discount.await?.map(Into::into))
    }
}

fn price_of(catalogue: &plan::View, plan: PlanVersion, wanted: PriceId) -> Option<Price> {
    let mut prices = catalogue.version(plan)?.prices.iter();
    let price = prices.find(|price| plan.price_id(price) == wanted)?;
    Some(Price::of(plan, price))
}

/// A change of the plan that has not come yet.
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
    /// When it was asked for. Null once Stripe has confirmed it.
    requested_at: Option<DateTime>,
    /// The plan that was asked for. Null for the end of a plan, and for going on.
    plan: Option<Plan>,
    /// The price that was asked for. Null for the end of a plan, and for going on.
    price: Option<Price>,
    /// When the tenant gets the plan. Null for as soon as Stripe has confirmed it.
    takes_effect_at: Option<DateTime>,
    #[graphql(skip)]
    tenant: TenantKey,
}

#[ComplexObject]
impl PendingChange {
    /// Lets the owner of the card confirm the payment with Stripe.js. Null unless that is needed, for
    /// those who may not change the plan, and while somebody acts as a person. It is read from Stripe.
    async fn client_secret(&self, ctx: &Context<'_>) -> Result<Option<String>, Error> {
        let field = FieldContext::of(ctx);
        let needs_action = self.status == PendingChangeStatus::ActionRequired;
        let Some(own) = field.membership().ok().filter(|_| needs_action) else {
            return Ok(None);
        };
        let may_pay = own.permissions.contains(&UPDATE) && !field.caller.is_impersonated();
        if own.tenant.id != self.tenant || !may_pay {
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
    /// Stripe has confirmed it. The plan comes with the next period, or when that is paid.
    Planned,
}

impl PendingChange {
    /// Shows what a tenant has asked for; `None` if nothing is to come.
    pub(super) fn of(
        billing: &View,
        catalogue: Option<&plan::View>,
        tenant: &TenantPlan,
    ) -> Option<Self> {
        let asked = billing.payment.pending.as_ref();
        let asked = asked.map(|pending| Self::asked(billing, pending, catalogue, tenant.tenant));
        let coming = || {
            let chosen = billing.subscription.as_ref()?;
            let next = chosen.coming_at(tenant.at)?;
            Some(Self::coming(next, catalogue, tenant.tenant))
        };
        asked.or_else(coming)
    }

    fn coming(next: &NextPlan, catalogue: Option<&plan::View>, tenant: TenantKey) -> Self {
        Self {
            kind: ChangeKind::Subscribe,
            status: PendingChangeStatus::Planned,
            code: None,
            message: None,
            requested_at: None,
            plan: catalogue.and_then(|catalogue| Plan::of(catalogue, next.plan)),
            price: catalogue.and_then(|it| price_of(it, next.plan, next.price)),
            takes_effect_at: Some(DateTime(next.at)),
            tenant,
        }
    }

    fn asked(
        billing: &View,
        pending: &Pending,
        catalogue: Option<&plan::View>,
        tenant: TenantKey,
    ) -> Self {
        let (kind, wanted) = match &pending.change {
            Change::Subscribe { wanted, .. } => (ChangeKind::Subscribe, Some(wanted)),
            Change::Cancel | Change::End => (ChangeKind::Cancel, None),
            Change::Resume => (ChangeKind::Resume, None),
        };
        let (status, failure) = match &pending.status {
            PendingStatus::Pending => (PendingChangeStatus::Pending, None),
            PendingStatus::ActionRequired => (PendingChangeStatus::ActionRequired, None),
            PendingStatus::Failed { code, message } => {
                (PendingChangeStatus::Failed, Some((code, message)))
            }
        };
        let later = wanted.filter(|wanted| wanted.at == ChangeTime::PeriodEnd);
        let period_end = billing.payment.lasting().map(|paid| paid.period_end);
        Self {
            kind,
            status,
            code: failure.map(|(code, _)| code.clone()),
            message: failure.map(|(_, message)| message.clone()),
            requested_at: Some(DateTime(pending.at)),
            plan: wanted.and_then(|wanted| Plan::of(catalogue?, wanted.plan)),
            price: wanted.and_then(|wanted| price_of(catalogue?, wanted.plan, wanted.price)),
            takes_effect_at: later.and(period_end).map(DateTime),
            tenant,
        }
    }
}
