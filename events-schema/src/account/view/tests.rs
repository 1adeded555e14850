use super::*;
use crate::{
    AccountId, Base64Url, ChallengeId, CredentialId, Device, Id, IdentityId, Name, PasskeyId,
    ProviderName, passkey::NewPasskey, view::testing::fold,
};

const MINUTE: i64 = 60_000;
const ID: Id = Id::from_bytes([1; 16]);

fn email() -> EmailAddress {
    EmailAddress::parse("ada@example.com").unwrap()
}
fn google() -> ProviderName {
    ProviderName::parse("google").unwrap()
}
fn opened() -> Event {
    let name = PersonName::parse("Ada").unwrap();
    Event::Opened {
        email: email(),
        firstname: name.clone(),
        lastname: name,
    }
}
fn password_set() -> Event {
    Event::PasswordSet {
        password_hash: PasswordHash::parse("$x").unwrap(),
        email: email(),
    }
}
fn password_removed() -> Event {
    Event::PasswordRemoved { email: email() }
}
fn password_hash_renewed() -> Event {
    Event::PasswordHashRenewed {
        password_hash: PasswordHash::parse("$y").unwrap(),
    }
}
fn enrolled() -> Event {
    Event::TotpEnrolled {
        credential: CredentialId(ID),
        secret_id: "k1".to_owned(),
        step: 7,
        recovery_codes: CredentialId(ID),
        email: email(),
    }
}
fn renewed() -> Event {
    Event::RecoveryCodesRenewed {
        credential: CredentialId(ID),
        secret_id: "k1".to_owned(),
        email: email(),
    }
}
fn totp_removed() -> Event {
    Event::TotpRemoved {
        credential: CredentialId(ID),
        email: email(),
    }
}
fn passkey(byte: u8) -> PasskeyId {
    PasskeyId::of(&Base64Url::from_bytes(&[byte; 16]))
}
fn passkey_added(byte: u8) -> Event {
    Event::PasskeyAdded {
        name: Name::parse("Phone").unwrap(),
        passkey: NewPasskey {
            credential_id: Base64Url::from_bytes(&[byte; 16]),
            key: Base64Url::from_bytes(&[1]),
            counter: 0,
            is_backup_eligible: true,
            is_backed_up: true,
            transports: Vec::new(),
            aaguid: ID,
        },
        email: email(),
    }
}
fn passkey_removed(byte: u8) -> Event {
    Event::PasskeyRemoved {
        passkey: passkey(byte),
        name: Name::parse("Phone").unwrap(),
        email: email(),
    }
}
fn passkey_suspended(byte: u8) -> Event {
    Event::PasskeySuspended {
        passkey: passkey(byte),
        name: Name::parse("Phone").unwrap(),
        email: email(),
    }
}
fn linked(byte: u8) -> Event {
    Event::IdentityLinked {
        identity: IdentityId(Id::from_bytes([byte; 16])),
        provider: google(),
        email: email(),
    }
}
fn unlinked(byte: u8) -> Event {
    Event::IdentityUnlinked {
        identity: IdentityId(Id::from_bytes([byte; 16])),
        provider: google(),
        email: email(),
    }
}
fn by_passkey(byte: u8) -> ProofKind {
    ProofKind::Passkey {
        passkey: passkey(byte),
    }
}
fn by_identity(byte: u8) -> ProofKind {
    ProofKind::Identity {
        provider: google(),
        identity: Some(IdentityId(Id::from_bytes([byte; 16]))),
    }
}
fn by_google() -> ProofKind {
    ProofKind::Identity {
        provider: google(),
        identity: None,
    }
}

/// An account after these events, each at a minute.
fn account<const N: usize>(events: [(i64, Event); N]) -> View {
    let events = events.map(|(minute, event)| (minute * MINUTE, event));
    fold([(0, opened())].into_iter().chain(events)).unwrap()
}
/// The kinds of those of these proofs that count, each of which is of a minute.
fn counting<const N: usize>(account: &View, proofs: [(i64, ProofKind); N]) -> Vec<ProofKind> {
    let proofs = proofs.map(|(minute, kind)| Proof::new(kind, Time(minute * MINUTE)));
    let counting = account.counting(proofs.to_vec());
    counting.into_iter().map(|proof| proof.kind).collect()
}
fn session(proofs: Vec<Proof>) -> session::View {
    session::View {
        proofs: Some(proofs),
        ..fold([(0, started())]).unwrap()
    }
}
fn started() -> session::Event {
    session::Event::Started {
        account: AccountId(ID),
        epoch: 0,
        device: Device::from_user_agent("curl"),
        proofs: None,
        name: None,
    }
}

