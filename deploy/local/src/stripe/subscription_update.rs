//! Changes of a subscription.

use serde_json::Value;

use super::{
    account::Account,
    billing::{self, Outcome},
    form::Form,
    invoice::Line,
    item::{self, Item},
    object::Object,
    payment_method,
    period::Period,
    promotion,
    refusal::Refusal,
    subscription::{self, PendingUpdate, Subscription},
    subscription_create::{
        Behavior, ensure_wanted, future, read_end, read_tax, read_trial_end_behavior,
    },
};

/// How long a change waits for its payment, in seconds.
pub(super) const PENDING: i64 = 23 * 60 * 60;
/// The parameters that a change may have that waits for its payment.
const WITH_PENDING: [&str; 7] = [
    "billing_cycle_anchor",
    "items",
    "off_session",
    "payment_behavior",
    "proration_behavior",
    "proration_date",
    "trial_end",
];

/// What becomes of the rest of the period that is paid already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Proration {
    /// The next invoice has it.
    NextInvoice,
    /// An invoice of its own has it.
    AtOnce,
    /// Nothing.
    None,
}

/// A change of what is paid for and when.
pub(super) struct Wish {
    pub(super) items: Vec<Item>,
    pub(super) proration: Proration,
    /// The time from which the change counts.
    at: i64,
    /// Whether a period begins now.
    restarts: bool,
    /// A new end of the trial.
    trial_end: Option<i64>,
    ends_trial: bool,
}

/// What a change does.
pub(super) struct Change {
    pub(super) after: Subscription,
    pub(super) lines: Vec<Line>,
    /// Whether the lines are due now, and not with the next period.
    pub(super) is_due: bool,
}

impl Wish {
    /// Reads what a preview has as well.
    ///
    /// # Errors
    /// If a parameter is refused.
    pub(super) fn read(
        account: &mut Account,
        form: &mut Form,
        before: &Subscription,
    ) -> Result<Self, Refusal> {
        const PRORATIONS: [&str; 3] = ["always_invoice", "create_prorations", "none"];
        let proration = match form.choice("proration_behavior", &PRORATIONS)? {
            Some("always_invoice") => Proration::AtOnce,
            Some("none") => Proration::None,
            Some(_) | None => Proration::NextInvoice,
        };
        let anchor = form.choice("billing_cycle_anchor", &["now", "unchanged"])?;
        let items = item::read(account, form, &before.items)?;
        let at = form.integer("proration_date")?.unwrap_or(account.now);
        if !(before.period.start..=before.period.end).contains(&at) {
            return Err(
                Refusal::invalid("It must be within the current period.").param("proration_date")
            );
        }
        let trial_end = form.text("trial_end")?;
        let ends_trial = trial_end.as_deref() == Some("now") && before.status == "trialing";
        let trial_end = trial_end.filter(|end| end != "now");
        let trial_end = trial_end.map(|end| future(&end, account.now, "trial_end"));
        let trial_end = trial_end.transpose()?;
        if trial_end.is_some() && before.status != "trialing" {
            return Err(
                Refusal::invalid("Only a running trial can be extended here.").param("trial_end"),
            );
        }
        Ok(Self {
            items: items.unwrap_or_else(|| before.items.clone()),
            proration,
            at,
            restarts: anchor == Some("now"),
            trial_end,
            ends_trial,
        })
    }

    /// Returns what the change does to a subscription.
    pub(super) fn apply_to(self, account: &mut Account, before: &Subscription) -> Change {
        let mut after = before.clone();
        after.items = self.items;
        let is_trial = before.status == "trialing";
        let has_other_interval = before.interval() != after.interval();
        let restarts = self.ends_trial || !is_trial && (self.restarts || has_other_interval);
        let mut lines = Vec::new();
        if !is_trial && self.proration != Proration::None {
            lines = prorations(account, before, &after.items, self.at, restarts);
            // Otherwise what was used before is lost, as Stripe loses it.
            if !restarts && before.billing_mode == "flexible" {
                lines.extend(billing::usage_of_removed(account, before, &after.items));
            }
        }
        if let Some(end) = self.trial_end {
            after.trial_end = Some(end);
            after.billing_cycle_anchor = end;
            after.period = Period {
                end,
                ..after.period
            };
        }
        if restarts {
            if !is_trial {
                let used = Period {
                    end: account.now,
                    ..before.period
                };
                lines.extend(billing::usage(account, before, used));
            }
            begin_period(&mut after, account.now);
            lines.extend(billing::renewal(account, &after, None, after.period));
            after.pending_lines.clear();
        }
        let is_at_once = self.proration == Proration::AtOnce && !lines.is_empty();
        Change {
            after,
            lines,
            is_due: restarts || is_at_once,
        }
    }
}

/// Lets a period begin now. A trial ends with it.
pub(super) fn begin_period(subscription: &mut Subscription, now: i64) {
    subscription.billing_cycle_anchor = now;
    subscription.period = subscription.interval().period_from(now, now);
    if subscription.status == "trialing" {
        subscription.status = "active";
        subscription.trial_end = Some(now);
    }
}

