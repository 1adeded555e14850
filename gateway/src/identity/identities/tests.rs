use serde_json::json;

use super::{
    testing::{FIRST, GOOGLE, OKTA, OTHER_TENANT, SECOND, TENANT, ada, connections, word},
    *,
};

/// The epoch of the word by which Ada has come.
fn came_by(kind: ProofKind, issuer: &str) -> Option<i64> {
    let known = connections(&[(FIRST, issuer), (SECOND, issuer)]);
    ada(&[kind]).came_by(TENANT, known.find(FIRST).unwrap())
}

fn requiring(id: TenantKey) -> ViewDocument<tenant::View> {
    let view = json!({
        "name": "Acme", "slug": "acme", "founder": "00112233445566778899aabbccddeeff",
        "settings": {}, "requires_second_factor": true, "placement": { "type": "shared" },
        "created_at": 0, "updated_at": 0,
    });
    ViewDocument {
        id,
        revision: 1,
        view: serde_json::from_value(view).unwrap(),
    }
}

#[test]
fn a_person_has_come_by_the_connection_that_has_identified_them_and_by_no_other() {
    for issuer in [OKTA, GOOGLE] {
        assert_eq!(came_by(word(FIRST, Some(true)), issuer), Some(5));
        assert_eq!(came_by(word(SECOND, Some(true)), issuer), None);
        assert_eq!(came_by(ProofKind::Password, issuer), None);
    }
    let known = connections(&[(FIRST, OKTA)]);
    let found = known.find(FIRST).unwrap();
    let elsewhere = ada(&[word(FIRST, Some(true))]).came_by(OTHER_TENANT, found);
    assert_eq!(elsewhere, None);
}

#[test]
fn a_private_account_at_google_is_no_account_of_the_tenant() {
    assert_eq!(came_by(word(FIRST, Some(false)), GOOGLE), None);
    // An earlier release did not keep whose account it was.
    assert_eq!(came_by(word(FIRST, None), GOOGLE), None);
    assert_eq!(came_by(word(FIRST, None), OKTA), Some(5));
}

#[test]
fn two_factors_of_the_issuer_count_in_its_tenant_whatever_else_was_proved() {
    for other in [None, Some(ProofKind::Password), Some(ProofKind::EmailCode)] {
        let of_session = |is_two_factors| {
            let word = two_factors(word(FIRST, Some(true)), is_two_factors);
            let kinds: Vec<_> = [Some(word), other.clone()].into_iter().flatten().collect();
            ada(&kinds)
        };
        let satisfied = of_session(true).satisfies(&requiring(TENANT));
        assert_eq!(satisfied, Ok(()), "{other:?}");
        let refused = Err(NoTenant::SecondFactorRequired);
        let weaker = of_session(false).satisfies(&requiring(TENANT));
        assert_eq!(weaker, refused, "{other:?}");
    }
    let both = [
        two_factors(word(FIRST, Some(true)), true),
        ProofKind::Password,
    ];
    let elsewhere = ada(&both).satisfies(&requiring(OTHER_TENANT));
    assert_eq!(elsewhere, Err(NoTenant::SecondFactorRequired));
}

fn two_factors(mut kind: ProofKind, is: bool) -> ProofKind {
    if let ProofKind::Connection { is_two_factors, .. } = &mut kind {
        *is_two_factors = is;
    }
    kind
}
