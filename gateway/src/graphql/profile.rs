//! The caller's own profile.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use events_schema::{EmailAddress, PersonName, account, email_change::Status};

use super::{
    field::FieldContext,
    scalars::{DateTime, Success, optional, parsed, to_id},
};
use crate::{
    backend::views::ViewDocument, error::Error, identity::cookie::Kind,
    use_cases::email_change::Progress,
};

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

    /// The change of the e-mail address that waits for the owners of both. Null if none does.
    async fn email_change(&self) -> Option<EmailChange> {
        self.0.view.email_change.as_ref().map(EmailChange::from)
    }

    /// When the account is deleted, as its owner wants. Until then, `cancelDeletion` keeps it. Null
    /// if it stays.
    async fn deletion_at(&self) -> Option<DateTime> {
        self.0.view.closes_at.map(DateTime)
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

/// A change of an e-mail address that waits for the owners of both.
#[derive(SimpleObject)]
struct EmailChange {
    /// The new e-mail address.
    email: String,
    /// Who is still to answer.
    status: EmailChangeStatus,
    /// When it was requested. After three days it ends, unless `changesAt` says otherwise.
    requested_at: DateTime,
    /// When the address is changed without an answer of the present one. Null if it must answer, or
    /// the new one is still to be proved.
    changes_at: Option<DateTime>,
}

/// How far a change of an e-mail address has got.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
enum EmailChangeStatus {
    /// The new address is still to be proved by the code that was mailed to it.
    AwaitsNewAddress,
    /// The present address is still to agree by the link that was mailed to it.
    AwaitsPresentAddress,
    /// The account has the new address.
    Changed,
}

impl From<&events_schema::EmailChange> for EmailChange {
    fn from(change: &events_schema::EmailChange) -> Self {
        Self {
            email: change.to.as_str().to_owned(),
            status: match change.status {
                Status::Requested | Status::Confirmed => EmailChangeStatus::AwaitsNewAddress,
                Status::Proved => EmailChangeStatus::AwaitsPresentAddress,
            },
            requested_at: DateTime(change.requested_at),
            changes_at: change.changes_at().map(DateTime),
        }
    }
}

impl From<Progress> for EmailChangeStatus {
    fn from(progress: Progress) -> Self {
        match progress {
            Progress::Changed => Self::Changed,
            Progress::AwaitsNewAddress => Self::AwaitsNewAddress,
            Progress::AwaitsPresentAddress => Self::AwaitsPresentAddress,
        }
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

    /// Asks to change the e-mail address. Mails a code to the new address, for ten minutes and for
    /// this browser only, and a link to the present one; `confirmEmailChange` takes both. If the
    /// session has proved two factors, of which the account has had the second one for three days,
    /// three days without a refusal suffice instead of the link. If the new address has an account,
    /// its owner gets another mail, and the answer is the same. A new request replaces the one
    /// before. A new password ends it, and so do a way to log in that is removed, and the end of all
    /// sessions. Needs a fresh session.
    /// `RATE_LIMITED` after too many mails to the address: the wait is a minute at first, and
    /// doubles.
    async fn request_email_change(
        &self,
        ctx: &Context<'_>,
        email: String,
    ) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let email = parsed("email", &email, EmailAddress::parse)?;
        let changes = &field.use_cases.email_changes;
        let token = changes.request(field.caller, email).await?;
        field.hand_over(Kind::EmailChange, &token);
        Success::yes()
    }

    /// Agrees to a change of the e-mail address: by the code for the new address, in the browser
    /// that has asked, or by the token of the link for the present one, without a session. The
    /// address is changed once both agree, and both get a mail. Sessions that only a code to the
    /// former address has proved end, this one, too. `BAD_USER_INPUT` if the code or link is wrong or
    /// no longer valid; `CONFLICT` if another account has got the address.
    async fn confirm_email_change(
        &self,
        ctx: &Context<'_>,
        #[graphql(secret)] token: String,
    ) -> Result<Option<EmailChangeStatus>, Error> {
        let field = FieldContext::of(ctx);
        let (changes, id) = (&field.use_cases.email_changes, field.command_id()?);
        let progress = changes.confirm(field.caller, id, &token).await?;
        Ok(Some(progress.into()))
    }

    /// Refuses a change of the e-mail address by the token of the link for the present address, or
    /// restores a former address by the token in the mail to it, for 30 days. The latter ends all
    /// sessions, access tokens, the password and a deletion, and all ways to log in that were added
    /// since or within 30 days before.
    /// `BAD_USER_INPUT` if the link is wrong or no longer valid; `CONFLICT` if another account has
    /// the former address by now.
    async fn undo_email_change(
        &self,
        ctx: &Context<'_>,
        #[graphql(secret)] token: String,
    ) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (changes, id) = (&field.use_cases.email_changes, field.command_id()?);
        changes.undo(field.caller, id, &token).await?;
        Success::yes()
    }

    /// Deletes the caller's account in 14 days; the operator may have set another time. If a change
    /// of the address can be undone then, the account is deleted once that has passed. Until then,
    /// everything works, and `cancelDeletion` keeps the account. Then its sessions, access tokens,
    /// memberships and ways to log in end, and its address is free. Needs a fresh session.
    /// `SOLE_OWNER` if it is the only owner of tenants; `RATE_LIMITED` after 20 times a day.
    async fn delete(&self, ctx: &Context<'_>) -> Result<Option<User>, Error> {
        let field = FieldContext::of(ctx);
        let (deletions, id) = (&field.use_cases.deletions, field.command_id()?);
        let requested = deletions.request(field.caller, id);
        Ok(Some(User(requested.await?)))
    }

    /// Keeps the caller's account. `CONFLICT` if it is being deleted just now.
    async fn cancel_deletion(&self, ctx: &Context<'_>) -> Result<Option<User>, Error> {
        let field = FieldContext::of(ctx);
        let (deletions, id) = (&field.use_cases.deletions, field.command_id()?);
        let kept = deletions.cancel(field.caller, id);
        Ok(Some(User(kept.await?)))
    }
}
