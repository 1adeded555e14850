//! Registering, verifying an address, and passwords. Logging in is in `session.rs`.

use async_graphql::{Context, InputObject, MergedObject, Object};
use events_schema::{EmailAddress, PersonName};

use super::{
    field::FieldContext,
    scalars::{Success, parsed},
    session::SessionMutation,
};
use crate::{
    error::Error,
    identity::cookie::Kind,
    use_cases::{account::ACCOUNTS, list::IndexCheck, registration::Registration},
};

pub(super) const INDEX_CHECKS: &[IndexCheck] = &[|| ACCOUNTS.check_indexes()];

/// Accounts have no queries here: `profile` reads the caller's account, and `platform` reads all.
pub(super) use async_graphql::EmptyMutation as Queries;

/// The data of a new account.
#[derive(InputObject)]
struct RegisterInput {
    /// First name, 1 to 100 characters.
    firstname: String,
    /// Last name, 1 to 100 characters.
    lastname: String,
    /// The e-mail address, such as `ada@example.com`.
    email: String,
    /// Password, 15 to 128 characters. The operator may have set another minimum. `BAD_USER_INPUT`
    /// if it is easy to guess.
    #[graphql(secret)]
    password: String,
}

/// The code of a verification mail.
#[derive(InputObject)]
struct VerifyAccountInput {
    /// The e-mail address to verify.
    email: String,
    /// The six digits in the mail.
    #[graphql(secret)]
    code: String,
    /// The password of the registration. Not needed in the browser that has sent it.
    #[graphql(secret)]
    password: Option<String>,
}

/// The link of a verification mail.
#[derive(InputObject)]
struct VerifyActivationLinkInput {
    /// The token in the link of the mail.
    #[graphql(secret)]
    token: String,
    /// The password of the registration. Not needed in the browser that has sent it.
    #[graphql(secret)]
    password: Option<String>,
}

/// The address to send a mail to.
#[derive(InputObject)]
pub(super) struct EmailInput {
    /// The e-mail address, such as `ada@example.com`.
    pub(super) email: String,
}

/// The link of a mail and a new password.
#[derive(InputObject)]
struct ResetPasswordInput {
    /// The token in the link of the mail.
    #[graphql(secret)]
    token: String,
    /// The new password, with the same limits as in `register`.
    #[graphql(secret)]
    password: String,
}

/// The old password and a new one.
#[derive(InputObject)]
struct ChangePasswordInput {
    /// The current password.
    #[graphql(secret)]
    old_password: String,
    /// The new password, with the same limits as in `register`.
    #[graphql(secret)]
    new_password: String,
}

#[derive(Default)]
pub(super) struct Mutations;

#[Object(name = "AccountMutations")]
impl Mutations {
    /// Accounts, passwords and sessions.
    async fn account(&self) -> Option<AccountMutation> {
        Some(AccountMutation::default())
    }
}

/// Accounts, passwords and sessions.
#[derive(Default, MergedObject)]
#[graphql(serial)]
pub(super) struct AccountMutation(RegistrationMutation, PasswordMutation, SessionMutation);

#[derive(Default)]
struct RegistrationMutation;

