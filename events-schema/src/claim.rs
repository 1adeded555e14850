//! Claims: who holds a name that must be unique. The name itself is hashed into the subject, so
//! that any text may be claimed and the broker's subject list shows none of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, EmailAddress, Id, Invalid, MemberId, Slug, Subject, TenantId, secret::derived_id,
};

/// What kind of name is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClaimKind {
    /// An e-mail address, unique on the platform.
    Email,
    /// A tenant's name in addresses, unique on the platform.
    Slug,
    /// An e-mail address that was invited to a tenant, unique there.
    MemberEmail,
    /// An account that belongs to a tenant, unique there.
    MemberAccount,
    /// That a member is an owner of the tenant. It is touched by whoever relies on it; see
    /// `workers/src/domain/member.rs`.
    Owner,
}

impl ClaimKind {
    /// Every kind there is.
    pub const ALL: [Self; 5] = [
        Self::Email,
        Self::Slug,
        Self::MemberEmail,
        Self::MemberAccount,
        Self::Owner,
    ];

    /// Its subject token.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Slug => "slug",
            Self::MemberEmail => "member_email",
            Self::MemberAccount => "member_account",
            Self::Owner => "owner",
        }
    }

    /// Reads a subject token.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(Invalid("must be a known kind of claim"))
    }
}

/// A name that one aggregate at a time may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Within which tenant it is unique.
    pub tenant: TenantId,
    /// What kind of name it is.
    pub kind: ClaimKind,
    /// The name, or derived from it.
    pub hash: Id,
}

impl Claim {
    /// The claim to an e-mail address.
    pub fn email(email: &EmailAddress) -> Self {
        Self {
            tenant: TenantId::Platform,
            kind: ClaimKind::Email,
            hash: derived_id(&[email.as_str().as_bytes()]),
        }
    }

    /// The claim to a tenant's name in addresses.
    pub fn slug(slug: &Slug) -> Self {
        Self {
            tenant: TenantId::Platform,
            kind: ClaimKind::Slug,
            hash: derived_id(&[slug.as_str().as_bytes()]),
        }
    }

    /// The claim to be the only member of a tenant with this address.
    pub fn member_email(tenant: TenantId, email: &EmailAddress) -> Self {
        Self {
            tenant,
            kind: ClaimKind::MemberEmail,
            hash: derived_id(&[email.as_str().as_bytes()]),
        }
    }

    /// The claim to be the only member of a tenant with this account.
    pub fn member_account(tenant: TenantId, account: AccountId) -> Self {
        Self {
            tenant,
            kind: ClaimKind::MemberAccount,
            hash: account.0,
        }
    }

    /// That this member is an owner of the tenant.
    pub fn owner(tenant: TenantId, member: MemberId) -> Self {
        Self {
            tenant,
            kind: ClaimKind::Owner,
            hash: member.0,
        }
    }

    /// Where its holder is written down.
    pub fn subject(&self) -> Subject {
        Subject::Claim {
            tenant: self.tenant,
            kind: self.kind,
            hash: self.hash,
        }
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
