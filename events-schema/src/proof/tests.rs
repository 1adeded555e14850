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
        is_insider: Some(true),
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
        is_insider: Some(true),
    };
    assert_eq!(aal(&[at(0, by_connection(false))]), 1);
    assert_eq!(aal(&[at(0, by_connection(true))]), 2);
    let vouched = |is_two_factors| at(0, by_connection(is_two_factors)).vouched_two_factors();
    assert_eq!(vouched(false), None);
    assert_eq!(vouched(true), at(0, by_connection(true)).scope());
    assert_eq!(at(0, passkey(1)).vouched_two_factors(), None);
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

#[test]
fn the_word_of_a_connection_replaces_that_of_another() {
    let word = |number: u8| ProofKind::Connection {
        scope: Scope {
            tenant: TenantKey(Id::from_bytes([number; 16])),
            connection: ConnectionId(Id::from_bytes([number; 16])),
        },
        epoch: 0,
        identity: IdentityId(Id::from_bytes([number; 16])),
        is_two_factors: false,
        is_insider: Some(true),
    };
    let proofs = [at(0, word(1)), at(1, Password)];
    let proofs = with_word(&proofs, at(2, word(2)));
    assert_eq!(proofs, [at(1, Password), at(2, word(2))]);
}
