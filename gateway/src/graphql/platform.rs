//! What the platform's administrators see: tenants and accounts.

use async_graphql::{Context, Object};
use events_schema::EmailAddress;

use super::{
    connection::{Connection, connection},
    field::FieldContext,
    profile::User,
    scalars::optional,
    tenant::Tenant,
};
use crate::{error::Error, use_cases::list::Page};

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
}
