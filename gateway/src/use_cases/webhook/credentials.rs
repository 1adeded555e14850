//! The headers of a webhook, which may hold passwords.

use std::collections::BTreeSet;

use anyhow::Context as _;
use data_encoding::BASE64;
use events_schema::{
    TenantKey, WebhookId,
    webhook::{AuthKind, Credentials, MAX_HEADERS, OAuth2, SecretHeaders, is_allowed_header},
};

use super::Webhooks;
use crate::error::Error;

const AUTHORIZATION: &str = "authorization";
/// Longest client id, client secret and scope, in bytes.
const MAX_OAUTH2_TEXT: usize = 1_024;

/// How a webhook authenticates at the customer's server.
pub(crate) enum Auth {
    Basic { username: String, password: String },
    Bearer { token: String },
    ApiKey { header: String, value: String },
    OAuth2(OAuth2),
}

/// What authenticates a webhook.
enum Credential {
    Header(String, String),
    OAuth2(OAuth2),
}

/// All headers of a webhook. Its values are secret, so it has no `Debug`.
pub(crate) struct Headers {
    auth: AuthKind,
    /// The names of the headers that are not for authentication.
    names: Vec<String>,
    headers: SecretHeaders,
}

impl Headers {
    /// Checks headers that a client has chosen: names and values. No error shows any of them.
    ///
    /// # Errors
    /// `BadUserInput` if a header is not allowed, occurs twice, or there are too many.
    pub(crate) fn new(auth: Option<Auth>, further: Vec<(String, String)>) -> Result<Self, Error> {
        let kind = auth.as_ref().map_or(AuthKind::None, Auth::kind);
        let (mut names, mut headers, mut oauth2) = (Vec::new(), Vec::new(), None);
        match auth.map(Auth::into_credential).transpose()? {
            Some(Credential::Header(name, value)) => headers.push((name, value)),
            Some(Credential::OAuth2(credentials)) => oauth2 = Some(credentials),
            None => {}
        }
        for (name, value) in further {
            let name = name.to_ascii_lowercase();
            if name == AUTHORIZATION {
                let message = "headers must not have `authorization`: use auth instead.";
                return Err(Error::input("headers", message));
            }
            if !is_allowed_header(&name, &value) {
                return Err(not_allowed("headers"));
            }
            names.push(name.clone());
            headers.push((name, value));
        }
        let distinct: BTreeSet<_> = headers.iter().map(|(name, _)| name).collect();
        if distinct.len() < headers.len() {
            let message = "headers must not have a name twice. The one of auth counts, too.";
            return Err(Error::input("headers", message));
        }
        if headers.len() > MAX_HEADERS {
            let message =
                format!("headers must be at most {MAX_HEADERS}, the one of auth included.");
            return Err(Error::input("headers", message));
        }
        Ok(Self {
            auth: kind,
            names,
            headers: SecretHeaders { headers, oauth2 },
        })
    }

    /// Seals the values.
    ///
    /// # Errors
    /// `BadUserInput` if requests must not go to the server that gives out access tokens.
    pub(super) fn seal(
        self,
        webhooks: &Webhooks,
        tenant: TenantKey,
        id: WebhookId,
    ) -> Result<Credentials, Error> {
        if let Some(oauth2) = &self.headers.oauth2 {
            let checked = oauth2.token_url.check(&webhooks.allowed);
            checked.map_err(Error::invalid("tokenUrl"))?;
        }
        let plain = serde_json::to_vec(&self.headers).context("writing headers")?;
        Ok(Credentials {
            auth: self.auth,
            header_names: self.names,
            sealed: webhooks.seal(tenant, id, &plain)?,
        })
    }
}

impl Auth {
    const fn kind(&self) -> AuthKind {
        match self {
            Self::Basic { .. } => AuthKind::Basic,
            Self::Bearer { .. } => AuthKind::Bearer,
            Self::ApiKey { .. } => AuthKind::ApiKey,
            Self::OAuth2(_) => AuthKind::OAuth2,
        }
    }

    fn into_credential(self) -> Result<Credential, Error> {
        let (name, value) = match self {
            Self::Basic { username, password } => {
                let is_control = |text: &str| text.contains(char::is_control);
                if username.contains(':') || is_control(&username) || is_control(&password) {
                    let message = "auth must have a username without a colon, and no control \
                                   characters.";
                    return Err(Error::input("auth", message));
                }
                let pair = BASE64.encode(format!("{username}:{password}").as_bytes());
                (AUTHORIZATION.to_owned(), format!("Basic {pair}"))
            }
            Self::Bearer { token } => (AUTHORIZATION.to_owned(), format!("Bearer {token}")),
            Self::ApiKey { header, value } => (header.to_ascii_lowercase(), value),
            Self::OAuth2(credentials) => {
                check_oauth2(&credentials)?;
                return Ok(Credential::OAuth2(credentials));
            }
        };
        if is_allowed_header(&name, &value) {
            Ok(Credential::Header(name, value))
        } else {
            Err(not_allowed("auth"))
        }
    }
}

