//! The beginning of a subscription.

use serde_json::Value;

use super::{
    account::Account,
    billing::{self, Outcome},
    card, customer,
    form::{Form, Metadata},
    invoice::Line,
    item,
    object::Object,
    payment_method,
    period::{DAY, Period},
    promotion,
    refusal::Refusal,
    subscription::{self, Cancellation, Subscription},
};

/// Maximum length of a trial, in days.
const TRIAL_DAYS: i64 = 730;

/// What happens if the first invoice is not paid at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Behavior {
    /// The subscription is incomplete, or past due.
    Allow,
    /// Nobody tries to pay: a browser confirms the payment.
    Wait,
    /// The request is refused.
    Refuse,
    /// The change waits. Only for changes.
    Pend,
}

impl Behavior {
    /// Reads the parameter.
    ///
    /// # Errors
    /// If Stripe knows no such behaviour.
    pub(super) fn read(form: &mut Form) -> Result<Self, Refusal> {
        const ALL: [&str; 4] = [
            "allow_incomplete",
            "default_incomplete",
            "error_if_incomplete",
            "pending_if_incomplete",
        ];
        Ok(match form.choice("payment_behavior", &ALL)? {
            Some("default_incomplete") => Self::Wait,
            Some("error_if_incomplete") => Self::Refuse,
            Some("pending_if_incomplete") => Self::Pend,
            Some(_) | None => Self::Allow,
        })
    }
}

/// Creates a subscription, and tries to pay its first invoice.
///
/// # Errors
/// If a parameter is refused, or the card is declined and the caller wants no incomplete
/// subscription.
pub(super) fn create(account: &mut Account, mut form: Form) -> Result<Value, Refusal> {
    let behavior = Behavior::read(&mut form)?;
    let mut subscription = read(account, &mut form)?;
    form.end()?;
    if behavior == Behavior::Pend {
        return Err(Refusal::invalid("Only a change can be pending.").param("payment_behavior"));
    }
    let lines = first_lines(account, &subscription);
    let invoice = billing::draft(account, &subscription, lines, "subscription_create")?;
    let card = billing::card_of(account, &subscription);
    let is_free = invoice.amount_due == 0;
    if !is_free && behavior != Behavior::Wait {
        let outcome = billing::judge(account, card.as_deref());
        ensure_wanted(&outcome, behavior)?;
    }
    if !is_free {
        subscription.status = "incomplete";
    }
    subscription.id = account.new_id("sub");
    let id = subscription.id.clone();
    account.happened("customer.subscription.created", subscription.shown());
    for discount in &subscription.discounts {
        let kept = discount.clone();
        account.discounts.insert(discount.id().to_owned(), kept);
    }
    let invoice = super::invoice::Invoice {
        subscription: Some(id.clone()),
        ..invoice
    };
    account.subscriptions.insert(id.clone(), subscription);
    let invoice = billing::issue(account, invoice);
    if !is_free && behavior != Behavior::Wait {
        billing::collect(account, &invoice, card.as_deref());
    }
    subscription::retrieve(account, &id)
}

/// Refuses an outcome that the caller does not want.
///
/// # Errors
/// If there is no card, or the payment is not made and the caller wants no incomplete one.
pub(super) fn ensure_wanted(outcome: &Outcome, behavior: Behavior) -> Result<(), Refusal> {
    match (outcome, behavior) {
        (Outcome::NoCard, Behavior::Allow | Behavior::Refuse) => Err(Refusal::invalid(
            "This customer has no attached payment source or default payment method. Please \
             consider adding a default payment method.",
        )
        .code("resource_missing")),
        (Outcome::Declined(decline), Behavior::Refuse) => Err(Refusal::declined(decline)),
        (Outcome::Asks, Behavior::Refuse) => Err(Refusal::declined(&card::NEEDS_CONFIRMATION)),
        (_, Behavior::Allow | Behavior::Wait | Behavior::Refuse | Behavior::Pend) => Ok(()),
    }
}

