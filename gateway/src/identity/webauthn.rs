//! Passkeys, as "Web Authentication, Level 3" describes them: what browsers are asked for, and what
//! their answers prove.
//!
//! No attestation is asked for and none is believed, so nobody knows who has made an authenticator.

mod authenticator_data;
mod client_data;
mod options;
mod public_key;
mod response;

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, ensure};
use events_schema::{
    Base64Url, Id, Slug,
    passkey::{NewPasskey, Passkey},
};
use ring::digest::{SHA256, digest};
use url::Url;

use authenticator_data::AuthenticatorData;
use client_data::Ceremony;
use public_key::PublicKey;
pub(crate) use response::{Assertion, Registration};

/// How long a browser may take for its answer.
pub(crate) const LIFETIME: Duration = Duration::from_secs(5 * 60);

/// The random bytes that an answer must contain, so that it cannot be older than the question.
pub(crate) type Challenge = [u8; 32];

/// Why the answer of a browser proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flaw {
    #[error("This is no answer of a browser to a request for a passkey.")]
    Malformed,
    #[error("The answer belongs to another request.")]
    OtherChallenge,
    #[error("The answer was given to another site.")]
    OtherOrigin,
    #[error("The passkey belongs to another site.")]
    OtherRelyingParty,
    #[error("The passkey has not verified that it is you, by a PIN or by biometrics.")]
    NotVerified,
    #[error("The passkey contradicts what it said before about copies of itself.")]
    BackupChanged,
    #[error("The passkey uses an algorithm that is not supported.")]
    UnknownAlgorithm,
    #[error("The public key of the passkey is not valid: no private key belongs to it.")]
    InvalidKey,
    #[error("The signature of the passkey is wrong.")]
    WrongSignature,
}

/// The site that passkeys are made for.
#[derive(Clone, Debug)]
pub(crate) struct RelyingParty {
    /// A domain: that of the site, or one above it.
    id: String,
    /// Where answers must come from: scheme, host and port.
    origin: String,
}

/// A use of a passkey that was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    /// How often the authenticator has signed; 0 if it does not count.
    pub(crate) counter: u32,
    /// Whether there are copies of the passkey.
    pub(crate) is_backed_up: bool,
}

impl RelyingParty {
    /// Makes the relying party of the gateway at this URL. Its id is the host, unless the operator
    /// has chosen a domain above it.
    ///
    /// # Errors
    /// If the URL has no host, or the id is neither the host nor a domain above it.
    pub(crate) fn new(public_url: &str, id: Option<&str>) -> anyhow::Result<Self> {
        let url = Url::parse(public_url).context("UB_PUBLIC_URL")?;
        let host = url.host_str().context("UB_PUBLIC_URL has no host")?;
        let id = id.unwrap_or(host);
        let above = host.strip_suffix(id).unwrap_or_default();
        ensure!(
            host == id || (above.ends_with('.') && id.contains('.')),
            "UB_PASSKEY_RP_ID must be the host of UB_PUBLIC_URL, {host}, or a domain above it"
        );
        Ok(Self {
            id: id.to_owned(),
            origin: url.origin().ascii_serialization(),
        })
    }

    /// Whether passkeys are made for a domain: browsers make none for an address of numbers.
    pub(crate) fn is_domain(&self) -> bool {
        !self.id.starts_with('[') && self.id.parse::<Ipv4Addr>().is_err()
    }

    /// Returns where the answers to a request must come from: this site, or the sub-domain of a
    /// tenant that the request came to.
    pub(crate) fn origins(&self, subdomain: Option<&Slug>) -> Vec<String> {
        let of_tenant = subdomain.and_then(|slug| {
            let (scheme, host) = self.origin.split_once("://")?;
            Some(format!("{scheme}://{}.{host}", slug.as_str()))
        });
        [self.origin.clone()].into_iter().chain(of_tenant).collect()
    }

    /// Checks the answer of a browser that has made a passkey, on a page of one of these origins.
    ///
    /// # Errors
    /// If it does not answer this challenge, comes from another site, the person was not verified,
    /// or nobody can have the private key.
    pub(crate) fn register(
        &self,
        challenge: &Challenge,
        answer: &Registration,
        origins: &[String],
    ) -> Result<NewPasskey, Flaw> {
        let client_data = answer.response.client_data_json.bytes();
        client_data::check(client_data, Ceremony::Create, challenge, origins)?;
        let bytes = answer.authenticator_data().ok_or(Flaw::Malformed)?;
        let data = AuthenticatorData::parse(&bytes).ok_or(Flaw::Malformed)?;
        self.check(&data)?;
        let attested = data.attested().ok_or(Flaw::Malformed)?;
        if attested.credential_id != answer.id.bytes() {
            return Err(Flaw::Malformed);
        }
        let key = PublicKey::parse(attested.key).ok_or(Flaw::UnknownAlgorithm)?;
        if !key.is_valid() {
            return Err(Flaw::InvalidKey);
        }
        Ok(NewPasskey {
            credential_id: Base64Url::from_bytes(attested.credential_id),
            key: Base64Url::from_bytes(attested.key),
            counter: data.counter,
            is_backup_eligible: data.flags.is_backup_eligible(),
            is_backed_up: data.flags.is_backed_up(),
            transports: answer.transports(),
            aaguid: Id::from_bytes(*attested.aaguid),
        })
    }

    /// Checks the answer of a browser that has used this passkey, on a page of one of these origins.
    /// The caller compares the counter.
    ///
    /// # Errors
    /// If it does not answer this challenge, comes from another site, the person was not verified,
    /// the passkey has become one that may have copies or is none any more, or the signature is
    /// wrong.
    pub(crate) fn verify(
        &self,
        challenge: &Challenge,
        answer: &Assertion,
        passkey: &Passkey,
        origins: &[String],
    ) -> Result<Used, Flaw> {
        let client_data = answer.response.client_data_json.bytes();
        client_data::check(client_data, Ceremony::Get, challenge, origins)?;
        let signed = answer.response.authenticator_data.bytes();
        let data = AuthenticatorData::parse(signed).ok_or(Flaw::Malformed)?;
        self.check(&data)?;
        let key = PublicKey::parse(passkey.key.bytes()).ok_or(Flaw::UnknownAlgorithm)?;
        let signed = [signed, digest(&SHA256, client_data).as_ref()].concat();
        if !key.verifies(&signed, answer.response.signature.bytes()) {
            return Err(Flaw::WrongSignature);
        }
        if data.flags.is_backup_eligible() != passkey.is_backup_eligible {
            return Err(Flaw::BackupChanged);
        }
        Ok(Used {
            counter: data.counter,
            is_backed_up: data.flags.is_backed_up(),
        })
    }

    /// Checks what an authenticator says of every passkey.
    fn check(&self, data: &AuthenticatorData<'_>) -> Result<(), Flaw> {
        if data.rp_id_hash.as_slice() != digest(&SHA256, self.id.as_bytes()).as_ref() {
            return Err(Flaw::OtherRelyingParty);
        }
        if !(data.flags.is_user_present() && data.flags.is_user_verified()) {
            return Err(Flaw::NotVerified);
        }
        if data.flags.is_backed_up() && !data.flags.is_backup_eligible() {
            return Err(Flaw::BackupChanged);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
