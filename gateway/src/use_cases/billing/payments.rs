//! Cards, invoices, previews and links: what workers ask Stripe for at once.

use std::ops::Not as _;

use events_schema::{
    Limit, Money, Sensitive, StripeCardId, StripeInvoiceId, StripeSetupIntentId, TenantKey, Time,
    billing::{
        ChangeTime, Paid,
        ask::{
            AttachCard, Card, Cards, CreateSetupIntent, DeleteCard, Discount, FindDiscount,
            FindInvoice, Invoice, Invoices, PaymentSecret, PortalLink, PreviewChange, Question,
            SetDefaultCard, Subscriptions, Upcoming, UpcomingInvoice,
        },
    },
    plan::Version,
};

use super::{
    Billings, Choice, TenantBilling,
    choice::{self, Unavailable, ensure_recent},
    timing::{ensure_computable, ensure_not_paying},
};
use crate::{clock::now, error::Error, identity::Caller};

/// Longest path to which Stripe's pages lead back, in bytes.
const MAX_PATH: usize = 500;

/// What a change would cost, and which limits it would exceed.
#[derive(Debug)]
pub(crate) struct Preview {
    /// What is paid at once; `None` if the plan is free.
    pub(crate) due_now: Option<Money>,
    /// What each period costs; `None` if the plan is free.
    pub(crate) next: Option<Money>,
    /// The time from which the difference to the plan before counts.
    pub(crate) proration_date: Time,
    /// When the tenant would get the plan; `None` for at once.
    pub(crate) from: Option<Time>,
    pub(crate) exceeded: Vec<Exceeded>,
}

/// A limit of which more is in use than a plan allows.
#[derive(Debug)]
pub(crate) struct Exceeded {
    pub(crate) limit: Limit,
    pub(crate) allowed: u64,
    pub(crate) used: u64,
}

impl Billings {
    /// Returns the key of Stripe that browsers get.
    ///
    /// # Errors
    /// `Rejected` if payments are not set up.
    pub(crate) fn browser_key(&self) -> Result<&str, Error> {
        let key = self.publishable_key.as_deref();
        key.ok_or_else(|| Unavailable::PaymentsNotSetUp.to_error())
    }

    /// Reads the cards of the caller's tenant.
    ///
    /// # Errors
    /// Those of [`ask`](Self::ask).
    pub(crate) async fn cards(&self, caller: &Caller) -> Result<Vec<Card>, Error> {
        self.ask_for_own(caller, &Cards {}).await
    }

    /// Reads a card of the caller's tenant.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such card; those of [`ask`](Self::ask).
    pub(crate) async fn card(&self, caller: &Caller, id: &StripeCardId) -> Result<Card, Error> {
        let mut cards = self.cards(caller).await?.into_iter();
        cards.find(|card| card.id == *id).ok_or(Error::NotFound)
    }

    /// Lets a browser save a card; returns the client secret.
    ///
    /// # Errors
    /// `RateLimited` if the tenant has begun too many; those of [`ask`](Self::ask).
    pub(crate) async fn create_setup_intent(&self, caller: &Caller) -> Result<Sensitive, Error> {
        self.browser_key()?;
        let tenant = &caller.membership()?.tenant;
        self.limits.count_card(tenant.id)?;
        let name = tenant.view.name.clone();
        self.ask_for_own(caller, &CreateSetupIntent { name }).await
    }

    /// Keeps a card that a browser has saved.
    ///
    /// # Errors
    /// Those of [`ask`](Self::ask).
    pub(crate) async fn attach_card(
        &self,
        caller: &Caller,
        setup_intent: StripeSetupIntentId,
    ) -> Result<Card, Error> {
        self.ask_for_own(caller, &AttachCard { setup_intent }).await
    }

    /// Lets a card pay for invoices.
    ///
    /// # Errors
    /// Those of [`ask`](Self::ask).
    pub(crate) async fn set_default_card(
        &self,
        caller: &Caller,
        card: StripeCardId,
    ) -> Result<Card, Error> {
        self.ask_for_own(caller, &SetDefaultCard { card }).await
    }

    /// Deletes a card.
    ///
    /// # Errors
    /// Those of [`ask`](Self::ask).
    pub(crate) async fn delete_card(
        &self,
        caller: &Caller,
        card: StripeCardId,
    ) -> Result<(), Error> {
        self.ask_for_own(caller, &DeleteCard { card }).await
    }

