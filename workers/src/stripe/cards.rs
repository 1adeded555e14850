//! Cards, and how they are saved. Their numbers go from the browser to Stripe and never here.

use events_schema::{Sensitive, StripeCardId, StripeCustomerId, StripeSetupIntentId};
use serde::Deserialize;

use super::{IdempotencyKey, Listed, Pages, Stripe, StripeError, request::Request};

/// A saved card: in Stripe's words, a payment method.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Card {
    pub id: StripeCardId,
    /// `None` for a card that is detached. It can never be attached again.
    pub customer: Option<StripeCustomerId>,
    /// `None` if it is no card but another way to pay.
    pub card: Option<CardDetails>,
}

/// What a person recognizes a card by.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CardDetails {
    /// Such as `visa`.
    pub brand: String,
    /// The last four digits.
    pub last4: String,
    /// 1 to 12.
    pub exp_month: u8,
    /// Four digits.
    pub exp_year: u16,
}

/// An attempt to save a card.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SetupIntent {
    pub id: StripeSetupIntentId,
    pub status: SetupIntentStatus,
    pub customer: Option<StripeCustomerId>,
    pub payment_method: Option<StripeCardId>,
    /// Lets the browser save the card.
    pub client_secret: Option<Sensitive>,
}

/// The state of an attempt to save a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetupIntentStatus {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    Processing,
    Succeeded,
    Canceled,
    /// One of a later release of Stripe.
    #[serde(other)]
    Unknown,
}

impl Listed for Card {
    fn id(&self) -> &str {
        self.id.as_str()
    }
}

impl Stripe {
    /// Begins to save a card, which the browser completes. The card may then pay while its owner is
    /// away.
    ///
    /// # Errors
    /// If Stripe does not confirm it.
    pub async fn create_setup_intent(
        &self,
        customer: &StripeCustomerId,
    ) -> Result<SetupIntent, StripeError> {
        self.send(create_setup_intent(customer)).await
    }

    /// Returns an attempt to save a card.
    ///
    /// # Errors
    /// If it does not exist, or Stripe does not answer.
    pub async fn setup_intent(&self, id: &StripeSetupIntentId) -> Result<SetupIntent, StripeError> {
        self.send(retrieve_setup_intent(id)).await
    }

    /// Gives a card to a customer.
    ///
    /// # Errors
    /// If Stripe does not confirm it, such as for a card that the bank declines.
    pub async fn attach_card(
        &self,
        key: IdempotencyKey,
        card: &StripeCardId,
        customer: &StripeCustomerId,
    ) -> Result<Card, StripeError> {
        self.send(attach(key, card, customer)).await
    }

    /// Removes a card for good.
    ///
    /// # Errors
    /// If Stripe does not confirm it.
    pub async fn detach_card(
        &self,
        key: IdempotencyKey,
        card: &StripeCardId,
    ) -> Result<Card, StripeError> {
        self.send(detach(key, card)).await
    }

    /// Returns the cards of a customer, the latest first.
    pub fn cards(&self, customer: &StripeCustomerId) -> Pages<Card> {
        Pages::new(self, list(customer))
    }
}

pub(super) fn create_setup_intent(customer: &StripeCustomerId) -> Request {
    Request::ask("/setup_intents")
        .set("customer", customer)
        .set("allowed_payment_method_types[0]", "card")
        .set("usage", "off_session")
}

pub(super) fn retrieve_setup_intent(id: &StripeSetupIntentId) -> Request {
    Request::get(format!("/setup_intents/{id}"))
}

pub(super) fn attach(
    key: IdempotencyKey,
    card: &StripeCardId,
    customer: &StripeCustomerId,
) -> Request {
    Request::post(format!("/payment_methods/{card}/attach"), key).set("customer", customer)
}

pub(super) fn detach(key: IdempotencyKey, card: &StripeCardId) -> Request {
    Request::post(format!("/payment_methods/{card}/detach"), key)
}

pub(super) fn list(customer: &StripeCustomerId) -> Request {
    Request::get("/payment_methods")
        .set("customer", customer)
        .set("type", "card")
}
