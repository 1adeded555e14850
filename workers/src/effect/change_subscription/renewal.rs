//! A plan that begins once its first period is paid. Stripe calls a subscription active as soon as a
//! period begins, and asks for its payment an hour later.

use events_schema::billing::{NextPlan, Paid, PaidStatus};

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
        Some(next) => Paid {
            period_end: next.at,
            ..paid
        },
        None => paid,
    }
}

/// Returns the plan that would begin with what is paid.
fn beginning<'b>(billing: &'b Billing, paid: &Paid) -> Option<&'b NextPlan> {
    let next = billing.chosen()?.awaiting_payment(paid);
    next.filter(|_| paid.status == PaidStatus::Active)
}
