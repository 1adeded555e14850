//! What happens when time passes: trials end, periods end, payments are tried again.

use super::{
    account::{Account, Cause},
    billing::{self, Outcome},
    invoice::Invoice,
    object::Object,
    period::DAY,
    subscription::{self, Subscription},
    subscription_update::PENDING,
};

/// How long before the end of a trial Stripe announces it.
const ANNOUNCED: i64 = 3 * DAY;

/// What is due.
#[derive(Clone, Debug)]
enum Due {
    TrialEndsSoon(String),
    /// The first invoice was not paid in time.
    Expires(String),
    ChangeExpires(String),
    Ends(String),
    PeriodEnds(String),
    Retry(String),
}

impl Account {
    /// Lets time pass until `to`, and does all that is due, in order.
    pub(super) fn pass_time(&mut self, to: i64) {
        self.cause = Cause::default();
        while let Some((at, due)) = self.next_due().filter(|(at, _)| *at <= to) {
            self.now = self.now.max(at);
            self.happen(due);
        }
        self.now = self.now.max(to);
    }

    fn next_due(&self) -> Option<(i64, Due)> {
        let of_subscriptions = self.subscriptions.values().filter_map(next_of_subscription);
        let of_invoices = self.invoices.values().filter_map(next_of_invoice);
        of_subscriptions
            .chain(of_invoices)
            .min_by_key(|(at, _)| *at)
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::TrialEndsSoon(id) => {
                if let Some(found) = self.subscriptions.get_mut(&id) {
                    found.is_trial_end_announced = true;
                    let shown = found.shown();
                    self.happened("customer.subscription.trial_will_end", shown);
                }
            }
            Due::Expires(id) => subscription::end(self, &id, "incomplete_expired"),
            Due::ChangeExpires(id) => self.drop_change(&id),
            Due::Ends(id) => self.end(&id),
            Due::PeriodEnds(id) => self.end_period(&id),
            Due::Retry(id) => self.retry(&id),
        }
    }

    fn drop_change(&mut self, id: &str) {
        let Some(mut found) = self.subscriptions.get(id).cloned() else {
            return;
        };
        let Some(pending) = found.pending.take() else {
            return;
        };
        let shown = found.shown();
        subscription::replace(self, found);
        billing::void(self, &pending.invoice);
        self.happened("customer.subscription.pending_update_expired", shown);
    }

    /// Ends a subscription, and asks for the payment of what it still owes.
    fn end(&mut self, id: &str) {
        let Some(found) = self.subscriptions.get(id).cloned() else {
            return;
        };
        let now = self.now;
        let lines = billing::last_lines(self, &found, now);
        subscription::end(self, id, "canceled");
        // What cannot be on an invoice is lost.
        _ = billing::bill_ended(self, &found, lines);
    }

    /// Begins the next period, and asks for its payment.
    fn end_period(&mut self, id: &str) {
        let Some(mut found) = self.subscriptions.get(id).cloned() else {
            return;
        };
        let card = billing::card_of(self, &found);
        let is_trial = found.status == "trialing";
        if is_trial {
            if card.is_none() && found.without_card == "cancel" {
                subscription::end(self, id, "canceled");
                return;
            }
            found.status = "active";
        }
        // What was used during a trial costs nothing.
        let ended = (!is_trial).then_some(found.period);
        found.period = found.next_period();
        let lines = billing::renewal(self, &found, ended, found.period);
        found.pending_lines.clear();
        subscription::replace(self, found);
        // The items of a period fit into an amount, since they were checked when they were set.
        let Ok(outcome) = billing::bill(self, id, lines, "subscription_cycle") else {
            return;
        };
        let invoice = self.subscriptions.get(id);
        let invoice = invoice.and_then(|found| found.latest_invoice.clone());
        if let Some(invoice) = invoice.filter(|_| outcome != Outcome::Paid) {
            billing::plan_retry(self, &invoice);
        }
    }

    fn retry(&mut self, id: &str) {
        let Some(invoice) = self.invoices.get_mut(id) else {
            return;
        };
        invoice.next_payment_attempt = None;
        let subscription = invoice.subscription.clone().unwrap_or_default();
        let found = self.subscriptions.get(&subscription);
        let card = found.and_then(|found| billing::card_of(self, found));
        if billing::collect(self, id, card.as_deref()) != Outcome::Paid {
            billing::plan_retry(self, id);
        }
    }
}

fn next_of_subscription(found: &Subscription) -> Option<(i64, Due)> {
    if found.is_ended() {
        return None;
    }
    let id = || found.id.clone();
    if found.status == "incomplete" {
        return Some((found.created + PENDING, Due::Expires(id())));
    }
    let trial_end = found.trial_end.filter(|_| found.status == "trialing");
    let announced = trial_end.filter(|_| !found.is_trial_end_announced);
    let change = found.pending.as_ref().map(|pending| pending.expires_at);
    let dues = [
        announced.map(|end| {
            (
                (end - ANNOUNCED).max(found.created),
                Due::TrialEndsSoon(id()),
            )
        }),
        change.map(|at| (at, Due::ChangeExpires(id()))),
        found.cancel_at.map(|at| (at, Due::Ends(id()))),
        Some((found.period.end, Due::PeriodEnds(id()))),
    ];
    // The first of equals: what ends with its period does not begin another.
    dues.into_iter().flatten().min_by_key(|(at, _)| *at)
}

fn next_of_invoice(invoice: &Invoice) -> Option<(i64, Due)> {
    let at = invoice.next_payment_attempt?;
    (invoice.status == "open").then(|| (at, Due::Retry(invoice.id.clone())))
}
