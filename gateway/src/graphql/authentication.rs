//! What a person has proved in a session, and the ways to do so.

use async_graphql::{ComplexObject, Context, Enum, ID, InputObject, Json, SimpleObject};
use events_schema::{AccountId, Proof, ProofKind, TenantKey, account, session::Impersonator};
use serde_json::Value;

use super::{
    field::FieldContext,
    loaders::Person,
    provider::ProviderView,
    scalars::{DateTime, to_id},
};
use crate::{error::Error, identity, method::Method, use_cases::session::Challenge};

/// A way to prove who somebody is.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
pub(super) enum ServiceType {
    /// By e-mail address and password.
    #[graphql(name = "Password")]
    Password,
    /// By e-mail address and the code of the mail that `sendLoginCode` has sent.
    #[graphql(name = "EmailCode")]
    EmailCode,
    /// By a passkey, after `startPasskey`: both factors at once.
    #[graphql(name = "Passkey")]
    Passkey,
    /// By the code that an authenticator app shows: the second factor.
    #[graphql(name = "Totp")]
    Totp,
    /// By a recovery code, instead of the authenticator app.
    #[graphql(name = "RecoveryCode")]
    RecoveryCode,
}

impl From<Method> for ServiceType {
    fn from(method: Method) -> Self {
        match method {
            Method::Password => Self::Password,
            Method::EmailCode => Self::EmailCode,
            Method::Passkey => Self::Passkey,
            Method::Totp => Self::Totp,
            Method::RecoveryCode => Self::RecoveryCode,
        }
    }
}

/// The credentials of a person. Each service needs some of them.
#[derive(InputObject)]
pub(super) struct LoginParamsInput {
    /// The e-mail address of the account. For `Password` and `EmailCode`; not to step up. If an
    /// identity waits in the browser, `EmailCode` needs none: the code was mailed to its address.
    email: Option<String>,
    /// The password. For `Password`.
    #[graphql(secret)]
    password: Option<String>,
    /// The code. For `EmailCode`, `Totp` and `RecoveryCode`.
    #[graphql(secret)]
    code: Option<String>,
    /// The answer of the browser: the `toJSON()` of its credential. For `Passkey`.
    #[graphql(secret)]
    response: Option<Json<Value>>,
}

impl LoginParamsInput {
    /// Returns the e-mail address.
    ///
    /// # Errors
    /// `BadUserInput` if it is missing.
    pub(super) fn email(&self) -> Result<&str, Error> {
        required("email", self.email.as_deref())
    }

    /// Returns the password.
    ///
    /// # Errors
    /// `BadUserInput` if it is missing.
    pub(super) fn password(self) -> Result<String, Error> {
        self.password.ok_or_else(|| is_required("password"))
    }

    /// Returns the code.
    ///
    /// # Errors
    /// `BadUserInput` if it is missing.
    pub(super) fn code(&self) -> Result<&str, Error> {
        required("code", self.code.as_deref())
    }

    /// Returns the answer of the browser.
    ///
    /// # Errors
    /// `BadUserInput` if it is missing.
    pub(super) fn response(self) -> Result<Value, Error> {
        let response = self.response.ok_or_else(|| is_required("response"))?;
        Ok(response.0)
    }
}

fn required<'a>(field: &'static str, value: Option<&'a str>) -> Result<&'a str, Error> {
    value.ok_or_else(|| is_required(field))
}

fn is_required(field: &'static str) -> Error {
    Error::input(field, format!("{field} is required."))
}

/// A log-in that waits for a further proof, in the browser that has begun it.
#[derive(SimpleObject)]
#[graphql(name = "Challenge")]
pub(super) struct ChallengeView {
    /// The ways to complete it by `login`.
    pub(super) methods: Vec<ServiceType>,
    /// The parties that also complete it, at their `startUrl`: for a person who has linked one of
    /// them before.
    pub(super) providers: Vec<ProviderView>,
    /// The party whose identity waits to be linked to an account: `credential { confirmLink }` does
    /// so after `login`. Null if none waits, or nobody has proved yet that its address is the
    /// person's.
    pub(super) linking: Option<ProviderView>,
    /// When it ends.
    pub(super) expires_at: DateTime,
}