fn check_oauth2(credentials: &OAuth2) -> Result<(), Error> {
    let OAuth2 {
        client_id,
        client_secret,
        scope,
        ..
    } = credentials;
    let mut texts = [client_id, client_secret].into_iter().chain(scope);
    let is_legal = |text: &String| {
        (1..=MAX_OAUTH2_TEXT).contains(&text.len()) && !text.contains(char::is_control)
    };
    if texts.all(is_legal) {
        return Ok(());
    }
    let message = format!(
        "auth must have a clientId, a clientSecret and perhaps a scope of 1 to {MAX_OAUTH2_TEXT} \
         bytes each, without control characters."
    );
    Err(Error::input("auth", message))
}

fn not_allowed(field: &'static str) -> Error {
    let message = format!(
        "{field} has a header that is not allowed: its name must have 1 to 100 letters, digits, \
         hyphens and underscores and belong neither to HTTP nor to this system, and its value must \
         have up to 4096 printable ASCII characters without spaces around them."
    );
    Error::input(field, message)
}

#[cfg(test)]
mod tests {
    use events_schema::outbound::WebhookUrl;

    use super::*;

    fn header(name: &str) -> (String, String) {
        (name.to_owned(), "hunter2".to_owned())
    }

    fn basic(username: &str, password: &str) -> Auth {
        Auth::Basic {
            username: username.to_owned(),
            password: password.to_owned(),
        }
    }

    fn api_key(name: &str) -> Auth {
        let (header, value) = header(name);
        Auth::ApiKey { header, value }
    }

    /// Returns the header that authenticates.
    fn sent(auth: Auth) -> (String, String) {
        match auth.into_credential() {
            Ok(Credential::Header(name, value)) => (name, value),
            Ok(Credential::OAuth2(_)) | Err(_) => panic!("no header"),
        }
    }

    /// Returns the field of the error, which shows no value.
    fn refused(auth: Option<Auth>, further: Vec<(String, String)>) -> &'static str {
        match Headers::new(auth, further) {
            Err(Error::BadUserInput {
                field: Some(field),
                message,
            }) => {
                assert!(!message.contains("hunter2"), "{message}");
                field
            }
            Err(error) => panic!("{error:?}"),
            Ok(_) => "",
        }
    }

    #[test]
    fn authentication_becomes_a_header_whose_name_is_not_listed() {
        let headers = Headers::new(Some(basic("ada", "hunter2")), vec![header("X-Tenant")]);
        let headers = headers.ok().unwrap();
        assert_eq!(
            (headers.auth, headers.names),
            (AuthKind::Basic, vec!["x-tenant".to_owned()])
        );
        // The pair of RFC 7617: `printf ada:hunter2 | base64`.
        let authorization = (
            "authorization".to_owned(),
            "Basic YWRhOmh1bnRlcjI=".to_owned(),
        );
        assert_eq!(headers.headers.headers, [authorization, header("x-tenant")]);
        let token = Auth::Bearer {
            token: "abc".to_owned(),
        };
        assert_eq!(sent(token), ("authorization".into(), "Bearer abc".into()));
        assert_eq!(sent(api_key("X-Key")), header("x-key"));
    }

    #[test]
    fn a_header_that_is_not_allowed_is_refused_by_its_input() {
        for name in [
            "authorization",
            "Authorization",
            "host",
            "Webhook-Id",
            "a b",
            "",
        ] {
            assert_eq!(refused(None, vec![header(name)]), "headers", "{name}");
        }
        for name in ["host", "cookie", "a b", ""] {
            assert_eq!(refused(Some(api_key(name)), Vec::new()), "auth", "{name}");
        }
        for (username, password) in [("a:b", "hunter2"), ("a\n", "hunter2"), ("a", "hunter2\0")] {
            assert_eq!(refused(Some(basic(username, password)), Vec::new()), "auth");
        }
        let empty = Auth::Bearer {
            token: String::new(),
        };
        assert_eq!(refused(Some(empty), Vec::new()), "auth");
    }

    #[test]
    fn client_credentials_are_complete() {
        let oauth2 = |client_id: &str, client_secret: &str| {
            Auth::OAuth2(OAuth2 {
                token_url: WebhookUrl::parse("https://example.com/token").unwrap(),
                client_id: client_id.to_owned(),
                client_secret: client_secret.to_owned(),
                scope: None,
            })
        };
        assert_eq!(refused(Some(oauth2("ada", "hunter2")), Vec::new()), "");
        for (id, secret) in [("", "hunter2"), ("ada", ""), ("ada\n", "hunter2")] {
            assert_eq!(refused(Some(oauth2(id, secret)), Vec::new()), "auth");
        }
    }

    #[test]
    fn no_header_occurs_twice() {
        assert_eq!(refused(None, vec![header("x-a"), header("X-A")]), "headers");
        assert_eq!(
            refused(Some(api_key("x-a")), vec![header("x-a")]),
            "headers"
        );
        assert_eq!(refused(Some(api_key("x-a")), vec![header("x-b")]), "");
    }

    #[test]
    fn the_header_of_the_authentication_is_one_of_twenty() {
        let further = |count| (0..count).map(|at| header(&format!("x-{at}"))).collect();
        assert_eq!(refused(None, further(MAX_HEADERS)), "");
        assert_eq!(refused(None, further(MAX_HEADERS + 1)), "headers");
        assert_eq!(
            refused(Some(api_key("x-a")), further(MAX_HEADERS)),
            "headers"
        );
    }
}
