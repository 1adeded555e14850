//! The billing of a tenant as clients see it.

use async_graphql::{Context, Enum, ID, Object, SimpleObject};
use events_schema::{self as schema, AreaName, Feature, Limit, StripeInvoiceId, billing, plan};

use super::{
    ChangeSubscriptionInput,
    card::stripe_id,
    payments::{ChangePreview, Invoice, PortalLink, UpcomingInvoice},
    subscription::{PendingChange, Subscription},
};
use crate::{
    error::Error,
    graphql::{
        field::FieldContext,
        plan::Plan,
        scalars::{DateTime, Long},
        usage::Usage,
    },
    use_cases::billing::TenantBilling,
};

pub(in crate::graphql) struct Billing(pub(in crate::graphql) TenantBilling);

/// The plan of a tenant, what it allows now, and how much of that is in use.
#[Object]
impl Billing {
    /// The plan that counts now. Null if there is none: then the tenant may use everything, unless
    /// its own plan has ended.
    async fn plan(&self) -> Option<Plan> {
        Plan::of(self.catalogue()?, self.0.plan.entitlements.plan?)
    }

    /// How the tenant stands with its plan.
    async fn standing(&self) -> Standing {
        self.0.plan.entitlements.standing.into()
    }

    /// The features that the tenant has, such as `webhooks`.
    async fn features(&self) -> Vec<&str> {
        let features = self.0.plan.entitlements.features.iter();
        features.copied().map(Feature::as_str).collect()
    }

    /// All limits, and how many objects are in use.
    async fn limits(&self) -> Vec<TenantLimit<'_>> {
        let all = Limit::all().iter();
        all.map(|limit| TenantLimit {
            billing: &self.0,
            limit: *limit,
        })
        .collect()
    }

    /// What the tenant has used, by each meter that has counted; also those of an earlier plan.
    async fn usage(&self) -> Result<Option<Vec<Usage>>, Error> {
        let usage = self.0.usage().await?;
        Ok(Some(usage.into_iter().map(Usage::from).collect()))
    }

    /// What the tenant has chosen. Null if it has never chosen a plan.
    async fn subscription(&self) -> Option<Subscription> {
        Subscription::of(self.of_tenant()?, self.catalogue()?, &self.0.plan)
    }

    /// What the tenant pays for and has paid for, the latest first; at most 100. They are read from
    /// Stripe.
    async fn subscriptions(&self, ctx: &Context<'_>) -> Result<Option<Vec<Subscription>>, Error> {
        let (field, tenant) = (FieldContext::of(ctx), self.0.plan.tenant);
        let billings = &field.use_cases.billings;
        let paid = billings.subscriptions(field.caller, tenant).await?;
        let shown = paid.iter();
        let shown = shown.map(|paid| Subscription::at_stripe(paid, self.catalogue(), tenant));
        Ok(Some(shown.collect()))
    }

    /// The change of the plan that has not come yet: what Stripe has not confirmed, or the plan that
    /// comes with the next period. Null if there is none.
    async fn pending_change(&self) -> Option<PendingChange> {
        PendingChange::of(self.of_tenant()?, self.catalogue(), &self.0.plan)
    }

    /// What a change of the plan would cost now, and which limits it would exceed. Stripe computes
    /// the costs. `CONFLICT` with the reason `payment_missing` until an open invoice is paid: Stripe
    /// would count it as paid. With the reason `plan_coming` for a change `NOW` while another plan comes,
    /// and `cancel_first` for a free plan while the tenant pays: cancel, and choose it after the end.
    async fn preview_change(
        &self,
        ctx: &Context<'_>,
        input: ChangeSubscriptionInput,
    ) -> Result<Option<ChangePreview>, Error> {
        let field = FieldContext::of(ctx);
        let billings = &field.use_cases.billings;
        let preview = billings.preview(field.caller, &self.0, input.parse()?);
        Ok(Some(preview.await?.into()))
    }

    /// A link to Stripe's pages, where cards, invoices and the plan can be seen and changed. They
    /// lead back to `returnPath` of this host, such as `/settings`. `FORBIDDEN` without the
    /// permission `update_billing`.
    async fn portal_link(
        &self,
        ctx: &Context<'_>,
        return_path: String,
    ) -> Result<Option<PortalLink>, Error> {
        let (field, tenant) = (FieldContext::of(ctx), self.0.plan.tenant);
        let own = field.membership()?;
        if own.tenant.id != tenant {
            return Err(Error::Forbidden);
        }
        let held = &own.permissions;
        field.ensure_shown(AreaName::Billing, "portal_link", tenant, held, false)?;
        let billings = &field.use_cases.billings;
        let link = billings.portal_link(field.caller, &return_path).await?;
        Ok(Some(PortalLink { url: link.reveal() }))
    }

    /// Up to 25 invoices of the tenant, the latest first. They are read from Stripe.
    async fn invoices(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the last invoice of the page before.")] after: Option<ID>,
    ) -> Result<Option<Vec<Invoice>>, Error> {
        let field = FieldContext::of(ctx);
        let after = after.map(|id| stripe_id(&id, StripeInvoiceId::parse));
        let billings = &field.use_cases.billings;
        let tenant = self.0.plan.tenant;
        let invoices = billings.invoices(field.caller, tenant, after.transpose()?);
        let shown = |invoice| Invoice::of(invoice, field.caller);
        Ok(Some(invoices.await?.into_iter().map(shown).collect()))
    }

    /// What the tenant pays next if nothing changes. Null if it will pay nothing. Stripe computes it.
    async fn upcoming_invoice(&self, ctx: &Context<'_>) -> Result<Option<UpcomingInvoice>, Error> {
        let field = FieldContext::of(ctx);
        let billings = &field.use_cases.billings;
        let upcoming = billings.upcoming_invoice(field.caller, self.0.plan.tenant);
        Ok(upcoming.await?.map(Into::into))
    }

    /// An invoice of the tenant, read from Stripe. `NOT_FOUND` if the tenant has no such invoice.
    async fn invoice(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Invoice>, Error> {
        let field = FieldContext::of(ctx);
        let id = stripe_id(&id, StripeInvoiceId::parse)?;
        let billings = &field.use_cases.billings;
        let invoice = billings.invoice(field.caller, self.0.plan.tenant, id);
        Ok(Some(Invoice::of(invoice.await?, field.caller)))
    }

    /// Exceptions from the plan. Null if there are none now.
    #[graphql(name = "override")]
    async fn overrides(&self) -> Option<PlanOverride> {
        let overrides = self.of_tenant()?.overrides.as_ref()?;
        let is_valid = overrides.is_valid(self.0.plan.at);
        is_valid.then(|| PlanOverride::of(overrides))
    }

    /// A plan that the tenant has without payment. Null if there is none now.
    async fn grant(&self) -> Option<PlanGrant> {
        let grant = self.of_tenant()?.grant.as_ref()?;
        let is_valid = grant.is_valid(self.0.plan.at);
        let plan = Plan::of(self.catalogue()?, grant.plan);
        is_valid.then(|| PlanGrant {
            plan,
            until: grant.until.map(DateTime),
            reason: grant.reason.as_str().to_owned(),
        })
    }
}

