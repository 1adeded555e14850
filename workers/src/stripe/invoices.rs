//! Invoices and their payments. Stripe computes all amounts; they are minor units of the currency.

use events_schema::{
    Sensitive, StripeCustomerId, StripeInvoiceId, StripeItemId, StripePriceId,
    StripePromotionCodeId, StripeSubscriptionId,
};
use serde::Deserialize;

use super::{
    IdempotencyKey, Listed, Pages, Stripe, StripeError, StripeTax, Timestamp, TrialChange,
    UsageChange, request::Request, usage_items::with_changes,
};

/// How far an invoice shows its payments: with the state of each.
const PAYMENTS: &str = "payments.data.payment.payment_intent";

/// An invoice.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Invoice {
    pub id: StripeInvoiceId,
    /// The number that its receiver sees. A draft has none.
    pub number: Option<String>,
    pub customer: Option<StripeCustomerId>,
    pub status: Option<InvoiceStatus>,
    /// Three lower-case letters.
    pub currency: String,
    pub subtotal: i64,
    pub total: i64,
    total_taxes: Option<Vec<Tax>>,
    pub created: Timestamp,
    pub invoice_pdf: Option<Sensitive>,
    pub hosted_invoice_url: Option<Sensitive>,
    lines: Option<Lines>,
    payments: Option<Payments>,
}