#[test]
fn a_proof_of_the_password_counts_while_the_account_has_that_password() {
    let counted = |account: &View| counting(account, [(9, ProofKind::Password)]).len();
    assert_eq!(counted(&account([])), 0);
    let mut set = account([(8, password_set())]);
    assert_eq!(counted(&set), 1);
    let renewed = account([(8, password_set()), (20, password_hash_renewed())]);
    assert_eq!(counted(&renewed), 1, "the same password");
    let removed = account([(8, password_set()), (10, password_removed())]);
    assert_eq!(counted(&removed), 0);
    let another = [(8, password_set()), (10, password_removed())];
    let [first, second] = another;
    let another = account([first, second, (11, password_set())]);
    assert_eq!(counted(&another), 0, "that of another");
    set.password_set_at = None;
    assert_eq!(counted(&set), 1, "as an earlier release has stored it");
}

#[test]
fn a_proof_of_an_app_counts_while_the_account_has_the_app() {
    let proofs = [(9, ProofKind::EmailCode), (9, ProofKind::Totp)];
    let counted = |account| counting(&account, proofs.clone()).len();
    assert_eq!(counted(account([])), 1);
    assert_eq!(counted(account([(8, enrolled())])), 2);
    assert_eq!(counted(account([(9, enrolled())])), 2, "its first code");
    assert_eq!(counted(account([(10, enrolled())])), 1, "that of another");
    let removed = account([(8, enrolled()), (10, totp_removed())]);
    assert_eq!(counted(removed), 1);
}

#[test]
fn a_proof_of_a_recovery_code_counts_until_the_codes_are_replaced() {
    let proofs = [(9, ProofKind::RecoveryCode), (9, ProofKind::Totp)];
    let counted = |account| counting(&account, proofs.clone());
    let both = [ProofKind::RecoveryCode, ProofKind::Totp];
    assert_eq!(counted(account([(1, enrolled())])), both);
    let earlier = account([(1, enrolled()), (8, renewed())]);
    assert_eq!(counted(earlier), both);
    let later = account([(1, enrolled()), (10, renewed())]);
    assert_eq!(counted(later), [ProofKind::Totp]);
    assert_eq!(counted(account([(10, enrolled())])), []);
}

#[test]
fn a_proof_of_a_passkey_counts_until_it_is_removed_or_suspended() {
    let proofs = [1, 2, 3].map(|byte| (5, by_passkey(byte)));
    let added = [1, 2, 3].map(|byte| (1, passkey_added(byte)));
    let [first, second, third] = added;
    let (removed, suspended) = ((6, passkey_removed(1)), (6, passkey_suspended(2)));
    let account = account([first, second, third, removed, suspended]);
    assert_eq!(counting(&account, proofs), [by_passkey(3)]);
}

#[test]
fn a_proof_of_an_identity_counts_until_it_is_unlinked() {
    let proofs = [(5, by_identity(1)), (5, by_identity(2)), (5, by_google())];
    let both = [(1, linked(1)), (1, linked(2))];
    let [first, second] = both.clone();
    let one = account([first, second, (6, unlinked(1))]);
    let expected = [by_identity(2), by_google()];
    assert_eq!(counting(&one, proofs.clone()), expected);
    let [first, second] = both;
    let none = account([first, second, (6, unlinked(1)), (7, unlinked(2))]);
    assert_eq!(counting(&none, proofs), []);
}

#[test]
fn a_session_that_nothing_proves_any_more_is_void() {
    let begun = |kinds: &[ProofKind]| {
        let proofs = kinds.iter().cloned();
        session(proofs.map(|kind| Proof::new(kind, Time(MINUTE))).collect())
    };
    let with = account([(1, passkey_added(1))]);
    let without = account([(1, passkey_added(1)), (2, passkey_removed(1))]);
    let alone = begun(&[by_passkey(1)]);
    assert_eq!(with.proved_in(&alone, true).unwrap().len(), 1);
    assert_eq!(without.proved_in(&alone, true), None);
    let both = begun(&[by_passkey(1), ProofKind::EmailCode]);
    assert_eq!(without.proved_in(&both, true).unwrap().len(), 1);
    let of_newer_release = ProofKind::Unknown(serde_json::json!("iris"));
    assert_eq!(with.proved_in(&begun(&[of_newer_release]), true), None);
    assert_eq!(without.proved_in(&begun(&[]), true), None);
    let impersonated = session::View {
        impersonator: Some(session::Impersonator {
            account: AccountId(ID),
            epoch: 0,
            tenant: crate::TenantKey(ID),
        }),
        ..begun(&[])
    };
    assert_eq!(without.proved_in(&impersonated, true), Some(Vec::new()));
}

