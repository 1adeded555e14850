//! Sending somebody to a provider, and finding out who comes back.

use data_encoding::BASE64;
use events_schema::{DomainName, Time, outbound::WebhookUrl, session};
use serde::Deserialize;
use tokio::time::Instant;
use url::{Url, form_urlencoded};

use super::{
    Endpoints, FlowSecrets, Kind, Provider, Refusal,
    built_in::{self, Urls},
    discovery::Discovery,
    id_token::{Claims, Expected},
    jws::Token,
    profile::Person,
    requests::{code, deadline},
};
use crate::clock::now;

/// What somebody brings back from a provider.
pub(crate) struct Redemption<'a> {
    pub(crate) code: &'a str,
    /// The issuer that the answer names.
    pub(crate) issuer: Option<&'a str>,
    pub(crate) secrets: &'a FlowSecrets,
    /// Where the provider was told to send the person back to.
    pub(crate) redirect_uri: &'a str,
}

/// Somebody whom a provider has identified.
pub(crate) struct Identified {
    /// The issuer whose subject the person is. It never changes, whatever the operator calls the
    /// provider.
    pub(crate) issuer: String,
    pub(crate) subject: String,
    /// When the person has logged in at the provider; `None` if it does not say. That may be long
    /// ago, since the provider has sessions, too.
    pub(crate) logged_in_at: Option<Time>,
    /// Whether the provider says that it has checked two factors.
    pub(crate) has_two_factors: bool,
    /// What is known of the person without a further question.
    pub(super) person: Person,
    pub(super) tokens: Tokens,
    /// When the provider must have answered all questions about the person.
    pub(super) deadline: Instant,
}

impl Identified {
    /// Whether the person is of an organization at Google with such a domain.
    pub(crate) fn is_of(&self, is_own: impl Fn(&DomainName) -> bool) -> bool {
        self.person.is_of(is_own)
    }
}

#[cfg(test)]
impl Identified {
    /// Somebody whom this issuer has identified, with an account of this organization.
    pub(crate) fn of(issuer: &str, organization: Option<&str>) -> Self {
        let person = Person {
            hd: organization.map(str::to_owned),
            ..Person::default()
        };
        Self {
            issuer: issuer.to_owned(),
            subject: "7".to_owned(),
            logged_in_at: None,
            has_two_factors: true,
            person,
            tokens: Tokens {
                access_token: None,
                id_token: None,
                error: None,
            },
            deadline: deadline(),
        }
    }
}

/// The tokens of a provider. They are dropped with the callback.
#[derive(Deserialize)]
pub(super) struct Tokens {
    access_token: Option<String>,
    id_token: Option<String>,
    /// GitHub reports errors with the status 200.
    error: Option<String>,
}

