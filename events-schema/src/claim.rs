//! Claims: who holds a name that must be unique. The name itself is hashed into the subject, so that any
//! text may be claimed and the broker's subject list shows none of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{EmailAddress, Id, Invalid, Subject, TenantId, secret::derived_id};

/// What kind of name is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClaimKind {
    /// An e-mail address, unique on the platform.
    Email,
}

impl ClaimKind {
    /// Every kind there is.
    pub const ALL: [Self; 1] = [Self::Email];

    /// Its subject token.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
        }
    }

    /// Reads a subject token.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(Invalid("must be a known kind of claim"))
    }
}

/// A name that one aggregate at a time may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Within which tenant it is unique.
    pub tenant: TenantId,
    /// What kind of name it is.
    pub kind: ClaimKind,
    /// Derived from the name.
    pub hash: Id,
}

impl Claim {
    /// The claim to an e-mail address.
    pub fn email(email: &EmailAddress) -> Self {
        Self { tenant: TenantId::Platform, kind: ClaimKind::Email, hash: derived_id(&[email.as_str().as_bytes()]) }
    }

    /// Where its holder is written down.
    pub fn subject(&self) -> Subject {
        Subject::Claim { tenant: self.tenant, kind: self.kind, hash: self.hash }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.subject(), f)
    }
}

/// The message on a claim's subject. The last one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ClaimHolder {
    /// The aggregate that holds the name; none once it was released.
    pub holder: Option<Id>,
}
