//! The secrets of one log-in. They derive from a token that only the browser keeps, so nothing that
//! is stored is enough to complete it.

use data_encoding::BASE64URL_NOPAD;
use event_store::random_bytes;
use events_schema::{Id, Invalid};
use ring::{
    digest::{SHA256, digest},
    hmac::{HMAC_SHA256, Key, sign},
};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use crate::error::Error;

/// What only the browser keeps: 32 random bytes.
#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct FlowToken([u8; 32]);

/// What a provider gets to see of a log-in, and what it must say again.
pub(crate) struct FlowSecrets {
    pub(crate) state: String,
    pub(crate) nonce: String,
    /// The secret of PKCE, which redeems the code.
    pub(crate) verifier: String,
}

impl FlowToken {
    /// Makes a random token.
    ///
    /// # Errors
    /// If the operating system has no random bytes.
    pub(crate) fn mint() -> Result<Self, Error> {
        Ok(Self(random_bytes()?))
    }

    /// Reads a token as [`text`](Self::text) writes it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// Writes the token for a cookie or a URL.
    pub(crate) fn text(&self) -> String {
        BASE64URL_NOPAD.encode(&self.0)
    }

    /// Returns the id under which the log-in is stored. It does not lead back to the token.
    pub(crate) fn id(&self) -> Id {
        let mut head = [0; 16];
        head.copy_from_slice(&self.derive(b"id")[..16]);
        Id::from_bytes(head)
    }

    pub(crate) fn secrets(&self) -> FlowSecrets {
        let derived = |label| BASE64URL_NOPAD.encode(&self.derive(label));
        FlowSecrets {
            state: derived(b"state"),
            nonce: derived(b"nonce"),
            verifier: derived(b"verifier"),
        }
    }

    fn derive(&self, label: &[u8]) -> [u8; 32] {
        let mac = sign(&Key::new(HMAC_SHA256, &self.0), label);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(mac.as_ref());
        bytes
    }
}

impl From<FlowToken> for String {
    fn from(token: FlowToken) -> Self {
        token.text()
    }
}

impl TryFrom<String> for FlowToken {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text).ok_or(Invalid("must be the token of a log-in"))
    }
}

impl FlowSecrets {
    /// Whether this is the state of the log-in, compared in constant time.
    pub(crate) fn has_state(&self, given: &str) -> bool {
        is_same(&self.state, given)
    }

    /// Returns what proves later that the verifier was known at the start: its SHA-256.
    pub(super) fn challenge(&self) -> String {
        BASE64URL_NOPAD.encode(digest(&SHA256, self.verifier.as_bytes()).as_ref())
    }
}

/// Compares two texts in constant time.
pub(super) fn is_same(expected: &str, given: &str) -> bool {
    expected.as_bytes().ct_eq(given.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secrets_of_a_log_in_differ_and_follow_from_its_token() {
        let token = FlowToken::mint().unwrap();
        let same = FlowToken::parse(&token.text()).unwrap();
        let (secrets, again) = (token.secrets(), same.secrets());
        assert_eq!(token.id(), same.id());
        assert!(secrets.has_state(&again.state) && !secrets.has_state(&secrets.nonce));
        let texts = [&secrets.state, &secrets.nonce, &secrets.verifier];
        assert!(texts.iter().all(|text| text.len() == 43));
        assert!(texts[0] != texts[1] && texts[1] != texts[2] && texts[0] != texts[2]);
        let other = FlowToken::mint().unwrap();
        assert!(!other.secrets().has_state(&secrets.state));
        assert!(FlowToken::parse("short").is_none());
    }

    #[test]
    fn the_challenge_is_that_of_rfc_7636() {
        let secrets = FlowSecrets {
            state: String::new(),
            nonce: String::new(),
            verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned(),
        };
        let expected = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert_eq!(secrets.challenge(), expected);
    }
}
