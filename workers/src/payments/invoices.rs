//! Invoices, previews and the payment that waits.

use events_schema::{
    PromotionCode, Sensitive, StripeCustomerId, StripeInvoiceId, StripePriceId,
    StripePromotionCodeId, TenantKey,
    billing::{
        Paid, PendingStatus,
        ask::{
            Costs, Discount, FindDiscount, FindInvoice, Invoice, Invoices, PaymentSecret,
            PortalLink, PreviewChange, Upcoming, UpcomingInvoice,
        },
    },
};

use super::{
    Answers, Payments,
    refusal::{Reason, Refusal},
    shown,
};
use crate::{
    effect::change_subscription::usage_changes,
    stripe::{self, PaymentStatus, PreviewedChange, Subscription, SubscriptionStatus, UsageChange},
};

/// Invoices of a page. Each has some kilobytes, and an answer of Stripe at most one megabyte.
const PAGE: u32 = 25;

impl Answers<PreviewChange> for Payments {
    async fn answer(&self, tenant: TenantKey, question: PreviewChange) -> Result<Costs, Refusal> {
        let payment = self.payment(tenant).await?;
        let lasting = payment.lasting();
        let promotion_code = match &question.promotion_code {
            Some(code) => Some(self.promotion_code(code).await?),
            None => None,
        };
        let change = PreviewedChange {
            usage: self.usage_after(lasting, &question.price).await?,
            subscription: lasting.map(|paid| (paid.id.clone(), paid.item.clone())),
            customer: payment.customer,
            price: question.price,
            quantity: question.quantity,
            promotion_code,
            proration_date: question.proration_date.into(),
        };
        let now = self.stripe.preview_now(&change);
        let (now, next) = tokio::try_join!(now, self.stripe.preview_next(&change))?;
        Ok(Costs {
            due_now: shown::money(now.amount_due, &now.currency)?,
            next: shown::money(next.total, &next.currency)?,
        })
    }
}

impl Answers<FindDiscount> for Payments {
    async fn answer(
        &self,
        tenant: TenantKey,
        _: FindDiscount,
    ) -> Result<Option<Discount>, Refusal> {
        let payment = self.payment(tenant).await?;
        let Some(paid) = payment.lasting() else {
            return Ok(None);
        };
        let discount = self.stripe.discount(&paid.id).await?;
        Ok(discount.and_then(shown::discount).transpose()?)
    }
}

impl Answers<UpcomingInvoice> for Payments {
    async fn answer(
        &self,
        tenant: TenantKey,
        _: UpcomingInvoice,
    ) -> Result<Option<Upcoming>, Refusal> {
        let payment = self.payment(tenant).await?;
        let Some(paid) = payment.lasting() else {
            return Ok(None);
        };
        let preview = self.stripe.upcoming_invoice(&paid.id).await?;
        let shown = preview.map(|preview| shown::upcoming(&preview, paid.period_end));
        Ok(shown.transpose()?)
    }
}

impl Answers<PortalLink> for Payments {
    async fn answer(&self, tenant: TenantKey, question: PortalLink) -> Result<Sensitive, Refusal> {
        let customer = self.customer_or_new(tenant, question.name).await?;
        let link = self.stripe.portal_link(&customer, &question.return_url);
        Ok(link.await?)
    }
}

impl Answers<Invoices> for Payments {
    async fn answer(&self, tenant: TenantKey, question: Invoices) -> Result<Vec<Invoice>, Refusal> {
        let Some(customer) = self.payment(tenant).await?.customer else {
            return match question.after {
                Some(_) => Err(Reason::NotFound.into()),
                None => Ok(Vec::new()),
            };
        };
        let mut pages = self.stripe.invoices(&customer).of_size(PAGE);
        if let Some(after) = &question.after {
            self.invoice_of(&customer, after).await?;
            pages = pages.after(after);
        }
        let invoices = pages.next().await?.unwrap_or_default().into_iter();
        let shown: anyhow::Result<Vec<_>> = invoices.map(shown::invoice).collect();
        Ok(shown?)
    }
}

impl Answers<FindInvoice> for Payments {
    async fn answer(&self, tenant: TenantKey, question: FindInvoice) -> Result<Invoice, Refusal> {
        let customer = self.customer(tenant).await?;
        let invoice = self.invoice_of(&customer, &question.id).await?;
        Ok(shown::invoice(invoice)?)
    }
}

impl Answers<PaymentSecret> for Payments {
    async fn answer(
        &self,
        tenant: TenantKey,
        _: PaymentSecret,
    ) -> Result<Option<Sensitive>, Refusal> {
        let payment = self.payment(tenant).await?;
        let waits = payment.pending.as_ref();
        let waits = waits.is_some_and(|it| it.status == PendingStatus::ActionRequired);
        let Some(customer) = payment.customer.filter(|_| waits) else {
            return Ok(None);
        };
        let all = self.stripe.subscriptions(&customer).all().await?;
        let open = all.iter().find(|subscription| is_open(subscription));
        let Some(invoice) = open.and_then(|open| open.latest_invoice.as_ref()) else {
            return Ok(None);
        };
        let invoice = self.stripe.invoice(invoice).await?;
        let payment = invoice.payment().filter(|payment| needs_owner(payment));
        Ok(payment.and_then(|payment| payment.client_secret.clone()))
    }
}

impl Payments {
    /// Returns how a subscription changes, or begins, so that it pays for usage what belongs to this
    /// price.
    async fn usage_after(
        &self,
        lasting: Option<&Paid>,
        price: &StripePriceId,
    ) -> Result<Vec<UsageChange>, Refusal> {
        let catalogue = self.catalogue.read().await?;
        let Some(paid) = lasting else {
            let usage = catalogue.plans().usage_beside(price);
            return Ok(usage.into_values().map(UsageChange::Add).collect());
        };
        let present = self.stripe.subscription(&paid.id).await?;
        Ok(usage_changes(catalogue.plans(), &present, price))
    }

    /// Finds a promotion code.
    ///
    /// # Errors
    /// If there is none that can be used.
    async fn promotion_code(&self, code: &PromotionCode) -> Result<StripePromotionCodeId, Refusal> {
        let found = self.stripe.promotion_code(code).await?;
        found.ok_or_else(|| Reason::PromotionCodeUnknown.into())
    }

    /// Returns an invoice of a customer.
    ///
    /// # Errors
    /// If the customer has no such invoice.
    async fn invoice_of(
        &self,
        customer: &StripeCustomerId,
        id: &StripeInvoiceId,
    ) -> Result<stripe::Invoice, Refusal> {
        let invoice = self.stripe.invoice(id).await?;
        let is_theirs = invoice.customer.as_ref() == Some(customer);
        is_theirs
            .then_some(invoice)
            .ok_or_else(|| Reason::NotFound.into())
    }
}

/// Whether a subscription, or a change of it, waits for its payment.
fn is_open(subscription: &Subscription) -> bool {
    subscription.status == SubscriptionStatus::Incomplete || subscription.has_pending_update()
}

/// Whether the owner of the card must confirm a payment.
const fn needs_owner(payment: &stripe::Payment) -> bool {
    match payment.status {
        PaymentStatus::RequiresAction | PaymentStatus::RequiresConfirmation => true,
        PaymentStatus::RequiresPaymentMethod
        | PaymentStatus::RequiresCapture
        | PaymentStatus::Processing
        | PaymentStatus::Succeeded
        | PaymentStatus::Canceled
        | PaymentStatus::Unknown => false,
    }
}
