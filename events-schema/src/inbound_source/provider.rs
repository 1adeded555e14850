//! Who sends hooks to a source, and how the sender proves itself.

use serde::{Deserialize, Serialize};

use crate::{Invalid, ProjectId, text::text, webhook_signature::VerifyingKey};

/// The length of a secret in characters.
const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 16..=256;
/// Longest name of a header, in characters.
const MAX_HEADER_NAME: usize = 100;

/// Who sends hooks to a source. The kind decides how hooks are verified and what follows from them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Provider {
    /// A service that signs as Standard Webhooks 1.0 defines it.
    StandardWebhooks,
    /// GitHub. Issues become tasks of this project.
    Github { project: ProjectId },
    /// Stripe.
    Stripe,
    /// A service that signs with HMAC and SHA-256 in a way of its own.
    Hmac(HmacScheme),
}

/// Where a service puts what it signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HmacScheme {
    /// The header with the signature. It may begin with `sha256=`.
    pub signature_header: HeaderName,
    pub encoding: Encoding,
    /// The header with the time in Unix seconds. Then the signature is that of the time, a dot and
    /// the body; otherwise that of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_header: Option<HeaderName>,
    /// The header with the id of the hook. Without it, the body identifies the hook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_header: Option<HeaderName>,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Encoding {
    /// Hexadecimal, in upper or lower case.
    Hex,
    /// Base64 with padding.
    Base64,
}

/// The name of an HTTP header in lower case, 1 to 100 characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct HeaderName(String);

text! { HeaderName }

impl HeaderName {
    /// Lower-cases and checks the name of a header.
    ///
    /// # Errors
    /// If it is empty, too long or has other characters than letters, digits, `-` and `_`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let is_token = |c: u8| c.is_ascii_alphanumeric() || b"-_".contains(&c);
        if (1..=MAX_HEADER_NAME).contains(&text.len()) && text.bytes().all(is_token) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(Invalid(
                "must be a header name of 1 to 100 letters, digits, - and _",
            ))
        }
    }
}

impl Provider {
    /// Whether both are of the same kind, whatever their settings are.
    pub fn is_same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// Checks a secret that the tenant has got from the provider, or has chosen.
    ///
    /// # Errors
    /// If the provider cannot have such a secret, or it is too short to be one.
    pub fn check_secret(&self, secret: &str) -> Result<(), Invalid> {
        match self {
            Self::StandardWebhooks => VerifyingKey::parse(secret).map(|_key| ()),
            Self::Github { .. } | Self::Stripe | Self::Hmac(_) => {
                let is_printable = secret.bytes().all(|c| c.is_ascii_graphic());
                if SECRET_LENGTH.contains(&secret.len()) && is_printable {
                    Ok(())
                } else {
                    Err(Invalid(
                        "must have 16 to 256 printable ASCII characters and no spaces",
                    ))
                }
            }
        }
    }
}