#[test]
fn a_session_that_loses_the_word_of_its_connection_ends_unless_own_proofs_suffice() {
    let word = || {
        let kind = ProofKind::Connection {
            scope: crate::Scope {
                tenant: crate::TenantKey(ID),
                connection: crate::ConnectionId(ID),
            },
            epoch: 0,
            identity: IdentityId(Id::from_bytes([1; 16])),
            is_two_factors: false,
            is_insider: None,
        };
        Proof::new(kind, Time(MINUTE))
    };
    let own = |kind| Proof::new(kind, Time(2 * MINUTE));
    let with = account([(1, password_set()), (1, linked(1))]);
    let without = account([(1, password_set()), (1, linked(1)), (2, unlinked(1))]);
    for (proofs, is_live, has_ended) in [
        (vec![word()], true, false),
        (vec![word()], false, true),
        (vec![word(), own(ProofKind::Totp)], false, true),
        (vec![word(), own(ProofKind::Password)], false, false),
    ] {
        let proved = with.proved_in(&session(proofs.clone()), is_live);
        assert_eq!(proved.is_none(), has_ended, "{proofs:?} {is_live}");
        let proved = without.proved_in(&session(proofs.clone()), true);
        let is_own = proofs.len() == 2 && has_own(&proofs);
        assert_eq!(proved.is_some(), is_own, "{proofs:?}");
    }
}
fn has_own(proofs: &[Proof]) -> bool {
    crate::proof::suffices(&crate::proof::own(proofs), false)
}

fn email_changed() -> Event {
    Event::EmailChanged {
        challenge: ChallengeId(ID),
        from: email(),
        to: EmailAddress::parse("ada@example.org").unwrap(),
    }
}

#[test]
fn a_proof_of_the_mailbox_counts_until_the_account_has_another_one() {
    let proofs = [(5, ProofKind::EmailCode), (5, ProofKind::Password)];
    let both = [ProofKind::EmailCode, ProofKind::Password];
    let set = (1, password_set());
    assert_eq!(counting(&account([set.clone()]), proofs.clone()), both);
    let earlier = account([set.clone(), (4, email_changed())]);
    assert_eq!(counting(&earlier, proofs.clone()), both);
    let later = account([set, (7, email_changed())]);
    assert_eq!(counting(&later, proofs), [ProofKind::Password]);
}

/// The clocks of two programs may differ, so the time of a proof alone would not tell.
#[test]
fn a_proof_is_of_one_password_and_of_one_mailbox() {
    let before = account([(1, password_set())]);
    let at = Time(3 * MINUTE);
    let proofs = [ProofKind::Password, ProofKind::EmailCode].map(|kind| before.proof(kind, at));
    let counted = |account: &View| account.counting(proofs.to_vec()).len();
    assert_eq!(counted(&before), 2);
    let moved = account([(1, password_set()), (3, email_changed())]);
    assert_eq!(counted(&moved), 1);
    let events = [password_set(), password_removed(), password_set()];
    let [first, removed, second] = events;
    assert_eq!(
        counted(&account([(1, first), (2, removed), (3, second)])),
        1
    );
}

#[test]
fn a_second_factor_is_established_once_the_account_has_had_it_for_a_while() {
    let account = account([(1, passkey_added(1)), (2, enrolled()), (9, renewed())]);
    let kinds = [
        ProofKind::Password,
        ProofKind::EmailCode,
        by_google(),
        by_passkey(1),
        ProofKind::Totp,
        ProofKind::RecoveryCode,
    ];
    let proofs = kinds.clone().map(|kind| Proof::new(kind, Time(0)));
    let established = |minute: i64| {
        let age = Duration::from_secs(600);
        let proofs = account.established(proofs.to_vec(), age, Time(minute * MINUTE));
        proofs
            .into_iter()
            .map(|proof| proof.kind)
            .collect::<Vec<_>>()
    };
    assert_eq!(established(10), kinds[..3]);
    assert_eq!(established(11), kinds[..4]);
    assert_eq!(established(12), kinds[..5]);
    assert_eq!(established(19), kinds);
}

#[test]
fn an_account_whose_address_changes_is_deleted_when_that_can_no_longer_be_undone() {
    let asked = || Event::DeletionRequested {
        at: Time(9 * MINUTE),
        email: email(),
        former: Vec::new(),
    };
    let closes_at = |events: [(i64, Event); 2]| account(events).closes_at;
    let later = Some(Time(3 * MINUTE) + email_change::UNDO_LIFETIME);
    assert_eq!(closes_at([(1, asked()), (3, email_changed())]), later);
    let soon = Some(Time(9 * MINUTE));
    assert_eq!(closes_at([(1, email_changed()), (3, asked())]), soon);
    assert_eq!(closes_at([(1, asked()), (3, Event::Disabled)]), None);
}
