//! What a person proves who they are with, beside the password.

use async_graphql::{Context, MergedObject, Object, SimpleObject};
use events_schema::ProofKind;

use super::{
    field::FieldContext,
    passkey::{Passkey, PasskeyMutation},
    scalars::{DateTime, Success},
};
use crate::{error::Error, use_cases::second_factor};

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "CredentialQueries")]
impl Queries {
    /// What the caller can prove who they are with, beside the password.
    async fn credentials(&self, ctx: &Context<'_>) -> Result<Option<Credentials>, Error> {
        let account = &FieldContext::of(ctx).caller.person()?.account;
        let factor = account.view.second_factor.as_ref();
        Ok(Some(Credentials {
            totp_enrolled_at: factor.map(|factor| DateTime(factor.totp.enrolled_at)),
            recovery_codes_left: factor.map_or(0, |factor| factor.recovery_codes.left()),
            passkeys: account.view.passkeys.iter().map(Into::into).collect(),
        }))
    }
}

/// What a person can prove who they are with, beside the password.
#[derive(SimpleObject)]
struct Credentials {
    /// When the authenticator app was added. Null if there is none.
    totp_enrolled_at: Option<DateTime>,
    /// How many recovery codes are not used yet.
    recovery_codes_left: usize,
    /// The passkeys, the earliest first: at most 20.
    passkeys: Vec<Passkey>,
}

/// What an authenticator app needs to know. It is shown once.
#[derive(SimpleObject)]
struct TotpSetup {
    /// The URI to show as a QR code.
    uri: String,
    /// The secret in the URI, for those who type it: 32 letters and digits.
    secret: String,
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
    /// The second factor and the passkeys of the caller.
    async fn credential(&self) -> Option<CredentialMutation> {
        Some(CredentialMutation::default())
    }
}

/// The second factor and the passkeys of the caller. All changes but new names need a fresh session.
#[derive(Default, MergedObject)]
#[graphql(serial)]
pub(super) struct CredentialMutation(SecondFactorMutation, PasskeyMutation);

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
    /// already.
    async fn confirm_totp(
        &self,
        ctx: &Context<'_>,
        #[graphql(secret)] code: String,
    ) -> Result<Option<Vec<String>>, Error> {
        let field = FieldContext::of(ctx);
        let factors = &field.use_cases.second_factors;
        let codes = factors.confirm_totp(field.caller, &code).await?;
        let sessions = &field.use_cases.sessions;
        let started = sessions.add_proof(field.caller, ProofKind::Totp);
        field.start_session(&started.await?);
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
