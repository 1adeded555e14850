//! Billing: which plan a tenant has, and what it may use beside the plan. One aggregate per tenant,
//! with the tenant's id.
//!
//! Webhooks send nothing of it. What a customer wants to know is the standing, and it changes with
//! time, without an event.

pub mod ask;
mod payment;
pub mod refusal;
mod subscription;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use self::payment::{
    Change, ChangeTime, Paid, PaidStatus, Payment, Pending, PendingStatus, Seats, Wanted,
};
use self::subscription::paid_plan;
pub use self::subscription::{NextPlan, Subscription};
use crate::{
    Access, AreaName, BuiltInRole, CommandId, Commit, Feature, Home, Index, Limit, Permission,
    PlanId, PlanVersion, PriceId, Reason, StripeCustomerId, StripePriceId, TenantKey, Time,
    published::Private,
};

/// The permission to read the tenant's plan and what it costs.
pub const READ: Permission = Permission::new("read_billing", BuiltInRole::Admin);
/// The permission to change the tenant's plan.
pub const UPDATE: Permission = Permission::new("update_billing", BuiltInRole::Owner);

/// A tenant tries at most this many plans: as many as there can be.
pub const MAX_TRIALS: usize = 1_000;

/// The area of billing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area;

impl crate::Area for Area {
    const NAME: AreaName = AreaName::Billing;
    const ACCESS: &'static [Access] = &[
        Access::permission("read", READ),
        Access::permission("change_subscription", UPDATE).in_person(),
        Access::permission("cancel_subscription", UPDATE).in_person(),
        Access::permission("resume_subscription", UPDATE).in_person(),
        Access::permission("cards", READ),
        Access::permission("card", READ),
        Access::permission("card_create_setup_intent", UPDATE).in_person(),
        Access::permission("card_attach", UPDATE).in_person(),
        Access::permission("card_set_default", UPDATE).in_person(),
        Access::permission("card_delete", UPDATE).in_person(),
        Access::platform("platform_billing"),
        Access::platform("platform_override_billing"),
        Access::platform("platform_end_override"),
        Access::platform("platform_grant_plan"),
        Access::platform("platform_end_grant"),
    ];
    /// Stripe's pages let their visitor change everything.
    const FIELDS: &'static [Access] = &[Access::permission("portal_link", UPDATE).in_person()];
    const INTERNAL: &'static [&'static str] = &[
        "expect_customer",
        "record_customer",
        "forget_customer",
        "record_subscription",
        "record_action",
        "record_failure",
        "request_again",
        "set_seats",
        "end",
    ];
    const FEED: Option<Permission> = Some(READ);
    type Public = Private<View>;
    type Id = TenantKey;
    type Command = Command;
    type Event = Event;
}

/// A request to change a tenant's billing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Choose a plan.
    Change {
        plan: PlanVersion,
        /// The price that the tenant has chosen; `None` if the plan is free.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        price: Option<PriceId>,
        /// How many days the tenant may try the plan before it pays, as the catalogue says.
        trial_days: u16,
    },
    /// Give up the plan: at the end of the trial, or at once if it is free.
    Cancel,
    /// Keep the plan that would end.
    Resume,
    /// Make exceptions from the plan, and forget those before. A platform administrator sends this.
    Override(Override),
    /// End the exceptions. A platform administrator sends this.
    EndOverride,
    /// Give the tenant a plan without payment. A platform administrator sends this.
    Grant(Grant),
    /// Take back the plan that was given. A platform administrator sends this.
    EndGrant,
    /// Choose a plan and pay for it, where payments are set up.
    Subscribe {
        wanted: Wanted,
        /// How many days the tenant may try the plan before it pays, as the catalogue says.
        trial_days: u16,
    },
    /// Record that a customer is about to be created at Stripe, so that one of an attempt that has
    /// not been recorded is found. A worker sends this.
    ExpectCustomer,
    /// Record the tenant as Stripe knows it. A worker sends this.
    RecordCustomer { customer: StripeCustomerId },
    /// Record that the customer is deleted at Stripe, so that the next request creates another one.
    /// A worker sends this.
    ForgetCustomer { customer: StripeCustomerId },
    /// Record what the tenant pays for. An effect sends this.
    RecordSubscription {
        plan: PlanVersion,
        price: PriceId,
        subscription: Paid,
        /// Since when a payment is missing, if Stripe tells.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        past_due_since: Option<Time>,
        /// The command that asked for it; `None` if Stripe has changed it by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<CommandId>,
    },
    /// Record that the owner of the card must confirm the payment. An effect sends this.
    RecordAction { request: CommandId },
    /// Record that Stripe has not done what was asked for. An effect sends this.
    RecordFailure {
        request: CommandId,
        code: String,
        message: String,
    },
    /// Request once more what Stripe has not confirmed, since the request may be lost. A worker
    /// sends this.
    RequestAgain { request: CommandId },
    /// Set the number of seats that this price is paid for. A worker sends this.
    SetSeats { price: StripePriceId, quantity: u64 },
    /// End at once what the tenant pays for, since the tenant is deleted. A reaction sends this.
    End,
}

