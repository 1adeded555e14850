//! Claims make names unique without a lock: the last message on a claim's subject names the
//! aggregate that holds it. The subject contains a hash of the name, so any text can be claimed and
//! no subject shows it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, EmailAddress, Id, Invalid, MemberId, Slug, Subject, TenantId, secret::derived_id,
};

/// The kind of name that is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClaimKind {
    /// The e-mail address of an account, unique on the platform.
    Email,
    /// The slug of a tenant, unique on the platform.
    Slug,
    /// The e-mail address of a member or invitation, unique in a tenant.
    MemberEmail,
    /// The account of a member, unique in a tenant.
    MemberAccount,
    /// The fact that a member is an owner. A decision that relies on it touches the claim; see
    /// `workers/src/domain/member/removal.rs`.
    Owner,
}

impl ClaimKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::Email,
        Self::Slug,
        Self::MemberEmail,
        Self::MemberAccount,
        Self::Owner,
    ];

    /// Returns the kind as it is written in subjects, such as `slug`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Slug => "slug",
            Self::MemberEmail => "member_email",
            Self::MemberAccount => "member_account",
            Self::Owner => "owner",
        }
    }

    /// Parses a kind as it is written in subjects, such as `slug`.
    ///
    /// # Errors
    /// If no kind has this name.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or(Invalid("must be a known kind of claim"))
    }
}

/// A name that at most one aggregate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The tenant in which the name is unique.
    pub tenant: TenantId,
    pub kind: ClaimKind,
    /// The hash of the name, or the id that serves as one.
    pub hash: Id,
}

impl Claim {
    /// Returns the claim to an account's e-mail address.
    pub fn email(email: &EmailAddress) -> Self {
        Self::of_text(TenantId::Platform, ClaimKind::Email, email.as_str())
    }

    /// Returns the claim to a tenant's slug.
    pub fn slug(slug: &Slug) -> Self {
        Self::of_text(TenantId::Platform, ClaimKind::Slug, slug.as_str())
    }

    /// Returns the claim of one member of the tenant to an e-mail address.
    pub fn member_email(tenant: TenantId, email: &EmailAddress) -> Self {
        Self::of_text(tenant, ClaimKind::MemberEmail, email.as_str())
    }

    /// Returns the claim of one member of the tenant to an account.
    pub fn member_account(tenant: TenantId, account: AccountId) -> Self {
        Self {
            tenant,
            kind: ClaimKind::MemberAccount,
            hash: account.0,
        }
    }

    /// Returns the claim that states that this member is an owner of the tenant.
    pub fn owner(tenant: TenantId, member: MemberId) -> Self {
        Self {
            tenant,
            kind: ClaimKind::Owner,
            hash: member.0,
        }
    }

    /// Returns the subject whose last message names the holder.
    pub fn subject(&self) -> Subject {
        Subject::Claim {
            tenant: self.tenant,
            kind: self.kind,
            hash: self.hash,
        }
    }

    fn of_text(tenant: TenantId, kind: ClaimKind, text: &str) -> Self {
        Self {
            tenant,
            kind,
            hash: derived_id(&[text.as_bytes()]),
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
    /// The aggregate that holds the name; null after its release.
    pub holder: Option<Id>,
}
