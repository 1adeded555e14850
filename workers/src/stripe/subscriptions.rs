//! Subscriptions: a tenant that pays has one, with an item for its plan and one for each meter with
//! a price.

use std::collections::BTreeMap;

use events_schema::{
    Id, StripeCustomerId, StripeInvoiceId, StripeItemId, StripePriceId, StripePromotionCodeId,
    StripeSubscriptionId,
};
use serde::Deserialize;

use super::{
    IdempotencyKey, Listed, Pages, Price, Stripe, StripeError, StripeTax, Timestamp, UsageChange,
    request::Request, usage_items::with_changes,
};

/// Names the commit that asked for a subscription in its metadata, since Stripe forgets keys after
/// a day.
const REQUEST: &str = "ub_request";
/// Names the commit whose promotion code counts, so that it does not count twice.
const DISCOUNT_REQUEST: &str = "ub_discount_request";
/// The code that makes a subscription cheaper. There is at most one.
const DISCOUNT: &str = "discounts[0][promotion_code]";

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Subscription {
    pub id: StripeSubscriptionId,
    pub customer: StripeCustomerId,
    pub status: SubscriptionStatus,
    items: Items,
    pub trial_end: Option<Timestamp>,
    /// When it will end or has ended, if that is known.
    pub cancel_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub latest_invoice: Option<StripeInvoiceId>,
    /// A change that waits for its payment. It expires after 23 hours.
    pending_update: Option<PendingUpdate>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Items {
    data: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct PendingUpdate {
    subscription_items: Option<Vec<PendingItem>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct PendingItem {
    price: Price,
    quantity: Option<u64>,
}

/// What a subscription pays for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Item {
    pub id: StripeItemId,
    pub price: Price,
    /// `None` for usage.
    pub quantity: Option<u64>,
    pub current_period_end: Timestamp,
}

/// The state of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    Trialing,
    Active,
    /// The first payment has failed, or waits for the owner of the card.
    Incomplete,
    /// The first payment was not made within 23 hours.
    IncompleteExpired,
    PastDue,
    /// All attempts to get the payment have failed.
    Unpaid,
    /// The trial has ended without a card.
    Paused,
    Canceled,
    /// One of a later release of Stripe.
    #[serde(other)]
    Unknown,
}

/// A subscription to create.
#[derive(Clone, Debug)]
pub struct NewSubscription {
    pub customer: StripeCustomerId,
    pub price: StripePriceId,
    pub quantity: u64,
    /// The prices for usage.
    pub usage: Vec<StripePriceId>,
    pub trial: Trial,
    pub promotion_code: Option<StripePromotionCodeId>,
    pub payment: OpenPayment,
    /// The commit that asks for it.
    pub request: Id,
}

/// Whether a subscription begins with time that costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    None,
    /// So many days, 1 to 730. If no card is there at their end, the subscription ends.
    Days(u16),
}

/// What becomes of the trial of a subscription that is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialChange {
    /// It goes on, if there is one.
    Keep,
    /// It ends now, and the tenant pays.
    End,
    /// It ends at this time, which is in the future.
    Until(Timestamp),
}

/// Another price or quantity for a subscription.
#[derive(Clone, Debug)]
pub struct Change {
    pub item: StripeItemId,
    pub price: StripePriceId,
    pub quantity: u64,
    /// What cannot wait until the change is made.
    pub usage: Vec<UsageChange>,
    pub proration: Proration,
    pub trial: TrialChange,
    pub payment: OpenPayment,
    /// Stripe takes none together with a payment that waits.
    pub discount: Option<NewDiscount>,
}

/// A promotion code that is to make a subscription cheaper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDiscount {
    pub code: StripePromotionCodeId,
    /// The commit that asks for it.
    pub request: Id,
}

/// What becomes of the rest when a subscription ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing is charged or given back.
    Dropped,
    /// What the next invoice would have beside the next period is charged now, such as seats.
    Charged,
    /// The same, and what is paid for the rest of the period is credited.
    Credited,
}

/// What becomes of a subscription or change whose first payment is not made at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenPayment {
    /// Stripe declines it, and nothing has changed.
    Decline,
    /// It waits for the owner of the card for 23 hours.
    Wait,
}

/// What a change costs for the rest of the period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proration {
    /// Nothing: the new price counts from the next period.
    None,
    /// The difference, which is paid now.
    Now {
        /// The time from which the difference counts, as a preview has shown it.
        from: Option<Timestamp>,
    },
}

