//! Cookies: that of the session, that of a device on which somebody has logged in before, and those
//! of a browser that has sent a registration, waits for a code, asks for another address, was asked
//! for a passkey or has begun to log in, here or at another party.
//!
//! Only the client knows the token of a session. What is stored is the session's id: the first half
//! of the token's SHA-256.

use std::time::Duration;

use axum::http::{HeaderMap, header::COOKIE};
use data_encoding::BASE64URL_NOPAD;
use event_store::random_bytes;
use events_schema::{Id, SessionId, session};
use sha2::{Digest, Sha256};

use crate::{error::Error, identity::webauthn};

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

/// What a cookie is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The session.
    Session,
    /// Proves that somebody has logged in to an account on this device.
    Device,
    /// Proves that a registration was sent from this browser.
    Registration,
    /// Proves that this browser has asked for a code to log in.
    LoginCode,
    /// Proves that this browser has asked for a change of the address.
    EmailChange,
    /// Proves that this browser has proved a first factor.
    Challenge,
    /// Proves that this browser was asked for a passkey.
    Passkey,
    /// What the secrets of a log-in by another party derive from.
    Flow,
    /// An identity that waits for a proof.
    Waiting,
}

impl Kind {
    const fn max_age(self) -> Duration {
        match self {
            Self::Session => session::LIFETIME,
            // Browsers keep no cookie longer.
            Self::Device => Duration::from_secs(400 * 24 * 60 * 60),
            Self::Registration => Duration::from_secs(24 * 60 * 60),
            Self::LoginCode | Self::EmailChange | Self::Challenge | Self::Flow | Self::Waiting => {
                Duration::from_secs(10 * 60)
            }
            Self::Passkey => webauthn::LIFETIME,
        }
    }
}

/// Reads and writes cookies.
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
        self.hand_over(Kind::Session, &BASE64URL_NOPAD.encode(&token.0))
    }

    /// Returns the `Set-Cookie` that hands a value of this kind to the client.
    pub(crate) fn hand_over(self, kind: Kind, value: &str) -> String {
        self.header(kind, value, kind.max_age().as_secs())
    }

    /// Returns the `Set-Cookie` that deletes the cookie of this kind.
    pub(crate) fn clear(self, kind: Kind) -> String {
        self.header(kind, "", 0)
    }

    /// Reads the id of the session that a request's cookie names; `None` without a well-formed
    /// cookie.
    pub(crate) fn session_id(self, headers: &HeaderMap) -> Option<SessionId> {
        let mut tokens = self.values(headers, Kind::Session);
        tokens
            .find_map(SessionToken::parse)
            .map(|token| token.session_id())
    }

    /// Reads the value of a request's cookie of this kind.
    pub(crate) fn value(self, headers: &HeaderMap, kind: Kind) -> Option<String> {
        self.values(headers, kind).next().map(str::to_owned)
    }

    fn values(self, headers: &HeaderMap, kind: Kind) -> impl Iterator<Item = &str> {
        let values = headers.get_all(COOKIE).iter();
        let pairs = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        pairs
            .filter(move |(key, _)| *key == self.name(kind))
            .map(|(_, value)| value)
    }

    /// `__Host-` keeps sub-domains from planting a cookie, but browsers accept it over TLS only.
    const fn name(self, kind: Kind) -> &'static str {
        match (kind, self.https) {
            (Kind::Session, true) => "__Host-session",
            (Kind::Session, false) => "session",
            (Kind::Device, true) => "__Host-device",
            (Kind::Device, false) => "device",
            (Kind::Registration, true) => "__Host-registration",
            (Kind::Registration, false) => "registration",
            (Kind::LoginCode, true) => "__Host-login-code",
            (Kind::LoginCode, false) => "login-code",
            (Kind::EmailChange, true) => "__Host-email-change",
            (Kind::EmailChange, false) => "email-change",
            (Kind::Challenge, true) => "__Host-challenge",
            (Kind::Challenge, false) => "challenge",
            (Kind::Passkey, true) => "__Host-passkey",
            (Kind::Passkey, false) => "passkey",
            (Kind::Flow, true) => "__Host-flow",
            (Kind::Flow, false) => "flow",
            (Kind::Waiting, true) => "__Host-waiting",
            (Kind::Waiting, false) => "waiting",
        }
    }

    fn header(self, kind: Kind, value: &str, max_age_secs: u64) -> String {
        let name = self.name(kind);
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
            Cookies::new(false).clear(Kind::Session),
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
