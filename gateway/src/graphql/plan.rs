//! Plans: what tenants may use, and what it costs.
//!
//! There are at most a hundred that are not archived, so they are one list without pages.

mod input;
mod object;

use async_graphql::{Context, ID, Object};
use events_schema::{CommandId, PlanId, plan::Command};

use self::input::{CreatePlanInput, UpdatePlanInput};
pub(super) use self::{
    input::parse_features,
    object::{Plan, Price},
};
use super::{
    field::FieldContext,
    scalars::{Success, id_of},
};
use crate::{error::Error, use_cases::list::IndexCheck};

pub(super) const INDEX_CHECKS: &[IndexCheck] = &[];

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "PlanQueries")]
impl Queries {
    /// The plans that tenants may choose, in the order of their creation. No session is needed.
    async fn plans(&self, ctx: &Context<'_>) -> Result<Option<Vec<Plan>>, Error> {
        let all = FieldContext::of(ctx).use_cases.catalogue.read().await?;
        let Some(view) = all.view() else {
            return Ok(Some(Vec::new()));
        };
        let offered = view.plans.iter().filter(|(_, plan)| !plan.archived);
        let mut offered = Vec::from_iter(offered);
        offered.sort_by_key(|(id, plan)| (plan.created_at, **id));
        let plans = offered
            .into_iter()
            .filter_map(|(id, _)| Plan::latest(view, *id));
        Ok(Some(plans.collect()))
    }

    /// The latest version of one plan, archived or not. No session is needed.
    /// `NOT_FOUND` if it does not exist.
    async fn plan(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Plan>, Error> {
        let all = FieldContext::of(ctx).use_cases.catalogue.read().await?;
        let id = id_of(&id)?;
        Ok(Plan::latest(all.with(id)?, id))
    }
}

#[derive(Default)]
pub(super) struct Mutations;

#[Object(name = "PlanMutations")]
impl Mutations {
    /// Changes of plans, for the platform's administrators; others get `FORBIDDEN`.
    async fn plan(&self) -> Option<PlanMutation> {
        Some(PlanMutation)
    }
}

pub(super) struct PlanMutation;

/// Changes of plans, for the platform's administrators; others get `FORBIDDEN`.
#[Object(serial)]
impl PlanMutation {
    /// Creates a plan. `CONFLICT` if another plan that is not archived has the name;
    /// `LIMIT_REACHED` if there are 100 of them.
    async fn create(
        &self,
        ctx: &Context<'_>,
        input: CreatePlanInput,
    ) -> Result<Option<Plan>, Error> {
        let id = FieldContext::of(ctx).command_id()?;
        change(ctx, id, PlanId(id.0), input.parse()?).await
    }

    /// Adds a version to a plan. Tenants that have chosen the plan keep their version until they
    /// choose it again. A new name alone adds no version.
    async fn update(
        &self,
        ctx: &Context<'_>,
        input: UpdatePlanInput,
    ) -> Result<Option<Plan>, Error> {
        let plan = id_of(&input.id)?;
        let id = FieldContext::of(ctx).command_id()?;
        change(ctx, id, plan, input.parse(plan)?).await
    }

    /// Archives a plan: no more tenants may choose it, and those that have it keep it. `CONFLICT`
    /// for the default plan.
    async fn delete(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Success>, Error> {
        let plan = id_of(&id)?;
        let id = FieldContext::of(ctx).command_id()?;
        change(ctx, id, plan, Command::Archive { plan }).await?;
        Success::yes()
    }

    /// Makes a free plan the default one: tenants without another plan have its latest version.
    /// Before there is one, they may use everything. `CONFLICT` if the plan has prices or is
    /// archived.
    async fn set_default(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Plan>, Error> {
        let plan = id_of(&id)?;
        let id = FieldContext::of(ctx).command_id()?;
        change(ctx, id, plan, Command::SetDefault { plan }).await
    }
}

async fn change(
    ctx: &Context<'_>,
    id: CommandId,
    plan: PlanId,
    command: Command,
) -> Result<Option<Plan>, Error> {
    let field = FieldContext::of(ctx);
    let catalogue = &field.use_cases.catalogue;
    let changed = catalogue.change(field.caller, id, command).await?;
    Ok(Plan::latest(changed.with(plan)?, plan))
}
