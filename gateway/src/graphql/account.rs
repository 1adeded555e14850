//! Registering, proving an address, and passwords.
//!
//! Whether an address is known shows neither in answers nor in the time they take; its owner learns
//! by mail. Logging in is in `session.rs`.

use anyhow::anyhow;
use async_graphql::{Context, InputObject, Object};
use events_schema::{
    Area, ChallengeId, EmailAddress, Id, PasswordHash, PersonName, account, secret::Purpose,
};
use mongodb::bson::doc;

use super::{Field, Success, session, untelling};
use crate::{backend::commands::Wish, backend::views::Found, error::Error};

#[derive(InputObject)]
struct RegisterInput {
    firstname: String,
    lastname: String,
    email: String,
    #[graphql(secret)]
    password: String,
}

#[derive(InputObject)]
struct VerifyAccountInput {
    email: String,
    /// The six digits in the mail.
    #[graphql(secret)]
    code: String,
}

#[derive(InputObject)]
struct VerifyActivationLinkInput {
    /// The token in the mail's link.
    #[graphql(secret)]
    token: String,
}

#[derive(InputObject)]
struct EmailInput {
    email: String,
}

#[derive(InputObject)]
struct ResetPasswordInput {
    /// The token in the mail's link.
    #[graphql(secret)]
    token: String,
    #[graphql(secret)]
    password: String,
}

#[derive(InputObject)]
struct ChangePasswordInput {
    #[graphql(secret)]
    old_password: String,
    #[graphql(secret)]
    new_password: String,
}

#[derive(Default)]
pub(crate) struct RegistrationMutation;

#[Object(serial)]
impl RegistrationMutation {
    /// Opens an account. An address that has one already gets a mail that says so; the answer is
    /// the same.
    async fn register(
        &self,
        ctx: &Context<'_>,
        input: RegisterInput,
    ) -> Result<Option<Success>, Error> {
        let field = Field::of(ctx);
        let firstname = PersonName::parse(&input.firstname).map_err(Error::invalid("firstname"))?;
        let lastname = PersonName::parse(&input.lastname).map_err(Error::invalid("lastname"))?;
        let email = EmailAddress::parse(&input.email).map_err(Error::invalid("email"))?;
        field.state.passwords.check("password", &input.password)?;
        untelling(async {
            let password_hash = field.state.passwords.hash(input.password).await?;
            let command = field.command_id()?;
            let register = account::Command::Register {
                email,
                firstname,
                lastname,
                password_hash,
            };
            field
                .state
                .commands
                .send::<account::View, _>(
                    field.caller,
                    &field.platform(),
                    Wish::new(command.0, command, register),
                )
                .await?;
            Success::yes()
        })
        .await
    }

    /// Proves an address by the code in the mail. Five wrong codes end it.
    async fn verify_account(
        &self,
        ctx: &Context<'_>,
        input: VerifyAccountInput,
    ) -> Result<Option<Success>, Error> {
        let wrong = || Error::input("code", "The code is wrong or no longer valid.");
        let field = Field::of(ctx);
        let email = EmailAddress::parse(&input.email).map_err(Error::invalid("email"))?;
        untelling(async {
            let account = by_email(&field, &email).await?;
            let open =
                account.and_then(|account| Some((account.id, account.view.verification?.id)));
            // Where nothing waits for an answer, nobody is asked in the same way, so that it takes
            // as long.
            let nobody = field
                .state
                .config
                .secret
                .id(&[b"nobody", email.as_str().as_bytes()]);
            let (account, challenge) = open.unwrap_or((nobody, ChallengeId(nobody)));
            let matches = field.state.config.secret.code_matches(
                Purpose::Verification,
                challenge,
                &input.code,
            );
            let correct = open.is_some() && matches;
            // A wrong answer is sent, too: it counts there, one after the other, however many come
            // at once.
            answer_verification(&field, account, challenge, correct)
                .await
                .map_err(|error| error.if_rejected(wrong))?;
            if correct {
                Success::yes()
            } else {
                Err(wrong())
            }
        })
        .await
    }

    /// Proves an address by the link in the mail.
    async fn verify_activation_link(
        &self,
        ctx: &Context<'_>,
        input: VerifyActivationLinkInput,
    ) -> Result<Option<Success>, Error> {
        let field = Field::of(ctx);
        let opened = field
            .state
            .config
            .secret
            .open_link_token(Purpose::Verification, &input.token);
        let (account, challenge) = opened.ok_or_else(wrong_link)?;
        answer_verification(&field, account.0, challenge, true)
            .await
            .map_err(|error| error.if_rejected(wrong_link))?;
        Success::yes()
    }

