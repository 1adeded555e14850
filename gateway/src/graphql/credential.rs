//! What a person proves who they are with.

use anyhow::Context as _;
use async_graphql::{ComplexObject, Context, ID, MergedObject, Object, SimpleObject};
use events_schema::{Identity, ProofKind, ProviderName};
use qrcode::{QrCode, render::svg};

use super::{
    field::FieldContext,
    passkey::{Passkey, PasskeyMutation},
    scalars::{DateTime, Success, id_of, parsed, to_id},
};
use crate::{error::Error, identity::cookie::Kind, use_cases::second_factor};

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "CredentialQueries")]
impl Queries {
    /// What the caller can prove who they are with.
    async fn credentials(&self, ctx: &Context<'_>) -> Result<Option<Credentials>, Error> {
        let account = &FieldContext::of(ctx).caller.person()?.account;
        let factor = account.view.second_factor.as_ref();
        let identities = account.view.identities.iter();
        Ok(Some(Credentials {
            has_password: account.view.password_hash.is_some(),
            identities: identities.map(Into::into).collect(),
            totp_enrolled_at: factor.map(|factor| DateTime(factor.totp.enrolled_at)),
            recovery_codes_left: factor.map_or(0, |factor| factor.recovery_codes.left()),
            passkeys: account.view.passkeys.iter().map(Into::into).collect(),
        }))
    }
}

/// What a person can prove who they are with.
#[derive(SimpleObject)]
struct Credentials {
    /// Whether the account has a password.
    has_password: bool,
    /// The identities at other parties that the caller can log in by, the earliest first.
    identities: Vec<IdentityView>,
    /// When the authenticator app was added. Null if there is none.
    totp_enrolled_at: Option<DateTime>,
    /// How many recovery codes are not used yet.
    recovery_codes_left: usize,
    /// The passkeys, the earliest first: at most 20.
    passkeys: Vec<Passkey>,
}

/// Who the caller is at another party.
#[derive(SimpleObject)]
#[graphql(name = "Identity")]
struct IdentityView {
    /// Id of the identity: 32 lower-case hex digits.
    id: ID,
    /// The name of the party, such as `google`.
    provider: String,
    /// When the identity was linked.
    linked_at: DateTime,
}

impl From<&Identity> for IdentityView {
    fn from(identity: &Identity) -> Self {
        Self {
            id: to_id(identity.id),
            provider: identity.provider.as_str().to_owned(),
            linked_at: DateTime(identity.linked_at),
        }
    }
}

/// What an authenticator app needs to know. It is shown once.
#[derive(SimpleObject)]
#[graphql(complex)]
struct TotpSetup {
    /// The URI that the app reads.
    uri: String,
    /// The secret in the URI, for those who type it: 32 letters and digits.
    secret: String,
}

#[ComplexObject]
impl TotpSetup {
    /// The URI as a QR code: an image in SVG.
    async fn qr_code(&self) -> Result<String, Error> {
        let code = QrCode::new(&self.uri);
        let code = code.context("drawing a QR code").map_err(Error::Internal)?;
        Ok(code.render::<svg::Color<'_>>().build())
    }
}

impl From<second_factor::TotpSetup> for TotpSetup {
    fn from(setup: second_factor::TotpSetup) -> Self {
        let second_factor::TotpSetup { uri, secret } = setup;
        Self { uri, secret }
    }
}

#[derive(Default)]
pub(super) struct Mutations;

#[Object(name = "CredentialMutations")]
impl Mutations {
    /// The ways in which the caller logs in.
    async fn credential(&self) -> Option<CredentialMutation> {
        Some(CredentialMutation::default())
    }
}

/// The ways in which the caller logs in. All changes but new names need a fresh session.
#[derive(Default, MergedObject)]
#[graphql(serial)]
pub(super) struct CredentialMutation(LogInMutation, PasskeyMutation, SecondFactorMutation);

#[derive(Default)]
struct LogInMutation;

#[Object(serial)]
impl LogInMutation {
    /// Returns a URL that links the caller's identity at another party. The browser of this session
    /// goes there within five minutes, once; `&return_to=` with a path names where it comes back
    /// to.
    async fn start_link(
        &self,
        ctx: &Context<'_>,
        provider: String,
    ) -> Result<Option<String>, Error> {
        let field = FieldContext::of(ctx);
        let provider = parsed("provider", &provider, ProviderName::parse)?;
        let logins = &field.use_cases.provider_logins;
        logins.start_link(field.caller, &provider).await.map(Some)
    }

