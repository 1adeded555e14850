//! What an ID token must say (OpenID Connect Core 1.0, section 3.1.3.7).

use std::collections::HashSet;

use data_encoding::BASE64URL_NOPAD;
use events_schema::Time;
use ring::digest::{SHA256, SHA512, digest};
use serde::Deserialize;

use super::{Refusal, jws::Algorithm, profile::Person, secrets::is_same};

/// How far the clock of a provider may be ahead or behind, in seconds.
const SKEW_S: i64 = 60;
/// How old a token may be that was just redeemed, in seconds.
const MAX_AGE_S: i64 = 10 * 60;
/// Longest subject, in characters.
pub(super) const MAX_SUBJECT: usize = 255;

/// What an ID token says.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    iss: String,
    pub(super) sub: String,
    aud: Audience,
    azp: Option<String>,
    exp: Seconds,
    iat: Seconds,
    nonce: Option<String>,
    at_hash: Option<String>,
    auth_time: Option<Seconds>,
    /// How the person has logged in at the issuer (RFC 8176).
    amr: Option<serde_json::Value>,
    #[serde(flatten)]
    pub(super) person: Person,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// What kind of factor a method of RFC 8176 is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Factor {
    Knowledge,
    Possession,
    Biometrics,
    Both,
}

impl Factor {
    fn of(method: &str) -> Option<Self> {
        match method {
            "mfa" => Some(Self::Both),
            "pwd" | "pin" | "kba" => Some(Self::Knowledge),
            "hwk" | "swk" | "otp" | "sc" | "pop" | "sms" | "tel" => Some(Self::Possession),
            "face" | "fpt" | "iris" | "retina" | "vbm" => Some(Self::Biometrics),
            _ => None,
        }
    }
}

/// A time in seconds since 1970, which may have a fraction.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(transparent)]
struct Seconds(f64);

/// What the token must be about.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client: &'a str,
    pub(super) nonce: &'a str,
    pub(super) access_token: &'a str,
    /// Seconds since 1970.
    pub(super) now_s: i64,
}

impl Claims {
    /// Reads what a token says whose signature was checked.
    ///
    /// # Errors
    /// `Untrusted` if something is missing.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, Refusal> {
        let claims = serde_json::from_slice(payload);
        claims.map_err(|_| Refusal::Untrusted("the ID token lacks a claim"))
    }

    /// Checks that the token was made by this issuer, for us, now and for this log-in.
    ///
    /// # Errors
    /// `Untrusted` if it was not.
    pub(super) fn check(&self, algorithm: Algorithm, expected: &Expected) -> Result<(), Refusal> {
        let refused = |reason| Err(Refusal::Untrusted(reason));
        if self.iss != expected.issuer {
            return refused("the ID token is of another issuer");
        }
        if !self.is_for(expected.client) {
            return refused("the ID token is for another client");
        }
        if !self.is_current(expected.now_s) {
            return refused("the ID token has expired, or is from the future");
        }
        let nonce = self.nonce.as_deref().unwrap_or_default();
        if !is_same(expected.nonce, nonce) {
            return refused("the ID token is of another log-in");
        }
        let hash = hash_of(algorithm, expected.access_token);
        if self.at_hash.as_ref().is_some_and(|given| *given != hash) {
            return refused("the ID token is of another access token");
        }
        check_subject(&self.sub)
    }

    /// Returns when the person has logged in at the issuer, if it says so. That may be long ago.
    pub(super) fn logged_in_at(&self) -> Option<Time> {
        let Seconds(seconds) = self.auth_time?;
        Some(Time((seconds * 1000.0) as i64))
    }

    /// Whether the issuer says that it has checked two factors: in so many words, or by two methods
    /// of different kinds.
    pub(super) fn has_two_factors(&self) -> bool {
        let methods = self.amr.as_ref().and_then(serde_json::Value::as_array);
        let methods = methods.into_iter().flatten().filter_map(|it| it.as_str());
        let kinds: HashSet<_> = methods.filter_map(Factor::of).collect();
        kinds.contains(&Factor::Both) || kinds.len() >= 2
    }

    fn is_for(&self, client: &str) -> bool {
        let (is_audience, is_single) = match &self.aud {
            Audience::One(audience) => (audience == client, true),
            Audience::Many(many) => (many.iter().any(|it| it == client), many.len() == 1),
        };
        let is_authorized = match &self.azp {
            Some(party) => party == client,
            None => is_single,
        };
        is_audience && is_authorized
    }

    fn is_current(&self, now_s: i64) -> bool {
        let now = now_s as f64;
        let (skew, age) = (SKEW_S as f64, MAX_AGE_S as f64);
        let (Seconds(issued), Seconds(expires)) = (self.iat, self.exp);
        expires + skew > now && issued - skew <= now && now - issued <= age + skew
    }
}

/// Checks that a subject is a usable name.
///
/// # Errors
/// `Untrusted` if it is empty or too long.
pub(super) fn check_subject(subject: &str) -> Result<(), Refusal> {
    if (1..=MAX_SUBJECT).contains(&subject.chars().count()) {
        Ok(())
    } else {
        Err(Refusal::Untrusted("the subject is empty or too long"))
    }
}

/// Returns the left half of the hash of an access token, by the hash of the signature.
fn hash_of(algorithm: Algorithm, access_token: &str) -> String {
    let hash = match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 | Algorithm::Es256 => &SHA256,
        Algorithm::EdDsa => &SHA512,
    };
    let hash = digest(hash, access_token.as_bytes());
    let hash = hash.as_ref();
    BASE64URL_NOPAD.encode(&hash[..hash.len() / 2])
}

#[cfg(test)]
mod tests;
