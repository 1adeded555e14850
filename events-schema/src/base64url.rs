//! Bytes in messages and documents.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use crate::Invalid;

/// Bytes that are written as base64url without padding, as browsers write them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Base64Url(Vec<u8>);

impl Base64Url {
    /// Makes a value of these bytes.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<String> for Base64Url {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes());
        bytes.map(Self).map_err(|_| Invalid("must be base64url"))
    }
}

impl From<Base64Url> for String {
    fn from(bytes: Base64Url) -> Self {
        BASE64URL_NOPAD.encode(&bytes.0)
    }
}

impl fmt::Debug for Base64Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_one_spelling() {
        let read = |text: &str| Base64Url::try_from(text.to_owned());
        assert_eq!(read("-_8").unwrap().bytes(), [0xfb, 0xff]);
        assert_eq!(String::from(Base64Url::from_bytes(&[0xfb, 0xff])), "-_8");
        for other in ["+/8", "-_8=", "-_9", "-", " -_8"] {
            assert!(read(other).is_err(), "{other}");
        }
    }
}
