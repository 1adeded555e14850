//! Claims make names unique without a lock: the last message on a claim's subject names the
//! aggregate that holds it. The subject contains a hash of the name, so any text can be claimed and
//! no subject shows it.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, AreaName, DomainName, EmailAddress, Id, IdentityId, Invalid, MemberId, PasskeyId,
    Slug, StripeCustomerId, Subject, TenantId, Time, secret::derived_id,
};

/// The shortest rest of a name whose kind rests.
const SHORTEST_REST: Duration = Duration::from_secs(60);

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
    /// One of the tenants that an account may found: the account and a number.
    TenantPlace,
    /// The customer of a tenant at Stripe, unique on the platform.
    StripeCustomer,
    /// The number of live aggregates that a tenant has in an area. Its holder is the one that was
    /// last counted under a limit; see `workers/src/loops/limit.rs`.
    Limit,
    /// An identity at a provider, which at most one account has.
    Identity,
    /// A passkey, which at most one account has.
    Passkey,
    /// A domain that counts for a connection, unique on the platform.
    Domain,
    /// The account of a member whom somebody else has removed from a tenant. Its holder is that
    /// member, for ever.
    RemovedMember,
    /// The identity of a member at a connection of the tenant. Its holder is that member, also
    /// after somebody else has removed them.
    MemberIdentity,
}

impl ClaimKind {
    /// All kinds.
    pub const ALL: [Self; 13] = [
        Self::Email,
        Self::Slug,
        Self::MemberEmail,
        Self::MemberAccount,
        Self::Owner,
        Self::TenantPlace,
        Self::StripeCustomer,
        Self::Limit,
        Self::Identity,
        Self::Passkey,
        Self::Domain,
        Self::RemovedMember,
        Self::MemberIdentity,
    ];

    /// Returns how long a name rests after its release. Meanwhile only the aggregate that has
    /// released it may take it again.
    pub const fn rest(self) -> Duration {
        match self {
            // The next tenant gets the links and bookmarks of the one before.
            Self::Slug => Duration::from_secs(90 * 24 * 60 * 60),
            Self::Email
            | Self::MemberEmail
            | Self::MemberAccount
            | Self::Owner
            | Self::TenantPlace
            | Self::StripeCustomer
            | Self::Limit
            | Self::Identity
            | Self::Passkey
            | Self::Domain
            | Self::RemovedMember
            | Self::MemberIdentity => Duration::ZERO,
        }
    }

    /// Returns the kind as it is written in subjects, such as `slug`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Slug => "slug",
            Self::MemberEmail => "member_email",
            Self::MemberAccount => "member_account",
            Self::Owner => "owner",
            Self::TenantPlace => "tenant_place",
            Self::StripeCustomer => "stripe_customer",
            Self::Limit => "limit",
            Self::Identity => "identity",
            Self::Passkey => "passkey",
            Self::Domain => "domain",
            Self::RemovedMember => "removed_member",
            Self::MemberIdentity => "member_identity",
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

    /// Returns the claim that states that the tenant has removed a member with this account.
    pub fn removed_member(tenant: TenantId, account: AccountId) -> Self {
        Self {
            tenant,
            kind: ClaimKind::RemovedMember,
            hash: account.0,
        }
    }

