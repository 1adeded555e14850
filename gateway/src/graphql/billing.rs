//! Billing: the plan of the tenant, what it allows, and how much of that is in use.

mod card;
mod input;
mod object;
mod payments;
mod subscription;

use async_graphql::{Context, Enum, ID, InputObject, Object};
use events_schema::{
    PromotionCode, StripeCardId,
    billing::{self as schema, Command},
};

use self::{
    card::{CardMutation, stripe_id},
    payments::Card,
};
pub(super) use self::{
    input::{GrantPlanInput, OverrideBillingInput},
    object::Billing,
};
use super::{
    field::FieldContext,
    scalars::{DateTime, id_of, parsed},
};
use crate::{
    error::Error,
    use_cases::{billing::Choice, list::IndexCheck},
};

pub(super) const INDEX_CHECKS: &[IndexCheck] = &[];

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "BillingQueries")]
impl Queries {
    /// The plan of the tenant, and what the tenant may use.
    async fn billing(&self, ctx: &Context<'_>) -> Result<Option<Billing>, Error> {
        let field = FieldContext::of(ctx);
        let own = field.use_cases.billings.own(field.caller).await?;
        Ok(Some(Billing(own)))
    }

    /// The cards of the tenant, the latest first; at most 100. They are read from Stripe.
    async fn cards(&self, ctx: &Context<'_>) -> Result<Option<Vec<Card>>, Error> {
        let field = FieldContext::of(ctx);
        let cards = field.use_cases.billings.cards(field.caller).await?;
        Ok(Some(cards.into_iter().map(Card::from).collect()))
    }

    /// A card of the tenant, read from Stripe. `NOT_FOUND` if the tenant has no such card.
    async fn card(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Card>, Error> {
        let field = FieldContext::of(ctx);
        let id = stripe_id(&id, StripeCardId::parse)?;
        let card = field.use_cases.billings.card(field.caller, &id).await?;
        Ok(Some(card.into()))
    }
}

/// The plan that the tenant chooses.
#[derive(InputObject)]
struct ChangeSubscriptionInput {
    /// Id of the plan. `CONFLICT` if it is archived.
    plan: ID,
    /// Id of one of the plan's prices. Required unless the plan is free.
    price: Option<ID>,
    /// The time from which the difference to the plan before counts, if that is paid for: that of a
    /// preview of the last 15 minutes. That of the change by default.
    proration_date: Option<DateTime>,
    /// When the tenant gets the plan. If it costs less in the same interval, `PERIOD_END` by default,
    /// and otherwise `NOW`.
    at: Option<ChangeTime>,
    /// A code that makes the plan cheaper. If Stripe does not know it, a preview is
    /// `BAD_USER_INPUT`, and a change fails with the code `promotion_code_unknown`.
    promotion_code: Option<String>,
}

/// When a tenant that pays gets another plan.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "schema::ChangeTime")]
enum ChangeTime {
    /// When Stripe has confirmed it. The difference for the rest of the period is paid or credited
    /// at once.
    Now,
    /// With the next period. Until then the tenant keeps the plan that it has paid for. A plan that
    /// costs as much or more begins when the first payment for it is made.
    PeriodEnd,
}

impl ChangeSubscriptionInput {
    /// Parses the choice.
    ///
    /// # Errors
    /// `BadUserInput` if an id or the code is malformed.
    fn parse(&self) -> Result<Choice, Error> {
        let price = self.price.as_ref();
        Ok(Choice {
            plan: id_of(&self.plan)?,
            price: price.map(|price| id_of(price)).transpose()?,
            proration_date: self.proration_date.as_ref().map(|date| date.0),
            at: self.at.map(Into::into),
            promotion_code: self
                .promotion_code
                .as_ref()
                .map(|code| parsed("promotionCode", code, PromotionCode::parse))
                .transpose()?,
        })
    }
}

#[derive(Default)]
pub(super) struct Mutations;

#[Object(name = "BillingMutations")]
impl Mutations {
    /// Changes of the tenant's plan.
    async fn billing(&self) -> Option<BillingMutation> {
        Some(BillingMutation)
    }

    /// Changes of the tenant's cards.
    async fn card(&self) -> Option<CardMutation> {
        Some(CardMutation)
    }
}

pub(super) struct BillingMutation;

/// Changes of the tenant's plan.
#[Object(serial)]
impl BillingMutation {
    /// Chooses the latest version of a plan. A free plan counts at once, and so does a trial where
    /// payments are not set up; `CONFLICT` if there is no trial then. Otherwise the tenant pays for a
    /// plan with prices: the change is in `pendingChange` until Stripe confirms it, and until then
    /// the plan before counts. If it asks for action, the owner of the card confirms the payment;
    /// then the same choice again shows the result. A plan that costs less comes with the next
    /// period. Until then, choose the present plan to cancel the change at no cost, or another plan
    /// with `at: PERIOD_END` to replace it; any other change is a `CONFLICT`. A tenant may try each
    /// plan once. A smaller plan deletes nothing. `NOT_FOUND` if there is no such plan or price;
    /// `BAD_USER_INPUT` if the plan has a price and none is chosen; `UNAVAILABLE` if Stripe does not
    /// know the price yet.
    async fn change_subscription(
        &self,
        ctx: &Context<'_>,
        input: ChangeSubscriptionInput,
    ) -> Result<Option<Billing>, Error> {
        let field = FieldContext::of(ctx);
        let billings = &field.use_cases.billings;
        let chosen = billings.choose(field.caller, field.command_id()?, input.parse()?);
        Ok(Some(Billing(chosen.await?)))
    }

    /// Gives up the plan: one that is paid for ends with its period, once Stripe confirms it, a trial
    /// when it would end, and anything else at once. Then the tenant has the default plan.
    /// `CONFLICT` if there is nothing to give up.
    async fn cancel_subscription(&self, ctx: &Context<'_>) -> Result<Option<Billing>, Error> {
        change(ctx, Command::Cancel).await
    }

    /// Keeps a plan that was given up and has not ended. `CONFLICT` if there is none.
    async fn resume_subscription(&self, ctx: &Context<'_>) -> Result<Option<Billing>, Error> {
        change(ctx, Command::Resume).await
    }
}

async fn change(ctx: &Context<'_>, command: Command) -> Result<Option<Billing>, Error> {
    let field = FieldContext::of(ctx);
    let billings = &field.use_cases.billings;
    let changed = billings.change_own(field.caller, field.command_id()?, command);
    Ok(Some(Billing(changed.await?)))
}
