//! How invoices come to be, how they are paid, and what follows for the subscription.

use super::{
    account::Account,
    card::{Bank, Decline},
    customer::Customer,
    form::Metadata,
    invoice::{Invoice, Line},
    item::Item,
    meter,
    object::Object,
    payment_intent::PaymentIntent,
    period::{DAY, Period},
    price::MAX_AMOUNT,
    promotion::Discount,
    refusal::Refusal,
    subscription::{self, Subscription},
};

/// Seconds from a failed payment to the next attempt. After the last one, the subscription ends.
const RETRIES: [i64; 3] = [3 * DAY, 5 * DAY, 7 * DAY];

/// What came of an attempt to pay.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    Paid,
    /// The owner of the card has to confirm.
    Asks,
    Declined(Decline),
    NoCard,
}

/// Returns what would come of a payment with this card.
pub(super) fn judge(account: &Account, card: Option<&str>) -> Outcome {
    let Some(card) = card.and_then(|id| account.payment_methods.get(id)) else {
        return Outcome::NoCard;
    };
    match &card.card.bank {
        Bank::Accepts => Outcome::Paid,
        Bank::AsksOnce if card.is_set_up => Outcome::Paid,
        Bank::AsksOnce | Bank::AsksAlways => Outcome::Asks,
        Bank::Declines(decline) | Bank::DeclinesCharges(decline) => {
            Outcome::Declined(decline.clone())
        }
    }
}

/// Returns the card that pays for a subscription, if there is one.
pub(super) fn card_of(account: &Account, subscription: &Subscription) -> Option<String> {
    let customer = account.customers.get(&subscription.customer);
    let of_customer = customer.and_then(|customer| customer.default_payment_method.clone());
    subscription.default_payment_method.clone().or(of_customer)
}

/// Returns an invoice that is not issued yet, so also a preview.
///
/// # Errors
/// If the tax cannot be computed, or the amount is too large.
pub(super) fn draft(
    account: &Account,
    subscription: &Subscription,
    lines: Vec<Line>,
    reason: &'static str,
) -> Result<Invoice, Refusal> {
    // A preview may be for nobody.
    let customer = account.customers.get(&subscription.customer);
    if subscription.is_taxed && !customer.is_some_and(Customer::has_tax_location) {
        return Err(Refusal::invalid(
            "The customer's location isn't recognized. Set a valid customer address in order to \
             automatically calculate tax.",
        )
        .code("customer_tax_location_invalid"));
    }
    let subtotal = exact(lines.iter().map(|line| i128::from(line.amount)).sum())?;
    let off = |discount: &Discount| (discount.id().to_owned(), discount.coupon.off(subtotal));
    let discounts: Vec<(String, i64)> = subscription.discounts.iter().map(off).collect();
    let discounted = subtotal - discounts.iter().map(|(_, off)| off).sum::<i64>();
    let tax = subscription.is_taxed.then(|| Invoice::tax_of(discounted));
    let total = exact(i128::from(discounted) + i128::from(tax.unwrap_or(0)))?;
    let starting_balance = customer.map_or(0, |customer| customer.balance);
    let owed = total + starting_balance;
    Ok(Invoice {
        id: String::new(),
        created: account.now,
        customer: customer.map(|customer| customer.id().to_owned()),
        customer_email: customer.and_then(|customer| customer.email().map(str::to_owned)),
        customer_name: customer.and_then(|customer| customer.name.clone()),
        currency: subscription.currency.clone(),
        number: None,
        status: "draft",
        billing_reason: reason,
        period_start: subscription.period.start,
        period_end: subscription.period.end,
        subtotal,
        total,
        starting_balance,
        ending_balance: owed.min(0),
        amount_due: owed.max(0),
        amount_paid: 0,
        attempt_count: 0,
        next_payment_attempt: None,
        hosted_invoice_url: None,
        invoice_pdf: None,
        subscription: Some(subscription.id.clone()).filter(|id| !id.is_empty()),
        subscription_metadata: subscription.metadata.clone(),
        lines,
        discounts,
        tax,
        payment_intent: None,
        finalized_at: None,
        paid_at: None,
        voided_at: None,
    })
}

