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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::ProofKind::{EmailCode, Password, RecoveryCode, Totp};
    use super::*;
    use crate::Id;

    fn identity() -> ProofKind {
        ProofKind::Identity {
            provider: ProviderName::parse("google").unwrap(),
            identity: Some(IdentityId(Id::from_bytes([1; 16]))),
        }
    }
    fn passkey(number: u8) -> ProofKind {
        let passkey = PasskeyId(Id::from_bytes([number; 16]));
        ProofKind::Passkey { passkey }
    }
    fn at(minutes: i64, kind: ProofKind) -> Proof {
        Proof::new(kind, minute(minutes))
    }
    fn minute(minutes: i64) -> Time {
        Time(minutes * 60_000)
    }

    #[test]
    fn two_factors_are_a_passkey_or_a_first_factor_with_a_second_one() {
        for (kinds, expected) in [
            (vec![], 0),
            (vec![Password], 1),
            (vec![EmailCode], 1),
            (vec![identity()], 1),
            (vec![Password, EmailCode, identity()], 1),
            (vec![Totp], 1),
            (vec![Totp, RecoveryCode], 1),
            (vec![passkey(1)], 2),
            (vec![Password, Totp], 2),
            (vec![RecoveryCode, EmailCode], 2),
            (vec![identity(), Totp], 2),
        ] {
            let proofs: Vec<_> = kinds.iter().map(|kind| at(0, kind.clone())).collect();
            assert_eq!(aal(&proofs), expected, "{kinds:?}");
        }
    }

    #[test]
    fn a_session_is_fresh_for_ten_minutes_after_its_latest_proof() {
        let proofs = [at(0, Password), at(7, EmailCode)];
        let proved = Proved::new(&proofs, ONE_FACTOR);
        assert_eq!(proved.fresh_until, Some(minute(17)));
        assert!(proved.is_fresh(Time(minute(17).0 - 1)));
        assert!(!proved.is_fresh(minute(17)));
        assert_eq!(fresh_until(&[], ONE_FACTOR), None);
    }

    #[test]
    fn where_there_is_a_second_factor_only_it_makes_a_session_fresh() {
        let fresh = |proofs: &[Proof]| fresh_until(proofs, TWO_FACTORS);
        assert_eq!(fresh(&[at(5, Password)]), None);
        let both = [at(0, Totp), at(5, Password)];
        assert_eq!(fresh(&both), Some(minute(10)));
        let recovered = [at(0, Password), at(3, RecoveryCode)];
        assert_eq!(fresh(&recovered), Some(minute(13)));
        let passkey = [at(2, passkey(1)), at(9, Password)];
        assert_eq!(fresh(&passkey), Some(minute(12)));
    }

    #[test]
    fn a_log_in_at_another_party_is_fresh_from_when_it_says_that_the_person_has_logged_in() {
        let fresh = |logged_in_at: Option<i64>| {
            let logged_in_at = logged_in_at.map(minute);
            let proof = Proof::by_other_party(identity(), logged_in_at, minute(30));
            let proved = Proved::new(&[proof], ONE_FACTOR);
            assert_eq!(proved.aal, ONE_FACTOR);
            proved.fresh_until
        };
        assert_eq!(fresh(Some(25)), Some(minute(35)));
        assert_eq!(fresh(Some(5)), Some(minute(15)));
        assert_eq!(fresh(Some(90)), Some(minute(40)), "from the future");
        assert_eq!(fresh(None), None);
        let silent = Proof::by_other_party(identity(), None, minute(30));
        let proofs = [at(20, EmailCode), silent];
        assert_eq!(fresh_until(&proofs, ONE_FACTOR), Some(minute(30)));
    }

    #[test]
    fn a_session_by_a_connection_is_valid_in_its_tenant_until_own_proofs_suffice() {
        let tenant = TenantKey(Id::from_bytes([2; 16]));
        let connection = ConnectionId(Id::from_bytes([3; 16]));
        let here = Scope { tenant, connection };
        let by_connection = ProofKind::Connection {
            scope: here,
            epoch: 0,
            identity: IdentityId(Id::from_bytes([1; 16])),
            is_two_factors: true,
        };
        for (own, with_one_factor, with_two) in [
            (vec![], Some(here), Some(here)),
            (vec![Totp], Some(here), Some(here)),
            (vec![Password], None, Some(here)),
            (vec![EmailCode], None, Some(here)),
            (vec![identity()], None, Some(here)),
            (vec![Totp, EmailCode], None, None),
            (vec![passkey(1)], None, None),
        ] {
            let kinds = [vec![by_connection.clone()], own].concat();
            let proofs: Vec<_> = kinds.into_iter().map(|kind| at(0, kind)).collect();
            assert_eq!(scope(&proofs, false), with_one_factor, "{proofs:?}");
            assert_eq!(scope(&proofs, true), with_two, "{proofs:?}");
            assert!(
                super::own(&proofs)
                    .iter()
                    .all(|proof| proof.scope().is_none())
            );
        }
        assert_eq!(
            scope(&[at(0, Totp)], true),
            None,
            "no connection is part of it"
        );
    }

    #[test]
    fn the_word_of_a_connection_is_worth_two_factors_only_if_the_tenant_says_so() {
        let by_connection = |is_two_factors| ProofKind::Connection {
            scope: Scope {
                tenant: TenantKey(Id::from_bytes([2; 16])),
                connection: ConnectionId(Id::from_bytes([3; 16])),
            },
            epoch: 0,
            identity: IdentityId(Id::from_bytes([1; 16])),
            is_two_factors,
        };
        assert_eq!(aal(&[at(0, by_connection(false))]), 1);
        assert_eq!(aal(&[at(0, by_connection(true))]), 2);
        assert_eq!(aal(&[at(0, by_connection(false)), at(0, Totp)]), 2);
    }

    #[test]
    fn a_proof_of_a_newer_release_is_read_is_kept_as_it_is_and_counts_for_nothing() {
        for kind in [
            json!("iris"),
            json!({ "iris": { "eye": "left", "tries": 2 } }),
        ] {
            let stored = json!({ "kind": kind, "at": 5 });
            let read: Proof = serde_json::from_value(stored.clone()).unwrap();
            assert_eq!(read.kind, ProofKind::Unknown(kind));
            assert_eq!(serde_json::to_value(&read).unwrap(), stored);
            let alone = [read.clone()];
            assert_eq!(aal(&alone), 0);
            assert!(!suffices(&alone, false));
            assert_eq!(fresh_until(&alone, ONE_FACTOR), None);
            assert_eq!(aal(&[read, at(0, Totp)]), 1);
        }
        let known: Proof = serde_json::from_value(json!({ "kind": "totp", "at": 5 })).unwrap();
        assert_eq!(known.kind, Totp);
    }

    #[test]
    fn a_second_factor_that_was_removed_is_worth_nothing() {
        let proofs = [at(0, Password), at(0, Totp)];
        assert_eq!(Proved::new(&proofs, TWO_FACTORS).aal, 2);
        assert_eq!(Proved::new(&proofs, ONE_FACTOR).aal, 1);
    }

    #[test]
    fn a_proof_replaces_an_earlier_one_of_its_kind() {
        let proofs = with(vec![at(0, Password), at(0, Totp)], at(5, Password));
        assert_eq!(proofs, [at(0, Totp), at(5, Password)]);
        let proofs = with(proofs, at(6, identity()));
        assert_eq!(proofs.len(), 3);
    }
}
