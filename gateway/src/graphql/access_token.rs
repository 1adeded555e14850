//! Access tokens: credentials for machines.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use events_schema::{IpNetwork, Name, access_token};

use super::{
    field::FieldContext,
    loaders::Person,
    page::{Connection, connection},
    role::parse_permissions,
    scalars::{DateTime, Success, id_of, parsed, to_id},
    service::Service,
};
use crate::{
    backend::views::ViewDocument,
    error::Error,
    use_cases::{
        access_token::Wanted,
        list::{IndexCheck, List, OrderBy, Page, Selection},
    },
};

/// All access tokens of a tenant.
const ACCESS_TOKENS: List<access_token::View> = List::new(&[], &[BY_CREATION]);
const BY_CREATION: OrderBy<access_token::View> = OrderBy::field("created_at");
pub(super) const INDEX_CHECKS: &[IndexCheck] = &[|| ACCESS_TOKENS.check_indexes()];

struct AccessToken(ViewDocument<access_token::View>);

/// A credential for a machine, without its secret text. It is valid in one tenant.
#[Object]
impl AccessToken {
    /// Id of the access token: 32 lower-case hex digits.
    async fn id(&self) -> ID {
        to_id(self.0.id)
    }

    /// Name of the token, 1 to 100 characters.
    async fn name(&self) -> &str {
        self.0.view.name.as_str()
    }

    /// The permissions that limit the token, such as `read_project`. At the time of a request it
    /// holds those of them that its creator holds then, or its service if it has one.
    async fn scopes(&self) -> Vec<String> {
        let scopes = self.0.view.scopes.iter();
        scopes.map(|scope| scope.to_string()).collect()
    }

    /// When the token expires.
    async fn expires_at(&self) -> DateTime {
        DateTime(self.0.view.expires_at)
    }

    /// The networks in which the token is valid, such as `192.0.2.0/24`. Null if it is valid
    /// everywhere.
    async fn networks(&self) -> Option<Vec<String>> {
        let networks = self.0.view.networks.as_ref()?.iter();
        Some(networks.map(ToString::to_string).collect())
    }

    /// The person who created the token. Null if the account no longer exists.
    async fn created_by(&self, ctx: &Context<'_>) -> Result<Option<Person>, Error> {
        let loaders = FieldContext::of(ctx).loaders();
        loaders.person(self.0.view.creator).await
    }

    /// The service that the token is for. Null if it acts for its creator, or if the service no
    /// longer exists.
    async fn service(&self, ctx: &Context<'_>) -> Result<Option<Service>, Error> {
        let field = FieldContext::of(ctx);
        let Some(service) = self.0.view.service else {
            return Ok(None);
        };
        let found = field.use_cases.services.find(field.caller, service);
        Ok(found.await?.map(Service))
    }

    /// Whether the token was for a service that no longer exists. Then it is not valid any more.
    async fn of_deleted_service(&self, ctx: &Context<'_>) -> Result<bool, Error> {
        let is_of_service = self.0.view.service.is_some();
        Ok(is_of_service && self.service(ctx).await?.is_none())
    }

    /// When the token was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.view.created_at)
    }

    /// When the token was last used, to the minute. Null if it was never used.
    async fn last_used_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>, Error> {
        let tokens = &FieldContext::of(ctx).use_cases.access_tokens;
        Ok(tokens.last_use(self.0.id).await?.map(DateTime))
    }
}

/// An access token that was just created.
#[derive(SimpleObject)]
struct CreatedAccessToken {
    /// The access token.
    access_token: AccessToken,
    /// The secret text. It is shown this once and never again. Send it as
    /// `Authorization: Bearer ub_…`.
    token: String,
}

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "AccessTokenQueries")]
impl Queries {
    /// The tenant's access tokens, the newest first, by pages: `first` and `after`, or `last` and
    /// `before`. A page has 50 tokens by default and at most 100.
    async fn access_tokens(
        &self,
        ctx: &Context<'_>,
        first: Option<i64>,
        after: Option<String>,
        last: Option<i64>,
        before: Option<String>,
    ) -> Result<Option<Connection<AccessToken>>, Error> {
        let field = FieldContext::of(ctx);
        let selection = Selection::of(&ACCESS_TOKENS).sorted_by(&BY_CREATION, true)?;
        let page = Page {
            first,
            after,
            last,
            before,
        };
        let plain = &field.use_cases.plain;
        let listed = plain.list(field.caller, selection, &page, field.wanted());
        Ok(Some(connection(listed.await?, AccessToken)))
    }

