//! Payment intents: attempts to pay an invoice.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    account::Account,
    billing::{self, Outcome},
    card,
    form::{Form, Metadata},
    invoice::Invoice,
    object::{self, Object},
    payment_method,
    refusal::Refusal,
    setup_intent::next_action,
};

/// An attempt to pay an invoice.
#[derive(Clone, Serialize)]
pub(super) struct PaymentIntent {
    pub(super) id: String,
    pub(super) created: i64,
    pub(super) amount: i64,
    pub(super) currency: String,
    pub(super) customer: Option<String>,
    pub(super) status: &'static str,
    pub(super) payment_method: Option<String>,
    pub(super) client_secret: String,
    pub(super) last_payment_error: Option<Value>,
    pub(super) metadata: Metadata,
    #[serde(skip)]
    pub(super) invoice: String,
}

impl Object for PaymentIntent {
    const NAME: &'static str = "payment_intent";

    fn id(&self) -> &str {
        &self.id
    }

    fn derived(&self) -> Value {
        let is_paid = self.status == "succeeded";
        json!({
            "amount_capturable": 0,
            "amount_received": if is_paid { self.amount } else { 0 },
            "application": null,
            "application_fee_amount": null,
            "automatic_payment_methods": null,
            "canceled_at": null,
            "cancellation_reason": null,
            "capture_method": "automatic",
            "confirmation_method": "automatic",
            "description": "Subscription",
            "latest_charge": null,
            "next_action": next_action(self.status),
            "on_behalf_of": null,
            "payment_method_options": null,
            "payment_method_types": ["card"],
            "processing": null,
            "receipt_email": null,
            "review": null,
            "setup_future_usage": "off_session",
            "shipping": null,
            "statement_descriptor": null,
            "statement_descriptor_suffix": null,
            "transfer_data": null,
            "transfer_group": null,
        })
    }
}

/// Returns the attempt as a payment of its invoice.
pub(super) fn as_payment(intent: &PaymentIntent, invoice: &Invoice) -> Value {
    let is_paid = intent.status == "succeeded";
    json!({
        "id": intent.id.replacen("pi_", "inpay_", 1),
        "object": "invoice_payment",
        "amount_paid": is_paid.then_some(intent.amount),
        "amount_requested": intent.amount,
        "created": intent.created,
        "currency": intent.currency,
        "invoice": invoice.id,
        "is_default": true,
        "livemode": false,
        "payment": { "payment_intent": intent.id, "type": "payment_intent" },
        "status": match intent.status {
            "succeeded" => "paid",
            "canceled" => "canceled",
            _ => "open",
        },
        "status_transitions": { "canceled_at": null, "paid_at": invoice.paid_at },
    })
}

/// Returns a payment intent.
///
/// # Errors
/// If it does not exist.
pub(super) fn retrieve(account: &Account, id: &str) -> Result<Value, Refusal> {
    Ok(object::find(&account.payment_intents, id)?.shown())
}

/// Tries to pay, with this card or the customer's.
///
/// # Errors
/// If a parameter is refused, it is paid already, or the bank declines the card.
pub(super) fn confirm(account: &mut Account, id: &str, mut form: Form) -> Result<Value, Refusal> {
    let card = form.text("payment_method")?;
    form.text("return_url")?;
    form.boolean("off_session")?;
    form.end()?;
    let intent = object::find(&account.payment_intents, id)?.clone();
    if ["succeeded", "canceled"].contains(&intent.status) {
        let message = format!("This PaymentIntent is {}.", intent.status);
        return Err(Refusal::invalid(message).code("payment_intent_unexpected_state"));
    }
    let card = match card {
        Some(card) => {
            let card = payment_method::resolve(account, &card, "payment_method")?;
            account
                .payment_methods
                .insert(card.id.clone(), card.clone());
            Some(card.id)
        }
        None => intent.payment_method,
    };
    match billing::collect(account, &intent.invoice, card.as_deref()) {
        Outcome::Paid | Outcome::Asks => retrieve(account, id),
        Outcome::Declined(decline) => {
            let shown = retrieve(account, id)?;
            Err(Refusal::declined(&decline).with("payment_intent", shown))
        }
        Outcome::NoCard => {
            Err(Refusal::invalid("It needs a payment method.")
                .code("payment_intent_unexpected_state"))
        }
    }
}

/// The owner of the card confirms, or not.
///
/// # Errors
/// If nobody asked, or the owner does not confirm.
pub(super) fn authenticate(
    account: &mut Account,
    id: &str,
    succeeds: bool,
) -> Result<Value, Refusal> {
    let intent = object::find(&account.payment_intents, id)?;
    if intent.status != "requires_action" {
        return Err(Refusal::invalid(
            "The PaymentIntent asks for no confirmation.",
        ));
    }
    let invoice = intent.invoice.clone();
    if succeeds {
        billing::pay(account, &invoice);
        return retrieve(account, id);
    }
    let decline = card::PAYMENT_NOT_AUTHENTICATED;
    billing::decline(account, &invoice, &decline);
    let shown = retrieve(account, id)?;
    Err(Refusal::declined(&decline).with("payment_intent", shown))
}
