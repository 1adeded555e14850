//! Invoices, previews and the payment that waits.

use std::time::SystemTime;

use events_schema::{
    PromotionCode, Sensitive, StripeCustomerId, StripeInvoiceId, StripePriceId,
    StripePromotionCodeId, TenantKey, Time,
    billing::{
        Paid, PendingStatus,
        ask::{
            Costs, Discount, FindDiscount, FindInvoice, Invoice, Invoices, PaymentSecret,
            PortalLink, PreviewChange, Subscriptions, Upcoming, UpcomingInvoice,
        },
    },
    plan,
};

use super::{
    Answers, Payments,
    refusal::{Reason, Refusal},
    shown,
};
use crate::{
    domain::billing::Billing,
    effect::change_subscription::{is_lasting, paid, trial_after, trial_of, usage_changes_with},
    stripe::{
        self, PaymentStatus, PreviewedChange, Subscription, SubscriptionStatus, TrialChange,
        UsageChange,
    },
};

/// Invoices of a page. Each has some kilobytes, and an answer of Stripe at most one megabyte.
const PAGE: u32 = 25;

impl Answers<PreviewChange> for Payments {
    async fn answer(&self, tenant: TenantKey, question: PreviewChange) -> Result<Costs, Refusal> {
        let change = self.previewed(tenant, question).await?;
        let now = self.stripe.preview_now(&change);
        let (now, next) = tokio::try_join!(now, self.stripe.preview_next(&change))?;
        Ok(Costs {
            due_now: shown::money(now.amount_due, &now.currency)?,
            next: shown::money(next.total, &next.currency)?,
        })
    }
}

impl Answers<Subscriptions> for Payments {
    async fn answer(&self, tenant: TenantKey, _: Subscriptions) -> Result<Vec<Paid>, Refusal> {
        let Some(customer) = self.payment(tenant).await?.customer else {
            return Ok(Vec::new());
        };
        let page = self.stripe.subscriptions(&customer).next().await?;
        let all = page.unwrap_or_default();
        let has_begun = |it: &&Subscription| is_lasting(it) || it.ended_at.is_some();
        let begun: anyhow::Result<Vec<_>> = all.iter().filter(has_begun).map(paid).collect();
        Ok(begun?)
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
    /// Returns the change that would be made of a tenant's subscription, or the beginning of one.
    async fn previewed(
        &self,
        tenant: TenantKey,
        question: PreviewChange,
    ) -> Result<PreviewedChange, Refusal> {
        let billing = self.billing(tenant).await?;
        let catalogue = self.catalogue.read().await?;
        let catalogue = catalogue.plans();
        let payment = billing.payment();
        let present = match payment.lasting() {
            Some(paid) => Some(self.stripe.subscription(&paid.id).await?),
            None => None,
        };
        let present = present.as_ref();
        let promotion_code = match &question.promotion_code {
            Some(code) => Some(self.promotion_code(code).await?),
            None => None,
        };
        let price = &question.price;
        let now = SystemTime::now().into();
        Ok(PreviewedChange {
            usage: usage_with(catalogue, present, price),
            trial: trial_with(&billing, catalogue, present, price, now),
            subscription: payment
                .lasting()
                .map(|paid| (paid.id.clone(), paid.item.clone())),
            customer: payment.customer.clone(),
            price: question.price,
            quantity: question.quantity,
            promotion_code,
            proration_date: question.proration_date.into(),
        })
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

/// Returns what changes together with a plan of what a subscription pays for usage, or what it
/// begins with.
fn usage_with(
    catalogue: &plan::View,
    present: Option<&Subscription>,
    price: &StripePriceId,
) -> Vec<UsageChange> {
    let Some(present) = present else {
        let usage = catalogue.usage_beside(price);
        return usage.into_values().map(UsageChange::Add).collect();
    };
    usage_changes_with(catalogue, present, price)
}

/// Returns the trial with which a tenant would have the plan of this price.
fn trial_with(
    billing: &Billing,
    catalogue: &plan::View,
    present: Option<&Subscription>,
    price: &StripePriceId,
    now: Time,
) -> TrialChange {
    let Some((wanted, _)) = catalogue.priced(price) else {
        return TrialChange::Keep;
    };
    let offered = catalogue.version(wanted).map(|version| version.trial_days);
    let days = offered.and_then(|days| billing.new_trial_days(wanted.plan, days));
    match present {
        Some(present) => trial_after(billing, catalogue, present, (wanted.plan, days), now),
        None => days.map_or(TrialChange::Keep, |days| trial_of(days, now)),
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
