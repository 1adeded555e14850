//! Sending somebody to a provider, and finding out who comes back.

use data_encoding::BASE64;
use events_schema::outbound::WebhookUrl;
use serde::Deserialize;
use url::{Url, form_urlencoded};

use super::{
    Endpoints, FlowSecrets, Kind, Profile, Provider, Refusal, built_in,
    discovery::{Discovery, Metadata},
    id_token::{Claims, Expected},
    jws::Token,
    profile::{Flag, Person},
    requests::code,
    secrets::is_same,
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

/// The tokens of a provider. They are dropped with the callback.
#[derive(Deserialize)]
struct Tokens {
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
                let metadata = discovery.metadata(&self.requests).await?;
                metadata.authorization_endpoint.clone()
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
            url.query_pairs_mut().append_pair("nonce", &secrets.nonce);
        }
        Ok(url.into())
    }

    /// Finds out who somebody is who comes back with a code.
    ///
    /// # Errors
    /// If the provider does not say, or what it says is not to be trusted.
    pub(crate) async fn identify(&self, redemption: Redemption<'_>) -> Result<Profile, Refusal> {
        match &self.endpoints {
            Endpoints::Discovered(discovery) => self.by_id_token(discovery, redemption).await,
            Endpoints::Fixed(urls) => {
                let tokens = self.redeem(&urls.token, false, &redemption).await?;
                let authorization = tokens.authorization()?;
                let (requests, authorization) = (&self.requests, authorization.as_str());
                if self.kind == Kind::Facebook {
                    built_in::facebook(urls, requests, authorization).await
                } else {
                    built_in::github(urls, requests, authorization).await
                }
            }
        }
    }

    async fn by_id_token(
        &self,
        discovery: &Discovery,
        redemption: Redemption<'_>,
    ) -> Result<Profile, Refusal> {
        let metadata = discovery.metadata(&self.requests).await?;
        check_issuer(&metadata, redemption.issuer)?;
        let (endpoint, is_basic) = (&metadata.token_endpoint, metadata.takes_basic());
        let tokens = self.redeem(endpoint, is_basic, &redemption).await?;
        let no_token = Refusal::Untrusted("there is no ID token");
        let token = Token::parse(tokens.id_token.as_deref().ok_or(no_token)?)?;
        let payload = discovery
            .verified(&self.requests, &metadata, &token)
            .await?;
        let claims = Claims::parse(&payload)?;
        let expected = Expected {
            issuer: &metadata.issuer,
            client: &self.client_id,
            nonce: &redemption.secrets.nonce,
            access_token: tokens.access_token.as_deref().unwrap_or_default(),
            now_s: now().0.div_euclid(1000),
        };
        claims.check(token.algorithm, &expected)?;
        let person = self.complete(&metadata, &tokens, &claims).await?;
        Ok(self.profile(metadata.issuer.clone(), claims.sub, &person))
    }

    /// Returns what is known about the person. Many providers say it only when they are asked again,
    /// and then it must be about the same person.
    async fn complete(
        &self,
        metadata: &Metadata,
        tokens: &Tokens,
        claims: &Claims,
    ) -> Result<Person, Refusal> {
        #[derive(Deserialize)]
        struct UserInfo {
            sub: String,
            #[serde(flatten)]
            person: Person,
        }
        let Some(endpoint) = &metadata.userinfo_endpoint else {
            return Ok(claims.person.clone());
        };
        if claims.person.email.is_some() {
            return Ok(claims.person.clone());
        }
        let authorization = tokens.authorization()?;
        let info = self.requests.get(endpoint, Some(&authorization));
        let info: UserInfo = info.await?;
        if !is_same(&claims.sub, &info.sub) {
            return Err(Refusal::Untrusted("the user info is about another person"));
        }
        Ok(info.person)
    }

    fn profile(&self, issuer: String, subject: String, person: &Person) -> Profile {
        let email = person.email();
        let is_verified = person.email_verified == Flag::Yes;
        let is_proved = match self.kind {
            Kind::Google => {
                let domain = email.as_ref().map(|email| email.domain());
                is_verified && (domain == Some("gmail.com") || person.hd.is_some())
            }
            // A provider that says itself that an address is not verified is believed.
            Kind::Oidc => self.is_authoritative && person.email_verified != Flag::No,
            Kind::GitHub | Kind::Facebook => false,
        };
        let (firstname, lastname) = person.names();
        Profile {
            issuer,
            subject,
            is_proved: is_proved && email.is_some(),
            email,
            firstname,
            lastname,
        }
    }

    /// Redeems the code. It is of use only together with the verifier of the same log-in.
    async fn redeem(
        &self,
        endpoint: &WebhookUrl,
        is_basic: bool,
        redemption: &Redemption<'_>,
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
        let tokens = self
            .requests
            .post(endpoint, authorization.as_deref(), &form);
        let tokens: Tokens = tokens.await?;
        match &tokens.error {
            Some(error) => Err(Refusal::Refused(code(error).to_owned())),
            None => Ok(tokens),
        }
    }
}

impl Tokens {
    fn authorization(&self) -> Result<String, Refusal> {
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
fn check_issuer(metadata: &Metadata, given: Option<&str>) -> Result<(), Refusal> {
    match given {
        Some(issuer) if issuer == metadata.issuer => Ok(()),
        Some(_) => Err(Refusal::Untrusted("the answer is of another issuer")),
        None if metadata.authorization_response_iss_parameter_supported => {
            Err(Refusal::Untrusted("the answer does not name its issuer"))
        }
        None => Ok(()),
    }
}

/// Returns the header that authenticates a client (RFC 6749, section 2.3.1).
fn basic(client: &str, secret: &str) -> String {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(client), encoded(secret));
    format!("Basic {}", BASE64.encode(pair.as_bytes()))
}
