//! Mails about the plan of a tenant.

use anyhow::Context as _;
use events_schema::{Name, email::BillingNotice, has_link};

use super::{Links, MailText, date, notice::Notice};

/// Renders a mail to an owner of a tenant with this name. Its link leads to our page, and to none
/// of Stripe's: who has such a link may read an invoice.
///
/// # Errors
/// If a time is out of range.
pub(super) fn billing(
    tenant_name: &Name,
    notice: BillingNotice,
    links: &Links,
) -> anyhow::Result<MailText> {
    let name = Some(tenant_name.as_str()).filter(|name| !has_link(name));
    let name = name.unwrap_or("your team");
    let (subject, news, advice) = match notice {
        BillingNotice::PaymentFailed { since } => (
            "A payment has failed",
            format!(
                "The payment for the plan of {name} has failed. It has been missing since {}.",
                date(since).context("the time of the failure")?
            ),
            "Log in to pay or to save another card. If the payment is missing for 14 days, nothing \
             more can be created until it is paid. Nothing is deleted.",
        ),
        BillingNotice::TrialEnds { at } => (
            "Your trial ends soon",
            format!(
                "The trial of the plan of {name} ends on {}.",
                date(at).context("the end of the trial")?
            ),
            "Log in to see what comes then, to save a card or to choose a plan:",
        ),
        BillingNotice::Restricted { since } => (
            "Nothing more can be created",
            format!(
                "Since {}, nothing more can be created in {name}: a payment is missing, or the plan \
                 has ended.",
                date(since).context("the time of the restriction")?
            ),
            "Nothing is deleted, and everything can be read. Log in to pay or to choose a plan:",
        ),
        BillingNotice::Ended { since } => (
            "Your plan has ended",
            format!(
                "The plan of {name} ended on {}. What applies now is the plan that everybody has \
                 without choosing one.",
                date(since).context("the end of the plan")?
            ),
            "Nothing is deleted. Log in to see what can be used now, or to choose a plan:",
        ),
    };
    let link = links.public_url.as_str();
    Notice {
        subject,
        news: &news,
        advice,
        link,
    }
    .render()
}