    /// Returns a link to Stripe's pages for the caller's tenant. They lead back to this path of our
    /// host.
    ///
    /// # Errors
    /// `BadUserInput` if the path is none; those of [`ask`](Self::ask).
    pub(crate) async fn portal_link(
        &self,
        caller: &Caller,
        return_path: &str,
    ) -> Result<Sensitive, Error> {
        let link = PortalLink {
            name: caller.membership()?.tenant.view.name.clone(),
            return_url: return_url(&self.public_url, return_path)?,
        };
        self.ask_for_own(caller, &link).await
    }

    /// Reads up to 25 invoices of a tenant, the latest first.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no invoice `after`; those of [`ask`](Self::ask).
    pub(crate) async fn invoices(
        &self,
        caller: &Caller,
        tenant: TenantKey,
        after: Option<StripeInvoiceId>,
    ) -> Result<Vec<Invoice>, Error> {
        self.ask(caller, tenant, &Invoices { after }).await
    }

    /// Reads an invoice of a tenant.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such invoice; those of [`ask`](Self::ask).
    pub(crate) async fn invoice(
        &self,
        caller: &Caller,
        tenant: TenantKey,
        id: StripeInvoiceId,
    ) -> Result<Invoice, Error> {
        self.ask(caller, tenant, &FindInvoice { id }).await
    }

    /// Reads what a tenant pays for and has paid for, the latest first; at most 100.
    ///
    /// # Errors
    /// Those of [`ask`](Self::ask).
    pub(crate) async fn subscriptions(
        &self,
        caller: &Caller,
        tenant: TenantKey,
    ) -> Result<Vec<Paid>, Error> {
        self.ask(caller, tenant, &Subscriptions {}).await
    }

    /// Returns what makes the plan of a tenant cheaper; `None` if nothing does.
    ///
    /// # Errors
    /// Those of [`ask`](Self::ask).
    pub(crate) async fn discount(
        &self,
        caller: &Caller,
        tenant: TenantKey,
    ) -> Result<Option<Discount>, Error> {
        self.ask(caller, tenant, &FindDiscount {}).await
    }

    /// Returns what a tenant pays next; `None` if it will pay nothing.
    ///
    /// # Errors
    /// Those of [`ask`](Self::ask).
    pub(crate) async fn upcoming_invoice(
        &self,
        caller: &Caller,
        tenant: TenantKey,
    ) -> Result<Option<Upcoming>, Error> {
        self.ask(caller, tenant, &UpcomingInvoice {}).await
    }

    /// Returns the client secret of the payment that waits for the owner of the card; `None` if
    /// there is none.
    ///
    /// # Errors
    /// Those of [`ask`](Self::ask).
    pub(crate) async fn payment_secret(&self, caller: &Caller) -> Result<Option<Sensitive>, Error> {
        self.ask_for_own(caller, &PaymentSecret {}).await
    }

    /// Returns what a choice would cost a tenant, and which limits it would exceed.
    ///
    /// # Errors
    /// Those of [`choose`](Self::choose) and of [`ask`](Self::ask); `Rejected` if Stripe would
    /// compute the costs from what is not paid.
    pub(crate) async fn preview(
        &self,
        caller: &Caller,
        present: &TenantBilling,
        choice: Choice,
    ) -> Result<Preview, Error> {
        let now = now();
        ensure_recent(choice.proration_date, now)?;
        let offer = present.offer(&choice)?;
        let proration_date = choice.proration_date.unwrap_or(now);
        let mut preview = Preview {
            due_now: None,
            next: None,
            proration_date,
            from: None,
            exceeded: present.exceeded(offer.version).await?,
        };
        let Some(price) = offer.price else {
            ensure_not_paying(present.plan.billing())?;
            return Ok(preview);
        };
        let aim = present.aim(&offer, price).await?;
        let at = present.change_time(aim, choice.at)?;
        ensure_computable(present.plan.billing(), at, present.plan.at)?;
        let question = PreviewChange {
            price: choice::known_price(present.plan.catalogue(), &offer, price)?,
            quantity: aim.quantity,
            proration_date,
            promotion_code: choice.promotion_code,
        };
        let costs = self.ask(caller, present.plan.tenant, &question).await?;
        preview.from = match at {
            ChangeTime::Now => None,
            ChangeTime::PeriodEnd => present.period_end(),
        };
        preview.due_now = Some(if at == ChangeTime::PeriodEnd {
            let nothing = Money::new(0, costs.due_now.currency().clone());
            nothing.map_err(Error::invalid("amount"))?
        } else {
            costs.due_now
        });
        preview.next = Some(costs.next);
        Ok(preview)
    }