/// Exceptions from a tenant's plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Override {
    /// Features that the tenant has (`true`) or lacks (`false`), whatever its plan says.
    pub features: BTreeMap<Feature, bool>,
    /// Limits that count instead of those of the plan; null for unlimited.
    pub limits: BTreeMap<Limit, Option<u64>>,
    /// When they end; `None` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    pub reason: Reason,
}

impl Override {
    /// Whether the exceptions count at this time.
    pub fn is_valid(&self, now: Time) -> bool {
        self.until.is_none_or(|end| now < end)
    }
}

/// A plan without payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Grant {
    pub plan: PlanVersion,
    /// When it ends; `None` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    pub reason: Reason,
}

impl Grant {
    /// Whether the tenant has the plan at this time.
    pub fn is_valid(&self, now: Time) -> bool {
        self.until.is_none_or(|end| now < end)
    }
}

/// A change to a tenant's billing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// The tenant has chosen a plan. If it tries this plan, the trial goes on, unless the plan is
    /// free now.
    Changed {
        plan: PlanVersion,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        price: Option<PriceId>,
    },
    /// The tenant tries a plan.
    TrialStarted {
        plan: PlanVersion,
        /// The price that it pays afterwards.
        price: PriceId,
        /// When the trial ends.
        until: Time,
    },
    /// The tenant gives up its plan.
    Cancelled {
        /// When the plan ends.
        at: Time,
    },
    /// The plan does not end after all.
    Resumed,
    /// There are exceptions from the plan. Those before no longer count.
    Overridden(Override),
    /// There are no exceptions any more.
    OverrideEnded,
    /// The tenant has a plan without payment.
    Granted(Grant),
    /// The plan without payment was taken back.
    GrantEnded,
    /// The tenant wants to pay for a plan.
    ChangeRequested {
        request: CommandId,
        at: Time,
        wanted: Wanted,
        /// When the trial ends, if the tenant gets one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trial_end: Option<Time>,
    },
    /// The tenant wants to end its plan with the period.
    CancelRequested { request: CommandId, at: Time },
    /// The tenant wants to keep the plan that would end.
    ResumeRequested { request: CommandId, at: Time },
    /// The tenant is deleted, so that it pays no more.
    EndRequested { request: CommandId, at: Time },
    /// A customer is about to be created at Stripe.
    CustomerExpected { at: Time },
    /// Stripe knows the tenant.
    CustomerRecorded { customer: StripeCustomerId },
    /// The customer is deleted at Stripe.
    CustomerForgotten {
        customer: StripeCustomerId,
        at: Time,
    },
    /// What the tenant pays for is this now.
    SubscriptionRecorded {
        plan: PlanVersion,
        price: PriceId,
        subscription: Paid,
        /// Since when a payment is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        past_due_since: Option<Time>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<CommandId>,
    },
    /// The owner of the card must confirm the payment.
    ActionRequired { request: CommandId },
    /// Stripe has not done what was asked for.
    ChangeFailed {
        request: CommandId,
        code: String,
        message: String,
    },
    /// The tenant uses another number of seats than it pays for.
    SeatsChanged {
        request: CommandId,
        price: StripePriceId,
        quantity: u64,
    },
}

