//! Identifiers: 16 bytes, written as 32 lower-case hex digits, so that an id is legal as a subject
//! token, in a URL and as a document's key.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::Invalid;

/// An identifier without a type. Areas have typed ones, such as `ProjectId`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Id([u8; 16]);

impl Id {
    /// Makes an identifier of these bytes. The caller must make sure that they are unique.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the 16 bytes.
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Parses 32 lower-case hex digits. Upper case is refused, so that one id has one spelling.
    ///
    /// # Errors
    /// If the text is anything else.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let bytes = (text.len() == 32)
            .then(|| HEXLOWER.decode(text.as_bytes()).ok())
            .flatten();
        let bytes: Option<[u8; 16]> = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes
            .map(Self)
            .ok_or(Invalid("must be an id of 32 lower-case hex digits"))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Id {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for Id {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

/// Declares the identifier of one kind of thing. A macro, since no function can declare a type.
macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        #[serde(transparent)]
        #[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
        pub struct $name(pub crate::Id);

        impl $name {
            /// Parses 32 lower-case hex digits.
            ///
            /// # Errors
            /// If the text is anything else.
            pub fn parse(text: &str) -> Result<Self, crate::Invalid> {
                crate::Id::parse(text).map(Self)
            }
        }

        impl From<crate::Id> for $name {
            fn from(id: crate::Id) -> Self {
                Self(id)
            }
        }

        impl From<$name> for crate::Id {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }
    };
}
pub(crate) use typed_id;

typed_id! {
    /// Identifies one command. A new aggregate takes the id of the command that creates it, so a
    /// repeated command creates nothing twice.
    CommandId
}

typed_id! {
    /// Identifies a mail that asks for a proof: the id of the command that requested it.
    ChallengeId
}

typed_id! {
    /// Identifies a tenant. [`TenantId`] also covers the platform.
    TenantKey
}

/// The owner of some data: a tenant, or the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub enum TenantId {
    /// Data of no tenant: accounts, sessions, mail. Written `platform`.
    Platform,
    /// Data of one tenant.
    Tenant(TenantKey),
}

impl TenantId {
    /// Parses `platform` or an id.
    ///
    /// # Errors
    /// If the text is neither.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text == "platform" {
            Ok(Self::Platform)
        } else {
            TenantKey::parse(text).map(Self::Tenant)
        }
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform => f.write_str("platform"),
            Self::Tenant(id) => fmt::Display::fmt(id, f),
        }
    }
}

impl From<TenantId> for String {
    fn from(tenant: TenantId) -> Self {
        tenant.to_string()
    }
}

impl TryFrom<String> for TenantId {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_exactly_one_spelling() {
        let text = "00ff00ff00ff00ff00ff00ff00ff00ff";
        assert_eq!(Id::parse(text).unwrap().to_string(), text);
        for wrong in [
            "",
            "00FF00ff00ff00ff00ff00ff00ff00ff",
            "00ff",
            "0",
            &"0".repeat(33),
            &"g".repeat(32),
            "é00f00ff00ff00ff00ff00ff00ff00ff",
        ] {
            assert!(Id::parse(wrong).is_err(), "{wrong}");
        }
    }
}
