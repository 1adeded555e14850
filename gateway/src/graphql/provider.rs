//! The ways to log in, and log-ins that wait for a further proof.

use async_graphql::{Context, Object, SimpleObject};
use events_schema::{EmailAddress, connection::Connection};

use super::{
    authentication::{ChallengeView, ServiceType},
    field::FieldContext,
    scalars::{DateTime, optional},
};
use crate::{
    error::Error,
    identity::{Caller, providers::Provider},
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
    /// The parties that identify people. There are none at the sub-domain of a tenant: log in at the
    /// public URL.
    providers: Vec<ProviderView>,
    /// The issuer of the organization that the domain of the address belongs to. Null without one, and
    /// at the sub-domain of a tenant.
    sso: Option<ProviderView>,
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

    fn of_connection(logins: &ProviderLogins, connection: &Connection) -> Self {
        Self {
            name: connection.id.to_string(),
            title: connection.settings.name.as_str().to_owned(),
            start_url: logins.start_url_of(connection.id),
        }
    }

    /// Shows the parties that the caller can log in by.
    fn all(logins: &ProviderLogins, caller: &Caller) -> Vec<Self> {
        let providers = logins.offered(caller);
        providers.map(|it| Self::new(logins, it)).collect()
    }
}

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "ProviderQueries")]
impl Queries {
    /// The ways to log in to this deployment, and at the organization that the address belongs to by
    /// its domain. They do not depend on whether the address has an account.
    async fn login_methods(
        &self,
        ctx: &Context<'_>,
        email: Option<String>,
    ) -> Result<Option<LoginMethods>, Error> {
        let email = optional("email", email, EmailAddress::parse)?;
        let FieldContext {
            use_cases, caller, ..
        } = FieldContext::of(ctx);
        let logins = &use_cases.provider_logins;
        let connection = match &email {
            Some(email) if caller.is_at_public_url() => logins.connection_of_domain(email).await?,
            Some(_) | None => None,
        };
        Ok(Some(LoginMethods {
            password: true,
            passkey: use_cases.passkeys.relying_party.is_domain(),
            email_code: true,
            providers: ProviderView::all(logins, caller),
            sso: connection.map(|found| ProviderView::of_connection(logins, &found)),
        }))
    }

    /// The log-in that waits for a further proof in this browser. Null if there is none.
    async fn login_challenge(&self, ctx: &Context<'_>) -> Result<Option<ChallengeView>, Error> {
        let field = FieldContext::of(ctx);
        let use_cases = field.use_cases;
        let logins = &use_cases.provider_logins;
        let waiting = logins.openings.waiting(field.caller);
        let linking = match &waiting {
            Some(waiting) => linking(logins, waiting, field.caller).await?,
            None => None,
        };
        if let Some(expires_at) = use_cases.sessions.awaits_second(field.caller) {
            return Ok(Some(ChallengeView {
                methods: SECOND.iter().copied().map(Into::into).collect(),
                providers: Vec::new(),
                linking,
                expires_at: DateTime(expires_at),
            }));
        }
        let has_passkeys = use_cases.passkeys.relying_party.is_domain();
        Ok(waiting.map(|waiting| ChallengeView {
            methods: methods_of(waiting.is_proved, has_passkeys),
            providers: if waiting.is_proved {
                ProviderView::all(logins, field.caller)
            } else {
                Vec::new()
            },
            linking,
            expires_at: DateTime(waiting.expires_at()),
        }))
    }
}

/// Whether it is known that the address of an identity belongs to the person: by the provider's
/// word, or since they have logged in to the account that has it.
fn is_address_proved(waiting: &Waiting, caller: &Caller) -> bool {
    let account = caller.person().ok().map(|person| &person.account.view);
    waiting.is_proved || account.is_some_and(|account| waiting.is_for(account))
}

/// Returns the party whose identity waits; `None` if there is no such party any more.
async fn linking(
    logins: &ProviderLogins,
    waiting: &Waiting,
    caller: &Caller,
) -> Result<Option<ProviderView>, Error> {
    if !is_address_proved(waiting, caller) {
        return Ok(None);
    }
    if let Some(word) = &waiting.word {
        let connection = logins.connection(word.scope.connection).await?;
        return Ok(connection.map(|found| ProviderView::of_connection(logins, &found)));
    }
    let provider = logins.providers.named(waiting.identity.provider.as_str());
    Ok(provider.map(|provider| ProviderView::new(logins, provider)))
}

/// Returns the ways to log in as before. Where the address is not proved, only the code that was
/// mailed there tells more about it.
fn methods_of(is_proved: bool, has_passkeys: bool) -> Vec<ServiceType> {
    let methods = [
        (ServiceType::Password, is_proved),
        (ServiceType::EmailCode, true),
        (ServiceType::Passkey, is_proved && has_passkeys),
    ];
    let offered = methods.into_iter().filter(|(_, is_offered)| *is_offered);
    offered.map(|(method, _)| method).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_whose_address_is_proved_logs_in_as_before_in_any_way() {
        use ServiceType::{EmailCode, Passkey, Password};
        assert!(methods_of(true, true) == [Password, EmailCode, Passkey]);
        assert!(methods_of(true, false) == [Password, EmailCode]);
        assert!(methods_of(false, true) == [EmailCode]);
    }
}
