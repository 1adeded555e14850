//! The session cookie, and the token in it.
//!
//! Only the client knows the token. What is stored is the session's id: the first half of the
//! token's SHA-256.

use axum::http::{HeaderMap, header::COOKIE};
use data_encoding::BASE64URL_NOPAD;
use event_store::random_bytes;
use events_schema::{Id, SessionId, session};
use sha2::{Digest, Sha256};

use crate::error::Error;

/// The secret that identifies a session: 32 random bytes, base64url in the cookie.
pub(crate) struct SessionToken([u8; 32]);

impl SessionToken {
    /// Makes a random token.
    ///
    /// # Errors
    /// If the operating system has no random bytes.
    pub(crate) fn mint() -> Result<Self, Error> {
        Ok(Self(random_bytes()?))
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// Returns the id of the token's session.
    pub(crate) fn session_id(&self) -> SessionId {
        let mut head = [0; 16];
        head.copy_from_slice(&Sha256::digest(self.0)[..16]);
        SessionId(Id::from_bytes(head))
    }
}

/// Reads and writes session cookies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cookies {
    https: bool,
}

impl Cookies {
    /// Over TLS, cookies are Secure and bound to the host.
    pub(crate) const fn new(https: bool) -> Self {
        Self { https }
    }

    /// Returns the `Set-Cookie` that hands a token to the client.
    pub(crate) fn set(self, token: &SessionToken) -> String {
        let value = BASE64URL_NOPAD.encode(&token.0);
        self.header(&value, session::LIFETIME.as_secs())
    }

    /// Returns the `Set-Cookie` that deletes the cookie.
    pub(crate) fn clear(self) -> String {
        self.header("", 0)
    }

    /// Reads the id of the session that a request's cookie names; `None` without a well-formed
    /// cookie.
    pub(crate) fn session_id(self, headers: &HeaderMap) -> Option<SessionId> {
        let values = headers.get_all(COOKIE).iter();
        let pairs = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        let mut tokens = pairs
            .filter(|(key, _)| *key == self.name())
            .filter_map(|(_, token)| SessionToken::parse(token));
        tokens.next().map(|token| token.session_id())
    }

    /// `__Host-` keeps sub-domains from planting a cookie, but browsers accept it over TLS only.
    const fn name(self) -> &'static str {
        if self.https {
            "__Host-session"
        } else {
            "session"
        }
    }

    fn header(self, value: &str, max_age_secs: u64) -> String {
        let name = self.name();
        let secure = if self.https { "; Secure" } else { "" };
        format!("{name}={value}; HttpOnly; SameSite=Lax; Path=/; Max-Age={max_age_secs}{secure}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(cookies: &[&str]) -> HeaderMap {
        cookies
            .iter()
            .map(|text| (COOKIE, text.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_cookie_that_was_set_is_read_back() {
        let token = SessionToken([7; 32]);
        for https in [true, false] {
            let set = Cookies::new(https).set(&token);
            let pair = set.split(';').next().unwrap();
            assert_eq!(
                Cookies::new(https)
                    .session_id(&request(&["a=b", &format!("theme=dark; {pair};x")])),
                Some(token.session_id())
            );
            assert_eq!(Cookies::new(!https).session_id(&request(&[pair])), None);
        }
    }

    #[test]
    fn over_tls_the_cookie_is_secure_and_bound_to_the_host() {
        let set = Cookies::new(true).set(&SessionToken([7; 32]));
        assert!(set.starts_with("__Host-session="), "{set}");
        assert!(
            set.ends_with("; HttpOnly; SameSite=Lax; Path=/; Max-Age=2592000; Secure"),
            "{set}"
        );
        assert!(
            !Cookies::new(false)
                .set(&SessionToken([7; 32]))
                .contains("Secure")
        );
        assert_eq!(
            Cookies::new(false).clear(),
            "session=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0"
        );
    }

    #[test]
    fn a_malformed_cookie_names_no_session() {
        let short = format!("session={}", "A".repeat(42));
        let padded = format!("session={}=", "A".repeat(43));
        let loose_bits = format!("session={}B", "A".repeat(42));
        for wrong in [
            "",
            "session",
            "session=",
            "session=x",
            "Session=AAAA",
            ";;;=;",
            &short,
            &padded,
            &loose_bits,
        ] {
            assert_eq!(
                Cookies::new(false).session_id(&request(&[wrong])),
                None,
                "{wrong}"
            );
        }
    }
}