#[Object(serial)]
impl RegistrationMutation {
    /// Begins a registration, sends a mail to verify its address, and sets a cookie that proves
    /// which browser has sent it. The account exists when the address is verified. If it already
    /// has an account, its owner gets a mail that says so, and the answer is the same. Each
    /// registration waits for its own mail, for a day. `RATE_LIMITED` after too many registrations:
    /// the wait for one address is a minute at first, and doubles up to half an hour.
    async fn register(
        &self,
        ctx: &Context<'_>,
        input: RegisterInput,
    ) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let registration = Registration {
            firstname: parsed("firstname", &input.firstname, PersonName::parse)?,
            lastname: parsed("lastname", &input.lastname, PersonName::parse)?,
            email: parsed("email", &input.email, EmailAddress::parse)?,
            password: input.password,
        };
        let registrations = &field.use_cases.registrations;
        let id = field.command_id()?;
        let token = registrations
            .register(field.caller, id, registration)
            .await?;
        field.hand_over(Kind::Registration, &token);
        Success::yes()
    }

    /// Completes a registration by the code in its mail, together with its browser or its password.
    /// The code is valid for ten minutes and for five attempts, and an address takes 20 wrong ones
    /// a day; the link remains. `BAD_USER_INPUT` if the code or password is wrong or no
    /// longer valid.
    async fn verify_account(
        &self,
        ctx: &Context<'_>,
        input: VerifyAccountInput,
    ) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let email = parsed("email", &input.email, EmailAddress::parse)?;
        let registrations = &field.use_cases.registrations;
        let (code, password) = (&input.code, input.password);
        let completed = registrations.complete_by_code(field.caller, &email, code, password);
        completed.await?;
        Success::yes()
    }

    /// Completes a registration by the link in its mail, together with its browser or its password.
    /// The link is valid for ten minutes. `BAD_USER_INPUT` if the link or the password is wrong or
    /// no longer valid.
    async fn verify_activation_link(
        &self,
        ctx: &Context<'_>,
        input: VerifyActivationLinkInput,
    ) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let registrations = &field.use_cases.registrations;
        let VerifyActivationLinkInput { token, password } = input;
        let completed = registrations.complete_by_link(field.caller, &token, password);
        completed.await?;
        Success::yes()
    }

    /// Sends the verification mail again, if a registration of the address waits for it. A request
    /// within a minute of the last mail sends none; the wait doubles with each mail, up to 30
    /// minutes. The answer is always the same.
    async fn send_verification_email(
        &self,
        ctx: &Context<'_>,
        input: EmailInput,
    ) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let email = parsed("email", &input.email, EmailAddress::parse)?;
        let registrations = &field.use_cases.registrations;
        registrations.send_again(field.caller, &email).await?;
        Success::yes()
    }
}

#[derive(Default)]
struct PasswordMutation;

#[Object(serial)]
impl PasswordMutation {
    /// Sends a mail with a link to set a new password, if the address has an account. A request
    /// within a minute of the last mail sends none; the wait doubles with each mail, up to 30
    /// minutes. The answer is always the same.
    async fn send_reset_password_email(
        &self,
        ctx: &Context<'_>,
        input: EmailInput,
    ) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let email = parsed("email", &input.email, EmailAddress::parse)?;
        let (accounts, id) = (&field.use_cases.accounts, field.command_id()?);
        let requested = accounts.request_password_reset(field.caller, id, &email);
        requested.await?;
        Success::yes()
    }

    /// Sets a new password by the link in the mail, which is valid for ten minutes. Revokes all
    /// sessions, logs this client in and sets the session cookie. If the account has a second
    /// factor, the client must log in itself. `BAD_USER_INPUT` if the link is
    /// wrong or no longer valid.
    async fn reset_password(
        &self,
        ctx: &Context<'_>,
        input: ResetPasswordInput,
    ) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let ResetPasswordInput { token, password } = input;
        let (accounts, id) = (&field.use_cases.accounts, field.command_id()?);
        let reset = accounts.reset_password(field.caller, id, &token, password);
        if let Some(started) = reset.await? {
            field.start_session(&started);
        }
        Success::yes()
    }

    /// Sets a new password, revokes all sessions and sets the cookie of a new one. `BAD_USER_INPUT`
    /// if the old password is wrong; `RATE_LIMITED` after too many wrong ones; `CONFLICT` if the
    /// password was changed in the meantime.
    async fn change_password(
        &self,
        ctx: &Context<'_>,
        input: ChangePasswordInput,
    ) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let ChangePasswordInput {
            old_password: old,
            new_password: new,
        } = input;
        let (accounts, id) = (&field.use_cases.accounts, field.command_id()?);
        let changed = accounts.change_password(field.caller, id, old, new);
        field.start_session(&changed.await?);
        Success::yes()
    }
}