impl Billing {
    fn catalogue(&self) -> Option<&plan::View> {
        self.0.plan.catalogue()
    }

    fn of_tenant(&self) -> Option<&billing::View> {
        self.0.plan.billing()
    }
}

/// How a tenant stands with its plan.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "schema::Standing")]
pub(in crate::graphql) enum Standing {
    /// The tenant has its plan.
    Active,
    /// The tenant tries its plan.
    Trial,
    /// A payment is missing, or Stripe has told nothing for three days after a period or trial. The
    /// tenant may use its plan until the 14th day.
    Grace,
    /// A payment has been missing for too long, or the plan has ended and there is no other. The
    /// tenant creates nothing. It may read, delete, leave and pay.
    Restricted,
    /// The plan has ended. The tenant has the default plan.
    Ended,
}

pub(in crate::graphql) struct TenantLimit<'b> {
    billing: &'b TenantBilling,
    limit: Limit,
}

/// A limit, and how much of it is in use.
#[Object(name = "BillingLimit")]
impl TenantLimit<'_> {
    /// Name of the limit, such as `projects`.
    async fn name(&self) -> &str {
        self.limit.as_str()
    }

    /// The most objects that the tenant may have. Null if there is no limit.
    async fn value(&self) -> Option<Long> {
        let most = self.billing.plan.entitlements.limit(self.limit);
        most.map(Long::from)
    }

    /// How many objects there are; more than `value` after a change to a smaller plan. Counting
    /// takes time; ask for it only if you need it.
    async fn used(&self) -> Result<Option<Long>, Error> {
        Ok(Some(self.billing.used(self.limit).await?.into()))
    }
}

/// Exceptions from the plan of a tenant.
#[derive(SimpleObject)]
pub(in crate::graphql) struct PlanOverride {
    /// Features that the tenant has although its plan lacks them.
    granted: Vec<String>,
    /// Features that the tenant lacks although its plan has them.
    withheld: Vec<String>,
    /// Limits that count instead of those of the plan.
    limits: Vec<OverriddenLimit>,
    /// When the exceptions end. Null for never.
    until: Option<DateTime>,
    /// Why there are exceptions.
    reason: String,
}

/// A limit that counts instead of that of the plan.
#[derive(SimpleObject)]
struct OverriddenLimit {
    /// Name of the limit, such as `projects`.
    name: String,
    /// The most objects. Null if there is no limit.
    value: Option<Long>,
}

impl PlanOverride {
    fn of(overrides: &billing::Override) -> Self {
        let features = |wanted: bool| {
            let features = overrides.features.iter();
            let features = features.filter(move |(_, has)| **has == wanted);
            features.map(|(feature, _)| feature.to_string()).collect()
        };
        let limits = overrides
            .limits
            .iter()
            .map(|(limit, most)| OverriddenLimit {
                name: limit.to_string(),
                value: most.map(Long::from),
            });
        Self {
            granted: features(true),
            withheld: features(false),
            limits: limits.collect(),
            until: overrides.until.map(DateTime),
            reason: overrides.reason.as_str().to_owned(),
        }
    }
}

/// A plan that a tenant has without payment.
#[derive(SimpleObject)]
pub(in crate::graphql) struct PlanGrant {
    /// The version of the plan.
    plan: Option<Plan>,
    /// When it ends. Null for never.
    until: Option<DateTime>,
    /// Why the tenant has it.
    reason: String,
}
