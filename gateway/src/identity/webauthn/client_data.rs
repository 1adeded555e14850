//! What a browser says about a request for a passkey. The authenticator signs the hash of it.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use super::{Challenge, Flaw};

/// What is done with a passkey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ceremony {
    /// It is made.
    Create,
    /// It is used.
    Get,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    /// Whether the page is inside a page of another site.
    #[serde(default)]
    cross_origin: bool,
}

impl Ceremony {
    const fn name(self) -> &'static str {
        match self {
            Self::Create => "webauthn.create",
            Self::Get => "webauthn.get",
        }
    }
}

/// Checks that a browser has answered this challenge, on a page of one of these origins.
pub(super) fn check(
    json: &[u8],
    ceremony: Ceremony,
    challenge: &Challenge,
    origins: &[String],
) -> Result<(), Flaw> {
    let data: ClientData = serde_json::from_slice(json).map_err(|_| Flaw::Malformed)?;
    if data.kind != ceremony.name() {
        return Err(Flaw::Malformed);
    }
    // The challenge is no secret, so the time of the comparison tells nothing.
    if data.challenge != BASE64URL_NOPAD.encode(challenge) {
        return Err(Flaw::OtherChallenge);
    }
    if !origins.contains(&data.origin) || data.cross_origin {
        return Err(Flaw::OtherOrigin);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ORIGIN: &str = "https://app.example.com";

    fn checked(change: impl FnOnce(&mut Value)) -> Result<(), Flaw> {
        let mut data = json!({
            "type": "webauthn.get",
            "challenge": BASE64URL_NOPAD.encode(&[7; 32]),
            "origin": ORIGIN,
            "crossOrigin": false,
            "other_keys_can_be_added_here": "so do not compare it against a template",
        });
        change(&mut data);
        let (json, origins) = (data.to_string(), [ORIGIN.to_owned()]);
        check(json.as_bytes(), Ceremony::Get, &[7; 32], &origins)
    }

    #[test]
    fn only_an_answer_to_this_challenge_on_this_origin_counts() {
        assert_eq!(checked(|_| ()), Ok(()));
        let made = checked(|data| data["type"] = json!("webauthn.create"));
        assert_eq!(made, Err(Flaw::Malformed));
        let other = BASE64URL_NOPAD.encode(&[8; 32]);
        let old = checked(|data| data["challenge"] = json!(other));
        assert_eq!(old, Err(Flaw::OtherChallenge));
        for origin in [
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://evil.example",
            "https://app.example.com.evil.example",
            "https://evil.app.example.com",
            "null",
        ] {
            let other = checked(|data| data["origin"] = json!(origin));
            assert_eq!(other, Err(Flaw::OtherOrigin), "{origin}");
        }
        let framed = checked(|data| data["crossOrigin"] = json!(true));
        assert_eq!(framed, Err(Flaw::OtherOrigin));
        let without = checked(|data| data["origin"] = Value::Null);
        assert_eq!(without, Err(Flaw::Malformed));
    }
}
