//! The caller's own profile.

use async_graphql::{Context, ID, InputObject, Object};
use events_schema::{PersonName, account};

use super::{
    field::FieldContext,
    scalars::{DateTime, optional, to_id},
};
use crate::{backend::views::ViewDocument, error::Error};

pub(super) struct User(pub(super) ViewDocument<account::View>);

/// A person with an account, as they see themselves.
#[Object]
impl User {
    /// Id of the account: 32 lower-case hex digits.
    async fn id(&self) -> ID {
        to_id(self.0.id)
    }

    /// The e-mail address of the account.
    async fn email(&self) -> &str {
        self.0.view.email.as_str()
    }

    /// First name, 1 to 100 characters.
    async fn firstname(&self) -> &str {
        self.0.view.firstname.as_str()
    }

    /// Last name, 1 to 100 characters.
    async fn lastname(&self) -> &str {
        self.0.view.lastname.as_str()
    }

    /// Whether the e-mail address is verified.
    async fn verified(&self) -> bool {
        self.0.view.verified
    }

    /// Whether a platform administrator has disabled the account: it cannot log in.
    async fn disabled(&self) -> bool {
        self.0.view.is_disabled
    }

    /// When the account was registered.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.view.created_at)
    }

    /// When the account was last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.view.updated_at)
    }

    /// Revision of the account: the number of its changes, the registration included.
    async fn revision(&self) -> i64 {
        self.0.revision
    }
}

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "ProfileQueries")]
impl Queries {
    /// The account of the person who is logged in. `FORBIDDEN` for an access token.
    async fn profile(&self, ctx: &Context<'_>) -> Result<Option<User>, Error> {
        let identity = FieldContext::of(ctx).caller.person()?;
        Ok(Some(User(identity.account.clone())))
    }
}

/// The change of a profile. An absent field keeps its value.
#[derive(InputObject)]
struct UpdateProfileInput {
    /// New first name, 1 to 100 characters.
    firstname: Option<String>,
    /// New last name, 1 to 100 characters.
    lastname: Option<String>,
}

#[derive(Default)]
pub(super) struct Mutations;

#[Object(name = "ProfileMutations")]
impl Mutations {
    /// Changes of the caller's own profile.
    async fn profile(&self) -> Option<ProfileMutation> {
        Some(ProfileMutation)
    }
}

pub(super) struct ProfileMutation;

/// Changes of the caller's own profile.
#[Object(serial)]
impl ProfileMutation {
    /// Changes the caller's first or last name, or both.
    async fn update(
        &self,
        ctx: &Context<'_>,
        input: UpdateProfileInput,
    ) -> Result<Option<User>, Error> {
        let field = FieldContext::of(ctx);
        let firstname = optional("firstname", input.firstname, PersonName::parse)?;
        let lastname = optional("lastname", input.lastname, PersonName::parse)?;
        let (accounts, id) = (&field.use_cases.accounts, field.command_id()?);
        let updated = accounts.update_profile(field.caller, id, firstname, lastname);
        Ok(Some(User(updated.await?)))
    }
}
