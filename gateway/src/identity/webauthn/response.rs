//! Answers of browsers, in the form of `PublicKeyCredential.toJSON()`.

use ciborium::Value;
use events_schema::{Base64Url, passkey::Transport};
use serde::Deserialize;

use super::Flaw;

/// Most transports that are kept; there are seven today.
const MAX_TRANSPORTS: usize = 10;

/// The answer of a browser that has made a passkey.
#[derive(Debug, Deserialize)]
pub(crate) struct Registration {
    pub(super) id: Base64Url,
    pub(super) response: Attestation,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Attestation {
    #[serde(rename = "clientDataJSON")]
    pub(super) client_data_json: Base64Url,
    attestation_object: Base64Url,
    #[serde(default)]
    transports: Option<Vec<String>>,
}

/// The answer of a browser that has used a passkey.
#[derive(Debug, Deserialize)]
pub(crate) struct Assertion {
    id: Base64Url,
    pub(super) response: Signed,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Signed {
    #[serde(rename = "clientDataJSON")]
    pub(super) client_data_json: Base64Url,
    pub(super) authenticator_data: Base64Url,
    pub(super) signature: Base64Url,
    #[serde(default)]
    user_handle: Option<Base64Url>,
}

impl Registration {
    /// Reads an answer.
    ///
    /// # Errors
    /// If it is something else.
    pub(crate) fn read(answer: serde_json::Value) -> Result<Self, Flaw> {
        serde_json::from_value(answer).map_err(|_| Flaw::Malformed)
    }

    /// Returns what the authenticator says; `None` if it is malformed. The attestation beside it is
    /// not asked for, so it is not read.
    pub(super) fn authenticator_data(&self) -> Option<Vec<u8>> {
        let object = self.response.attestation_object.bytes();
        let Value::Map(pairs) = ciborium::from_reader(object).ok()? else {
            return None;
        };
        let is_data = |(key, _): &(Value, Value)| key.as_text() == Some("authData");
        let (_, data) = pairs.into_iter().find(is_data)?;
        data.into_bytes().ok()
    }

    /// Returns the ways to reach the authenticator. They are hints for browsers, so those that are
    /// malformed are left out.
    pub(super) fn transports(&self) -> Vec<Transport> {
        let transports = self.response.transports.iter().flatten();
        let known = transports.filter_map(|text| Transport::parse(text).ok());
        known.take(MAX_TRANSPORTS).collect()
    }
}

impl Assertion {
    /// Reads an answer.
    ///
    /// # Errors
    /// If it is something else.
    pub(crate) fn read(answer: serde_json::Value) -> Result<Self, Flaw> {
        serde_json::from_value(answer).map_err(|_| Flaw::Malformed)
    }

    /// Returns the id of the passkey.
    pub(crate) fn credential_id(&self) -> &Base64Url {
        &self.id
    }

    /// Returns the person whom the passkey was made for. It is not signed: the public key must be
    /// theirs.
    pub(crate) fn user_handle(&self) -> Option<&[u8]> {
        self.response.user_handle.as_ref().map(Base64Url::bytes)
    }
}
