//! Cards, invoices and previews as clients see them.

use async_graphql::{Enum, ID, SimpleObject};
use events_schema::{
    Sensitive,
    billing::ask::{self, InvoiceStatus as Status},
};

use crate::{
    graphql::{
        money::Money,
        scalars::{DateTime, Long, to_id},
    },
    identity::Caller,
    use_cases::billing::{Exceeded, Preview},
};

/// A card that is kept by Stripe.
#[derive(SimpleObject)]
pub(super) struct Card {
    /// Id of the card at Stripe.
    id: ID,
    /// The brand, such as `visa`.
    brand: String,
    /// The last four digits.
    last4: String,
    /// The month in which it expires, 1 to 12.
    exp_month: u8,
    /// The year in which it expires.
    exp_year: u16,
    /// Whether it pays for invoices.
    is_default: bool,
}

impl From<ask::Card> for Card {
    fn from(card: ask::Card) -> Self {
        Self {
            id: to_id(card.id),
            brand: card.brand,
            last4: card.last4,
            exp_month: card.exp_month,
            exp_year: card.exp_year,
            is_default: card.is_default,
        }
    }
}

/// What a browser needs to save a card with Stripe.js.
#[derive(SimpleObject)]
pub(super) struct SetupIntent {
    /// Lets the browser save one card.
    pub(super) client_secret: String,
    /// Stripe's key for browsers.
    pub(super) publishable_key: String,
}

/// A link to Stripe's pages.
#[derive(SimpleObject)]
pub(super) struct PortalLink {
    /// The link. It is valid for minutes, and its visitor may change everything that is paid.
    pub(super) url: String,
}

/// What a change of the plan would cost.
#[derive(SimpleObject)]
pub(super) struct ChangePreview {
    /// What would be paid at once, after the tenant's credit. Null if the plan is free.
    due_now: Option<Money>,
    /// What each further period would cost. Null if the plan is free.
    next: Option<Money>,
    /// The time from which the difference to the plan before counts. With it, the change costs the
    /// same.
    proration_date: DateTime,
    /// When the tenant would get the plan. Null for at once.
    takes_effect_at: Option<DateTime>,
    /// The limits of which more is in use than the plan allows. Nothing is deleted, and nothing more
    /// is created.
    exceeded: Vec<ExceededLimit>,
}

/// A limit of which more is in use than a plan allows.
#[derive(SimpleObject)]
struct ExceededLimit {
    /// Name of the limit, such as `projects`.
    name: String,
    /// The most objects that the plan allows.
    value: Long,
    /// How many objects there are.
    used: Long,
}

impl From<Preview> for ChangePreview {
    fn from(preview: Preview) -> Self {
        Self {
            due_now: preview.due_now.as_ref().map(Money::from),
            next: preview.next.as_ref().map(Money::from),
            proration_date: DateTime(preview.proration_date),
            takes_effect_at: preview.from.map(DateTime),
            exceeded: preview.exceeded.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Exceeded> for ExceededLimit {
    fn from(exceeded: Exceeded) -> Self {
        Self {
            name: exceeded.limit.to_string(),
            value: exceeded.allowed.into(),
            used: exceeded.used.into(),
        }
    }
}

/// What makes a plan cheaper.
#[derive(SimpleObject)]
pub(super) struct Discount {
    /// The name that invoices show. Null if there is none.
    name: Option<String>,
    /// How much less each invoice is, in percent. Null if it is an amount.
    percent_off: Option<f64>,
    /// How much less each invoice is. Null if it is a part.
    amount_off: Option<Money>,
    /// When it ends. Null if it does not, or counts for one invoice only.
    ends_at: Option<DateTime>,
}

impl From<ask::Discount> for Discount {
    fn from(discount: ask::Discount) -> Self {
        Self {
            name: discount.name,
            percent_off: discount.percent_off,
            amount_off: discount.amount_off.as_ref().map(Money::from),
            ends_at: discount.until.map(DateTime),
        }
    }
}

/// What the tenant pays next if nothing changes.
#[derive(SimpleObject)]
pub(super) struct UpcomingInvoice {
    /// The sum without taxes.
    subtotal: Money,
    /// The sum of the taxes.
    tax: Money,
    /// The sum with taxes.
    total: Money,
    /// What is left to pay after the tenant's credit.
    due: Money,
    /// When the present period ends.
    due_at: DateTime,
}

impl From<ask::Upcoming> for UpcomingInvoice {
    fn from(upcoming: ask::Upcoming) -> Self {
        Self {
            subtotal: Money::from(&upcoming.subtotal),
            tax: Money::from(&upcoming.tax),
            total: Money::from(&upcoming.total),
            due: Money::from(&upcoming.due),
            due_at: DateTime(upcoming.at),
        }
    }
}

/// An invoice of Stripe.
#[derive(SimpleObject)]
pub(super) struct Invoice {
    /// Id of the invoice at Stripe.
    id: ID,
    /// The number of the invoice. Null for a draft.
    number: Option<String>,
    /// The state of the invoice. Null if this release does not know it.
    status: Option<InvoiceStatus>,
    /// The sum without taxes.
    subtotal: Money,
    /// The sum of the taxes.
    tax: Money,
    /// The sum with taxes.
    total: Money,
    /// A link to the invoice as a file. Who has it may read the invoice. Null for a draft, and
    /// while somebody acts as a person.
    pdf_url: Option<String>,
    /// A link to the invoice as a page, where it can be paid. Null for a draft, and while somebody acts
    /// as a person.
    hosted_url: Option<String>,
    /// When the invoice was created.
    created_at: DateTime,
}

/// The state of an invoice.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "Status")]
enum InvoiceStatus {
    /// It can still change.
    Draft,
    /// It waits for its payment.
    Open,
    /// It is paid.
    Paid,
    /// Nobody expects its payment any more.
    Uncollectible,
    /// It does not count.
    Void,
}

impl Invoice {
    /// Shows an invoice. Who acts as a person gets no links, which would outlast the session.
    pub(super) fn of(invoice: ask::Invoice, caller: &Caller) -> Self {
        let link = |url: Option<Sensitive>| {
            url.filter(|_| !caller.is_impersonated())
                .map(Sensitive::reveal)
        };
        Self {
            id: to_id(invoice.id),
            number: invoice.number,
            status: invoice.status.map(InvoiceStatus::from),
            subtotal: Money::from(&invoice.subtotal),
            tax: Money::from(&invoice.tax),
            total: Money::from(&invoice.total),
            pdf_url: link(invoice.pdf_url),
            hosted_url: link(invoice.hosted_url),
            created_at: DateTime(invoice.created_at),
        }
    }
}