impl Subscription {
    /// Returns what it pays for beside usage; `None` if somebody has removed that in Stripe's
    /// dashboard.
    pub fn item(&self) -> Option<&Item> {
        let mut items = self.items.data.iter();
        items.find(|item| !item.price.is_metered())
    }

    /// Returns what it pays for usage.
    pub fn usage_items(&self) -> impl Iterator<Item = &Item> {
        let items = self.items.data.iter();
        items.filter(|item| item.price.is_metered())
    }

    /// Whether this commit has asked for it.
    pub fn was_requested_by(&self, request: Id) -> bool {
        self.names(REQUEST, request)
    }

    /// Whether the promotion code counts that came with this commit.
    pub fn was_discounted_by(&self, request: Id) -> bool {
        self.names(DISCOUNT_REQUEST, request)
    }

    fn names(&self, key: &str, request: Id) -> bool {
        let named = self.metadata.get(key);
        named.is_some_and(|named| *named == request.to_string())
    }

    /// Whether a change waits for its payment.
    pub const fn has_pending_update(&self) -> bool {
        self.pending_update.is_some()
    }

    /// Whether a change to this price and quantity waits for its payment.
    pub fn waits_for(&self, price: &StripePriceId, quantity: u64) -> bool {
        let update = self.pending_update.as_ref();
        let items = update.and_then(|update| update.subscription_items.as_ref());
        let mut items = items.into_iter().flatten();
        items.any(|item| item.price.id == *price && item.quantity == Some(quantity))
    }
}

impl Listed for Subscription {
    fn id(&self) -> &str {
        self.id.as_str()
    }
}

impl Stripe {
    /// Creates a subscription.
    ///
    /// # Errors
    /// If Stripe does not confirm it, such as for a card that is declined.
    pub async fn create_subscription(
        &self,
        key: IdempotencyKey,
        subscription: &NewSubscription,
    ) -> Result<Subscription, StripeError> {
        self.send(create(key, subscription, self.tax)).await
    }

    /// Changes what a subscription pays for.
    ///
    /// # Errors
    /// If Stripe does not confirm it, such as for a card that is declined.
    pub async fn change_subscription(
        &self,
        key: IdempotencyKey,
        id: &StripeSubscriptionId,
        change: &Change,
    ) -> Result<Subscription, StripeError> {
        self.send(update(key, id, change, self.tax)).await
    }

    /// Makes a subscription cheaper by a promotion code.
    ///
    /// # Errors
    /// If Stripe does not confirm it.
    pub async fn set_discount(
        &self,
        key: IdempotencyKey,
        id: &StripeSubscriptionId,
        discount: &NewDiscount,
    ) -> Result<Subscription, StripeError> {
        self.send(set_discount(key, id, discount)).await
    }

    /// Changes how many units a subscription pays for. The difference is on the next invoice.
    ///
    /// # Errors
    /// If Stripe does not confirm it.
    pub async fn set_quantity(
        &self,
        key: IdempotencyKey,
        id: &StripeSubscriptionId,
        item: &StripeItemId,
        quantity: u64,
    ) -> Result<Subscription, StripeError> {
        self.send(set_quantity(key, id, item, quantity)).await
    }

    /// Lets a subscription end with its period, or go on.
    ///
    /// # Errors
    /// If Stripe does not confirm it.
    pub async fn end_with_period(
        &self,
        key: IdempotencyKey,
        id: &StripeSubscriptionId,
        ends: bool,
    ) -> Result<Subscription, StripeError> {
        self.send(end_with_period(key, id, ends)).await
    }

    /// Ends a subscription now. An ended one is missing.
    ///
    /// # Errors
    /// If Stripe does not confirm it.
    pub async fn cancel_subscription(
        &self,
        id: &StripeSubscriptionId,
        rest: Rest,
    ) -> Result<Subscription, StripeError> {
        self.send(cancel(id, rest)).await
    }

    /// Returns a subscription, also an ended one.
    ///
    /// # Errors
    /// If it never existed, or Stripe does not answer.
    pub async fn subscription(
        &self,
        id: &StripeSubscriptionId,
    ) -> Result<Subscription, StripeError> {
        self.send(retrieve(id)).await
    }

    /// Returns all subscriptions of a customer, also ended ones, the latest first.
    pub fn subscriptions(&self, customer: &StripeCustomerId) -> Pages<Subscription> {
        Pages::new(self, list(customer))
    }
}

