//! What the platform's administrators see and do: tenants and accounts.

use async_graphql::{Context, ID, InputObject, Object};
use events_schema::{EmailAddress, Reason, TenantKey, account::Command, billing};

use super::{
    billing::{Billing, GrantPlanInput, OverrideBillingInput},
    field::FieldContext,
    page::{Connection, connection},
    profile::User,
    scalars::{id_of, optional, parsed},
    session::Session,
    tenant::Tenant,
};
use crate::{
    error::Error,
    use_cases::{list::Page, support::Wanted},
};

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "PlatformQueries")]
impl Queries {
    /// For the platform's administrators; others get `FORBIDDEN`. Shows tenants and accounts, but
    /// not the objects inside a tenant.
    async fn platform(&self) -> Option<PlatformQuery> {
        Some(PlatformQuery)
    }
}

#[derive(Default)]
pub(super) struct Mutations;

#[Object(name = "PlatformMutations")]
impl Mutations {
    /// For the platform's administrators; others get `FORBIDDEN`.
    async fn platform(&self) -> Option<PlatformMutation> {
        Some(PlatformMutation)
    }
}

/// As whom to act, where and why.
#[derive(InputObject)]
struct ImpersonateInput {
    /// Id of the account of a member of the tenant.
    account: ID,
    /// Id of the tenant.
    tenant: ID,
    /// The reason, which the person and the tenant see: 1 to 500 characters.
    reason: String,
}

pub(super) struct PlatformMutation;

/// For the platform's administrators; others get `FORBIDDEN`. So do they for their own account.
#[Object(serial)]
impl PlatformMutation {
    /// Disables an account: its sessions end, its access tokens are not valid, and it cannot log
    /// in. Its tenants and what it has made stay.
    async fn disable_account(&self, ctx: &Context<'_>, id: ID) -> Result<Option<User>, Error> {
        administer(ctx, &id, Command::Disable).await
    }

    /// Enables an account again. Sessions that have ended, and access tokens from before, are not
    /// restored.
    async fn enable_account(&self, ctx: &Context<'_>, id: ID) -> Result<Option<User>, Error> {
        administer(ctx, &id, Command::Enable).await
    }

    /// Ends all sessions of an account, and its access tokens.
    async fn end_sessions(&self, ctx: &Context<'_>, id: ID) -> Result<Option<User>, Error> {
        administer(ctx, &id, Command::RevokeSessions).await
    }

    /// Removes the second factor of an account whose owner has lost it. Make sure that it is the
    /// owner who asks.
    async fn remove_second_factor(&self, ctx: &Context<'_>, id: ID) -> Result<Option<User>, Error> {
        administer(ctx, &id, Command::RemoveTotp).await
    }

    /// Removes all passkeys of an account whose owner has lost them. Make sure that it is the owner
    /// who asks.
    async fn remove_passkeys(&self, ctx: &Context<'_>, id: ID) -> Result<Option<User>, Error> {
        administer(ctx, &id, Command::RemovePasskeys).await
    }

    /// Begins to act as a person, in one tenant that grants it and for half an hour, and sets the
    /// session cookie. The new session replaces the administrator's own. It proves nothing: what needs
    /// a fresh session, what concerns the account, and what would outlast the session is `FORBIDDEN`.
    /// The person gets a mail. Each call starts a new session, even with an `Idempotency-Key`.
    /// `NOT_FOUND` if the tenant does not exist, or the account is not a member of it; `FORBIDDEN` if
    /// the tenant does not grant it now, the administrator has granted it, or the person may do more
    /// than who has granted it.
    async fn impersonate(
        &self,
        ctx: &Context<'_>,
        input: ImpersonateInput,
    ) -> Result<Option<Session>, Error> {
        let field = FieldContext::of(ctx);
        let wanted = Wanted {
            account: id_of(&input.account)?,
            tenant: id_of(&input.tenant)?,
            reason: parsed("reason", &input.reason, Reason::parse)?,
        };
        let begun = field.use_cases.support.impersonate(field.caller, wanted);
        let begun = begun.await?;
        field.hand_over_session(&begun.token);
        let current = Some(begun.session.id);
        let session = Session::new(&begun.account.view, current, begun.session);
        Ok(Some(session))
    }

