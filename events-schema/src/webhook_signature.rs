//! Signatures of webhooks, as Standard Webhooks 1.0 defines them.

use std::{fmt, sync::Arc};

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::Invalid;

/// How far the timestamp of a received message may be from the present, in seconds. An attacker can
/// repeat a message within this time.
pub const TOLERANCE_SECS: u64 = 300;

/// The most signatures of a message that are looked at. Senders with so many keys are unknown.
const MAX_SIGNATURES: usize = 16;
const HMAC_PREFIX: &str = "whsec_";
const PRIVATE_PREFIX: &str = "whsk_";
const PUBLIC_PREFIX: &str = "whpk_";
const HMAC_VERSION: &str = "v1";
const ED25519_VERSION: &str = "v1a";

/// A message that is signed.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The header `webhook-id`. It has no dot.
    pub id: &'a str,
    /// The header `webhook-timestamp`: the time of the attempt, in Unix seconds.
    pub timestamp: i64,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

/// A key that signs messages.
#[derive(Clone)]
pub struct SigningKey(Signer);

#[derive(Clone)]
enum Signer {
    Hmac(HmacKey),
    Ed25519 {
        seed: [u8; 32],
        pair: Arc<Ed25519KeyPair>,
    },
}

/// A key that verifies messages.
#[derive(Clone)]
pub struct VerifyingKey(Verifier);

#[derive(Clone)]
enum Verifier {
    Hmac(HmacKey),
    Ed25519 { public: [u8; 32] },
}

/// A secret that both sides know: 24 to 64 bytes.
#[derive(Clone)]
struct HmacKey {
    secret: Vec<u8>,
    /// What the secret begins each code with.
    prepared: Hmac<Sha256>,
}

/// Why a received message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The message may be a repetition of an old one.
    #[error("the timestamp is more than {TOLERANCE_SECS} seconds from the present")]
    Timestamp,
    /// No key has made any of the signatures.
    #[error("no signature matches")]
    Signature,
}

impl SigningKey {
    /// Makes a symmetric key of random bytes.
    pub fn hmac(random: [u8; 32]) -> Self {
        Self(Signer::Hmac(HmacKey::new(random.to_vec())))
    }

    /// Makes an ed25519 key of random bytes.
    pub fn ed25519(random: [u8; 32]) -> Self {
        let pair = Arc::new(pair(&random));
        Self(Signer::Ed25519 { seed: random, pair })
    }

    /// Reads what [`secret`](Self::secret) returns, or a key that somebody has chosen.
    ///
    /// # Errors
    /// If the text is neither `whsec_` and the Base64 of 24 to 64 bytes, nor `whsk_` and the Base64
    /// of an ed25519 key.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let hmac = || HmacKey::parse(text).map(|key| Self(Signer::Hmac(key)));
        let ed25519 = || parse_seed(text).map(Self::ed25519);
        hmac().or_else(ed25519).ok_or(Invalid(
            "must be `whsec_` and the Base64 of 24 to 64 bytes, or `whsk_` and the Base64 of an \
             ed25519 key: its seed of 32 bytes, or the seed and the public key",
        ))
    }

    /// Returns the key as text. Its holder can sign messages.
    pub fn secret(&self) -> String {
        match &self.0 {
            Signer::Hmac(key) => key.text(),
            Signer::Ed25519 { seed, pair } => {
                let pair = [seed.as_slice(), pair.public_key().as_ref()].concat();
                format!("{PRIVATE_PREFIX}{}", BASE64.encode(&pair))
            }
        }
    }

    /// Returns the public key as text; `None` for a symmetric key, which has none.
    pub fn public(&self) -> Option<String> {
        match &self.0 {
            Signer::Hmac(_) => None,
            Signer::Ed25519 { pair, .. } => {
                let public = BASE64.encode(pair.public_key().as_ref());
                Some(format!("{PUBLIC_PREFIX}{public}"))
            }
        }
    }

    /// Returns the signature with its version, such as `v1,K5oZfzN95Z9UVu1EsfQmfVNQ…`.
    pub fn sign(&self, message: &Message<'_>) -> String {
        let signed = message.signed();
        match &self.0 {
            Signer::Hmac(key) => entry(HMAC_VERSION, &key.mac(&signed)),
            Signer::Ed25519 { pair, .. } => entry(ED25519_VERSION, pair.sign(&signed).as_ref()),
        }
    }
}

