//! Objects of Stripe as gateways get them.

use anyhow::{Context as _, anyhow};
use events_schema::{
    Currency, Money, StripeCardId, Time,
    billing::ask::{Card, Discount, Invoice, InvoiceStatus, Upcoming},
};

use crate::stripe::{self, InvoiceStatus as Status};

/// Shows a card; `None` for another way to pay.
pub(super) fn card(card: stripe::Card, default: Option<&StripeCardId>) -> Option<Card> {
    let details = card.card?;
    Some(Card {
        is_default: default == Some(&card.id),
        id: card.id,
        brand: details.brand,
        last4: details.last4,
        exp_month: details.exp_month,
        exp_year: details.exp_year,
    })
}

/// Shows an invoice.
///
/// # Errors
/// If an amount has no known currency.
pub(super) fn invoice(invoice: stripe::Invoice) -> anyhow::Result<Invoice> {
    let amount = |amount| money(amount, &invoice.currency);
    Ok(Invoice {
        subtotal: amount(invoice.subtotal)?,
        tax: amount(invoice.tax())?,
        total: amount(invoice.total)?,
        status: invoice.status.and_then(status),
        id: invoice.id,
        number: invoice.number,
        pdf_url: invoice.invoice_pdf,
        hosted_url: invoice.hosted_invoice_url,
        created_at: invoice.created.into(),
    })
}

/// Shows the invoice that comes at this time.
///
/// # Errors
/// If an amount has no known currency.
pub(super) fn upcoming(preview: &stripe::Preview, at: Time) -> anyhow::Result<Upcoming> {
    let amount = |amount| money(amount, &preview.currency);
    Ok(Upcoming {
        subtotal: amount(preview.subtotal)?,
        tax: amount(preview.tax())?,
        total: amount(preview.total)?,
        due: amount(preview.amount_due)?,
        at,
    })
}

/// Shows a discount; `None` if it takes nothing off.
///
/// # Errors
/// If its amount has no known currency.
pub(super) fn discount(discount: stripe::Discount) -> Option<anyhow::Result<Discount>> {
    let coupon = discount.coupon()?;
    let amount = coupon.amount_off.zip(coupon.currency.as_ref());
    let amount_off = amount.map(|(amount, currency)| money(amount, currency));
    Some(amount_off.transpose().map(|amount_off| Discount {
        name: coupon.name.clone(),
        percent_off: coupon.percent_off,
        amount_off,
        until: discount.end.map(Time::from),
    }))
}

/// Shows an amount in a currency as Stripe writes it, such as `eur`.
///
/// # Errors
/// If the currency is malformed, or the amount too large.
pub(super) fn money(amount: i64, currency: &str) -> anyhow::Result<Money> {
    let code = currency.to_ascii_uppercase();
    let currency = Currency::from_stored(&code).map_err(|why| anyhow!("the currency {}", why.0));
    let money = Money::new(amount, currency?).map_err(|why| anyhow!("the amount {}", why.0));
    money.context("Stripe has answered an odd amount")
}

const fn status(status: Status) -> Option<InvoiceStatus> {
    match status {
        Status::Draft => Some(InvoiceStatus::Draft),
        Status::Open => Some(InvoiceStatus::Open),
        Status::Paid => Some(InvoiceStatus::Paid),
        Status::Uncollectible => Some(InvoiceStatus::Uncollectible),
        Status::Void => Some(InvoiceStatus::Void),
        Status::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_their_minor_units_whatever_the_currency() {
        for (amount, code, decimals) in [(900, "jpy", 0), (1_234, "kwd", 3), (-5, "eur", 2)] {
            let money = money(amount, code).unwrap();
            assert_eq!(money.amount(), amount);
            assert_eq!(money.currency().as_str(), code.to_ascii_uppercase());
            assert_eq!(money.currency().decimals(), decimals);
        }
        assert!(money(1, "euro").is_err() && money(1 << 53, "eur").is_err());
    }
}
