//! What a gateway asks the workers that have the key of Stripe, on
//! [`subject::ask`](crate::subject::ask).
//!
//! Questions and answers are never stored, so that an answer may hold a client secret or a link.
//! Stripe is the record of money: cards and invoices are read there when somebody asks.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Paid;
use crate::{
    Money, Name, PromotionCode, Rejection, Sensitive, StripeCardId, StripeInvoiceId, StripePriceId,
    StripeSetupIntentId, Time,
};

/// A question about the payments of one tenant, which the subject names. The question never names
/// the customer: the worker finds it in the log.
pub trait Question: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The last token of the subject.
    const VERB: &'static str;
    /// What the worker answers.
    type Answer: Serialize + DeserializeOwned + Send + 'static;
}

/// What a worker sends back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply<A> {
    Answer(A),
    /// Stripe or the worker refuses it. A repetition is refused, too.
    Rejected(Rejection),
    /// Stripe does not answer now.
    Unavailable {
        /// When it is worth another attempt.
        retry_after_ms: u64,
    },
}

/// Which cards has the tenant? The latest come first; at most 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cards {}

/// Let a browser save a card. The answer is the client secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateSetupIntent {
    /// The tenant's name, which a new customer gets.
    pub name: Name,
}

/// Keep the card that a browser has saved. The tenant's first card pays for invoices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachCard {
    pub setup_intent: StripeSetupIntentId,
}

/// Let a card pay for invoices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetDefaultCard {
    pub card: StripeCardId,
}

/// Delete a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteCard {
    pub card: StripeCardId,
}

/// What would a change cost?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewChange {
    pub price: StripePriceId,
    pub quantity: u64,
    /// The time from which the difference to the plan before counts.
    pub proration_date: Time,
    /// A code that makes it cheaper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion_code: Option<PromotionCode>,
}

/// What does the tenant pay for, and what has it paid for? The latest comes first; at most 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriptions {}

/// What makes the plan of the tenant cheaper? `None` if nothing does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindDiscount {}

/// What does the tenant pay next, and when? `None` if it will pay nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpcomingInvoice {}

/// Where can the tenant see and change what it pays? The answer is a link that is valid for
/// minutes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortalLink {
    /// The tenant's name, which a new customer gets.
    pub name: Name,
    /// Where Stripe's pages lead back to.
    pub return_url: String,
}

/// Which invoices has the tenant? The latest come first; at most 25.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoices {
    /// The last invoice of the page before; `None` for the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<StripeInvoiceId>,
}

/// What is in an invoice?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindInvoice {
    pub id: StripeInvoiceId,
}

/// How does the owner of the card confirm the payment that waits? The answer is the client secret;
/// `None` if no payment waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentSecret {}

/// A card, by what a person recognizes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    pub id: StripeCardId,
    /// Such as `visa`.
    pub brand: String,
    /// The last four digits.
    pub last4: String,
    /// 1 to 12.
    pub exp_month: u8,
    /// Four digits.
    pub exp_year: u16,
    /// Whether it pays for invoices.
    pub is_default: bool,
}

/// What a change would cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// What is paid at once.
    pub due_now: Money,
    /// What each period costs.
    pub next: Money,
}

/// What makes a plan cheaper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Discount {
    /// What customers read on invoices.
    pub name: Option<String>,
    /// 0 to 100.
    pub percent_off: Option<f64>,
    pub amount_off: Option<Money>,
    /// When it ends; `None` if it does not, or counts for one invoice.
    pub until: Option<Time>,
}

/// An invoice that Stripe will make if nothing changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upcoming {
    pub subtotal: Money,
    pub tax: Money,
    pub total: Money,
    /// What is left after the credit of the tenant.
    pub due: Money,
    /// When the period ends.
    pub at: Time,
}

/// An invoice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Invoice {
    pub id: StripeInvoiceId,
    /// The number that its receiver sees. A draft has none.
    pub number: Option<String>,
    /// `None` if a newer release of Stripe knows it.
    pub status: Option<InvoiceStatus>,
    pub subtotal: Money,
    pub tax: Money,
    pub total: Money,
    pub pdf_url: Option<Sensitive>,
    pub hosted_url: Option<Sensitive>,
    pub created_at: Time,
}

/// The state of an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceStatus {
    /// It can still change.
    Draft,
    /// It waits for its payment.
    Open,
    Paid,
    /// Nobody expects its payment any more.
    Uncollectible,
    /// It does not count.
    Void,
}

impl Question for Cards {
    const VERB: &'static str = "cards";
    type Answer = Vec<Card>;
}

impl Question for CreateSetupIntent {
    const VERB: &'static str = "create_setup_intent";
    type Answer = Sensitive;
}

impl Question for AttachCard {
    const VERB: &'static str = "attach_card";
    type Answer = Card;
}

impl Question for SetDefaultCard {
    const VERB: &'static str = "set_default_card";
    type Answer = Card;
}

impl Question for DeleteCard {
    const VERB: &'static str = "delete_card";
    type Answer = ();
}

impl Question for PreviewChange {
    const VERB: &'static str = "preview_change";
    type Answer = Costs;
}

impl Question for Subscriptions {
    const VERB: &'static str = "subscriptions";
    type Answer = Vec<Paid>;
}

impl Question for FindDiscount {
    const VERB: &'static str = "discount";
    type Answer = Option<Discount>;
}

impl Question for UpcomingInvoice {
    const VERB: &'static str = "upcoming_invoice";
    type Answer = Option<Upcoming>;
}

impl Question for PortalLink {
    const VERB: &'static str = "portal_link";
    type Answer = Sensitive;
}

impl Question for Invoices {
    const VERB: &'static str = "invoices";
    type Answer = Vec<Invoice>;
}

impl Question for FindInvoice {
    const VERB: &'static str = "invoice";
    type Answer = Invoice;
}

impl Question for PaymentSecret {
    const VERB: &'static str = "payment_secret";
    type Answer = Option<Sensitive>;
}
