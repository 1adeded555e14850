//! The caller's own profile.
//!
//! A user's address and password are in `account.rs`, since changing them takes a proof.

use async_graphql::{Context, ID, InputObject, Object};
use events_schema::{PersonName, account};

use super::{DateTime, Field};
use crate::{backend::views::Found, error::Error};

/// A person with an account, as they see themselves.
pub(super) struct User(pub(super) Found<account::View>);

#[Object]
impl User {
    async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    async fn email(&self) -> &str {
        self.0.view.email.as_str()
    }

    async fn firstname(&self) -> &str {
        self.0.view.firstname.as_str()
    }

    async fn lastname(&self) -> &str {
        self.0.view.lastname.as_str()
    }

    /// Whether the address was proved.
    async fn verified(&self) -> bool {
        self.0.view.verified
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.0.view.created_at)
    }

    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.view.updated_at)
    }

    /// Counts the changes.
    async fn revision(&self) -> i64 {
        self.0.revision
    }
}

#[derive(Default)]
pub(crate) struct ProfileQuery;

#[Object]
impl ProfileQuery {
    /// Who is logged in.
    async fn profile(&self, ctx: &Context<'_>) -> Result<Option<User>, Error> {
        Ok(Some(User(Field::of(ctx).caller.person()?.account.clone())))
    }
}

/// What to change; what is absent stays.
#[derive(InputObject)]
struct UpdateProfileInput {
    firstname: Option<String>,
    lastname: Option<String>,
}

/// The caller's own profile.
pub(crate) struct ProfileMutation;

#[Object(serial)]
impl ProfileMutation {
    /// Changes the caller's names.
    async fn update(
        &self,
        ctx: &Context<'_>,
        input: UpdateProfileInput,
    ) -> Result<Option<User>, Error> {
        let field = Field::of(ctx);
        let id = field.caller.person()?.account.id;
        let parse = |name: Option<String>| name.as_deref().map(PersonName::parse).transpose();
        let command = account::Command::UpdateProfile {
            firstname: parse(input.firstname).map_err(Error::invalid("firstname"))?,
            lastname: parse(input.lastname).map_err(Error::invalid("lastname"))?,
        };
        field
            .send::<account::View>(&field.platform(), id, command)
            .await?;
        Ok(Some(User(
            field.platform().get(id).await?.ok_or(Error::NotFound)?,
        )))
    }
}