    /// Makes exceptions from the plan of a tenant, and forgets those before. `NOT_FOUND` if the
    /// tenant does not exist.
    async fn override_billing(
        &self,
        ctx: &Context<'_>,
        input: OverrideBillingInput,
    ) -> Result<Option<Billing>, Error> {
        let (tenant, overrides) = input.parse()?;
        bill(ctx, tenant, billing::Command::Override(overrides)).await
    }

    /// Ends the exceptions from the plan of a tenant.
    async fn end_override(&self, ctx: &Context<'_>, tenant: ID) -> Result<Option<Billing>, Error> {
        bill(ctx, id_of(&tenant)?, billing::Command::EndOverride).await
    }

    /// Gives a plan to a tenant without payment. It counts instead of the plan that the tenant has
    /// chosen. `NOT_FOUND` if the tenant or the plan does not exist.
    async fn grant_plan(
        &self,
        ctx: &Context<'_>,
        input: GrantPlanInput,
    ) -> Result<Option<Billing>, Error> {
        let field = FieldContext::of(ctx);
        let (tenant, new) = input.parse()?;
        let billings = &field.use_cases.billings;
        let granted = billings.grant(field.caller, field.command_id()?, tenant, new);
        Ok(Some(Billing(granted.await?)))
    }

    /// Takes back the plan that a tenant has without payment.
    async fn end_grant(&self, ctx: &Context<'_>, tenant: ID) -> Result<Option<Billing>, Error> {
        bill(ctx, id_of(&tenant)?, billing::Command::EndGrant).await
    }
}

async fn administer(ctx: &Context<'_>, id: &ID, command: Command) -> Result<Option<User>, Error> {
    let field = FieldContext::of(ctx);
    let (accounts, account) = (&field.use_cases.accounts, id_of(id)?);
    let done = accounts.administer(field.caller, field.command_id()?, account, command);
    Ok(Some(User(done.await?)))
}

async fn bill(
    ctx: &Context<'_>,
    tenant: TenantKey,
    command: billing::Command,
) -> Result<Option<Billing>, Error> {
    let field = FieldContext::of(ctx);
    let billings = &field.use_cases.billings;
    let changed = billings.administer(field.caller, field.command_id()?, tenant, command);
    Ok(Some(Billing(changed.await?)))
}

pub(super) struct PlatformQuery;

/// For the platform's administrators; others get `FORBIDDEN`. Shows tenants and accounts, but not
/// the objects inside a tenant.
#[Object]
impl PlatformQuery {
    /// All tenants, the newest first, by pages: `first` and `after`, or `last` and `before`. A page
    /// has 50 tenants by default and at most 100.
    async fn tenants(
        &self,
        ctx: &Context<'_>,
        first: Option<i64>,
        after: Option<String>,
        last: Option<i64>,
        before: Option<String>,
    ) -> Result<Option<Connection<Tenant>>, Error> {
        let field = FieldContext::of(ctx);
        let page = Page {
            first,
            after,
            last,
            before,
        };
        let tenants = &field.use_cases.tenants;
        let listed = tenants.list_all(&page, field.wanted()).await?;
        Ok(Some(connection(listed, Tenant)))
    }

    /// All accounts, or those with this e-mail address, the newest first, by pages: `first` and
    /// `after`, or `last` and `before`. A page has 50 accounts by default and at most 100.
    async fn accounts(
        &self,
        ctx: &Context<'_>,
        email: Option<String>,
        first: Option<i64>,
        after: Option<String>,
        last: Option<i64>,
        before: Option<String>,
    ) -> Result<Option<Connection<User>>, Error> {
        let field = FieldContext::of(ctx);
        let email = optional("email", email, EmailAddress::parse)?;
        let page = Page {
            first,
            after,
            last,
            before,
        };
        let accounts = &field.use_cases.accounts;
        let listed = accounts.list(email, &page, field.wanted()).await?;
        Ok(Some(connection(listed, User)))
    }

    /// The plan of a tenant, and what the tenant may use. `NOT_FOUND` if the tenant does not exist.
    async fn billing(&self, ctx: &Context<'_>, tenant: ID) -> Result<Option<Billing>, Error> {
        let billings = &FieldContext::of(ctx).use_cases.billings;
        let found = billings.of(id_of(&tenant)?).await?;
        Ok(Some(Billing(found)))
    }
}