/// Returns lines that give back the rest of the period of what changes, and charge for the new.
fn prorations(
    account: &mut Account,
    before: &Subscription,
    items: &[Item],
    at: i64,
    restarts: bool,
) -> Vec<Line> {
    let mut lines = Vec::new();
    let is_kept = |item: &Item, others: &[Item]| {
        let same = others.iter().find(|other| other.id == item.id);
        !restarts && same.is_some_and(|other| other.costs_like(item))
    };
    for old in &before.items {
        if !is_kept(old, items) && old.amount() != 0 {
            lines.push(Line::of_rest(account, old, before.period, at).given_back());
        }
    }
    for new in items {
        if !restarts && !is_kept(new, &before.items) && new.amount() != 0 {
            lines.push(Line::of_rest(account, new, before.period, at));
        }
    }
    lines
}

/// Changes a subscription, and tries to pay what is due.
///
/// # Errors
/// If a parameter is refused, or the card is declined and the caller wants no incomplete change.
pub(super) fn update(account: &mut Account, id: &str, mut form: Form) -> Result<Value, Refusal> {
    let before = subscription::running(account, id)?.clone();
    let other = form.names().find(|name| !WITH_PENDING.contains(name));
    let other = other.map(str::to_owned);
    let behavior = Behavior::read(&mut form)?;
    if let Some(name) = other.filter(|_| behavior == Behavior::Pend) {
        let message = format!(
            "The parameter {name} is not supported with `payment_behavior=pending_if_incomplete`."
        );
        return Err(Refusal::invalid(message).param(&name));
    }
    let wish = Wish::read(account, &mut form, &before)?;
    let mut changed = before.clone();
    read_rest(account, &mut form, &mut changed)?;
    form.end()?;
    let change = wish.apply_to(account, &changed);
    if change.is_due {
        charge(account, before, change, behavior)?;
    } else {
        let mut after = change.after;
        after.pending_lines.extend(change.lines);
        subscription::replace(account, after);
    }
    subscription::retrieve(account, id)
}

/// Reads what needs no payment.
fn read_rest(
    account: &mut Account,
    form: &mut Form,
    subscription: &mut Subscription,
) -> Result<(), Refusal> {
    if let Some(card) = form.change("default_payment_method")? {
        if let Some(card) = &card {
            let (owner, param) = (&subscription.customer, "default_payment_method");
            payment_method::owned(account, card, owner, param)?;
        }
        subscription.default_payment_method = card;
    }
    form.metadata(&mut subscription.metadata)?;
    form.set("description", &mut subscription.description)?;
    form.boolean("off_session")?;
    subscription.is_taxed = read_tax(form)?.unwrap_or(subscription.is_taxed);
    subscription.cancellation_details.read(form)?;
    read_trial_end_behavior(form, subscription)?;
    read_end(form, subscription, account.now)?;
    let customer = subscription.customer.clone();
    if let Some(discounts) = promotion::read_discounts(account, form, &customer)? {
        for discount in &discounts {
            let kept = discount.clone();
            account.discounts.insert(discount.id().to_owned(), kept);
        }
        subscription.discounts = discounts;
    }
    Ok(())
}

/// Issues the invoice of a change, and tries to pay it.
fn charge(
    account: &mut Account,
    before: Subscription,
    change: Change,
    behavior: Behavior,
) -> Result<(), Refusal> {
    let Change { after, lines, .. } = change;
    let invoice = billing::draft(account, &after, lines, "subscription_update")?;
    let is_free = invoice.amount_due == 0;
    let card = billing::card_of(account, &after);
    let outcome = match (is_free, behavior) {
        (true, _) => Outcome::Paid,
        (false, Behavior::Wait) => Outcome::Asks,
        (false, Behavior::Allow | Behavior::Refuse | Behavior::Pend) => {
            billing::judge(account, card.as_deref())
        }
    };
    ensure_wanted(&outcome, behavior)?;
    if outcome != Outcome::Paid && behavior == Behavior::Pend {
        if let Some(replaced) = &before.pending {
            billing::void(account, &replaced.invoice);
        }
        let invoice = billing::issue(account, invoice);
        let pending = PendingUpdate {
            after,
            expires_at: account.now + PENDING,
            invoice: invoice.clone(),
        };
        let waiting = Subscription {
            pending: Some(Box::new(pending)),
            latest_invoice: Some(invoice.clone()),
            ..before
        };
        subscription::replace(account, waiting);
        billing::collect(account, &invoice, card.as_deref());
        return Ok(());
    }
    let mut after = after;
    if outcome != Outcome::Paid {
        after.status = "past_due";
    }
    subscription::replace(account, after);
    let invoice = billing::issue(account, invoice);
    if !is_free && behavior != Behavior::Wait {
        billing::collect(account, &invoice, card.as_deref());
    }
    if outcome != Outcome::Paid && behavior == Behavior::Allow {
        billing::plan_retry(account, &invoice);
    }
    Ok(())
}
