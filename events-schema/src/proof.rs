//! What a person has proved in a session, by what and when. The strength of a session follows from
//! its proofs, and so does how long it is fresh.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ConnectionId, IdentityId, PasskeyId, ProviderName, TenantKey, Time};

/// An operation that needs a fresh proof accepts one for this long.
pub const FRESH: Duration = Duration::from_secs(10 * 60);

/// By how much the clocks of two programs may differ.
const CLOCKS: Duration = Duration::from_secs(60);

/// One factor was proved: the authenticator assurance level 1 of NIST SP 800-63B.
pub const ONE_FACTOR: u8 = 1;
/// Two factors were proved: the authenticator assurance level 2.
pub const TWO_FACTORS: u8 = 2;

/// Something that a person has proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Proof {
    pub kind: ProofKind,
    pub at: Time,
    /// Whether the person may have done nothing for it: another party has identified them, and does
    /// not say when they have logged in there.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_silent: bool,
    /// Which password or mailbox was proved: the account has had it since this time, or since its
    /// beginning if the time is 0. `None` for all else, and in a proof of an earlier release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Time>,
}

/// By what a person has proved who they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum ProofKind {
    /// They know the password.
    Password,
    /// They read the mailbox of the account.
    EmailCode,
    /// They have this passkey, which has verified them by a PIN or by biometrics.
    Passkey { passkey: PasskeyId },
    /// They have the authenticator app.
    Totp,
    /// They have one of the recovery codes.
    RecoveryCode,
    /// Another party has identified them.
    Identity {
        provider: ProviderName,
        /// What the account calls the identity; `None` in a proof of an earlier release.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        identity: Option<IdentityId>,
    },
    /// A tenant's own issuer has identified them. That counts in the tenant alone. It is a variant
    /// of its own: an earlier release would ignore a new field, and let the word count everywhere.
    Connection {
        scope: Scope,
        /// The epoch of the connection in which its issuer has said so.
        epoch: i64,
        /// What the account calls the identity.
        identity: IdentityId,
        /// Whether the issuer has checked two factors, and the tenant lets its word count for both.
        is_two_factors: bool,
        /// Whether the person is of the tenant's organization at the issuer; `None` in a proof of
        /// an earlier release. An account at Google may be anybody's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        is_insider: Option<bool>,
    },
    /// Something that only a newer release knows, as it was read. It counts for nothing.
    #[serde(untagged)]
    #[cfg_attr(test, schemars(skip))]
    Unknown(serde_json::Value),
}

/// Where the word of a connection counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Scope {
    pub tenant: TenantKey,
    pub connection: ConnectionId,
}

/// What the sender of a request has proved, and what they could prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proved {
    /// The level of the session: 0 without any proof, then 1 or 2.
    pub aal: u8,
    /// The highest level that the account can reach.
    pub best_aal: u8,
    /// Until when the session is fresh; `None` if it never was.
    pub fresh_until: Option<Time>,
}

impl Proof {
    /// Makes a proof.
    pub const fn new(kind: ProofKind, at: Time) -> Self {
        Self {
            kind,
            at,
            is_silent: false,
            of: None,
        }
    }

    /// Makes a proof by another party, at which the person has logged in at this time; `None` if
    /// the party does not say when. A time in the future counts as `now`.
    pub fn by_other_party(kind: ProofKind, logged_in_at: Option<Time>, now: Time) -> Self {
        Self {
            kind,
            at: logged_in_at.unwrap_or(now).min(now),
            is_silent: logged_in_at.is_none(),
            of: None,
        }
    }

    /// Returns where the proof counts, and the epoch of the connection in which its issuer has
    /// given it, if it is the word of a tenant's connection.
    pub const fn vouched(&self) -> Option<(Scope, i64)> {
        match &self.kind {
            ProofKind::Connection { scope, epoch, .. } => Some((*scope, *epoch)),
            ProofKind::Password
            | ProofKind::EmailCode
            | ProofKind::Passkey { .. }
            | ProofKind::Totp
            | ProofKind::RecoveryCode
            | ProofKind::Identity { .. }
            | ProofKind::Unknown(_) => None,
        }
    }

    /// Returns where the proof counts, if it is the word of a tenant's connection.
    pub fn scope(&self) -> Option<Scope> {
        self.vouched().map(|(scope, _)| scope)
    }

    /// Returns where the proof counts for two factors at once, if it is the word of a tenant's
    /// connection.
    pub fn vouched_two_factors(&self) -> Option<Scope> {
        self.scope().filter(|_| self.kind.is_complete())
    }

    /// Whether the proof may be one of something that was added at this time. The clocks of two
    /// programs may differ by a minute.
    pub fn is_since(&self, added_at: Time) -> bool {
        self.at + CLOCKS > added_at
    }
}