impl From<&Challenge> for ChallengeView {
    fn from(challenge: &Challenge) -> Self {
        let methods = challenge.methods.iter().copied();
        Self {
            methods: methods.map(Into::into).collect(),
            providers: Vec::new(),
            linking: None,
            expires_at: DateTime(challenge.expires_at),
        }
    }
}

/// What the person has proved in a session.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(super) struct Authentication {
    /// The authenticator assurance level of NIST SP 800-63B: 1 for one factor, 2 for two, 0 for
    /// none.
    aal: i32,
    /// What was proved, the earliest first.
    proofs: Vec<ProofView>,
    /// Until when the session is fresh: it may use operations that need a proof of the last ten
    /// minutes. Null if it does not have the factors that the account could prove, or only the word
    /// of another party that does not say when the person has logged in there.
    fresh_until: Option<DateTime>,
    #[graphql(skip)]
    administrator: Option<AccountId>,
    #[graphql(skip)]
    tenant: Option<TenantKey>,
}

#[ComplexObject]
impl Authentication {
    /// The administrator of the platform who acts as the person in the session. Null if the person
    /// does so themselves.
    async fn impersonated_by(&self, ctx: &Context<'_>) -> Result<Option<Person>, Error> {
        match self.administrator {
            Some(administrator) => FieldContext::of(ctx).loaders().person(administrator).await,
            None => Ok(None),
        }
    }

    /// Id of the tenant in which alone the session is valid, since only the tenant's own issuer
    /// vouches for the person. `stepUp` makes it valid everywhere. Null if it is.
    async fn tenant_id(&self) -> Option<ID> {
        self.tenant.map(to_id)
    }
}

impl Authentication {
    /// Shows these proofs of a session of the account, and who acts as the person.
    pub(super) fn new(
        account: &account::View,
        proofs: &[Proof],
        impersonator: Option<&Impersonator>,
    ) -> Self {
        let proved = account.worth(proofs);
        Self {
            tenant: account.scope_of(proofs).map(|scope| scope.tenant),
            aal: proved.aal.into(),
            proofs: proofs.iter().filter_map(ProofView::of).collect(),
            fresh_until: proved.fresh_until.map(DateTime),
            administrator: impersonator.map(|impersonator| impersonator.account),
        }
    }

    /// Shows what the person has proved in the session of the request.
    pub(super) fn of(person: &identity::Person) -> Self {
        let account = &person.account.view;
        Self::new(account, &person.proofs, person.impersonator.as_ref())
    }
}

/// Something that a person has proved.
#[derive(SimpleObject)]
#[graphql(name = "Proof")]
struct ProofView {
    /// By what.
    kind: ProofType,
    /// The party that has identified the person, for the kind `IDENTITY`; the id of the connection,
    /// for `CONNECTION`.
    provider: Option<String>,
    /// When. For the kinds `IDENTITY` and `CONNECTION`, when the person has logged in at the party, if it says so.
    at: DateTime,
}

impl ProofView {
    /// Shows a proof; `None` if only a newer release knows what it is.
    fn of(proof: &Proof) -> Option<Self> {
        let (kind, provider) = match &proof.kind {
            ProofKind::Password => (ProofType::Password, None),
            ProofKind::EmailCode => (ProofType::EmailCode, None),
            ProofKind::Passkey { .. } => (ProofType::Passkey, None),
            ProofKind::Totp => (ProofType::Totp, None),
            ProofKind::RecoveryCode => (ProofType::RecoveryCode, None),
            ProofKind::Identity { provider, .. } => {
                (ProofType::Identity, Some(provider.as_str().to_owned()))
            }
            ProofKind::Connection { scope, .. } => {
                (ProofType::Connection, Some(scope.connection.to_string()))
            }
            ProofKind::Unknown(_) => return None,
        };
        Some(Self {
            kind,
            provider,
            at: DateTime(proof.at),
        })
    }
}

/// By what a person has proved who they are.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
enum ProofType {
    /// The password.
    Password,
    /// A code or a link in a mail to the account's address.
    EmailCode,
    /// A passkey, which proves two factors.
    Passkey,
    /// An authenticator app.
    Totp,
    /// A recovery code.
    RecoveryCode,
    /// Another party that has identified the person.
    Identity,
    /// The tenant's own issuer. That counts in the tenant alone.
    Connection,
}