/// The view of a tenant's billing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    /// `None` if the tenant has never chosen a plan.
    pub subscription: Option<Subscription>,
    /// The plans that the tenant has tried. It may try each once.
    pub tried: BTreeSet<PlanId>,
    pub overrides: Option<Override>,
    pub grant: Option<Grant>,
    #[serde(default, skip_serializing_if = "Payment::is_empty")]
    pub payment: Payment,
}

impl crate::View for View {
    type Area = Area;
    const NAME: &'static str = "billing";
    const HOME: Home = Home::Tenant;
    const INDEXES: &'static [Index] = &[];

    fn fold(view: Option<Self>, commit: &Commit<Area>) -> Option<Self> {
        let mut view = view.unwrap_or_default();
        for event in &commit.events {
            apply(&mut view, event);
        }
        Some(view)
    }
}

/// Applies an event to a tenant's billing. The view and the aggregate have the same state.
pub fn apply(billing: &mut View, event: &Event) {
    match event {
        Event::Changed { plan, price } => billing.change(*plan, *price),
        Event::TrialStarted { plan, price, until } => billing.begin_trial(*plan, *price, *until),
        Event::Cancelled { at } => billing.set_end(Some(*at)),
        Event::Resumed => billing.set_end(None),
        Event::Overridden(overrides) => billing.overrides = Some(overrides.clone()),
        Event::OverrideEnded => billing.overrides = None,
        Event::Granted(grant) => billing.grant = Some(grant.clone()),
        Event::GrantEnded => billing.grant = None,
        Event::SubscriptionRecorded {
            plan,
            price,
            subscription,
            past_due_since,
            request,
        } => {
            billing.pay((*plan, *price), subscription, *past_due_since);
            billing.payment.record(subscription, *request);
        }
        Event::ChangeRequested { .. }
        | Event::CancelRequested { .. }
        | Event::ResumeRequested { .. }
        | Event::EndRequested { .. }
        | Event::CustomerExpected { .. }
        | Event::CustomerRecorded { .. }
        | Event::CustomerForgotten { .. }
        | Event::ActionRequired { .. }
        | Event::ChangeFailed { .. }
        | Event::SeatsChanged { .. } => billing.payment.apply(event),
    }
}

impl View {
    /// A trial goes on with another version or price of the same plan.
    fn change(&mut self, plan: PlanVersion, price: Option<PriceId>) {
        let before = self.subscription.take();
        let same = before.filter(|before| before.plan.plan == plan.plan && price.is_some());
        let trial_end = same.and_then(|same| same.trial_end);
        self.subscription = Some(Subscription::unpaid(plan, price, trial_end));
    }

    fn begin_trial(&mut self, plan: PlanVersion, price: PriceId, until: Time) {
        self.tried.insert(plan.plan);
        self.subscription = Some(Subscription::unpaid(plan, Some(price), Some(until)));
    }

    fn set_end(&mut self, at: Option<Time>) {
        if let Some(subscription) = &mut self.subscription {
            subscription.cancel_at = at;
        }
    }

    fn pay(&mut self, chosen: (PlanVersion, PriceId), paid: &Paid, past_due_since: Option<Time>) {
        let (tried, _) = chosen;
        self.tried.extend(paid.trial_end.map(|_| tried.plan));
        let (plan, price, next) = paid_plan(self, chosen, paid);
        self.subscription = Some(Subscription {
            plan,
            price: Some(price),
            // Stripe says when the plan ends. Until it does, the end of its trial ends nothing.
            trial_end: None,
            cancel_at: paid.cancel_at,
            past_due_since,
            next,
        });
    }
}

#[cfg(test)]
mod tests;
