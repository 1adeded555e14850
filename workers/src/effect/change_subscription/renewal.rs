//! A plan that begins once its first period is paid. Stripe calls a subscription active as soon as a
//! period begins, and asks for its payment an hour later.

use events_schema::{
    Time,
    billing::{Paid, PaidStatus},
};

use crate::{
    domain::billing::Billing,
    effect::change_subscription::paid,
    stripe::{InvoiceStatus, Stripe, StripeError, Subscription},
};

/// Whether a plan would begin with this subscription whose payment is still to be made.
///
/// # Errors
/// If Stripe does not answer.
pub(crate) async fn is_being_paid(
    stripe: &Stripe,
    billing: &Billing,
    present: &Subscription,
) -> Result<bool, StripeError> {
    let begins = paid(present).is_ok_and(|paid| beginning(billing, &paid).is_some());
    let Some(invoice) = present.latest_invoice.as_ref().filter(|_| begins) else {
        return Ok(false);
    };
    Ok(match stripe.invoice(invoice).await?.status {
        Some(InvoiceStatus::Draft | InvoiceStatus::Open) => true,
        Some(
            InvoiceStatus::Paid
            | InvoiceStatus::Uncollectible
            | InvoiceStatus::Void
            | InvoiceStatus::Unknown,
        )
        | None => false,
    })
}

/// Returns a subscription as it was before the period of a plan that is still to be paid.
pub(crate) fn before_payment(billing: &Billing, paid: Paid) -> Paid {
    match beginning(billing, &paid) {
        Some(period_end) => Paid { period_end, ..paid },
        None => paid,
    }
}

/// Returns when the period has ended before the one with which a plan would begin; `None` if none
/// would begin with what is paid.
fn beginning(billing: &Billing, paid: &Paid) -> Option<Time> {
    let planned = billing.chosen()?.awaiting_payment(paid).map(|next| next.at);
    let end = planned.or_else(|| before_unrecorded(billing, paid));
    end.filter(|_| paid.status == PaidStatus::Active)
}

/// Returns the end of the recorded period, if Stripe has begun another one with a plan that the tenant
/// wanted for that. A worker was killed, or away, before it recorded that Stripe has the plan.
fn before_unrecorded(billing: &Billing, paid: &Paid) -> Option<Time> {
    let wanted = billing.payment().wanted_later()?;
    let is_it = wanted.once_paid && wanted.stripe_price == paid.price;
    let is_other = billing.chosen_price() != Some((wanted.plan, wanted.price));
    let before = billing.payment().lasting()?.period_end;
    (is_it && is_other && before < paid.period_end).then_some(before)
}
