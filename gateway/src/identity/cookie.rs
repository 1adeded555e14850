//! The session cookie: the token in it, how it is read, set and cleared.
//!
//! The token is known to the client alone: what is stored is the session's id, half of the token's
//! SHA-256.

use anyhow::anyhow;
use axum::http::{HeaderMap, header::COOKIE};
use data_encoding::BASE64URL_NOPAD;
use events_schema::{Id, SessionId, session};
use sha2::{Digest, Sha256};

use crate::error::Error;

/// What a client shows to be who logged in: 32 random bytes, base64url in the cookie.
pub(crate) struct Token([u8; 32]);

impl Token {
    /// A token that nobody has seen.
    pub(crate) fn mint() -> Result<Self, Error> {
        random().map(Self)
    }

    fn parse(text: &str) -> Option<Self> {
        BASE64URL_NOPAD
            .decode(text.as_bytes())
            .ok()?
            .try_into()
            .ok()
            .map(Self)
    }

    /// The session that it opens.
    pub(crate) fn session_id(&self) -> SessionId {
        let mut head = [0; 16];
        head.copy_from_slice(&Sha256::digest(self.0)[..16]);
        SessionId(Id::from_bytes(head))
    }

    /// The `Set-Cookie` that hands it to the client.
    pub(crate) fn set_cookie(&self, https: bool) -> String {
        cookie(
            https,
            &BASE64URL_NOPAD.encode(&self.0),
            session::LIFETIME.as_secs(),
        )
    }
}

/// The `Set-Cookie` that takes the token back.
pub(crate) fn clear_cookie(https: bool) -> String {
    cookie(https, "", 0)
}

/// The session that a request's cookie names, if it is well formed; whether it is alive is the
/// view's to say.
pub(crate) fn session_id(headers: &HeaderMap, https: bool) -> Option<SessionId> {
    let pairs = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'));
    let mut tokens = pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, _)| *key == name(https));
    tokens
        .find_map(|(_, token)| Token::parse(token))
        .map(|token| token.session_id())
}

/// `__Host-` keeps sub-domains from planting a cookie, but browsers accept it over TLS only.
const fn name(https: bool) -> &'static str {
    if https { "__Host-session" } else { "session" }
}

fn cookie(https: bool, value: &str, max_age_secs: u64) -> String {
    let secure = if https { "; Secure" } else { "" };
    format!(
        "{}={value}; HttpOnly; SameSite=Lax; Path=/; Max-Age={max_age_secs}{secure}",
        name(https)
    )
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("no randomness: {error}"))?;
    Ok(bytes)
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
    fn the_cookie_that_was_set_is_read_back() {
        let token = Token([7; 32]);
        for https in [true, false] {
            let set = token.set_cookie(https);
            let pair = set.split(';').next().unwrap();
            assert_eq!(
                session_id(&request(&["a=b", &format!("theme=dark; {pair};x")]), https),
                Some(token.session_id())
            );
            assert_eq!(session_id(&request(&[pair]), !https), None);
        }
    }

    #[test]
    fn over_tls_the_cookie_is_secure_and_bound_to_the_host() {
        let set = Token([7; 32]).set_cookie(true);
        assert!(set.starts_with("__Host-session="), "{set}");
        assert!(
            set.ends_with("; HttpOnly; SameSite=Lax; Path=/; Max-Age=2592000; Secure"),
            "{set}"
        );
        assert!(!Token([7; 32]).set_cookie(false).contains("Secure"));
        assert_eq!(
            clear_cookie(false),
            "session=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0"
        );
    }

    #[test]
    fn what_is_no_token_names_no_session() {
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
            assert_eq!(session_id(&request(&[wrong]), false), None, "{wrong}");
        }
    }
}
