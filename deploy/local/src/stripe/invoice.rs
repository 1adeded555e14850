//! Invoices, and their lines.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    account::Account,
    form::{Form, Metadata},
    item::Item,
    object::{self, Created, Object, Page},
    payment_intent,
    period::Period,
    refusal::Refusal,
};

/// The tax, in percent, if it is computed. Stripe's depends on the place and the product.
const TAX_PERCENT: i64 = 20;

/// What a customer has to pay.
#[derive(Clone, Serialize)]
pub(super) struct Invoice {
    /// Empty for a preview.
    pub(super) id: String,
    pub(super) created: i64,
    pub(super) customer: Option<String>,
    pub(super) customer_email: Option<String>,
    pub(super) customer_name: Option<String>,
    pub(super) currency: String,
    pub(super) number: Option<String>,
    pub(super) status: &'static str,
    pub(super) billing_reason: &'static str,
    pub(super) period_start: i64,
    pub(super) period_end: i64,
    pub(super) subtotal: i64,
    pub(super) total: i64,
    pub(super) starting_balance: i64,
    pub(super) ending_balance: i64,
    pub(super) amount_due: i64,
    pub(super) amount_paid: i64,
    pub(super) attempt_count: u32,
    pub(super) next_payment_attempt: Option<i64>,
    pub(super) hosted_invoice_url: Option<String>,
    pub(super) invoice_pdf: Option<String>,
    #[serde(skip)]
    pub(super) subscription: Option<String>,
    #[serde(skip)]
    pub(super) subscription_metadata: Metadata,
    #[serde(skip)]
    pub(super) lines: Vec<Line>,
    /// The id of each discount, and what it takes off.
    #[serde(skip)]
    pub(super) discounts: Vec<(String, i64)>,
    /// `None` if no tax is computed.
    #[serde(skip)]
    pub(super) tax: Option<i64>,
    #[serde(skip)]
    pub(super) payment_intent: Option<String>,
    #[serde(skip)]
    pub(super) finalized_at: Option<i64>,
    #[serde(skip)]
    pub(super) paid_at: Option<i64>,
    #[serde(skip)]
    pub(super) voided_at: Option<i64>,
}

/// A part of an invoice.
#[derive(Clone)]
pub(super) struct Line {
    id: String,
    pub(super) amount: i64,
    description: String,
    period: Period,
    item: Item,
    quantity: Option<i64>,
    is_proration: bool,
}

impl Line {
    /// Returns the line of an item for a whole period.
    pub(super) fn of_period(account: &mut Account, item: &Item, period: Period) -> Self {
        let quantity = item.quantity.unwrap_or(0);
        Self {
            id: account.new_id("il"),
            amount: item.amount(),
            description: format!("{quantity} × {}", item.product),
            period,
            item: item.clone(),
            quantity: item.quantity,
            is_proration: false,
        }
    }

    /// Returns the line of an item for the rest of a period: what it costs, or what is given back.
    pub(super) fn of_rest(account: &mut Account, item: &Item, period: Period, at: i64) -> Self {
        let amount = period.rest_of(item.amount(), at);
        let start = at.clamp(period.start, period.end);
        Self {
            id: account.new_id("il"),
            amount,
            description: format!("Remaining time on {}", item.product),
            period: Period { start, ..period },
            item: item.clone(),
            quantity: item.quantity,
            is_proration: true,
        }
    }

    /// Returns the line that gives back what this one costs.
    pub(super) fn given_back(self) -> Self {
        Self {
            amount: -self.amount,
            description: format!("Unused time on {}", self.item.product),
            ..self
        }
    }

    /// Returns the line of a trial, which costs nothing.
    pub(super) fn of_trial(account: &mut Account, item: &Item, period: Period) -> Self {
        Self {
            amount: 0,
            description: format!("Trial period for {}", item.product),
            ..Self::of_period(account, item, period)
        }
    }

    /// Returns the line for counted usage.
    pub(super) fn of_usage(
        account: &mut Account,
        item: &Item,
        period: Period,
        (quantity, amount): (i64, i64),
    ) -> Self {
        Self {
            amount,
            description: format!("{quantity} × {}", item.product),
            quantity: Some(quantity),
            ..Self::of_period(account, item, period)
        }
    }

    fn shown(&self, invoice: &Invoice) -> Value {
        let (item, price) = (&self.item, &self.item.price);
        json!({
            "id": self.id,
            "object": "line_item",
            "amount": self.amount,
            "currency": invoice.currency,
            "description": self.description,
            "discount_amounts": [],
            "discountable": !self.is_proration,
            "discounts": [],
            "invoice": invoice.id,
            "livemode": false,
            "metadata": item.metadata,
            "parent": {
                "invoice_item_details": null,
                "subscription_item_details": {
                    "invoice_item": null,
                    "proration": self.is_proration,
                    "proration_details": { "credited_items": null },
                    "subscription": invoice.subscription,
                    "subscription_item": item.id,
                },
                "type": "subscription_item_details",
            },
            "period": self.period,
            "pretax_credit_amounts": [],
            "pricing": {
                "price_details": { "price": price.id, "product": price.product },
                "type": "price_details",
                "unit_amount_decimal": price.unit,
            },
            "quantity": self.quantity,
            "subtotal": self.amount,
            "taxes": [],
        })
    }
}

impl Invoice {
    /// Returns the tax of an amount.
    pub(super) fn tax_of(amount: i64) -> i64 {
        super::period::share(amount, TAX_PERCENT.into(), 100)
    }

