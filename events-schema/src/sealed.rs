//! Values that are stored sealed: only programs with a secret of the deployment can read them.

use std::fmt;

use data_encoding::BASE64;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

use crate::{
    Invalid,
    secret::{Secret, ServerKey, is_id},
};

/// The bytes of a nonce, which must be random.
pub const NONCE_BYTES: usize = NONCE_LEN;

/// A sealed value, stored as `<id of the secret>:<Base64 of nonce, ciphertext and tag>`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Sealed {
    secret_id: String,
    bytes: Vec<u8>,
}

/// A sealed value, and the same value under another secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Resealed {
    pub former: Sealed,
    pub current: Sealed,
}

/// Replaces each of these sealed values that was sealed again.
pub fn replace<'a>(stored: impl IntoIterator<Item = &'a mut Sealed>, values: &[Resealed]) {
    for sealed in stored {
        if let Some(value) = values.iter().find(|value| value.former == *sealed) {
            *sealed = value.current.clone();
        }
    }
}

impl Sealed {
    /// Reads a sealed value. Whether it can be opened is another question.
    ///
    /// # Errors
    /// If it does not have the form of one.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let (secret_id, bytes) = text.split_once(':').unwrap_or_default();
        let bytes = BASE64.decode(bytes.as_bytes()).unwrap_or_default();
        let has_id = secret_id.is_empty() || is_id(secret_id);
        let is_sealed = has_id && bytes.len() >= NONCE_LEN + AES_256_GCM.tag_len();
        is_sealed
            .then(|| Self {
                secret_id: secret_id.to_owned(),
                bytes,
            })
            .ok_or(Invalid("must be a sealed value"))
    }

    /// Returns the id of the secret that sealed the value; empty for a secret without one.
    pub fn secret_id(&self) -> &str {
        &self.secret_id
    }
}

impl TryFrom<String> for Sealed {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<Sealed> for String {
    fn from(sealed: Sealed) -> Self {
        format!("{}:{}", sealed.secret_id, BASE64.encode(&sealed.bytes))
    }
}

/// Shows the id of the secret only.
impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({:?})", self.secret_id)
    }
}

impl ServerKey {
    /// Seals a value with the current secret. It opens only for the same purpose and for what it is
    /// bound to, such as the ids of a tenant and an endpoint. So a copy elsewhere does not open.
    pub fn seal(
        &self,
        purpose: &str,
        bound_to: &[&[u8]],
        nonce: [u8; NONCE_BYTES],
        plain: &[u8],
    ) -> Sealed {
        let secret = self.current();
        let mut text = plain.to_vec();
        cipher(secret, purpose, bound_to)
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut text)
            .unwrap_or_else(|_| unreachable!("AES-GCM takes texts of up to 64 GiB"));
        Sealed {
            secret_id: secret.id().to_owned(),
            bytes: [nonce.as_slice(), &text].concat(),
        }
    }

    /// Opens a sealed value; `None` if no secret has sealed it for this purpose and these parts.
    pub fn open_sealed(
        &self,
        purpose: &str,
        bound_to: &[&[u8]],
        sealed: &Sealed,
    ) -> Option<Vec<u8>> {
        self.secrets()
            .find_map(|secret| open(secret, purpose, bound_to, sealed))
    }

    /// Whether the current secret opens the value. If not, the value must be sealed again before
    /// the secret that sealed it may go.
    pub fn is_current(&self, purpose: &str, bound_to: &[&[u8]], sealed: &Sealed) -> bool {
        open(self.current(), purpose, bound_to, sealed).is_some()
    }
}

/// An id alone does not tell the secret: all secrets without an id have the same, the empty one.
fn open(secret: &Secret, purpose: &str, bound_to: &[&[u8]], sealed: &Sealed) -> Option<Vec<u8>> {
    if secret.id() != sealed.secret_id {
        return None;
    }
    let (nonce, text) = sealed.bytes.split_first_chunk()?;
    let mut text = text.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let opened = cipher(secret, purpose, bound_to).open_in_place(nonce, Aad::empty(), &mut text);
    opened.ok().map(|plain| plain.to_vec())
}

/// What a value is bound to decides its key. So few values share one, and random nonces of 12 bytes
/// never meet.
fn cipher(secret: &Secret, purpose: &str, bound_to: &[&[u8]]) -> LessSafeKey {
    let key = secret.mac(&[b"seal", purpose.as_bytes()], bound_to);
    let key = UnboundKey::new(&AES_256_GCM, &key);
    LessSafeKey::new(key.unwrap_or_else(|_| unreachable!("AES-256 takes keys of 32 bytes")))
}

#[cfg(test)]
mod tests;