pub(super) fn create(
    key: IdempotencyKey,
    subscription: &NewSubscription,
    tax: StripeTax,
) -> Request {
    let request = Request::post("/subscriptions", key)
        .set("customer", &subscription.customer)
        .set("items[0][price]", &subscription.price)
        .set("items[0][quantity]", subscription.quantity);
    let usage = subscription.usage.iter().cloned().map(UsageChange::Add);
    let request = with_changes(request, "items", 1, &usage.collect::<Vec<_>>())
        // Otherwise usage of a price that is replaced would not be charged.
        .set("billing_mode[type]", "flexible")
        .set(
            "payment_behavior",
            match subscription.payment {
                OpenPayment::Decline => "error_if_incomplete",
                OpenPayment::Wait => "allow_incomplete",
            },
        )
        .set(format!("metadata[{REQUEST}]"), subscription.request);
    let code = subscription.promotion_code.as_ref();
    let request = request.set_some(DISCOUNT, code);
    let request = match subscription.trial {
        Trial::None => request,
        Trial::Days(days) => request.set("trial_period_days", days).set(
            "trial_settings[end_behavior][missing_payment_method]",
            "cancel",
        ),
    };
    request.with_tax(tax)
}

/// A change that waits for its payment may not have metadata, so none names its commit. The item
/// tells whether it was done, and metadata whether a promotion code was set.
pub(super) fn update(
    key: IdempotencyKey,
    id: &StripeSubscriptionId,
    change: &Change,
    tax: StripeTax,
) -> Request {
    let request = Request::post(format!("/subscriptions/{id}"), key)
        .set("items[0][id]", &change.item)
        .set("items[0][price]", &change.price)
        .set("items[0][quantity]", change.quantity);
    let request = with_changes(request, "items", 1, &change.usage);
    let behavior = "payment_behavior";
    let request = match change.payment {
        OpenPayment::Decline => request.set(behavior, "error_if_incomplete").with_tax(tax),
        // Stripe takes no taxes then; `add_taxes` asks for them before.
        OpenPayment::Wait => request.set(behavior, "pending_if_incomplete"),
    };
    let request = match &change.discount {
        Some(discount) => with_discount(request, discount),
        None => request,
    };
    let request = match change.trial {
        TrialChange::Keep => request,
        TrialChange::End => request.set("trial_end", "now"),
        TrialChange::Until(end) => request.set("trial_end", end.0),
    };
    match change.proration {
        Proration::None => request.set("proration_behavior", "none"),
        Proration::Now { from } => request
            .set("proration_behavior", "always_invoice")
            .set_some("proration_date", from.map(|from| from.0)),
    }
}

pub(super) fn set_discount(
    key: IdempotencyKey,
    id: &StripeSubscriptionId,
    discount: &NewDiscount,
) -> Request {
    with_discount(Request::post(format!("/subscriptions/{id}"), key), discount)
}

fn with_discount(request: Request, discount: &NewDiscount) -> Request {
    request
        .set(DISCOUNT, &discount.code)
        .set(format!("metadata[{DISCOUNT_REQUEST}]"), discount.request)
}

/// The price is not named: it stays, also if it changes at the same time.
pub(super) fn set_quantity(
    key: IdempotencyKey,
    id: &StripeSubscriptionId,
    item: &StripeItemId,
    quantity: u64,
) -> Request {
    Request::post(format!("/subscriptions/{id}"), key)
        .set("items[0][id]", item)
        .set("items[0][quantity]", quantity)
        .set("proration_behavior", "create_prorations")
}

pub(super) fn end_with_period(
    key: IdempotencyKey,
    id: &StripeSubscriptionId,
    ends: bool,
) -> Request {
    Request::post(format!("/subscriptions/{id}"), key).set("cancel_at_period_end", ends)
}

pub(super) fn cancel(id: &StripeSubscriptionId, rest: Rest) -> Request {
    let request = Request::delete(format!("/subscriptions/{id}"));
    match rest {
        Rest::Dropped => request,
        Rest::Charged => request.set("invoice_now", true).set("prorate", false),
        Rest::Credited => request.set("invoice_now", true).set("prorate", true),
    }
}

pub(super) fn retrieve(id: &StripeSubscriptionId) -> Request {
    Request::get(format!("/subscriptions/{id}"))
}

pub(super) fn list(customer: &StripeCustomerId) -> Request {
    Request::get("/subscriptions")
        .set("customer", customer)
        .set("status", "all")
}
