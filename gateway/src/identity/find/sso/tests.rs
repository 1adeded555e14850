use events_schema::{AccountId, Id, ProofKind, session::Impersonator};

use super::*;
use crate::identity::identities::testing::{
    FIRST, GOOGLE, OKTA, SECOND, TENANT, ada, connections, passkey, word,
};

const MEMBER: Option<BuiltInRole> = Some(BuiltInRole::Member);
const OWNER: Option<BuiltInRole> = Some(BuiltInRole::Owner);

#[test]
fn a_member_needs_the_word_of_one_of_the_connections_about_an_account_of_the_tenant() {
    for (kinds, issuer, expected) in [
        (vec![], OKTA, Some(FIRST)),
        (vec![ProofKind::Password], OKTA, Some(FIRST)),
        (vec![word(FIRST, Some(true))], OKTA, None),
        (vec![word(SECOND, Some(true))], OKTA, None),
        (vec![word(SECOND, None)], OKTA, None),
        (vec![word(FIRST, Some(false))], GOOGLE, Some(FIRST)),
        (vec![word(FIRST, None)], GOOGLE, Some(FIRST)),
        (
            vec![word(FIRST, Some(true)), ProofKind::Password],
            GOOGLE,
            None,
        ),
    ] {
        let demanded = connections(&[(FIRST, issuer), (SECOND, issuer)]);
        let needed = needed(&ada(&kinds), TENANT, MEMBER, &demanded);
        assert_eq!(needed, expected, "{kinds:?}");
    }
    let nothing = connections(&[]);
    assert_eq!(needed(&ada(&[]), TENANT, MEMBER, &nothing), None);
}

#[test]
fn an_owner_may_use_a_passkey_instead() {
    let demanded = connections(&[(FIRST, OKTA)]);
    for (role, kind, expected) in [
        (OWNER, passkey(), None),
        (OWNER, ProofKind::Password, Some(FIRST)),
        (MEMBER, passkey(), Some(FIRST)),
    ] {
        let needed = needed(&ada(&[kind]), TENANT, role, &demanded);
        assert_eq!(needed, expected, "{role:?}");
    }
}

#[test]
fn support_that_the_tenant_has_let_in_needs_no_connection() {
    let mut support = ada(&[]);
    support.impersonator = Some(Impersonator {
        account: AccountId(Id::from_bytes([9; 16])),
        epoch: 0,
        tenant: TENANT,
    });
    let demanded = connections(&[(FIRST, OKTA)]);
    assert_eq!(needed(&support, TENANT, MEMBER, &demanded), None);
}
