//! Subscriptions: a customer pays for items, period by period.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    account::Account,
    billing,
    form::{Form, Metadata},
    invoice::Line,
    item::Item,
    object::{self, Created, Object, Page},
    period::{Interval, Period},
    promotion::Discount,
    refusal::Refusal,
};

/// States in which nothing happens any more.
pub(super) const ENDED: [&str; 2] = ["canceled", "incomplete_expired"];
/// All states, and what a list accepts beside them.
const STATES: [&str; 9] = [
    "active",
    "all",
    "canceled",
    "ended",
    "incomplete",
    "incomplete_expired",
    "past_due",
    "trialing",
    "unpaid",
];

/// A customer pays for items.
#[derive(Clone, Serialize)]
pub(super) struct Subscription {
    pub(super) id: String,
    pub(super) created: i64,
    pub(super) customer: String,
    pub(super) status: &'static str,
    pub(super) currency: String,
    pub(super) metadata: Metadata,
    pub(super) description: Option<String>,
    /// The end of each period has the day and the time of this moment.
    pub(super) billing_cycle_anchor: i64,
    pub(super) cancel_at: Option<i64>,
    pub(super) cancel_at_period_end: bool,
    pub(super) canceled_at: Option<i64>,
    pub(super) cancellation_details: Cancellation,
    pub(super) ended_at: Option<i64>,
    pub(super) start_date: i64,
    pub(super) trial_start: Option<i64>,
    pub(super) trial_end: Option<i64>,
    pub(super) default_payment_method: Option<String>,
    pub(super) latest_invoice: Option<String>,
    #[serde(skip)]
    pub(super) items: Vec<Item>,
    #[serde(skip)]
    pub(super) period: Period,
    #[serde(skip)]
    pub(super) discounts: Vec<Discount>,
    #[serde(skip)]
    pub(super) is_taxed: bool,
    /// What happens at the end of a trial without a card.
    #[serde(skip)]
    pub(super) without_card: &'static str,
    #[serde(skip)]
    pub(super) billing_mode: &'static str,
    /// What the next invoice has beside the items.
    #[serde(skip)]
    pub(super) pending_lines: Vec<Line>,
    #[serde(skip)]
    pub(super) pending: Option<Box<PendingUpdate>>,
    #[serde(skip)]
    pub(super) is_trial_end_announced: bool,
}

/// Why a subscription ended.
#[derive(Clone, Default, Serialize)]
pub(super) struct Cancellation {
    comment: Option<String>,
    feedback: Option<&'static str>,
    pub(super) reason: Option<&'static str>,
}

/// A change that takes effect when its invoice is paid.
#[derive(Clone)]
pub(super) struct PendingUpdate {
    pub(super) after: Subscription,
    pub(super) expires_at: i64,
    pub(super) invoice: String,
}

impl Subscription {
    /// Returns the length of a period.
    pub(super) fn interval(&self) -> Interval {
        let mut intervals = self.items.iter().filter_map(Item::interval);
        intervals.next().unwrap_or(Interval {
            interval: "month",
            interval_count: 1,
        })
    }

    /// Returns the period after the current one.
    pub(super) fn next_period(&self) -> Period {
        self.interval()
            .period_from(self.billing_cycle_anchor, self.period.end)
    }

    /// Whether nothing happens any more.
    pub(super) fn is_ended(&self) -> bool {
        ENDED.contains(&self.status)
    }

    fn shown_items(&self, items: &[Item], period: Period) -> Vec<Value> {
        let shown = items.iter().map(|item| item.shown(&self.id, period));
        shown.collect()
    }

    fn shown_pending(&self) -> Option<Value> {
        let pending = self.pending.as_ref()?;
        let after = &pending.after;
        Some(json!({
            "billing_cycle_anchor": after.billing_cycle_anchor,
            "expires_at": pending.expires_at,
            "subscription_items": self.shown_items(&after.items, after.period),
            "trial_end": after.trial_end,
            "trial_from_plan": null,
        }))
    }
}

impl Object for Subscription {
    const NAME: &'static str = "subscription";

    fn id(&self) -> &str {
        &self.id
    }

    fn derived(&self) -> Value {
        let url = format!("/v1/subscription_items?subscription={}", self.id);
        let items = self.shown_items(&self.items, self.period);
        let discounts: Vec<&str> = self.discounts.iter().map(Object::id).collect();
        json!({
            "application": null,
            "application_fee_percent": null,
            "automatic_tax": {
                "disabled_reason": null, "enabled": self.is_taxed, "liability": null,
            },
            "billing_cycle_anchor_config": null,
            "billing_mode": { "type": self.billing_mode, "flexible": null },
            "billing_schedules": [],
            "billing_thresholds": null,
            "collection_method": "charge_automatically",
            "days_until_due": null,
            "default_source": null,
            "default_tax_rates": [],
            "discounts": discounts,
            "invoice_settings": { "account_tax_ids": null, "issuer": { "type": "self" } },
            "items": object::list(&url, items, false),
            "next_pending_invoice_item_invoice": null,
            "on_behalf_of": null,
            "pause_collection": null,
            "payment_settings": {
                "payment_method_options": null,
                "payment_method_types": null,
                "save_default_payment_method": "off",
            },
            "pending_invoice_item_interval": null,
            "pending_setup_intent": null,
            "pending_update": self.shown_pending(),
            "schedule": null,
            "test_clock": null,
            "transfer_data": null,
            "trial_settings": {
                "end_behavior": { "missing_payment_method": self.without_card },
            },
        })
    }
}