/// Returns the lines of the first invoice.
pub(super) fn first_lines(account: &mut Account, subscription: &Subscription) -> Vec<Line> {
    let period = subscription.period;
    if subscription.status == "trialing" {
        let items = subscription.items.iter();
        return items
            .map(|item| Line::of_trial(account, item, period))
            .collect();
    }
    billing::renewal(account, subscription, None, period)
}

fn read(account: &mut Account, form: &mut Form) -> Result<Subscription, Refusal> {
    let customer = form.required("customer")?;
    customer::named(account, &customer)?;
    let mut subscription = read_items(account, form, &customer)?;
    read_charges(account, form, &mut subscription)?;
    if let Some(card) = form.text("default_payment_method")? {
        payment_method::owned(account, &card, &customer, "default_payment_method")?;
        subscription.default_payment_method = Some(card);
    }
    form.metadata(&mut subscription.metadata)?;
    form.set("description", &mut subscription.description)?;
    read_trial(form, &mut subscription)?;
    read_trial_end_behavior(form, &mut subscription)?;
    read_end(form, &mut subscription, account.now)?;
    form.boolean("off_session")?;
    form.choice("collection_method", &["charge_automatically"])?;
    form.choice("proration_behavior", &["create_prorations", "none"])?;
    let mut mode = form.nested("billing_mode");
    let chosen = mode.choice("type", &["classic", "flexible"])?;
    mode.end()?;
    subscription.billing_mode = chosen.unwrap_or("flexible");
    let mut settings = form.nested("payment_settings");
    settings.choice("save_default_payment_method", &["off", "on_subscription"])?;
    settings.end()?;
    Ok(subscription)
}

/// Returns a subscription to these items, as a preview has it as well.
///
/// # Errors
/// If a parameter is refused.
pub(super) fn read_items(
    account: &mut Account,
    form: &mut Form,
    customer: &str,
) -> Result<Subscription, Refusal> {
    let items = item::read(account, form, &[])?.ok_or_else(|| Refusal::required("items"))?;
    let currency = items.first().map(|item| item.price.currency.clone());
    let currency = currency.unwrap_or_default();
    ensure_one_currency(account, customer, &currency)?;
    let now = account.now;
    let mut subscription = Subscription {
        id: String::new(),
        created: now,
        customer: customer.to_owned(),
        status: "active",
        currency,
        metadata: Metadata::new(),
        description: None,
        billing_cycle_anchor: now,
        cancel_at: None,
        cancel_at_period_end: false,
        canceled_at: None,
        cancellation_details: Cancellation::default(),
        ended_at: None,
        start_date: now,
        trial_start: None,
        trial_end: None,
        default_payment_method: None,
        latest_invoice: None,
        items,
        period: Period {
            start: now,
            end: now,
        },
        discounts: Vec::new(),
        is_taxed: false,
        without_card: "create_invoice",
        billing_mode: "flexible",
        pending_lines: Vec::new(),
        pending: None,
        is_trial_end_announced: false,
    };
    subscription.period = subscription.interval().period_from(now, now);
    Ok(subscription)
}

/// Reads what is added to the prices, and what is taken off.
///
/// # Errors
/// If a parameter is refused.
pub(super) fn read_charges(
    account: &mut Account,
    form: &mut Form,
    subscription: &mut Subscription,
) -> Result<(), Refusal> {
    subscription.is_taxed = read_tax(form)?.unwrap_or(subscription.is_taxed);
    let currency = form.text("currency")?;
    if currency.is_some_and(|currency| currency != subscription.currency) {
        return Err(Refusal::invalid("The prices have another currency.").param("currency"));
    }
    let customer = subscription.customer.clone();
    let discounts = promotion::read_discounts(account, form, &customer)?;
    if let Some(discounts) = discounts {
        subscription.discounts = discounts;
    }
    Ok(())
}