/// Returns an amount that every JSON parser reads exactly.
///
/// # Errors
/// If it is too large.
fn exact(amount: i128) -> Result<i64, Refusal> {
    let exact = i64::try_from(amount).ok();
    let exact = exact.filter(|amount| (-MAX_AMOUNT..=MAX_AMOUNT).contains(amount));
    exact.ok_or_else(|| Refusal::invalid("The amount is too large.").code("amount_too_large"))
}

/// Issues an invoice, and returns its id. Nothing to pay is paid at once.
pub(super) fn issue(account: &mut Account, mut invoice: Invoice) -> String {
    invoice.id = account.new_id("in");
    let id = invoice.id.clone();
    account.happened("invoice.created", invoice.shown());
    let customer = invoice.customer.as_ref();
    if let Some(customer) = customer.and_then(|id| account.customers.get_mut(id)) {
        customer.balance = invoice.ending_balance;
        customer.currency = Some(invoice.currency.clone());
        let number = customer.next_invoice_sequence;
        invoice.number = Some(format!("{}-{number:04}", customer.invoice_prefix));
        customer.next_invoice_sequence += 1;
    }
    invoice.status = "open";
    invoice.finalized_at = Some(account.now);
    invoice.hosted_invoice_url = Some(format!("{}/invoices/{id}", account.url));
    invoice.invoice_pdf = Some(format!("{}/invoices/{id}/pdf", account.url));
    if invoice.amount_due > 0 {
        invoice.payment_intent = Some(intend(account, &invoice));
    }
    let (is_free, subscription) = (invoice.amount_due == 0, invoice.subscription.clone());
    account.happened("invoice.finalized", invoice.shown());
    account.invoices.insert(id.clone(), invoice);
    if let Some(found) = subscription.and_then(|id| account.subscriptions.get_mut(&id)) {
        found.latest_invoice = Some(id.clone());
        found
            .discounts
            .retain(|discount| !discount.coupon.is_once());
    }
    if is_free {
        pay(account, &id);
    }
    id
}

fn intend(account: &mut Account, invoice: &Invoice) -> String {
    let id = account.new_id("pi");
    let intent = PaymentIntent {
        client_secret: account.new_client_secret(&id),
        id: id.clone(),
        created: account.now,
        amount: invoice.amount_due,
        currency: invoice.currency.clone(),
        customer: invoice.customer.clone(),
        status: "requires_payment_method",
        payment_method: None,
        last_payment_error: None,
        metadata: Metadata::new(),
        invoice: invoice.id.clone(),
    };
    account.payment_intents.insert(id.clone(), intent);
    id
}

/// Tries to pay an open invoice.
pub(super) fn collect(account: &mut Account, id: &str, card: Option<&str>) -> Outcome {
    let outcome = judge(account, card);
    let Some(invoice) = account.invoices.get_mut(id) else {
        return Outcome::NoCard;
    };
    invoice.attempt_count += 1;
    let intent = invoice.payment_intent.clone();
    if let Some(intent) = intent.and_then(|id| account.payment_intents.get_mut(&id)) {
        intent.payment_method = card.map(str::to_owned);
        if outcome == Outcome::Asks {
            intent.status = "requires_action";
        }
    }
    match &outcome {
        Outcome::Paid => pay(account, id),
        Outcome::Asks => {
            announce(account, id, "invoice.payment_action_required");
            announce(account, id, "invoice.payment_failed");
        }
        Outcome::Declined(reason) => decline(account, id, reason),
        Outcome::NoCard => announce(account, id, "invoice.payment_failed"),
    }
    outcome
}

/// Records that the bank has refused a payment.
pub(super) fn decline(account: &mut Account, id: &str, decline: &Decline) {
    let invoice = account.invoices.get(id);
    let intent = invoice.and_then(|invoice| invoice.payment_intent.clone());
    if let Some(intent) = intent.and_then(|id| account.payment_intents.get_mut(&id)) {
        intent.status = "requires_payment_method";
        intent.payment_method = None;
        intent.last_payment_error = Some(decline.shown());
        let shown = intent.shown();
        account.happened("payment_intent.payment_failed", shown);
    }
    announce(account, id, "invoice.payment_failed");
}

fn announce(account: &mut Account, invoice: &str, kind: &str) {
    if let Some(shown) = account.invoices.get(invoice).map(Object::shown) {
        account.happened(kind, shown);
    }
}

