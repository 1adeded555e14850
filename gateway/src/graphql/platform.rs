//! What the platform's administrators see: what belongs to no tenant. They see no tenant's data.

use async_graphql::{Context, Object};
use events_schema::{EmailAddress, account, tenant};
use mongodb::bson::{Document as Filter, doc};

use super::{
    Field,
    connection::{Connection, Listing, Page, page},
    profile::User,
    tenant::Tenant,
};
use crate::error::Error;

#[derive(Default)]
pub(crate) struct PlatformQueries;

#[Object]
impl PlatformQueries {
    /// For the platform's administrators.
    async fn platform(&self) -> Option<PlatformQuery> {
        Some(PlatformQuery)
    }
}

/// For the platform's administrators.
pub(crate) struct PlatformQuery;

#[Object]
impl PlatformQuery {
    /// All tenants, the latest first.
    async fn tenants(
        &self,
        ctx: &Context<'_>,
        first: Option<i64>,
        after: Option<String>,
        last: Option<i64>,
        before: Option<String>,
    ) -> Result<Option<Connection<Tenant>>, Error> {
        let listing = Listing {
            filter: doc! {},
            order: "created_at",
            descending: true,
        };
        let wanted = Page {
            first,
            after,
            last,
            before,
        };
        Ok(Some(
            page::<tenant::View, _>(ctx, &Field::of(ctx).platform(), wanted, listing, Tenant)
                .await?,
        ))
    }

    /// All accounts, the latest first.
    async fn accounts(
        &self,
        ctx: &Context<'_>,
        email: Option<String>,
        first: Option<i64>,
        after: Option<String>,
        last: Option<i64>,
        before: Option<String>,
    ) -> Result<Option<Connection<User>>, Error> {
        let mut filter = Filter::new();
        if let Some(email) = email {
            filter.insert(
                "view.email",
                EmailAddress::parse(&email)
                    .map_err(Error::invalid("email"))?
                    .as_str(),
            );
        }
        let listing = Listing {
            filter,
            order: "created_at",
            descending: true,
        };
        let wanted = Page {
            first,
            after,
            last,
            before,
        };
        Ok(Some(
            page::<account::View, _>(ctx, &Field::of(ctx).platform(), wanted, listing, User)
                .await?,
        ))
    }
}