/// A customer with subscriptions in two currencies is refused, as Stripe refuses it.
fn ensure_one_currency(account: &Account, customer: &str, currency: &str) -> Result<(), Refusal> {
    let differs = |found: &Subscription| {
        found.customer == customer && !found.is_ended() && found.currency != currency
    };
    if account.subscriptions.values().any(differs) {
        return Err(Refusal::invalid(
            "You cannot combine currencies on a single customer. This customer has an active \
             subscription in another currency.",
        ));
    }
    Ok(())
}

/// Reads whether taxes are computed.
///
/// # Errors
/// If a parameter is refused.
pub(super) fn read_tax(form: &mut Form) -> Result<Option<bool>, Refusal> {
    let mut tax = form.nested("automatic_tax");
    let enabled = tax.boolean("enabled")?;
    tax.end()?;
    Ok(enabled)
}

fn read_trial(form: &mut Form, subscription: &mut Subscription) -> Result<(), Refusal> {
    let days = form.integer_in("trial_period_days", 1..=TRIAL_DAYS)?;
    let end = form.text("trial_end")?;
    if days.is_some() && end.is_some() {
        return Err(Refusal::invalid("Only one of them is possible.")
            .code("parameters_exclusive")
            .param("trial_period_days"));
    }
    let now = subscription.created;
    let end = match end.as_deref() {
        None | Some("now") => days.map(|days| now + days * DAY),
        Some(at) => Some(future(at, now, "trial_end")?),
    };
    if let Some(end) = end {
        subscription.status = "trialing";
        subscription.trial_start = Some(now);
        subscription.trial_end = Some(end);
        subscription.billing_cycle_anchor = end;
        subscription.period = Period { start: now, end };
    }
    Ok(())
}

/// Reads a time in the future.
///
/// # Errors
/// If it is none.
pub(super) fn future(text: &str, now: i64, param: &str) -> Result<i64, Refusal> {
    let at = text.parse().ok().filter(|at| *at > now);
    at.ok_or_else(|| Refusal::invalid("It must be a time in the future.").param(param))
}

/// Reads what happens at the end of a trial without a card.
///
/// # Errors
/// If a parameter is refused.
pub(super) fn read_trial_end_behavior(
    form: &mut Form,
    subscription: &mut Subscription,
) -> Result<(), Refusal> {
    let mut settings = form.nested("trial_settings");
    let mut behavior = settings.nested("end_behavior");
    let choice = behavior.choice("missing_payment_method", &["cancel", "create_invoice"])?;
    subscription.without_card = choice.unwrap_or(subscription.without_card);
    behavior.end()?;
    settings.end()
}

/// Reads when the subscription shall end.
///
/// # Errors
/// If a parameter is refused.
pub(super) fn read_end(
    form: &mut Form,
    subscription: &mut Subscription,
    now: i64,
) -> Result<(), Refusal> {
    let (at_period_end, at) = (
        form.boolean("cancel_at_period_end")?,
        form.change("cancel_at")?,
    );
    if at_period_end == Some(true) && matches!(at, Some(Some(_))) {
        return Err(Refusal::invalid("Only one of them is possible.")
            .code("parameters_exclusive")
            .param("cancel_at"));
    }
    let end = match (at_period_end, at) {
        (Some(true), _) => Some(subscription.period.end),
        (_, Some(Some(at))) => Some(future(&at, now, "cancel_at")?),
        (Some(false), _) | (_, Some(None)) => None,
        (None, None) => return Ok(()),
    };
    subscription.cancel_at_period_end = at_period_end == Some(true);
    subscription.cancel_at = end;
    subscription.canceled_at = end.map(|_| subscription.canceled_at.unwrap_or(now));
    let reason = end.map(|_| "cancellation_requested");
    subscription.cancellation_details.reason = reason;
    Ok(())
}