/// What an invoice would be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Preview {
    /// Three lower-case letters.
    pub currency: String,
    pub subtotal: i64,
    pub total: i64,
    /// What is left after the customer's credit.
    pub amount_due: i64,
    total_taxes: Option<Vec<Tax>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Tax {
    amount: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Lines {
    data: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Line {
    parent: Option<LineParent>,
    pricing: Option<LinePricing>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct LineParent {
    subscription_item_details: Option<LineOfItem>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct LineOfItem {
    /// Whether it charges or gives back a part of a period.
    proration: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct LinePricing {
    price_details: Option<LinePrice>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct LinePrice {
    price: StripePriceId,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Payments {
    data: Vec<InvoicePayment>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct InvoicePayment {
    is_default: bool,
    payment: PaymentOf,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct PaymentOf {
    payment_intent: Option<Payment>,
}

/// The state of an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceStatus {
    Draft,
    Open,
    Paid,
    Uncollectible,
    Void,
    /// One of a later release of Stripe.
    #[serde(other)]
    Unknown,
}

/// An attempt to get the money of an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Payment {
    pub status: PaymentStatus,
    /// Lets the owner of the card confirm the payment.
    pub client_secret: Option<Sensitive>,
    pub last_payment_error: Option<PaymentError>,
}

/// Why a payment has failed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PaymentError {
    code: Option<String>,
    decline_code: Option<String>,
    /// Stripe's text for the owner of the card.
    pub message: Option<String>,
}

/// The state of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// The card was declined.
    RequiresPaymentMethod,
    RequiresConfirmation,
    /// The owner of the card must act, as 3-D Secure asks.
    RequiresAction,
    RequiresCapture,
    Processing,
    Succeeded,
    Canceled,
    /// One of a later release of Stripe.
    #[serde(other)]
    Unknown,
}

/// A change whose price is asked for.
#[derive(Clone, Debug)]
pub struct PreviewedChange {
    /// `None` if the tenant has never paid.
    pub customer: Option<StripeCustomerId>,
    /// The subscription to change and its item; `None` to begin one.
    pub subscription: Option<(StripeSubscriptionId, StripeItemId)>,
    pub price: StripePriceId,
    pub quantity: u64,
    pub usage: Vec<UsageChange>,
    pub trial: TrialChange,
    pub promotion_code: Option<StripePromotionCodeId>,
    /// The time from which the difference counts, so that the change can cost the same.
    pub proration_date: Timestamp,
}

impl Invoice {
    /// Returns the sum of the taxes.
    pub fn tax(&self) -> i64 {
        sum(self.total_taxes.as_ref())
    }

    /// Whether a whole period of a subscription is charged at this price.
    pub fn charges_period_at(&self, price: &StripePriceId) -> bool {
        let mut lines = self.lines.iter().flat_map(|lines| &lines.data);
        lines.any(|line| line.is_of_period() && line.price() == Some(price))
    }

    /// Returns the payment that counts, if the invoice was asked for with its payments.
    pub fn payment(&self) -> Option<&Payment> {
        let payments = self.payments.as_ref()?;
        let default = payments.data.iter().find(|payment| payment.is_default)?;
        default.payment.payment_intent.as_ref()
    }
}

impl Line {
    fn is_of_period(&self) -> bool {
        let parent = self.parent.as_ref();
        let of_item = parent.and_then(|parent| parent.subscription_item_details.as_ref());
        of_item.is_some_and(|of_item| !of_item.proration)
    }

    fn price(&self) -> Option<&StripePriceId> {
        let details = self.pricing.as_ref()?.price_details.as_ref()?;
        Some(&details.price)
    }
}

impl Preview {
    /// Returns the sum of the taxes.
    pub fn tax(&self) -> i64 {
        sum(self.total_taxes.as_ref())
    }
}

fn sum(taxes: Option<&Vec<Tax>>) -> i64 {
    let taxes = taxes.into_iter().flatten();
    taxes.map(|tax| tax.amount).fold(0, i64::saturating_add)
}

impl PaymentError {
    /// Returns Stripe's code, such as `insufficient_funds`.
    pub fn code(&self) -> &str {
        let code = self.decline_code.as_ref().or(self.code.as_ref());
        code.map_or("declined", String::as_str)
    }
}

impl Listed for Invoice {
    fn id(&self) -> &str {
        self.id.as_str()
    }
}

impl Stripe {
    /// Returns what a change would cost now.
    ///
    /// # Errors
    /// If Stripe does not compute it, such as for an unknown promotion code.
    pub async fn preview_now(&self, change: &PreviewedChange) -> Result<Preview, StripeError> {
        self.send(preview_now(change, self.tax)).await
    }

    /// Returns what each period would cost after a change.
    ///
    /// # Errors
    /// If Stripe does not compute it.
    pub async fn preview_next(&self, change: &PreviewedChange) -> Result<Preview, StripeError> {
        self.send(preview_next(change, self.tax)).await
    }

    /// Returns the next invoice of a subscription as it would be now; `None` if there will be none.
    ///
    /// # Errors
    /// If the subscription does not exist, or Stripe does not compute it.
    pub async fn upcoming_invoice(
        &self,
        id: &StripeSubscriptionId,
    ) -> Result<Option<Preview>, StripeError> {
        match self.send(upcoming(id)).await {
            Err(error) if error.is_nothing_upcoming() => Ok(None),
            previewed => previewed.map(Some),
        }
    }

    /// Returns an invoice with its payments.
    ///
    /// # Errors
    /// If it does not exist, or Stripe does not answer.
    pub async fn invoice(&self, id: &StripeInvoiceId) -> Result<Invoice, StripeError> {
        self.send(retrieve(id)).await
    }

    /// Voids an open invoice, which also ends the change that waits for its payment.
    ///
    /// # Errors
    /// If it is not open, or Stripe does not answer.
    pub async fn void_invoice(
        &self,
        key: IdempotencyKey,
        id: &StripeInvoiceId,
    ) -> Result<(), StripeError> {
        self.send::<Invoice>(void(key, id)).await.map(drop)
    }

    /// Returns the invoices of a subscription that are not paid, the latest first.
    pub fn open_invoices(&self, subscription: &StripeSubscriptionId) -> Pages<Invoice> {
        Pages::new(self, list_open(subscription))
    }

    /// Whether an invoice of a subscription was paid. That of a trial is, with an amount of zero.
    ///
    /// # Errors
    /// If Stripe does not answer.
    pub async fn has_paid_invoice(&self, id: &StripeSubscriptionId) -> Result<bool, StripeError> {
        let paid = self.paid_invoices(id).of_size(1).next().await?;
        Ok(paid.is_some_and(|paid| !paid.is_empty()))
    }

    /// Returns the paid invoices of a subscription, the latest first.
    pub fn paid_invoices(&self, subscription: &StripeSubscriptionId) -> Pages<Invoice> {
        Pages::new(self, list_paid(subscription))
    }

    /// Returns the invoices of a customer without their payments, the latest first.
    pub fn invoices(&self, customer: &StripeCustomerId) -> Pages<Invoice> {
        Pages::new(self, list(customer))
    }
}

pub(super) fn preview_now(change: &PreviewedChange, tax: StripeTax) -> Request {
    let request = preview(change, tax);
    let end = "subscription_details[trial_end]";
    let request = match change.trial {
        TrialChange::Keep => request,
        TrialChange::End => request.set(end, "now"),
        TrialChange::Until(time) => request.set(end, time.0),
    };
    match change.subscription {
        None => request,
        Some(_) => request
            .set("subscription_details[proration_behavior]", "always_invoice")
            .set(
                "subscription_details[proration_date]",
                change.proration_date.0,
            ),
    }
}

pub(super) fn preview_next(change: &PreviewedChange, tax: StripeTax) -> Request {
    preview(change, tax).set("preview_mode", "recurring")
}

pub(super) fn upcoming(id: &StripeSubscriptionId) -> Request {
    Request::ask("/invoices/create_preview").set("subscription", id)
}

fn preview(change: &PreviewedChange, tax: StripeTax) -> Request {
    let present = change.subscription.as_ref();
    let request = Request::ask("/invoices/create_preview")
        .set_some("customer", change.customer.as_ref())
        .set_some("subscription", present.map(|(id, _)| id))
        .set_some(
            "subscription_details[items][0][id]",
            present.map(|(_, item)| item),
        )
        .set("subscription_details[items][0][price]", &change.price)
        .set("subscription_details[items][0][quantity]", change.quantity);
    with_changes(request, "subscription_details[items]", 1, &change.usage)
        .set_some(
            "discounts[0][promotion_code]",
            change.promotion_code.as_ref(),
        )
        .with_tax(tax)
}

pub(super) fn retrieve(id: &StripeInvoiceId) -> Request {
    Request::get(format!("/invoices/{id}")).set("expand[0]", PAYMENTS)
}

pub(super) fn void(key: IdempotencyKey, id: &StripeInvoiceId) -> Request {
    Request::post(format!("/invoices/{id}/void"), key)
}

pub(super) fn list_open(subscription: &StripeSubscriptionId) -> Request {
    Request::get("/invoices")
        .set("subscription", subscription)
        .set("status", "open")
}

pub(super) fn list_paid(subscription: &StripeSubscriptionId) -> Request {
    Request::get("/invoices")
        .set("subscription", subscription)
        .set("status", "paid")
}

pub(super) fn list(customer: &StripeCustomerId) -> Request {
    Request::get("/invoices").set("customer", customer)
}
