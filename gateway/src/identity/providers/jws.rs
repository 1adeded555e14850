//! Signatures of ID tokens. Four algorithms are known, and a key serves the one that it is made for:
//! a token cannot choose a weaker one, or none.

use data_encoding::BASE64URL_NOPAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;

use super::Refusal;

/// Longest token, in bytes.
const MAX_TOKEN: usize = 16 * 1024;
/// Keys of a provider that are looked at. Providers have two or three.
const MAX_KEYS: usize = 32;
/// Length of the modulus of an RSA key, in bytes. A longer one would cost too much.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=512;
/// Length of the public exponent, in bytes.
const MAX_EXPONENT: usize = 4;

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Algorithm {
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "PS256")]
    Ps256,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "EdDSA", alias = "Ed25519")]
    EdDsa,
}

/// The public keys of a provider.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<String>,
    /// The only algorithm that the key is for; `None` if the provider does not say.
    algorithm: Option<String>,
    public: Public,
}

#[derive(Debug)]
enum Public {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A set of keys, as a provider publishes it (RFC 7517).
#[derive(Deserialize)]
pub(super) struct KeySet {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: Algorithm,
    kid: Option<String>,
    /// Extensions that a reader must understand. We know none.
    crit: Option<serde_json::Value>,
}

/// A token whose signature is to be checked.
pub(super) struct Token<'a> {
    pub(super) algorithm: Algorithm,
    key: Option<String>,
    signed: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Token<'a> {
    /// Reads a token.
    ///
    /// # Errors
    /// `Untrusted` if it is none, or is signed in another way than the four.
    pub(super) fn parse(text: &'a str) -> Result<Self, Refusal> {
        const WRONG: Refusal = Refusal::Untrusted("the ID token has no valid form");
        if text.len() > MAX_TOKEN {
            return Err(Refusal::Untrusted("the ID token is too long"));
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(WRONG)?;
        let (header, payload) = signed.split_once('.').ok_or(WRONG)?;
        let header = decoded(header).ok_or(WRONG)?;
        let header: Header = serde_json::from_slice(&header)
            .map_err(|_| Refusal::Untrusted("the ID token is not signed in a known way"))?;
        if header.crit.is_some() {
            return Err(Refusal::Untrusted("the ID token has unknown extensions"));
        }
        Ok(Self {
            algorithm: header.alg,
            key: header.kid,
            signed,
            payload: decoded(payload).ok_or(WRONG)?,
            signature: decoded(signature).ok_or(WRONG)?,
        })
    }

    /// Returns what the token says, if the one of these keys that it names has signed it.
    pub(super) fn verify(&self, keys: &Keys) -> Option<&[u8]> {
        let key = keys.find(self.key.as_deref(), self.algorithm)?;
        let (message, signature) = (self.signed.as_bytes(), &self.signature);
        let is_signed = key.has_signed(self.algorithm, message, signature);
        is_signed.then_some(self.payload.as_slice())
    }
}

impl Keys {
    /// Keeps those keys of a set that we can use.
    pub(super) fn of(set: KeySet) -> Self {
        let keys = set.keys.into_iter().take(MAX_KEYS);
        Self(keys.filter_map(Key::of).collect())
    }

    /// Finds the key that a token names. A token that names none has been signed by the only key
    /// for its algorithm.
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let mut fitting = self.0.iter().filter(|key| key.is_for(algorithm));
        if id.is_some() {
            return fitting.find(|key| key.id.as_deref() == id);
        }
        let only = fitting.next()?;
        fitting.next().is_none().then_some(only)
    }
}

impl Key {
    fn of(value: serde_json::Value) -> Option<Self> {
        let key: Jwk = serde_json::from_value(value).ok()?;
        if key.purpose.as_deref().is_some_and(|it| it != "sig") {
            return None;
        }
        let part = |part: &Option<String>| decoded(part.as_deref()?);
        let point = |part: &Option<String>| decoded(part.as_deref()?).filter(|it| it.len() == 32);
        let public = match (key.kty.as_str(), key.crv.as_deref()) {
            ("RSA", _) => rsa(&part(&key.n)?, &part(&key.e)?)?,
            ("EC", Some("P-256")) => {
                Public::P256([vec![4], point(&key.x)?, point(&key.y)?].concat())
            }
            ("OKP", Some("Ed25519")) => Public::Ed25519(point(&key.x)?),
            _ => return None,
        };
        Some(Self {
            id: key.kid,
            algorithm: key.alg,
            public,
        })
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        let names: &[&str] = match algorithm {
            Algorithm::Rs256 => &["RS256"],
            Algorithm::Ps256 => &["PS256"],
            Algorithm::Es256 => &["ES256"],
            Algorithm::EdDsa => &["EdDSA", "Ed25519"],
        };
        let is_of_type = match &self.public {
            Public::Rsa { .. } => matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256),
            Public::P256(_) => algorithm == Algorithm::Es256,
            Public::Ed25519(_) => algorithm == Algorithm::EdDsa,
        };
        let declared = self.algorithm.as_deref();
        is_of_type && declared.is_none_or(|declared| names.contains(&declared))
    }

    fn has_signed(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let verified = match (&self.public, algorithm) {
            (Public::Rsa { modulus, exponent }, Algorithm::Ps256) => {
                components(modulus, exponent).verify(&RSA_PSS_2048_8192_SHA256, message, signature)
            }
            (Public::Rsa { modulus, exponent }, _) => components(modulus, exponent).verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
            (Public::P256(point), _) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            (Public::Ed25519(point), _) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature)
            }
        };
        verified.is_ok()
    }
}

fn components<'a>(modulus: &'a [u8], exponent: &'a [u8]) -> RsaPublicKeyComponents<&'a [u8]> {
    RsaPublicKeyComponents {
        n: modulus,
        e: exponent,
    }
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Public> {
    let (modulus, exponent) = (without_zeros(modulus), without_zeros(exponent));
    let is_bounded = RSA_BYTES.contains(&modulus.len()) && exponent.len() <= MAX_EXPONENT;
    is_bounded.then(|| Public::Rsa {
        modulus: modulus.to_vec(),
        exponent: exponent.to_vec(),
    })
}

/// The library refuses a number that begins with zeros, which some providers write.
fn without_zeros(number: &[u8]) -> &[u8] {
    let begin = number.iter().position(|byte| *byte != 0);
    &number[begin.unwrap_or(number.len())..]
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests;