    /// One access token. `NOT_FOUND` if the tenant has no such token.
    async fn access_token(&self, ctx: &Context<'_>, id: ID) -> Result<Option<AccessToken>, Error> {
        let field = FieldContext::of(ctx);
        let found = field.use_cases.plain.get(field.caller, id_of(&id)?);
        Ok(Some(AccessToken(found.await?)))
    }
}

/// The data of a new access token.
#[derive(InputObject)]
struct CreateAccessTokenInput {
    /// Name of the token, 1 to 100 characters.
    name: String,
    /// The permissions that limit the token, such as `read_project`. `BAD_USER_INPUT` if there are
    /// none or one is unknown; `FORBIDDEN` if the caller lacks one.
    scopes: Vec<String>,
    /// When the token expires: in the future, at most 366 days ahead. In 90 days by default.
    expires_at: Option<DateTime>,
    /// The networks in which the token is valid, 1 to 20, such as `192.0.2.0/24`, `2001:db8::/32` or
    /// an address. A request from elsewhere is `UNAUTHENTICATED`. By default, the token is valid
    /// everywhere.
    networks: Option<Vec<String>>,
    /// Id of the service that the token is for. `FORBIDDEN` without the permission
    /// `update_service`; `NOT_FOUND` if the tenant has no such service. By default, the token acts for
    /// the caller.
    service: Option<ID>,
}

#[derive(Default)]
pub(super) struct Mutations;

#[Object(name = "AccessTokenMutations")]
impl Mutations {
    /// Changes of access tokens.
    async fn access_token(&self) -> Option<AccessTokenMutation> {
        Some(AccessTokenMutation)
    }
}

pub(super) struct AccessTokenMutation;

/// Changes of access tokens.
#[Object(serial)]
impl AccessTokenMutation {
    /// Creates an access token, and tells the caller by mail; for a service, the owners of the tenant,
    /// too. If it lives for more than two weeks, another mail comes a week before it expires. Each call
    /// creates a new one, even with an `Idempotency-Key`, since its text is random and shown once. A token
    /// is no longer valid when its creator leaves the tenant, sets a new password or ends all sessions; one
    /// of a service is when the service is deleted.
    async fn create(
        &self,
        ctx: &Context<'_>,
        input: CreateAccessTokenInput,
    ) -> Result<Option<CreatedAccessToken>, Error> {
        let field = FieldContext::of(ctx);
        let wanted = Wanted {
            name: parsed("name", &input.name, Name::parse)?,
            scopes: parse_permissions("scopes", &input.scopes)?,
            expires_at: input.expires_at.map(|DateTime(time)| time),
            networks: input.networks.map(parse_networks).transpose()?,
            service: input.service.map(|id| id_of(&id)).transpose()?,
        };
        let tokens = &field.use_cases.access_tokens;
        let (token, view) = tokens.create(field.caller, wanted).await?;
        Ok(Some(CreatedAccessToken {
            access_token: AccessToken(view),
            token: token.text().to_owned(),
        }))
    }

    /// Revokes an access token at once. `NOT_FOUND` if the tenant has no such token; `FORBIDDEN` if
    /// it holds permissions that the caller lacks, and somebody else has created it.
    async fn delete(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (tokens, command) = (&field.use_cases.access_tokens, field.command_id()?);
        tokens.delete(field.caller, command, id_of(&id)?).await?;
        Success::yes()
    }
}

fn parse_networks(texts: Vec<String>) -> Result<Vec<IpNetwork>, Error> {
    let networks = texts.iter();
    networks
        .map(|text| parsed("networks", text, IpNetwork::parse))
        .collect()
}
