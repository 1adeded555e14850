//! Billing: the plan of the tenant, what it allows, and how much of that is in use.

mod input;
mod object;

use async_graphql::{Context, ID, InputObject, Object};
use events_schema::billing::Command;

pub(super) use self::{
    input::{GrantPlanInput, OverrideBillingInput},
    object::Billing,
};
use super::{field::FieldContext, scalars::id_of};
use crate::{error::Error, use_cases::list::IndexCheck};

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
}

/// The plan that the tenant chooses.
#[derive(InputObject)]
struct ChangeSubscriptionInput {
    /// Id of the plan. `CONFLICT` if it is archived.
    plan: ID,
    /// Id of one of the plan's prices. Required unless the plan is free.
    price: Option<ID>,
}

#[derive(Default)]
pub(super) struct Mutations;

#[Object(name = "BillingMutations")]
impl Mutations {
    /// Changes of the tenant's plan.
    async fn billing(&self) -> Option<BillingMutation> {
        Some(BillingMutation)
    }
}

pub(super) struct BillingMutation;

/// Changes of the tenant's plan.
#[Object(serial)]
impl BillingMutation {
    /// Chooses the latest version of a plan, at once. A plan with prices begins with its trial, and
    /// a tenant may try each plan once; `CONFLICT` if there is no trial, since payments are not
    /// accepted yet. A smaller plan deletes nothing.
    async fn change_subscription(
        &self,
        ctx: &Context<'_>,
        input: ChangeSubscriptionInput,
    ) -> Result<Option<Billing>, Error> {
        let field = FieldContext::of(ctx);
        let plan = id_of(&input.plan)?;
        let price = input.price.map(|price| id_of(&price)).transpose()?;
        let billings = &field.use_cases.billings;
        let chosen = billings.choose(field.caller, field.command_id()?, plan, price);
        Ok(Some(Billing(chosen.await?)))
    }

    /// Gives up the plan: a trial ends when it would end, anything else at once. Then the tenant
    /// has the default plan.
    async fn cancel_subscription(&self, ctx: &Context<'_>) -> Result<Option<Billing>, Error> {
        change(ctx, Command::Cancel).await
    }

    /// Keeps a plan that was given up and has not ended.
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
