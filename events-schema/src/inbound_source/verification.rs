//! Verifies the sender of a hook. Each signature is compared in constant time, with that of each
//! valid secret.

use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::provider::{Encoding, HeaderName, HmacScheme, Provider};
use crate::{
    Time,
    webhook_signature::{self, Message, VerifyingKey},
};

/// How far the time that a provider signs may be from the present. A stolen hook can be repeated
/// within this time, but its id is known then.
pub const TOLERANCE: Duration = Duration::from_secs(webhook_signature::TOLERANCE_SECS);

/// Longest id of a hook and name of an event, in characters.
const MAX_KEY: usize = 200;

/// A hook that its provider has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The provider's own id of the hook.
    pub key: String,
    /// The type of the event, if a header names it.
    pub event: Option<String>,
}

/// The hook is not what the provider has signed a short time ago. It does not say why, so that
/// nobody learns anything from trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hook is not signed by the source's provider, or too old")]
pub struct Refused;

/// Verifies a hook against the secrets that are valid. `header` returns the value of a header by
/// its name in lower case.
///
/// # Errors
/// If no secret has made the signature, the time is too far from now, or there is no usable id.
pub fn verify<'h>(
    provider: &Provider,
    secrets: &[String],
    header: impl Fn(&str) -> Option<&'h str>,
    body: &[u8],
    now: Time,
) -> Result<Accepted, Refused> {
    let value = |name: &str| header(name).unwrap_or_default();
    match provider {
        Provider::StandardWebhooks => {
            let keys = secrets
                .iter()
                .filter_map(|key| VerifyingKey::parse(key).ok());
            let message = Message {
                id: value("webhook-id"),
                timestamp: seconds(value("webhook-timestamp"))?,
                body,
            };
            let (signatures, now) = (value("webhook-signature"), now.0.div_euclid(1000));
            let verified =
                webhook_signature::verify(signatures, &Vec::from_iter(keys), &message, now);
            verified.map_err(|_| Refused)?;
            accept(message.id, None)
        }
        Provider::Github { .. } => {
            let signature = value("x-hub-signature-256").strip_prefix("sha256=");
            ensure(is_signed(
                secrets,
                &[body],
                &[decode(Encoding::Hex, signature)],
            ))?;
            accept(value("x-github-delivery"), header("x-github-event"))
        }
        Provider::Stripe => {
            let (time, signatures) = stripe_entries(value("stripe-signature"));
            ensure(is_signed(
                secrets,
                &[time.as_bytes(), b".", body],
                &signatures,
            ))?;
            ensure_recent(time, now)?;
            accept(&stripe_id(body), None)
        }
        Provider::Hmac(scheme) => verify_scheme(scheme, secrets, &header, body, now),
    }
}

fn verify_scheme<'h>(
    scheme: &HmacScheme,
    secrets: &[String],
    header: impl Fn(&str) -> Option<&'h str>,
    body: &[u8],
    now: Time,
) -> Result<Accepted, Refused> {
    let value = |name: &HeaderName| header(name.as_str()).unwrap_or_default();
    let signature = value(&scheme.signature_header);
    let signature = signature.strip_prefix("sha256=").unwrap_or(signature);
    let signatures = [decode(scheme.encoding, Some(signature))];
    let time = scheme.timestamp_header.as_ref();
    if let Some(time) = time.map(value) {
        ensure(is_signed(
            secrets,
            &[time.as_bytes(), b".", body],
            &signatures,
        ))?;
        ensure_recent(time, now)?;
    } else {
        ensure(is_signed(secrets, &[body], &signatures))?;
    }
    match &scheme.id_header {
        Some(name) => accept(value(name), None),
        None => accept(&digest(body), None),
    }
}

/// Whether one of the secrets has made one of the signatures. The work does not depend on which.
fn is_signed(secrets: &[String], parts: &[&[u8]], signatures: &[Vec<u8>]) -> bool {
    let matches = secrets.iter().map(|secret| {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes())
            .unwrap_or_else(|_| unreachable!("HMAC takes any key"));
        for part in parts {
            mac.update(part);
        }
        let expected = mac.finalize().into_bytes();
        let compared = signatures
            .iter()
            .map(|signature| expected.as_slice().ct_eq(signature));
        compared.fold(Choice::from(0), |any, one| any | one)
    });
    matches.fold(Choice::from(0), |any, one| any | one).into()
}

/// Returns the bytes of a signature; none if it cannot be read, so that it equals no other.
fn decode(encoding: Encoding, text: Option<&str>) -> Vec<u8> {
    let text = text.unwrap_or_default().as_bytes();
    let decoded = match encoding {
        Encoding::Hex => HEXLOWER_PERMISSIVE.decode(text),
        Encoding::Base64 => BASE64.decode(text),
    };
    decoded.unwrap_or_default()
}

/// Reads `t=…,v1=…,v1=…`. Entries of other schemes are ignored, as Stripe advises.
fn stripe_entries(header: &str) -> (&str, Vec<Vec<u8>>) {
    let entries = || header.split(',').filter_map(|entry| entry.split_once('='));
    let time = entries().find(|(name, _)| *name == "t");
    let signatures = entries().filter(|(name, _)| *name == "v1");
    let signatures = signatures.map(|(_, text)| decode(Encoding::Hex, Some(text)));
    (time.map_or("", |(_, time)| time), signatures.collect())
}

/// Returns the id of an event of Stripe. A body without one identifies itself.
fn stripe_id(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Event {
        id: String,
    }
    let event = serde_json::from_slice::<Event>(body);
    event.map_or_else(|_| digest(body), |event| event.id)
}

fn digest(body: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(body))
}

fn seconds(text: &str) -> Result<i64, Refused> {
    text.parse().map_err(|_| Refused)
}

fn ensure_recent(time: &str, now: Time) -> Result<(), Refused> {
    let distance = seconds(time)?.abs_diff(now.0.div_euclid(1000));
    ensure(distance <= TOLERANCE.as_secs())
}

fn ensure(is_valid: bool) -> Result<(), Refused> {
    is_valid.then_some(()).ok_or(Refused)
}

/// Accepts a hook with this id and event, if both are usable.
fn accept(key: &str, event: Option<&str>) -> Result<Accepted, Refused> {
    let is_usable = |text: &str| {
        (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_graphic())
    };
    ensure(is_usable(key) && event.is_none_or(is_usable))?;
    Ok(Accepted {
        key: key.to_owned(),
        event: event.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests;