impl Cancellation {
    /// Reads why somebody cancels.
    ///
    /// # Errors
    /// If a parameter is refused.
    pub(super) fn read(&mut self, form: &mut Form) -> Result<(), Refusal> {
        const FEEDBACK: [&str; 8] = [
            "customer_service",
            "low_quality",
            "missing_features",
            "other",
            "switched_service",
            "too_complex",
            "too_expensive",
            "unused",
        ];
        let mut form = form.nested("cancellation_details");
        form.set("comment", &mut self.comment)?;
        self.feedback = form.choice("feedback", &FEEDBACK)?.or(self.feedback);
        form.end()
    }
}

/// Returns a subscription that is not ended, to change it.
///
/// # Errors
/// If there is none, or it is ended.
pub(super) fn running<'a>(account: &'a Account, id: &str) -> Result<&'a Subscription, Refusal> {
    let subscription = object::find(&account.subscriptions, id)?;
    if subscription.is_ended() {
        return Err(Refusal::not_found(Subscription::NAME, id));
    }
    Ok(subscription)
}

/// Replaces a subscription, and records the change.
pub(super) fn replace(account: &mut Account, after: Subscription) {
    let shown = after.shown();
    let id = after.id.clone();
    if let Some(before) = account.subscriptions.insert(id, after) {
        account.changed("customer.subscription.updated", &before.shown(), shown);
    }
}

/// Cancels a subscription at once.
///
/// # Errors
/// If a parameter is refused, or it is ended already.
pub(super) fn cancel(account: &mut Account, id: &str, mut form: Form) -> Result<Value, Refusal> {
    let mut subscription = running(account, id)?.clone();
    let prorate = form.boolean("prorate")?.unwrap_or(false);
    let invoice_now = form.boolean("invoice_now")?.unwrap_or(false);
    subscription.cancellation_details.read(&mut form)?;
    form.end()?;
    subscription.cancellation_details.reason = Some("cancellation_requested");
    if prorate {
        let credits = billing::credits(account, &subscription, account.now);
        subscription.pending_lines.extend(credits);
    }
    let now = account.now;
    let lines = billing::last_lines(account, &subscription, now);
    subscription.pending_lines.clear();
    account
        .subscriptions
        .insert(id.to_owned(), subscription.clone());
    end(account, id, "canceled");
    if invoice_now {
        billing::bill_ended(account, &subscription, lines)?;
    }
    retrieve(account, id)
}

/// Ends a subscription. Its open invoices are void.
pub(super) fn end(account: &mut Account, id: &str, status: &'static str) {
    let now = account.now;
    let Some(subscription) = account.subscriptions.get_mut(id) else {
        return;
    };
    if subscription.is_ended() {
        return;
    }
    let before = subscription.shown();
    subscription.status = status;
    subscription.pending = None;
    subscription.ended_at = Some(now);
    subscription.canceled_at.get_or_insert(now);
    let shown = subscription.shown();
    billing::void_open(account, id);
    if status == "canceled" {
        account.happened("customer.subscription.deleted", shown);
    } else {
        account.changed("customer.subscription.updated", &before, shown);
    }
}

/// Returns a subscription, also one that is ended.
///
/// # Errors
/// If it does not exist.
pub(super) fn retrieve(account: &Account, id: &str) -> Result<Value, Refusal> {
    Ok(object::find(&account.subscriptions, id)?.shown())
}

/// Lists subscriptions; without a state, those that are not canceled.
///
/// # Errors
/// If a parameter is refused.
pub(super) fn list(account: &Account, mut form: Form) -> Result<Value, Refusal> {
    let (page, created) = (Page::read(&mut form)?, Created::read(&mut form)?);
    let (customer, price) = (form.text("customer")?, form.text("price")?);
    let status = form.choice("status", &STATES)?;
    form.end()?;
    let has_status = |found: &Subscription| match status {
        None => found.status != "canceled",
        Some("all") => true,
        Some("ended") => found.is_ended(),
        Some(status) => found.status == status,
    };
    let has_price = |found: &Subscription| {
        let is_price = |price: &String| found.items.iter().any(|item| item.price.id == *price);
        price.as_ref().is_none_or(is_price)
    };
    let is_wanted = |found: &Subscription| {
        let is_named = customer.as_ref().is_none_or(|id| *id == found.customer);
        is_named && has_status(found) && has_price(found) && created.contains(found.created)
    };
    page.of("/v1/subscriptions", &account.subscriptions, is_wanted)
}