impl Provider {
    /// Returns where to send a person to who wants to log in.
    ///
    /// # Errors
    /// If the provider does not say where it answers.
    pub(crate) async fn authorization_url(
        &self,
        secrets: &FlowSecrets,
        redirect_uri: &str,
    ) -> Result<String, Refusal> {
        let endpoint = match &self.endpoints {
            Endpoints::Fixed(urls) => urls.authorization.clone(),
            Endpoints::Discovered(discovery) => {
                let metadata = discovery.metadata(&self.requests, deadline());
                metadata.await?.authorization_endpoint.clone()
            }
        };
        let url = Url::parse(endpoint.as_str());
        let mut url = url.map_err(|_| Refusal::Untrusted("it names no URL"))?;
        let challenge = secrets.challenge();
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.client_id),
            ("redirect_uri", redirect_uri),
            ("scope", &self.scope),
            ("state", &secrets.state),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        if matches!(self.endpoints, Endpoints::Discovered(_)) {
            // With a greatest age, the provider must say when the person has logged in there.
            let max_age = session::LIFETIME.as_secs().to_string();
            let pairs = [("nonce", &secrets.nonce), ("max_age", &max_age)];
            url.query_pairs_mut().extend_pairs(pairs);
        }
        Ok(url.into())
    }

    /// Finds out who somebody is who comes back with a code.
    ///
    /// # Errors
    /// If the provider does not say, or what it says is not to be trusted.
    pub(crate) async fn identify(&self, redemption: Redemption<'_>) -> Result<Identified, Refusal> {
        match &self.endpoints {
            Endpoints::Discovered(discovery) => self.by_id_token(discovery, redemption).await,
            Endpoints::Fixed(urls) => self.by_user(urls, redemption).await,
        }
    }

    async fn by_id_token(
        &self,
        discovery: &Discovery,
        redemption: Redemption<'_>,
    ) -> Result<Identified, Refusal> {
        let deadline = deadline();
        let metadata = discovery.metadata(&self.requests, deadline).await?;
        let must_name_issuer = metadata.authorization_response_iss_parameter_supported;
        check_issuer(&metadata.issuer, must_name_issuer, redemption.issuer)?;
        let (endpoint, is_basic) = (&metadata.token_endpoint, metadata.takes_basic());
        let tokens = self.redeem(endpoint, is_basic, &redemption, deadline);
        let tokens = tokens.await?;
        let no_token = Refusal::Untrusted("there is no ID token");
        let token = Token::parse(tokens.id_token.as_deref().ok_or(no_token)?)?;
        let payload = discovery.verified(&self.requests, &metadata, &token, deadline);
        let claims = Claims::parse(&payload.await?)?;
        let expected = Expected {
            issuer: &metadata.issuer,
            client: &self.client_id,
            nonce: &redemption.secrets.nonce,
            access_token: tokens.access_token.as_deref().unwrap_or_default(),
            now_s: now().0.div_euclid(1000),
        };
        claims.check(token.algorithm, &expected)?;
        Ok(Identified {
            issuer: metadata.issuer.clone(),
            logged_in_at: claims.logged_in_at(),
            has_two_factors: claims.has_two_factors(),
            subject: claims.sub,
            person: claims.person,
            tokens,
            deadline,
        })
    }

    async fn by_user(
        &self,
        urls: &Urls,
        redemption: Redemption<'_>,
    ) -> Result<Identified, Refusal> {
        let deadline = deadline();
        check_issuer(&urls.answer_issuer, false, redemption.issuer)?;
        let tokens = self.redeem(&urls.token, false, &redemption, deadline);
        let tokens = tokens.await?;
        let (requests, authorization) = (&self.requests, tokens.authorization()?);
        let (subject, person) = if self.kind == Kind::Facebook {
            built_in::facebook(urls, requests, &authorization, deadline).await?
        } else {
            built_in::github(urls, requests, &authorization, deadline).await?
        };
        Ok(Identified {
            issuer: urls.issuer.clone(),
            subject,
            // Neither says when.
            logged_in_at: None,
            has_two_factors: false,
            person,
            tokens,
            deadline,
        })
    }

    /// Redeems the code. It is of use only together with the verifier of the same log-in.
    async fn redeem(
        &self,
        endpoint: &WebhookUrl,
        is_basic: bool,
        redemption: &Redemption<'_>,
        deadline: Instant,
    ) -> Result<Tokens, Refusal> {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", redemption.code),
            ("redirect_uri", redemption.redirect_uri),
            ("code_verifier", &redemption.secrets.verifier),
        ];
        let mut authorization = None;
        match &self.client_secret {
            Some(secret) if is_basic => authorization = Some(basic(&self.client_id, &secret.0)),
            Some(secret) => form.extend([
                ("client_id", self.client_id.as_str()),
                ("client_secret", secret.0.as_str()),
            ]),
            None => form.push(("client_id", self.client_id.as_str())),
        }
        let (requests, authorization) = (&self.requests, authorization.as_deref());
        let tokens = requests.post(endpoint, authorization, &form, deadline);
        let tokens: Tokens = tokens.await?;
        match &tokens.error {
            Some(error) => Err(Refusal::Refused(code(error).to_owned())),
            None => Ok(tokens),
        }
    }
}

impl Tokens {
    /// Returns the header that authorizes questions about the person.
    ///
    /// # Errors
    /// `Untrusted` if there is no access token.
    pub(super) fn authorization(&self) -> Result<String, Refusal> {
        let token = self.access_token.as_deref().unwrap_or_default();
        let is_token = !token.is_empty() && token.bytes().all(|c| c.is_ascii_graphic());
        if is_token {
            Ok(format!("Bearer {token}"))
        } else {
            Err(Refusal::Untrusted("there is no access token"))
        }
    }
}

/// Checks who has sent the answer, so that a code of one issuer is not given to another (RFC 9207).
fn check_issuer(expected: &str, is_required: bool, given: Option<&str>) -> Result<(), Refusal> {
    match given {
        Some(issuer) if issuer == expected => Ok(()),
        Some(_) => Err(Refusal::Untrusted("the answer is of another issuer")),
        None if is_required => Err(Refusal::Untrusted("the answer does not name its issuer")),
        None => Ok(()),
    }
}

/// Returns the header that authenticates a client (RFC 6749, section 2.3.1).
fn basic(client: &str, secret: &str) -> String {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(client), encoded(secret));
    format!("Basic {}", BASE64.encode(pair.as_bytes()))
}
