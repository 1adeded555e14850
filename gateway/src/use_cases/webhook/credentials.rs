//! The headers of a webhook, which may hold passwords.

use std::collections::BTreeSet;

use anyhow::Context as _;
use data_encoding::BASE64;
use events_schema::{
    TenantKey, WebhookId,
    webhook::{AuthKind, Credentials, MAX_HEADERS, SecretHeaders, is_allowed_header},
};

use super::Webhooks;
use crate::error::Error;

const AUTHORIZATION: &str = "authorization";

/// How a webhook authenticates at the customer's server.
pub(crate) enum Auth {
    Basic { username: String, password: String },
    Bearer { token: String },
    ApiKey { header: String, value: String },
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
        let auth = auth.map(Auth::into_header).transpose()?;
        let mut names = Vec::new();
        let mut headers: Vec<_> = auth.into_iter().collect();
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
            headers: SecretHeaders(headers),
        })
    }

    pub(super) fn seal(
        self,
        webhooks: &Webhooks,
        tenant: TenantKey,
        id: WebhookId,
    ) -> Result<Credentials, Error> {
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
        }
    }

    fn into_header(self) -> Result<(String, String), Error> {
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
        };
        if is_allowed_header(&name, &value) {
            Ok((name, value))
        } else {
            Err(not_allowed("auth"))
        }
    }
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
        assert_eq!(headers.headers.0, [authorization, header("x-tenant")]);
        let token = Auth::Bearer {
            token: "abc".to_owned(),
        };
        let (name, value) = token.into_header().unwrap();
        assert_eq!(
            (name.as_str(), value.as_str()),
            ("authorization", "Bearer abc")
        );
        assert_eq!(api_key("X-Key").into_header().unwrap(), header("x-key"));
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