const fn is_false(value: &bool) -> bool {
    !*value
}

impl ProofKind {
    /// Whether this release knows what it is worth.
    const fn is_known(&self) -> bool {
        !matches!(self, Self::Unknown(_))
    }

    /// Whether this proves two factors at once.
    const fn is_complete(&self) -> bool {
        match self {
            Self::Passkey { .. }
            | Self::Connection {
                is_two_factors: true,
                ..
            } => true,
            Self::Password
            | Self::EmailCode
            | Self::Totp
            | Self::RecoveryCode
            | Self::Identity { .. }
            | Self::Connection {
                is_two_factors: false,
                ..
            }
            | Self::Unknown(_) => false,
        }
    }

    /// Whether this completes a first factor.
    const fn is_second(&self) -> bool {
        match self {
            Self::Totp | Self::RecoveryCode => true,
            Self::Password
            | Self::EmailCode
            | Self::Passkey { .. }
            | Self::Identity { .. }
            | Self::Connection { .. }
            | Self::Unknown(_) => false,
        }
    }
}

impl Proved {
    /// Returns what these proofs are worth in an account that can reach `best_aal`. A second factor
    /// that the account has no more is worth nothing.
    pub fn new(proofs: &[Proof], best_aal: u8) -> Self {
        Self {
            aal: aal(proofs).min(best_aal),
            best_aal,
            fresh_until: fresh_until(proofs, best_aal),
        }
    }

    /// Whether the session is fresh.
    pub fn is_fresh(&self, now: Time) -> bool {
        self.fresh_until.is_some_and(|until| now < until)
    }
}

/// Returns the level that these proofs reach: 2 for a passkey, or for a first factor together with
/// a second one; 1 for any other proof; 0 without one.
pub fn aal(proofs: &[Proof]) -> u8 {
    let kinds = || proofs.iter().map(|proof| &proof.kind);
    let is_complete = kinds().any(ProofKind::is_complete);
    let has_second = kinds().any(ProofKind::is_second);
    let is_both = has_first(proofs) && has_second;
    match (is_complete || is_both, kinds().any(ProofKind::is_known)) {
        (true, _) => TWO_FACTORS,
        (false, true) => ONE_FACTOR,
        (false, false) => 0,
    }
}

/// Whether a first factor is among these proofs.
pub fn has_first(proofs: &[Proof]) -> bool {
    let mut kinds = proofs.iter().map(|proof| &proof.kind);
    kinds.any(|kind| kind.is_known() && !kind.is_second())
}

/// Returns those of these proofs that the person has given themselves: all but the word of a
/// tenant's connection.
pub fn own(proofs: &[Proof]) -> Vec<Proof> {
    let own = proofs.iter().filter(|proof| proof.scope().is_none());
    own.cloned().collect()
}

/// Returns where a session with these proofs is valid: in the tenant of its connection alone,
/// unless the person's own proofs suffice for a log-in. `None` if it is valid everywhere.
pub fn scope(proofs: &[Proof], has_second_factor: bool) -> Option<Scope> {
    let scope = proofs.iter().find_map(Proof::scope)?;
    (!suffices(&own(proofs), has_second_factor)).then_some(scope)
}

/// Whether these proofs suffice for a log-in to an account.
pub fn suffices(proofs: &[Proof], has_second_factor: bool) -> bool {
    has_first(proofs) && (!has_second_factor || aal(proofs) >= TWO_FACTORS)
}

/// Returns until when these proofs are fresh in an account that can reach `best_aal`; `None` if
/// they do not reach it. Where the account has a second factor, only that factor and passkeys
/// count: a thief of the session may know the password. A silent proof never counts: a thief of the
/// device gets it, too.
pub fn fresh_until(proofs: &[Proof], best_aal: u8) -> Option<Time> {
    if aal(proofs) < best_aal {
        return None;
    }
    let suffices =
        |kind: &ProofKind| best_aal < TWO_FACTORS || kind.is_second() || kind.is_complete();
    let counts = |kind: &ProofKind| kind.is_known() && suffices(kind);
    let counting = proofs
        .iter()
        .filter(|proof| counts(&proof.kind) && !proof.is_silent);
    counting.map(|proof| proof.at).max().map(|at| at + FRESH)
}

/// Adds a proof. It replaces an earlier one of the same kind.
pub fn with(mut proofs: Vec<Proof>, new: Proof) -> Vec<Proof> {
    proofs.retain(|proof| proof.kind != new.kind);
    proofs.push(new);
    proofs
}

/// Adds the word of a connection, in place of that of another one.
pub fn with_word(proofs: &[Proof], word: Proof) -> Vec<Proof> {
    with(own(proofs), word)
}

#[cfg(test)]
mod tests;
