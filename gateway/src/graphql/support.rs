//! Support: who may act as people of the tenant, and who has done so.

use async_graphql::{Context, ID, Object};
use events_schema::support::{self, View};

use super::{
    field::FieldContext,
    loaders::Person,
    scalars::{DateTime, to_id},
};
use crate::{error::Error, use_cases::list::IndexCheck};

pub(super) const INDEX_CHECKS: &[IndexCheck] = &[];

struct Support(View);

/// What administrators of the platform may do in the tenant, and have done.
#[Object]
impl Support {
    /// Until when administrators of the platform may act as people of the tenant. Null if the tenant
    /// has not granted it, or has revoked it. The time may have passed.
    async fn granted_until(&self) -> Option<DateTime> {
        self.0.granted_until.map(DateTime)
    }

    /// Who acts, or has acted, as people of the tenant, the latest first, at most 50. The audit log
    /// shows all.
    async fn impersonations(&self) -> Vec<Impersonation> {
        let latest = self.0.impersonations.iter().rev();
        latest.cloned().map(Impersonation).collect()
    }
}

struct Impersonation(support::Impersonation);

/// An administrator of the platform who acts as a person, or has done so.
#[Object]
impl Impersonation {
    /// Id of the session: 32 lower-case hex digits.
    async fn id(&self) -> ID {
        to_id(self.0.session)
    }

    /// The person. Null if the account no longer exists.
    async fn person(&self, ctx: &Context<'_>) -> Result<Option<Person>, Error> {
        FieldContext::of(ctx).loaders().person(self.0.account).await
    }

    /// The administrator. Null if the account no longer exists.
    async fn administrator(&self, ctx: &Context<'_>) -> Result<Option<Person>, Error> {
        let loaders = FieldContext::of(ctx).loaders();
        loaders.person(self.0.administrator).await
    }

    /// The reason that the administrator has given, 1 to 500 characters.
    async fn reason(&self) -> &str {
        self.0.reason.as_str()
    }

    /// When it began.
    async fn began_at(&self) -> DateTime {
        DateTime(self.0.began_at)
    }

    /// When it ends at the latest: after half an hour, or with the grant.
    async fn ends_at(&self) -> DateTime {
        DateTime(self.0.ends_at)
    }

    /// When it ended. Null while it lasts.
    async fn ended_at(&self) -> Option<DateTime> {
        self.0.ended_at.map(DateTime)
    }
}

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "SupportQueries")]
impl Queries {
    /// What administrators of the platform may do in the tenant, and have done.
    async fn support(&self, ctx: &Context<'_>) -> Result<Option<Support>, Error> {
        let field = FieldContext::of(ctx);
        let found = field.use_cases.support.get(field.caller).await?;
        Ok(Some(Support(found)))
    }
}

#[derive(Default)]
pub(super) struct Mutations;

#[Object(name = "SupportMutations")]
impl Mutations {
    /// Changes of what administrators of the platform may do in the tenant.
    async fn support(&self) -> Option<SupportMutation> {
        Some(SupportMutation)
    }
}

pub(super) struct SupportMutation;

/// Changes of what administrators of the platform may do in the tenant.
#[Object(serial)]
impl SupportMutation {
    /// Lets administrators of the platform act as people of the tenant until this time, which is at
    /// most 72 hours ahead. Each acts for half an hour at a time, and can do nothing that needs a
    /// fresh session. `CONFLICT` if there is a grant: revoke it first.
    async fn grant(&self, ctx: &Context<'_>, until: DateTime) -> Result<Option<Support>, Error> {
        let field = FieldContext::of(ctx);
        let (support, command) = (&field.use_cases.support, field.command_id()?);
        let granted = support.grant(field.caller, command, until.0);
        Ok(Some(Support(granted.await?)))
    }

    /// Lets nobody act as a person of the tenant any more. Those who do so now are stopped at once.
    async fn revoke(&self, ctx: &Context<'_>) -> Result<Option<Support>, Error> {
        let field = FieldContext::of(ctx);
        let (support, command) = (&field.use_cases.support, field.command_id()?);
        let revoked = support.revoke(field.caller, command);
        Ok(Some(Support(revoked.await?)))
    }
}
