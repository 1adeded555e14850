//! Identifiers. Each is 16 bytes, written as 32 lower-case hex digits, so that it is a legal
//! subject token, URL part and document id everywhere; `parse` is the only door for text.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::Invalid;

/// The untyped identifier of an aggregate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Id([u8; 16]);

impl Id {
    /// The identifier made of these bytes. Whoever calls it answers for their being unique.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads 32 lower-case hex digits; anything else is refused, upper case too, so that one id has
    /// one spelling.
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

/// Distinct types, so that a session's id cannot be passed for an account's. A macro, since no
/// function can make a type.
macro_rules! typed_ids {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        pub struct $name(pub Id);

        impl $name {
            /// Reads 32 lower-case hex digits.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                Id::parse(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )+};
}

typed_ids! {
    /// Names one command. A new aggregate takes the id of the command that creates it, so a retry
    /// creates nothing twice.
    CommandId
    /// Names an account.
    AccountId
    /// Names a session: the first half of the SHA-256 of its token.
    SessionId
    /// Names a mail, derived from what asked for it.
    EmailId
    /// Names a member of a tenant, or an invitation.
    MemberId
    /// Names a custom role.
    RoleId
    /// Names an access token: the first half of the SHA-256 of its text.
    AccessTokenId
    /// Names a project: the id of the command that began it.
    ProjectId
    /// Names a proof that was asked for by mail: the id of the command that asked.
    ChallengeId
}

/// Whose data it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub enum TenantId {
    /// What belongs to no tenant: accounts, sessions, mail. Written `platform`.
    Platform,
    /// A tenant proper.
    Tenant(Id),
}

impl TenantId {
    /// Reads `platform` or an id.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text == "platform" {
            Ok(Self::Platform)
        } else {
            Id::parse(text).map(Self::Tenant)
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