    async fn ask_for_own<Q: Question>(
        &self,
        caller: &Caller,
        question: &Q,
    ) -> Result<Q::Answer, Error> {
        let tenant = caller.membership()?.tenant.id;
        self.ask(caller, tenant, question).await
    }

    /// Asks about the payments of a tenant.
    ///
    /// # Errors
    /// `PaymentsAway` if Stripe or the worker does not answer; `Rejected` if payments are not set
    /// up or it is refused; `RateLimited` if the account or the tenant asks too often, or too much
    /// at once.
    async fn ask<Q: Question>(
        &self,
        caller: &Caller,
        tenant: TenantKey,
        question: &Q,
    ) -> Result<Q::Answer, Error> {
        self.browser_key()?;
        let account = caller.identity()?.account_id();
        self.limits.count_question(account, tenant)?;
        self.asks.ask(tenant, question, caller.trace).await
    }
}

/// Returns the URL of a path of our host. With its `/`, the host has ended, so no path leads to
/// another one.
///
/// # Errors
/// `BadUserInput` if the path is none.
fn return_url(public_url: &str, path: &str) -> Result<String, Error> {
    let is_path = path.starts_with('/') && path.len() <= MAX_PATH;
    if !is_path || path.bytes().all(|c| c.is_ascii_graphic()).not() {
        let message = format!("returnPath must begin with / and have 1 to {MAX_PATH} bytes.");
        return Err(Error::input("returnPath", message));
    }
    Ok(format!("{}{path}", public_url.trim_end_matches('/')))
}

impl TenantBilling {
    /// Returns when the period ends that the tenant has paid.
    fn period_end(&self) -> Option<Time> {
        let paid = self.plan.billing()?.payment.lasting()?;
        Some(paid.period_end)
    }

    /// Returns how many objects a version allows the tenant, with its exceptions; `None` for any
    /// number.
    pub(super) fn allowed(&self, version: &Version, limit: Limit) -> Option<u64> {
        let billing = self.plan.billing();
        let overrides = billing.and_then(|billing| billing.overrides.as_ref());
        events_schema::allowed(version, overrides, limit, self.plan.at)
    }

    /// Returns the limits of which more is in use than a version allows, with the tenant's
    /// exceptions.
    async fn exceeded(&self, version: &Version) -> Result<Vec<Exceeded>, Error> {
        let mut exceeded = Vec::new();
        for limit in Limit::all().iter().copied() {
            let Some(allowed) = self.allowed(version, limit) else {
                continue;
            };
            let used = self.used(limit).await?;
            if used > allowed {
                exceeded.push(Exceeded {
                    limit,
                    allowed,
                    used,
                });
            }
        }
        Ok(exceeded)
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    #[test]
    fn pages_of_stripe_lead_back_to_our_host_whatever_the_path_is() {
        let paths = [
            "/",
            "/settings?tab=1#top",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "/.//evil.example",
            "/..//evil.example",
            "/%2e%2e//evil.example",
            "/@evil.example",
            "/:443@evil.example",
        ];
        for ours in [
            "https://example.com",
            "https://example.com/",
            "http://localhost:9900",
        ] {
            let host = Url::parse(ours).unwrap().origin();
            for path in paths {
                let url = return_url(ours, path).unwrap();
                assert_eq!(Url::parse(&url).unwrap().origin(), host, "{url}");
            }
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let long = format!("/{}", "x".repeat(MAX_PATH));
        for wrong in [
            "",
            "https://evil.example",
            "evil.example",
            ".evil.example",
            "@evil.example",
            ":@evil.example",
            "\\\\evil.example",
            " //evil.example",
            "/a b",
            "/\r\nLocation: //evil.example",
            "/\t/evil.example",
            "/ü",
            &long,
        ] {
            let refused = return_url("https://example.com", wrong);
            assert!(
                matches!(refused, Err(Error::BadUserInput { .. })),
                "{wrong}"
            );
        }
    }
}