    /// Links the identity that waits in this browser, as `loginChallenge` shows it, to the account
    /// that the caller has logged in to. One of a tenant's own issuer makes the caller a member there
    /// and sets the cookie of a new session, if the tenant lets them in. `BAD_USER_INPUT` if none waits
    /// for this account; `CONFLICT` if another account has it; `RATE_LIMITED` after 20 new credentials a
    /// day.
    async fn confirm_link(&self, ctx: &Context<'_>) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (logins, id) = (&field.use_cases.provider_logins, field.command_id()?);
        let started = logins.confirm_link(field.caller, id).await?;
        field.clear_cookie(Kind::Waiting);
        if let Some(started) = started {
            field.start_session(&started);
        }
        Success::yes()
    }

    /// Unlinks an identity. Sessions that nothing else has proved end, this one, too. `CONFLICT` if
    /// the caller could not log in any more.
    async fn unlink(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (logins, command) = (&field.use_cases.provider_logins, field.command_id()?);
        logins.unlink(field.caller, command, id_of(&id)?).await?;
        // It may be the one that waits, and must not be linked again.
        if field.caller.kept.waiting.is_some() {
            field.clear_cookie(Kind::Waiting);
        }
        Success::yes()
    }

    /// Sets the password of an account that has none. `CONFLICT` if there is one: use
    /// `changePassword`; `RATE_LIMITED` after 20 new credentials a day.
    async fn set_password(
        &self,
        ctx: &Context<'_>,
        #[graphql(secret)] password: String,
    ) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (accounts, id) = (&field.use_cases.accounts, field.command_id()?);
        accounts.set_password(field.caller, id, password).await?;
        Success::yes()
    }

    /// Removes the password. Sessions that nothing else has proved end, this one, too. `CONFLICT` if
    /// the caller could not log in any more.
    async fn remove_password(&self, ctx: &Context<'_>) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (accounts, id) = (&field.use_cases.accounts, field.command_id()?);
        accounts.remove_password(field.caller, id).await?;
        Success::yes()
    }
}

#[derive(Default)]
struct SecondFactorMutation;

#[Object(serial)]
impl SecondFactorMutation {
    /// Begins to add an authenticator app. Nothing changes until `confirmTotp`, within ten minutes.
    async fn start_totp(&self, ctx: &Context<'_>) -> Result<Option<TotpSetup>, Error> {
        let field = FieldContext::of(ctx);
        let factors = &field.use_cases.second_factors;
        let setup = factors.start_totp(field.caller);
        Ok(Some(setup.await?.into()))
    }

    /// Adds the authenticator app by a code that it shows, and sets the cookie of a new session
    /// with both factors. Returns ten recovery codes, which are not shown again: each serves once
    /// instead of the app. `BAD_USER_INPUT` if the code is wrong; `CONFLICT` if there is an app
    /// already; `RATE_LIMITED` after too many wrong codes, or 20 new credentials a day.
    async fn confirm_totp(
        &self,
        ctx: &Context<'_>,
        #[graphql(secret)] code: String,
    ) -> Result<Option<Vec<String>>, Error> {
        let field = FieldContext::of(ctx);
        let factors = &field.use_cases.second_factors;
        let codes = factors.confirm_totp(field.caller, &code).await?;
        let sessions = &field.use_cases.sessions;
        let started = sessions.add_first_proof(field.caller, ProofKind::Totp);
        if let Some(started) = started.await {
            field.start_session(&started);
        }
        Ok(Some(codes))
    }

    /// Removes the authenticator app and the recovery codes.
    async fn remove_totp(&self, ctx: &Context<'_>) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let factors = &field.use_cases.second_factors;
        factors.remove(field.caller, field.command_id()?).await?;
        Success::yes()
    }

    /// Replaces the recovery codes. Returns the new ones, which are not shown again. `CONFLICT` if
    /// there is no authenticator app; `RATE_LIMITED` after 20 times a day.
    async fn new_recovery_codes(&self, ctx: &Context<'_>) -> Result<Option<Vec<String>>, Error> {
        let field = FieldContext::of(ctx);
        let factors = &field.use_cases.second_factors;
        let codes = factors.renew_recovery_codes(field.caller).await?;
        Ok(Some(codes))
    }
}