    /// Returns the claim of one member of the tenant to an identity at a connection.
    pub fn member_identity(tenant: TenantId, identity: IdentityId) -> Self {
        Self {
            tenant,
            kind: ClaimKind::MemberIdentity,
            hash: identity.0,
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

    /// Returns the claim of a tenant to a place among those that an account may found. Places are
    /// numbered from zero.
    pub fn tenant_place(founder: AccountId, number: u16) -> Self {
        Self {
            tenant: TenantId::Platform,
            kind: ClaimKind::TenantPlace,
            hash: derived_id(&[founder.0.bytes(), &number.to_be_bytes()]),
        }
    }

    /// Returns the claim of a tenant's billing to a customer at Stripe.
    pub fn stripe_customer(customer: &StripeCustomerId) -> Self {
        let kind = ClaimKind::StripeCustomer;
        Self::of_text(TenantId::Platform, kind, customer.as_str())
    }

    /// Returns the claim that guards the number of live aggregates of a tenant in an area.
    pub fn limit(tenant: TenantId, area: AreaName) -> Self {
        Self::of_text(tenant, ClaimKind::Limit, area.as_str())
    }

    /// Returns the claim of an account to an identity at a provider.
    pub const fn identity(identity: IdentityId) -> Self {
        Self {
            tenant: TenantId::Platform,
            kind: ClaimKind::Identity,
            hash: identity.0,
        }
    }

    /// Returns the claim of an account to a passkey.
    pub const fn passkey(passkey: PasskeyId) -> Self {
        Self {
            tenant: TenantId::Platform,
            kind: ClaimKind::Passkey,
            hash: passkey.0,
        }
    }

    /// Returns the claim of a tenant's connections to a domain.
    pub fn domain(domain: &DomainName) -> Self {
        Self::of_text(TenantId::Platform, ClaimKind::Domain, domain.as_str())
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
    /// The aggregate that holds the name; null after its release. It must be there: any other
    /// message on the subject is not a release.
    #[serde(deserialize_with = "Option::deserialize")]
    pub holder: Option<Id>,
    /// When the holder has taken the name. Claims of earlier releases do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The release of the name, while it rests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resting: Option<Resting>,
}

/// A name that was released and is not free yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Resting {
    /// The aggregate that has released the name.
    pub by: Id,
    /// When the name becomes free.
    pub until: Time,
}

impl ClaimHolder {
    /// Makes the message of a holder.
    pub fn held_by(holder: Id, since: Option<Time>) -> Self {
        Self {
            holder: Some(holder),
            since,
            resting: None,
        }
    }

    /// Makes the message of a release. A name rests no longer than it was held, or a minute, so
    /// that nobody reserves many names by taking them in turn.
    pub fn released(claim: Claim, by: Id, since: Option<Time>, now: Time) -> Self {
        let rest = claim.kind.rest();
        let held = since.map_or(rest, |since| now.since(since).max(SHORTEST_REST));
        let rest = rest.min(held);
        let rest = i64::try_from(rest.as_millis()).unwrap_or(i64::MAX);
        let resting = Resting {
            by,
            until: Time(now.0.saturating_add(rest)),
        };
        Self {
            holder: None,
            since: None,
            resting: Some(resting).filter(|_| rest > 0),
        }
    }

    /// Returns the aggregate that keeps others from the name.
    pub fn kept_by(&self, now: Time) -> Option<Id> {
        let resting = self.resting.filter(|resting| now < resting.until);
        self.holder.or(resting.map(|resting| resting.by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_rests_for_90_days_and_an_address_is_free_at_once() {
        const DAY: i64 = 24 * 60 * 60 * 1000;
        let by = Id::from_bytes([1; 16]);
        let slug = Claim::slug(&Slug::parse("acme").unwrap());
        let email = Claim::email(&EmailAddress::parse("ada@example.com").unwrap());
        let released = ClaimHolder::released(slug, by, None, Time(5));
        assert_eq!(released.kept_by(Time(5 + 90 * DAY - 1)), Some(by));
        assert_eq!(released.kept_by(Time(5 + 90 * DAY)), None);
        assert_eq!(
            ClaimHolder::released(email, by, None, Time(5)).kept_by(Time(5)),
            None
        );
        assert_eq!(ClaimHolder::held_by(by, None).kept_by(Time(0)), Some(by));
    }

    #[test]
    fn a_slug_rests_no_longer_than_it_was_held_or_a_minute() {
        let by = Id::from_bytes([1; 16]);
        let slug = Claim::slug(&Slug::parse("acme").unwrap());
        const HOUR: i64 = 60 * 60 * 1000;
        for (held, rest) in [(HOUR, HOUR), (0, 60_000)] {
            let released = ClaimHolder::released(slug, by, Some(Time(10)), Time(10 + held));
            assert_eq!(released.kept_by(Time(10 + held + rest - 1)), Some(by));
            assert_eq!(released.kept_by(Time(10 + held + rest)), None);
        }
    }
}
