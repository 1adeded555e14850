//! Access tokens: keys for machines. A token's text is in one answer and nowhere else.

use std::time::Duration;

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use events_schema::{AccessTokenId, Name, Time, access_token};
use mongodb::bson::doc;

use super::{
    DateTime, Field, Success,
    connection::{Connection, Listing, Page, page},
    id_of,
    loaders::Person,
    role::permissions,
};
use crate::{
    backend::commands::Wish, backend::views::Found, error::Error, identity::bearer::Token,
    identity::caller::new_command_id, now,
};

/// How long a token lives where nobody says otherwise.
const LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// A key for a machine, without the key.
struct AccessToken(Found<access_token::View>);

#[Object]
impl AccessToken {
    async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    async fn name(&self) -> &str {
        self.0.view.name.as_str()
    }

    /// What it may do at most, such as `read_project`. It never may more than its creator.
    async fn scopes(&self) -> Vec<String> {
        self.0.view.scopes.iter().map(ToString::to_string).collect()
    }

    async fn expires_at(&self) -> DateTime {
        DateTime(self.0.view.expires_at)
    }

    async fn created_by(&self, ctx: &Context<'_>) -> Result<Option<Person>, Error> {
        Field::of(ctx).loaders().person(self.0.view.creator).await
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.0.view.created_at)
    }

    /// To the minute.
    async fn last_used_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>, Error> {
        Ok(Field::of(ctx)
            .state
            .token_uses
            .last(AccessTokenId(self.0.id))
            .await?
            .map(DateTime))
    }
}

/// A key that was just made.
#[derive(SimpleObject)]
struct CreatedAccessToken {
    access_token: AccessToken,
    /// The key itself: shown now and never again. Send it as `Authorization: Bearer ub_…`.
    token: String,
}

#[derive(Default)]
pub(crate) struct AccessTokenQueries;

#[Object]
impl AccessTokenQueries {
    /// The tenant's access tokens, the latest first.
    async fn access_tokens(
        &self,
        ctx: &Context<'_>,
        first: Option<i64>,
        after: Option<String>,
        last: Option<i64>,
        before: Option<String>,
    ) -> Result<Option<Connection<AccessToken>>, Error> {
        let views = &Field::of(ctx).caller.membership()?.views;
        let listing = Listing {
            filter: doc! {},
            order: "created_at",
            descending: true,
        };
        Ok(Some(
            page(
                ctx,
                views,
                Page {
                    first,
                    after,
                    last,
                    before,
                },
                listing,
                AccessToken,
            )
            .await?,
        ))
    }

    /// One access token.
    async fn access_token(&self, ctx: &Context<'_>, id: ID) -> Result<Option<AccessToken>, Error> {
        let views = &Field::of(ctx).caller.membership()?.views;
        Ok(Some(AccessToken(
            views.get(id_of(&id)?).await?.ok_or(Error::NotFound)?,
        )))
    }
}

#[derive(InputObject)]
struct CreateAccessTokenInput {
    name: String,
    /// What it may do, such as `read_project`; no more than whoever makes it may.
    scopes: Vec<String>,
    /// At most a year ahead; by default 90 days.
    expires_at: Option<DateTime>,
}

/// Keys for machines.
pub(crate) struct AccessTokenMutation;

#[Object(serial)]
impl AccessTokenMutation {
    /// Makes a token. Each call makes a new one, whatever its `Idempotency-Key`: the token is
    /// random and shown once.
    async fn create(
        &self,
        ctx: &Context<'_>,
        input: CreateAccessTokenInput,
    ) -> Result<Option<CreatedAccessToken>, Error> {
        let field = Field::of(ctx);
        let membership = field.caller.membership()?;
        let name = Name::parse(&input.name).map_err(Error::invalid("name"))?;
        let scopes = permissions(&input.scopes).map_err(|_| {
            Error::input(
                "scopes",
                "scopes must be known permissions such as read_project.",
            )
        })?;
        let expires_at = input.expires_at.map_or(
            Time(now().0 + LIFETIME.as_millis() as i64),
            |DateTime(time)| time,
        );
        let (creator, held) = (
            field.caller.identity()?.account_id(),
            membership.rights.clone(),
        );
        let token = Token::mint(membership.tenant.id)?;
        let create = access_token::Command::Create {
            name,
            scopes,
            expires_at,
            creator,
            held,
        };
        let wish = Wish::new(token.id().0, new_command_id()?, create);
        field
            .state
            .commands
            .send::<access_token::View, _>(field.caller, &membership.views, wish)
            .await?;
        let found = membership
            .views
            .get(token.id().0)
            .await?
            .ok_or(Error::NotFound)?;
        Ok(Some(CreatedAccessToken {
            access_token: AccessToken(found),
            token: token.text().to_owned(),
        }))
    }

    /// Ends a token, at once.
    async fn delete(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Success>, Error> {
        let field = Field::of(ctx);
        let views = &field.caller.membership()?.views;
        field
            .send::<access_token::View>(views, id_of(&id)?, access_token::Command::Delete)
            .await?;
        Success::yes()
    }
}