    /// Sends the verification mail again, if the address has an account that needs it; the answer
    /// is the same.
    async fn send_verification_email(
        &self,
        ctx: &Context<'_>,
        input: EmailInput,
    ) -> Result<Option<Success>, Error> {
        ask_for_mail(
            &Field::of(ctx),
            &input,
            account::Command::RequestVerification,
        )
        .await
    }
}

#[derive(Default)]
pub(crate) struct PasswordMutation;

#[Object(serial)]
impl PasswordMutation {
    /// Sends a mail that allows to set a new password, if the address has an account; the answer is
    /// the same.
    async fn send_reset_password_email(
        &self,
        ctx: &Context<'_>,
        input: EmailInput,
    ) -> Result<Option<Success>, Error> {
        ask_for_mail(
            &Field::of(ctx),
            &input,
            account::Command::RequestPasswordReset,
        )
        .await
    }

    /// Sets a new password by the link in the mail, ends all sessions, and logs this client in.
    async fn reset_password(
        &self,
        ctx: &Context<'_>,
        input: ResetPasswordInput,
    ) -> Result<Option<Success>, Error> {
        let field = Field::of(ctx);
        let opened = field
            .state
            .config
            .secret
            .open_link_token(Purpose::PasswordReset, &input.token);
        let (account, challenge) = opened.ok_or_else(wrong_link)?;
        field.state.passwords.check("password", &input.password)?;
        let password_hash = field.state.passwords.hash(input.password).await?;
        let reset = account::Command::ResetPassword {
            challenge,
            password_hash: password_hash.clone(),
        };
        field
            .send::<account::View>(&field.platform(), account.0, reset)
            .await
            .map_err(|error| error.if_rejected(wrong_link))?;
        // Logged in at once: an owner whom somebody keeps out by guessing needs no login for that.
        start_anew(&field, account.0, &password_hash).await
    }

    /// Sets a new password and ends all sessions but this client's, which gets a new one.
    async fn change_password(
        &self,
        ctx: &Context<'_>,
        input: ChangePasswordInput,
    ) -> Result<Option<Success>, Error> {
        let field = Field::of(ctx);
        let Found {
            id, view: account, ..
        } = &field.caller.person()?.account;
        field
            .state
            .passwords
            .check("newPassword", &input.new_password)?;
        field.state.logins.begin(&account.email).await?;
        if !field
            .state
            .passwords
            .matches(input.old_password, Some(&account.password_hash))
            .await?
        {
            return Err(Error::input("oldPassword", "The old password is wrong."));
        }
        field.state.logins.clear(&account.email).await;
        let password_hash = field.state.passwords.hash(input.new_password).await?;
        let change = account::Command::ChangePassword {
            old_hash: account.password_hash.clone(),
            password_hash: password_hash.clone(),
        };
        field
            .send::<account::View>(&field.platform(), *id, change)
            .await?;
        start_anew(&field, *id, &password_hash).await
    }
}

/// Starts a session under the password that was just set. If it is no longer the account's,
/// somebody has set another one since, perhaps to keep this client out.
async fn start_anew(
    field: &Field<'_>,
    account: Id,
    set: &PasswordHash,
) -> Result<Option<Success>, Error> {
    let account = field
        .platform()
        .get::<account::View>(account)
        .await?
        .ok_or(Error::NotFound)?;
    if *set != account.view.password_hash {
        return Err(Error::not_logged_in());
    }
    field.state.logins.clear(&account.view.email).await;
    session::start(field, &account).await?;
    Success::yes()
}

fn wrong_link() -> Error {
    Error::input("token", "The link is wrong or no longer valid.")
}

async fn by_email(
    field: &Field<'_>,
    email: &EmailAddress,
) -> Result<Option<Found<account::View>>, Error> {
    field
        .platform()
        .find_one(doc! { "view.email": email.as_str() })
        .await
}

async fn answer_verification(
    field: &Field<'_>,
    account: Id,
    challenge: ChallengeId,
    correct: bool,
) -> Result<u64, Error> {
    field
        .send::<account::View>(
            &field.platform(),
            account,
            account::Command::AnswerVerification { challenge, correct },
        )
        .await
}

/// Asks the account of an address, if there is one, to send a mail.
async fn ask_for_mail(
    field: &Field<'_>,
    input: &EmailInput,
    request: account::Command,
) -> Result<Option<Success>, Error> {
    let email = EmailAddress::parse(&input.email).map_err(Error::invalid("email"))?;
    if !field.state.commands.is_connected() {
        return Err(anyhow!("not connected to NATS").into());
    }
    untelling(async {
        if let Some(account) = by_email(field, &email).await? {
            // Nobody waits for what comes of it: an answer, a refusal or a delay would tell that
            // there is an account.
            let wish = Wish::new(account.id, field.command_id()?, request);
            field.state.commands.send_in_background(
                field.caller,
                field.caller.actor(),
                Area::Account,
                wish,
            );
        }
        Success::yes()
    })
    .await
}
