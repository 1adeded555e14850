//! What can be done to invoices: preview, pay and void.

use serde_json::{Value, json};

use super::{
    account::{Account, random},
    billing::{self, Outcome},
    card, customer,
    form::Form,
    invoice::{self, Invoice},
    object::{self, Object},
    payment_method,
    refusal::Refusal,
    subscription::{self, Subscription},
    subscription_create::{first_lines, future, read_charges, read_items},
    subscription_update::Wish,
};

/// Returns the invoice that a change would cause, or the next one. Nothing changes.
///
/// # Errors
/// If a parameter is refused, or there would be no invoice.
pub(super) fn preview(account: &mut Account, mut form: Form) -> Result<Value, Refusal> {
    let mode = form.choice("preview_mode", &["next", "recurring"])?;
    let is_recurring = mode == Some("recurring");
    let customer = form.text("customer")?;
    let invoice = match form.text("subscription")? {
        Some(id) => of_change(account, &id, customer.as_deref(), is_recurring, form)?,
        None => of_new(account, customer, form)?,
    };
    let invoice = Invoice {
        id: format!("upcoming_in_{}", random()),
        ..invoice
    };
    let mut shown = invoice.shown();
    shown["webhooks_delivered_at"] = Value::Null;
    Ok(shown)
}

/// Returns the first invoice of a subscription that does not exist.
fn of_new(
    account: &mut Account,
    customer: Option<String>,
    mut form: Form,
) -> Result<Invoice, Refusal> {
    if let Some(customer) = &customer {
        customer::named(account, customer)?;
    }
    // Without a customer, it is what anybody would pay.
    let customer = customer.unwrap_or_default();
    let mut details = form.nested("subscription_details");
    let mut subscription = read_items(account, &mut details, &customer)?;
    if let Some(end) = details.text("trial_end")?.filter(|end| end != "now") {
        let end = future(&end, account.now, "subscription_details[trial_end]")?;
        subscription.status = "trialing";
        subscription.period.end = end;
    }
    details.end()?;
    read_charges(account, &mut form, &mut subscription)?;
    form.end()?;
    let lines = first_lines(account, &subscription);
    billing::draft(account, &subscription, lines, "upcoming")
}

/// Returns the invoice that a change of a subscription would cause, or its next one.
fn of_change(
    account: &mut Account,
    id: &str,
    customer: Option<&str>,
    is_recurring: bool,
    mut form: Form,
) -> Result<Invoice, Refusal> {
    let found = object::named(&account.subscriptions, id, "subscription")?;
    let mut before = found.clone();
    if customer.is_some_and(|customer| customer != before.customer) {
        return Err(Refusal::invalid("It belongs to another customer.").param("subscription"));
    }
    let mut details = form.nested("subscription_details");
    let cancels = details.boolean("cancel_now")?.unwrap_or(false);
    let ends = details.boolean("cancel_at_period_end")?;
    let ends = ends.unwrap_or(before.cancel_at_period_end);
    let wish = Wish::read(account, &mut details, &before)?;
    details.end()?;
    read_charges(account, &mut form, &mut before)?;
    form.end()?;
    if before.is_ended() {
        return Err(nothing_upcoming(&before));
    }
    if cancels {
        let mut lines = before.pending_lines.clone();
        lines.extend(billing::credits(account, &before, account.now));
        return billing::draft(account, &before, lines, "upcoming");
    }
    let change = wish.apply_to(account, &before);
    let (mut after, lines) = (change.after, change.lines);
    if is_recurring {
        // What each period costs from then on.
        after.pending_lines.clear();
        after.period = after.next_period();
        let lines = billing::renewal(account, &after, None, after.period);
        return billing::draft(account, &after, lines, "upcoming");
    }
    if change.is_due {
        return billing::draft(account, &after, lines, "upcoming");
    }
    after.pending_lines.extend(lines);
    if ends {
        let lines = billing::last_lines(account, &after, after.period.end);
        return match lines.is_empty() {
            true => Err(nothing_upcoming(&before)),
            false => billing::draft(account, &after, lines, "upcoming"),
        };
    }
    let ended = (after.status != "trialing").then_some(after.period);
    let next = after.next_period();
    let lines = billing::renewal(account, &after, ended, next);
    after.period = next;
    billing::draft(account, &after, lines, "upcoming")
}

fn nothing_upcoming(subscription: &Subscription) -> Refusal {
    let id = &subscription.customer;
    Refusal::invalid(format!("No upcoming invoices for customer: {id}"))
        .code("invoice_upcoming_none")
}

/// Tries to pay an open invoice.
///
/// # Errors
/// If it is not open, or the bank declines the card.
pub(super) fn pay(account: &mut Account, id: &str, mut form: Form) -> Result<Value, Refusal> {
    let found = object::find(&account.invoices, id)?.clone();
    let card = form.text("payment_method")?;
    let elsewhere = form.boolean("paid_out_of_band")?.unwrap_or(false);
    form.boolean("off_session")?;
    form.end()?;
    if found.status != "open" {
        return Err(Refusal::invalid(format!(
            "Invoice is already {}.",
            found.status
        )));
    }
    if elsewhere {
        billing::pay(account, id);
        return invoice::retrieve(account, id);
    }
    if let Some(card) = &card {
        let owner = found.customer.as_deref().unwrap_or_default();
        payment_method::owned(account, card, owner, "payment_method")?;
    }
    let subscription = found.subscription.as_ref();
    let subscription = subscription.and_then(|id| account.subscriptions.get(id));
    let default = subscription.and_then(|found| billing::card_of(account, found));
    let card = card.or(default);
    match billing::collect(account, id, card.as_deref()) {
        Outcome::Paid => invoice::retrieve(account, id),
        Outcome::Declined(decline) => Err(Refusal::declined(&decline)),
        Outcome::Asks => Err(Refusal::declined(&card::NEEDS_CONFIRMATION)),
        Outcome::NoCard => Err(Refusal::invalid("The customer has no card to pay with.")),
    }
}

/// Voids an open invoice. A change that waits for it is dropped.
///
/// # Errors
/// If it is not open.
pub(super) fn void(account: &mut Account, id: &str, form: Form) -> Result<Value, Refusal> {
    form.end()?;
    let found = object::find(&account.invoices, id)?.clone();
    if found.status != "open" {
        return Err(Refusal::invalid("Only open invoices can be voided."));
    }
    billing::void(account, id);
    let subscription = found.subscription.as_ref();
    let subscription = subscription.and_then(|id| account.subscriptions.get(id));
    if let Some(mut subscription) = subscription.cloned() {
        subscription
            .pending
            .take_if(|pending| pending.invoice == id);
        subscription::replace(account, subscription);
    }
    invoice::retrieve(account, id)
}

/// Returns the lines of an invoice.
///
/// # Errors
/// If it does not exist.
pub(super) fn lines(account: &Account, id: &str, mut form: Form) -> Result<Value, Refusal> {
    object::Page::read(&mut form)?;
    form.end()?;
    Ok(json!(object::find(&account.invoices, id)?.shown_lines()))
}