    fn shown_taxes(&self, tax: i64) -> Value {
        json!([{
            "amount": tax,
            "tax_behavior": "exclusive",
            "tax_rate_details": { "tax_rate": "txr_development" },
            "taxability_reason": "standard_rated",
            "taxable_amount": self.total - tax,
            "type": "tax_rate_details",
        }])
    }

    fn shown_parent(&self) -> Option<Value> {
        let subscription = self.subscription.as_ref()?;
        Some(json!({
            "quote_details": null,
            "subscription_details": {
                "metadata": self.subscription_metadata,
                "subscription": subscription,
            },
            "type": "subscription_details",
        }))
    }

    fn shown_amounts(&self) -> Value {
        let tax = self.tax.unwrap_or(0);
        let discounts: Vec<&String> = self.discounts.iter().map(|(id, _)| id).collect();
        let amount = |(id, amount): &(String, i64)| json!({ "amount": amount, "discount": id });
        let amounts: Vec<Value> = self.discounts.iter().map(amount).collect();
        json!({
            "amount_remaining": self.amount_due - self.amount_paid,
            "attempted": self.attempt_count > 0 || self.status == "paid",
            "auto_advance": self.status == "open",
            "automatic_tax": {
                "disabled_reason": null,
                "enabled": self.tax.is_some(),
                "liability": null,
                "provider": null,
                "status": self.tax.map(|_| "complete"),
            },
            "discounts": discounts,
            "effective_at": self.finalized_at,
            "lines": self.shown_lines(),
            "parent": self.shown_parent(),
            "status_transitions": {
                "finalized_at": self.finalized_at,
                "marked_uncollectible_at": null,
                "paid_at": self.paid_at,
                "voided_at": self.voided_at,
            },
            "subtotal_excluding_tax": self.subtotal,
            "total_discount_amounts": amounts,
            "total_excluding_tax": self.total - tax,
            "total_taxes": self.tax.map_or(json!([]), |tax| self.shown_taxes(tax)),
            "webhooks_delivered_at": self.finalized_at,
        })
    }

    /// Returns the lines as a list.
    pub(super) fn shown_lines(&self) -> Value {
        let lines = self.lines.iter().map(|line| line.shown(self)).collect();
        object::list(&format!("/v1/invoices/{}/lines", self.id), lines, false)
    }
}

impl Object for Invoice {
    const NAME: &'static str = "invoice";

    fn id(&self) -> &str {
        &self.id
    }

    fn derived(&self) -> Value {
        let mut derived = self.shown_amounts();
        object::merge(&mut derived, unused());
        object::merge(&mut derived, unused_of_customer());
        derived
    }
}

/// Returns the fields that no invoice here uses.
fn unused() -> Value {
    json!({
        "account_country": "US",
        "account_name": "Development",
        "account_tax_ids": null,
        "amount_overpaid": 0,
        "amount_shipping": 0,
        "application": null,
        "automatically_finalizes_at": null,
        "collection_method": "charge_automatically",
        "custom_fields": null,
        "description": null,
        "due_date": null,
        "footer": null,
        "from_invoice": null,
        "issuer": { "type": "self" },
        "last_finalization_error": null,
        "latest_revision": null,
        "metadata": {},
        "on_behalf_of": null,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "receipt_number": null,
        "rendering": null,
        "statement_descriptor": null,
        "test_clock": null,
        "total_pretax_credit_amounts": [],
    })
}

/// Returns the fields about the customer that no invoice here uses.
fn unused_of_customer() -> Value {
    json!({
        "customer_address": null,
        "customer_phone": null,
        "customer_shipping": null,
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_payment_method": null,
        "default_source": null,
        "default_tax_rates": [],
        "payment_settings": {
            "default_mandate": null,
            "payment_method_options": null,
            "payment_method_types": null,
        },
        "shipping_cost": null,
        "shipping_details": null,
    })
}

/// Returns the payments of an invoice, which answers have if they are asked for.
pub(super) fn payments(account: &Account, id: &str) -> Option<Value> {
    let invoice = account.invoices.get(id)?;
    let intent = invoice.payment_intent.as_ref();
    let intent = intent.and_then(|intent| account.payment_intents.get(intent));
    let payments = intent.map(|intent| payment_intent::as_payment(intent, invoice));
    let url = format!("/v1/invoice_payments?invoice={id}");
    Some(object::list(&url, payments.into_iter().collect(), false))
}

/// Returns the secret with which a browser may confirm the payment of an invoice.
pub(super) fn confirmation_secret(account: &Account, id: &str) -> Option<Value> {
    let intent = account.invoices.get(id)?.payment_intent.as_ref()?;
    let intent = account.payment_intents.get(intent)?;
    Some(json!({ "client_secret": intent.client_secret, "type": "payment_intent" }))
}

/// Returns an invoice.
///
/// # Errors
/// If it does not exist.
pub(super) fn retrieve(account: &Account, id: &str) -> Result<Value, Refusal> {
    Ok(object::find(&account.invoices, id)?.shown())
}

/// Lists invoices.
///
/// # Errors
/// If a parameter is refused.
pub(super) fn list(account: &Account, mut form: Form) -> Result<Value, Refusal> {
    const STATES: [&str; 5] = ["draft", "open", "paid", "uncollectible", "void"];
    let (page, created) = (Page::read(&mut form)?, Created::read(&mut form)?);
    let (customer, subscription) = (form.text("customer")?, form.text("subscription")?);
    let status = form.choice("status", &STATES)?;
    form.end()?;
    let is_wanted = |invoice: &Invoice| {
        (customer.is_none() || invoice.customer == customer)
            && (subscription.is_none() || invoice.subscription == subscription)
            && status.is_none_or(|status| status == invoice.status)
            && created.contains(invoice.created)
    };
    page.of("/v1/invoices", &account.invoices, is_wanted)
}
