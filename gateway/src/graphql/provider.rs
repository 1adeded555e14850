//! The ways to log in, and log-ins that wait for a further proof.

use async_graphql::{Context, Object, SimpleObject};
use events_schema::EmailAddress;

use super::{
    authentication::{ChallengeView, ServiceType},
    field::FieldContext,
    scalars::{DateTime, optional},
};
use crate::{
    error::Error,
    identity::providers::Provider,
    method::SECOND,
    use_cases::{opening::Waiting, provider_login::ProviderLogins},
};

/// The ways to log in.
#[derive(SimpleObject)]
struct LoginMethods {
    /// Whether a password is one.
    password: bool,
    /// Whether a passkey is one. Browsers have none for an address of numbers.
    passkey: bool,
    /// Whether a code by mail is one.
    email_code: bool,
    /// The parties that identify people.
    providers: Vec<ProviderView>,
}

/// A party that identifies people.
#[derive(SimpleObject)]
#[graphql(name = "Provider")]
pub(super) struct ProviderView {
    /// The name, such as `google`.
    name: String,
    /// The name for people, such as `Google`.
    title: String,
    /// Where the browser goes to log in. `?return_to=` with a path names where it comes back to;
    /// there, `login` says what has happened.
    start_url: String,
}

impl ProviderView {
    fn new(logins: &ProviderLogins, provider: &Provider) -> Self {
        Self {
            name: provider.name.as_str().to_owned(),
            title: provider.title.clone(),
            start_url: logins.start_url(provider),
        }
    }
}

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "ProviderQueries")]
impl Queries {
    /// The ways to log in to this deployment. They do not depend on whether the address has an
    /// account.
    async fn login_methods(
        &self,
        ctx: &Context<'_>,
        email: Option<String>,
    ) -> Result<Option<LoginMethods>, Error> {
        optional("email", email, EmailAddress::parse)?;
        let use_cases = FieldContext::of(ctx).use_cases;
        let logins = &use_cases.provider_logins;
        let providers = logins.providers.iter();
        let providers = providers.map(|provider| ProviderView::new(logins, provider));
        Ok(Some(LoginMethods {
            password: true,
            passkey: use_cases.passkeys.relying_party.is_domain(),
            email_code: true,
            providers: providers.collect(),
        }))
    }

    /// The log-in that waits for a further proof in this browser. Null if there is none.
    async fn login_challenge(&self, ctx: &Context<'_>) -> Result<Option<ChallengeView>, Error> {
        let field = FieldContext::of(ctx);
        let logins = &field.use_cases.provider_logins;
        let linking = |waiting: &Waiting| {
            let name = waiting.identity.provider.as_str();
            let provider = logins.providers.named(name)?;
            Some(ProviderView::new(logins, provider))
        };
        let waiting = logins.openings.waiting(field.caller);
        if let Some(expires_at) = field.use_cases.sessions.awaits_second(field.caller) {
            return Ok(Some(ChallengeView {
                methods: SECOND.iter().copied().map(Into::into).collect(),
                linking: waiting.as_ref().and_then(linking),
                expires_at: DateTime(expires_at),
            }));
        }
        Ok(waiting.map(|waiting| ChallengeView {
            methods: methods_of(&waiting),
            linking: linking(&waiting),
            expires_at: DateTime(waiting.expires_at()),
        }))
    }
}

/// Where the address is not proved, only the code that was mailed there tells more about it.
fn methods_of(waiting: &Waiting) -> Vec<ServiceType> {
    if waiting.is_proved {
        vec![ServiceType::Password, ServiceType::EmailCode]
    } else {
        vec![ServiceType::EmailCode]
    }
}