/// Records that an invoice is paid, and what follows for its subscription.
pub(super) fn pay(account: &mut Account, id: &str) {
    let now = account.now;
    let Some(invoice) = account.invoices.get_mut(id) else {
        return;
    };
    if invoice.status != "open" {
        return;
    }
    invoice.status = "paid";
    invoice.amount_paid = invoice.amount_due;
    invoice.paid_at = Some(now);
    invoice.next_payment_attempt = None;
    let (intent, subscription) = (invoice.payment_intent.clone(), invoice.subscription.clone());
    if let Some(intent) = intent.and_then(|id| account.payment_intents.get_mut(&id)) {
        intent.status = "succeeded";
        intent.last_payment_error = None;
        let shown = intent.shown();
        account.happened("payment_intent.succeeded", shown);
    }
    announce(account, id, "invoice.paid");
    announce(account, id, "invoice.payment_succeeded");
    if let Some(subscription) = subscription {
        settle(account, &subscription, id);
    }
}

/// Does to a subscription what follows from a paid invoice.
fn settle(account: &mut Account, id: &str, invoice: &str) {
    let Some(mut subscription) = account.subscriptions.get(id).cloned() else {
        return;
    };
    let is_open =
        |other: &Invoice| other.status == "open" && other.subscription.as_deref() == Some(id);
    let owes = account.invoices.values().any(is_open);
    if ["incomplete", "past_due"].contains(&subscription.status) && !owes {
        subscription.status = "active";
    }
    let pending = subscription
        .pending
        .take_if(|pending| pending.invoice == invoice);
    let is_applied = pending.is_some();
    if let Some(pending) = pending {
        apply(&mut subscription, pending.after);
    }
    let shown = subscription.shown();
    subscription::replace(account, subscription);
    if is_applied {
        account.happened("customer.subscription.pending_update_applied", shown);
    }
}

/// Makes a subscription what a change wants. Fields that the change does not touch stay.
pub(super) fn apply(subscription: &mut Subscription, after: Subscription) {
    subscription.items = after.items;
    subscription.period = after.period;
    subscription.billing_cycle_anchor = after.billing_cycle_anchor;
    subscription.trial_end = after.trial_end;
    subscription.currency = after.currency;
    if subscription.status == "trialing" {
        subscription.status = after.status;
    }
}

/// Voids the open invoices of a subscription.
pub(super) fn void_open(account: &mut Account, subscription: &str) {
    let invoices = account.invoices.values();
    let open = invoices.filter(|invoice| {
        invoice.status == "open" && invoice.subscription.as_deref() == Some(subscription)
    });
    let ids: Vec<String> = open.map(|invoice| invoice.id.clone()).collect();
    for id in ids {
        void(account, &id);
    }
}

/// Voids an open invoice.
pub(super) fn void(account: &mut Account, id: &str) {
    let now = account.now;
    let Some(invoice) = account.invoices.get_mut(id) else {
        return;
    };
    invoice.status = "void";
    invoice.voided_at = Some(now);
    invoice.next_payment_attempt = None;
    let intent = invoice.payment_intent.clone();
    if let Some(intent) = intent.and_then(|id| account.payment_intents.get_mut(&id)) {
        intent.status = "canceled";
    }
    announce(account, id, "invoice.voided");
}

/// Returns lines that give back the rest of the current period.
pub(super) fn credits(account: &mut Account, subscription: &Subscription, at: i64) -> Vec<Line> {
    if subscription.status == "trialing" {
        return Vec::new();
    }
    let paid = subscription.items.iter().filter(|item| item.amount() != 0);
    let credit = |item: &Item| Line::of_rest(account, item, subscription.period, at).given_back();
    paid.map(credit).collect()
}

/// Returns the lines of what was used within a period, at the prices that usage has.
pub(super) fn usage(
    account: &mut Account,
    subscription: &Subscription,
    period: Period,
) -> Vec<Line> {
    let items = subscription.items.iter();
    let metered = items.filter(|item| item.price.is_metered());
    let line = |item: &Item| usage_line(account, &subscription.customer, item, period);
    metered.map(line).collect()
}