impl VerifyingKey {
    /// Reads a symmetric key or an ed25519 public key.
    ///
    /// # Errors
    /// If the text is neither `whsec_` and the Base64 of 24 to 64 bytes, nor `whpk_` and the Base64
    /// of 32 bytes.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let hmac = || HmacKey::parse(text).map(Verifier::Hmac);
        let ed25519 = || {
            let public = decode(text, PUBLIC_PREFIX)?.try_into().ok()?;
            Some(Verifier::Ed25519 { public })
        };
        hmac().or_else(ed25519).map(Self).ok_or(Invalid(
            "must be `whsec_` and the Base64 of 24 to 64 bytes, or `whpk_` and the Base64 of an \
             ed25519 public key",
        ))
    }

    /// Whether one of the signatures is made by this key. A symmetric one is computed once: the
    /// sender chooses how many there are.
    fn matches(&self, signed: &[u8], signatures: &[(&str, Vec<u8>)]) -> bool {
        let of = |version| {
            let of_version = move |(of, _): &&(&str, Vec<u8>)| *of == version;
            signatures
                .iter()
                .filter(of_version)
                .map(|(_, signature)| signature)
        };
        match &self.0 {
            Verifier::Hmac(key) => {
                let mac = key.mac(signed);
                let mut signatures = of(HMAC_VERSION);
                signatures.any(|signature| mac.ct_eq(signature).into())
            }
            Verifier::Ed25519 { public } => {
                let key = UnparsedPublicKey::new(&ED25519, public);
                let mut signatures = of(ED25519_VERSION);
                signatures.any(|signature| key.verify(signed, signature).is_ok())
            }
        }
    }
}

impl HmacKey {
    fn new(secret: Vec<u8>) -> Self {
        let prepared = <Hmac<Sha256> as KeyInit>::new_from_slice(&secret)
            .unwrap_or_else(|_| unreachable!("HMAC takes any key"));
        Self { secret, prepared }
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = decode(text, HMAC_PREFIX)?;
        (24..=64).contains(&bytes.len()).then(|| Self::new(bytes))
    }

    fn text(&self) -> String {
        format!("{HMAC_PREFIX}{}", BASE64.encode(&self.secret))
    }

    fn mac(&self, signed: &[u8]) -> [u8; 32] {
        let mut mac = self.prepared.clone();
        mac.update(signed);
        mac.finalize().into_bytes().into()
    }
}

impl Message<'_> {
    fn signed(&self) -> Vec<u8> {
        let head = format!("{}.{}.", self.id, self.timestamp);
        [head.as_bytes(), self.body].concat()
    }
}

/// Shows nothing of the key.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Signer::Hmac(_) => "SigningKey(hmac)",
            Signer::Ed25519 { .. } => "SigningKey(ed25519)",
        })
    }
}

/// Shows nothing of the key.
impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Verifier::Hmac(_) => "VerifyingKey(hmac)",
            Verifier::Ed25519 { .. } => "VerifyingKey(ed25519)",
        })
    }
}

/// Returns the header `webhook-signature`: the signature of each key. While a key is replaced, the
/// receiver finds the one that it knows.
pub fn signature_header<'k>(
    keys: impl IntoIterator<Item = &'k SigningKey>,
    message: &Message<'_>,
) -> String {
    let signatures = keys.into_iter().map(|key| key.sign(message));
    Vec::from_iter(signatures).join(" ")
}

/// Verifies a received message against the keys that are valid. `header` is `webhook-signature`,
/// and `now` is in Unix seconds.
///
/// # Errors
/// If the timestamp is too far from now, or no key has made any of the signatures.
pub fn verify(
    header: &str,
    keys: &[VerifyingKey],
    message: &Message<'_>,
    now: i64,
) -> Result<(), Refused> {
    if message.timestamp.abs_diff(now) > TOLERANCE_SECS {
        return Err(Refused::Timestamp);
    }
    // With a dot, a message could be cut into other parts that have the same signature.
    if message.id.contains('.') {
        return Err(Refused::Signature);
    }
    let signed = message.signed();
    let signatures = header.split(' ').take(MAX_SIGNATURES).filter_map(|entry| {
        let (version, signature) = entry.split_once(',')?;
        Some((version, BASE64.decode(signature.as_bytes()).ok()?))
    });
    let signatures: Vec<(&str, Vec<u8>)> = signatures.collect();
    if keys.iter().any(|key| key.matches(&signed, &signatures)) {
        Ok(())
    } else {
        Err(Refused::Signature)
    }
}

fn entry(version: &str, signature: &[u8]) -> String {
    format!("{version},{}", BASE64.encode(signature))
}

fn decode(text: &str, prefix: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.strip_prefix(prefix)?.as_bytes()).ok()
}

/// Reads an ed25519 private key: its seed, or the seed and the public key that belongs to it.
fn parse_seed(text: &str) -> Option<[u8; 32]> {
    let bytes = decode(text, PRIVATE_PREFIX)?;
    let (seed, public) = bytes.split_first_chunk()?;
    (public.is_empty() || public == pair(seed).public_key().as_ref()).then_some(*seed)
}

fn pair(seed: &[u8; 32]) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(seed)
        .unwrap_or_else(|_| unreachable!("ed25519 takes any seed of 32 bytes"))
}

#[cfg(test)]
mod tests;
