//! Providers that speak OAuth 2.0 and no OpenID Connect: GitHub and Facebook.

use events_schema::{Invalid, outbound::WebhookUrl};
use serde::Deserialize;
use tokio::time::Instant;

use super::{
    Refusal,
    id_token::check_subject,
    profile::{Flag, Person},
    requests::Requests,
};

/// Where such a provider answers.
#[derive(Clone, Debug)]
pub(super) struct Urls {
    /// What identities are known by. It never changes.
    pub(super) issuer: String,
    /// What the provider calls itself where it says who has sent an answer (RFC 9207).
    pub(super) answer_issuer: String,
    pub(super) authorization: WebhookUrl,
    pub(super) token: WebhookUrl,
    user: WebhookUrl,
    /// Where GitHub lists the addresses of a person.
    emails: Option<WebhookUrl>,
}

impl Urls {
    /// The URLs of GitHub, or those of a server of GitHub Enterprise.
    ///
    /// # Errors
    /// If this is no URL.
    pub(super) fn of_github(server: Option<&str>) -> Result<Self, Invalid> {
        let (web, api) = match server {
            Some(server) => (server.to_owned(), format!("{server}/api/v3")),
            None => (
                "https://github.com".to_owned(),
                "https://api.github.com".to_owned(),
            ),
        };
        Ok(Self {
            authorization: WebhookUrl::parse(&format!("{web}/login/oauth/authorize"))?,
            token: WebhookUrl::parse(&format!("{web}/login/oauth/access_token"))?,
            user: WebhookUrl::parse(&format!("{api}/user"))?,
            emails: Some(WebhookUrl::parse(&format!("{api}/user/emails"))?),
            answer_issuer: format!("{web}/login/oauth"),
            issuer: web,
        })
    }

    /// The URLs of Facebook, or those of a server that answers as it does.
    ///
    /// # Errors
    /// If this is no URL.
    pub(super) fn of_facebook(server: Option<&str>) -> Result<Self, Invalid> {
        const VERSION: &str = "v24.0";
        let web = server.unwrap_or("https://www.facebook.com");
        let graph = server.unwrap_or("https://graph.facebook.com");
        let user = "me?fields=id,first_name,last_name,name,email";
        Ok(Self {
            authorization: WebhookUrl::parse(&format!("{web}/{VERSION}/dialog/oauth"))?,
            token: WebhookUrl::parse(&format!("{graph}/{VERSION}/oauth/access_token"))?,
            user: WebhookUrl::parse(&format!("{graph}/{VERSION}/{user}"))?,
            emails: None,
            answer_issuer: web.to_owned(),
            issuer: web.to_owned(),
        })
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &WebhookUrl> {
        let urls = [&self.authorization, &self.token, &self.user];
        urls.into_iter().chain(&self.emails)
    }
}

/// A person at GitHub. The id stays, the login may change hands.
#[derive(Deserialize)]
struct GitHubUser {
    id: u64,
    login: String,
    name: Option<String>,
}

#[derive(Deserialize)]
struct GitHubAddress {
    email: String,
    primary: bool,
    verified: bool,
}

/// A person at Facebook. The id is that of the person for our app.
#[derive(Deserialize)]
struct FacebookUser {
    id: String,
    name: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    email: Option<String>,
}

/// Asks GitHub who a person is. It does not tell the address.
///
/// # Errors
/// If GitHub does not say.
pub(super) async fn github(
    urls: &Urls,
    requests: &Requests,
    authorization: &str,
    deadline: Instant,
) -> Result<(String, Person), Refusal> {
    let user = requests.get(&urls.user, Some(authorization), deadline);
    let user: GitHubUser = user.await?;
    let person = Person {
        name: user.name.or(Some(user.login)),
        ..Person::default()
    };
    Ok((user.id.to_string(), person))
}

/// Asks GitHub for the primary address of a person. It is verified if GitHub has done so.
///
/// # Errors
/// If GitHub does not say.
pub(super) async fn github_address(
    urls: &Urls,
    requests: &Requests,
    authorization: &str,
    deadline: Instant,
) -> Result<(Option<String>, Flag), Refusal> {
    let addresses: Vec<GitHubAddress> = match &urls.emails {
        Some(emails) => requests.get(emails, Some(authorization), deadline).await?,
        None => Vec::new(),
    };
    let primary = addresses.into_iter().find(|address| address.primary);
    let is_verified = primary.as_ref().is_some_and(|address| address.verified);
    let flag = if is_verified { Flag::Yes } else { Flag::No };
    Ok((primary.map(|address| address.email), flag))
}

/// Asks Facebook who a person is. It verifies no address.
///
/// # Errors
/// If Facebook does not say.
pub(super) async fn facebook(
    urls: &Urls,
    requests: &Requests,
    authorization: &str,
    deadline: Instant,
) -> Result<(String, Person), Refusal> {
    let user = requests.get(&urls.user, Some(authorization), deadline);
    let user: FacebookUser = user.await?;
    check_subject(&user.id)?;
    let person = Person {
        email: user.email,
        name: user.name,
        given_name: user.first_name,
        family_name: user.last_name,
        ..Person::default()
    };
    Ok((user.id, person))
}