/// Returns the lines of what was used at prices that usage does not have any more. What was used for
/// nothing has none.
pub(super) fn usage_of_removed(
    account: &mut Account,
    before: &Subscription,
    items: &[Item],
) -> Vec<Line> {
    let used = Period {
        end: account.now,
        ..before.period
    };
    let is_kept = |old: &Item| {
        let mut same = items.iter().filter(|item| item.id == old.id);
        same.any(|item| item.price.id == old.price.id)
    };
    let metered = before.items.iter().filter(|item| item.price.is_metered());
    let removed = metered.filter(|item| !is_kept(item));
    let lines = removed.map(|item| usage_line(account, &before.customer, item, used));
    lines.filter(|line| line.amount != 0).collect()
}

/// Usage counts since it has this price: what was used before costs nothing.
fn usage_line(account: &mut Account, customer: &str, item: &Item, period: Period) -> Line {
    let period = Period {
        start: item.since.clamp(period.start, period.end),
        ..period
    };
    let used = meter::usage_of(account, customer, item, period);
    Line::of_usage(account, item, period, used)
}

/// Returns the lines that a subscription still owes when it ends at this time: differences that wait
/// for an invoice, and usage before that. None if that is nothing.
pub(super) fn last_lines(
    account: &mut Account,
    subscription: &Subscription,
    end: i64,
) -> Vec<Line> {
    let mut lines = subscription.pending_lines.clone();
    if subscription.status != "trialing" {
        let start = subscription.period.start;
        let end = end.min(subscription.period.end);
        lines.extend(usage(account, subscription, Period { start, end }));
    }
    lines.retain(|line| line.amount != 0);
    lines
}

/// Issues the last invoice of a subscription that has ended, and tries to pay it.
///
/// # Errors
/// If the tax cannot be computed, or the amount is too large.
pub(super) fn bill_ended(
    account: &mut Account,
    ended: &Subscription,
    lines: Vec<Line>,
) -> Result<(), Refusal> {
    if lines.is_empty() {
        return Ok(());
    }
    let invoice = draft(account, ended, lines, "subscription_cycle")?;
    let is_free = invoice.amount_due == 0;
    let invoice = issue(account, invoice);
    if !is_free {
        let card = card_of(account, ended);
        collect(account, &invoice, card.as_deref());
    }
    Ok(())
}

/// Returns the lines of a new period, with the usage of the one before.
pub(super) fn renewal(
    account: &mut Account,
    subscription: &Subscription,
    ended: Option<Period>,
    period: Period,
) -> Vec<Line> {
    let mut lines = subscription.pending_lines.clone();
    let items = subscription.items.iter();
    let fixed = items.filter(|item| !item.price.is_metered());
    lines.extend(fixed.map(|item| Line::of_period(account, item, period)));
    let used = ended.map(|ended| usage(account, subscription, ended));
    lines.extend(used.into_iter().flatten());
    lines
}

/// Issues an invoice with these lines, and tries to pay it.
///
/// # Errors
/// If the tax cannot be computed, or the amount is too large.
pub(super) fn bill(
    account: &mut Account,
    id: &str,
    lines: Vec<Line>,
    reason: &'static str,
) -> Result<Outcome, Refusal> {
    let subscription = subscription::running(account, id)?.clone();
    let invoice = draft(account, &subscription, lines, reason)?;
    let is_free = invoice.amount_due == 0;
    let invoice = issue(account, invoice);
    if is_free {
        return Ok(Outcome::Paid);
    }
    let card = card_of(account, &subscription);
    Ok(collect(account, &invoice, card.as_deref()))
}

/// Plans the next attempt to pay an invoice. After the last one, the subscription ends.
pub(super) fn plan_retry(account: &mut Account, id: &str) {
    let now = account.now;
    let Some(invoice) = account.invoices.get_mut(id) else {
        return;
    };
    let attempts = usize::try_from(invoice.attempt_count).unwrap_or(usize::MAX);
    let pause = RETRIES.get(attempts.saturating_sub(1));
    invoice.next_payment_attempt = pause.map(|pause| now + pause);
    let subscription = invoice.subscription.clone().unwrap_or_default();
    let Some(mut found) = account.subscriptions.get(&subscription).cloned() else {
        return;
    };
    if pause.is_none() {
        found.cancellation_details.reason = Some("payment_failed");
        account.subscriptions.insert(subscription.clone(), found);
        subscription::end(account, &subscription, "canceled");
    } else if found.status == "active" {
        found.status = "past_due";
        subscription::replace(account, found);
    }
}
