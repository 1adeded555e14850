use super::*;

const ACCOUNT: AccountId = AccountId(Id::from_bytes([1; 16]));
const CHALLENGE: ChallengeId = ChallengeId(Id::from_bytes([2; 16]));
const RESET: Purpose = Purpose::PasswordReset;

fn secret(text: &str) -> Secret {
    let (id, letter) = text.split_at(text.len() - 1);
    Secret::parse(&format!("{id}{}", letter.repeat(32))).unwrap()
}

/// A key whose secrets repeat the last letter of each text; the first one is current.
fn ring(texts: &[&str]) -> ServerKey {
    let mut secrets = texts.iter().map(|text| secret(text));
    ServerKey::new(secrets.next().unwrap(), secrets.collect())
}

fn key(text: &str) -> ServerKey {
    ring(&[text])
}

#[test]
fn a_code_has_six_digits_and_belongs_to_one_secret_purpose_and_challenge() {
    for made_by in ["a", "k1:a"] {
        let code = key(made_by).code(Purpose::Verification, CHALLENGE);
        assert_eq!(code.len(), 6);
        assert!(code.bytes().all(|c| c.is_ascii_digit()));
        let matches = |key: &ServerKey, purpose, challenge, code: &str| {
            key.code_matches(purpose, ChallengeId(Id::from_bytes([challenge; 16])), code)
        };
        let (own, verification) = (key(made_by), Purpose::Verification);
        let spaced = format!(" {} {} ", &code[..3], &code[3..]);
        assert!(matches(&own, verification, 2, &spaced));
        for other in ["b", "k1:b", "k2:a"] {
            assert!(!matches(&key(other), verification, 2, &code), "{other}");
        }
        assert!(!matches(&own, RESET, 2, &code));
        assert!(!matches(&own, verification, 3, &code));
    }
}

#[test]
fn a_link_token_opens_only_as_it_was_made() {
    for made_by in ["a", "k1:a"] {
        let key = key(made_by);
        let token = key.link_token(RESET, ACCOUNT, CHALLENGE);
        let opened = |token: &str| key.open_link_token(RESET, token);
        assert_eq!(opened(&token), Some((ACCOUNT, CHALLENGE)));
        assert_eq!(key.open_link_token(Purpose::Verification, &token), None);
        for at in 0..token.len() {
            let mut forged = token.clone();
            let other = if &token[at..=at] == "A" { "B" } else { "A" };
            forged.replace_range(at..=at, other);
            assert_eq!(opened(&forged), None, "{at}");
        }
        for garbage in ["", "x", "=", &token[1..], &format!("{token}A"), "ä"] {
            assert_eq!(opened(garbage), None, "{garbage}");
        }
    }
}

#[test]
fn a_link_of_a_secret_with_an_id_names_the_id_and_opens_with_this_secret_only() {
    let token = key("k1:a").link_token(RESET, ACCOUNT, CHALLENGE);
    let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).unwrap();
    assert!(bytes.ends_with(b"k1"));
    for other in ["a", "k2:a", "k1:b"] {
        assert_eq!(key(other).open_link_token(RESET, &token), None, "{other}");
    }
    // The same proof under the name of another secret.
    let renamed = BASE64URL_NOPAD.encode(&[&bytes[..64], b"k2"].concat());
    assert_eq!(key("k2:a").open_link_token(RESET, &renamed), None);
}

#[test]
fn a_secret_without_an_id_derives_as_earlier_releases_do() {
    let key = key("a");
    assert_eq!(key.code(Purpose::Verification, CHALLENGE), "979308");
    let token = key.link_token(RESET, ACCOUNT, CHALLENGE);
    assert_eq!(
        token,
        "AQEBAQEBAQEBAQEBAQEBAQICAgICAgICAgICAgICAgL9NE1nqirHsdBXeoWzdZpWTrywgXKzTeWf42Wrlg4DYQ"
    );
    let id = key.id(&[b"command", b"x"]);
    assert_eq!(id.to_string(), "231158d0ef7246d1aa0fb983e85d2ec6");
}

/// Computed by another program, from the definition of HKDF.
#[test]
fn what_a_secret_with_an_id_derives_never_changes() {
    let key = key("k1:a");
    assert_eq!(key.code(Purpose::Verification, CHALLENGE), "830949");
    let token = key.link_token(RESET, ACCOUNT, CHALLENGE);
    assert_eq!(
        token,
        "AQEBAQEBAQEBAQEBAQEBAQICAgICAgICAgICAgICAgKvU8i4y4KrGFek-QQpACP9bgwVCTBj6W5Y1RAdhtOhUGsx"
    );
    let id = key.id(&[b"command", b"x"]);
    assert_eq!(id.to_string(), "b1620a024dcc4d51cebee4fd3c0b0029");
}

#[test]
fn a_purpose_has_a_key_of_its_own() {
    let secret = secret("k1:a");
    let one = secret.mac(&[b"code", b"x"], &[b"y"]);
    for other in [
        secret.mac(&[b"code"], &[b"x", b"y"]),
        secret.mac(&[b"cod", b"ex"], &[b"y"]),
        secret.mac(&[b"link", b"x"], &[b"y"]),
    ] {
        assert_ne!(one, other);
    }
}

#[test]
fn each_step_of_a_rotation_accepts_what_the_steps_beside_it_derive() {
    // From a secret of an earlier release to one with an id.
    let steps = [
        ring(&["a"]),
        ring(&["a", "k1:b"]),
        ring(&["k1:b", "a"]),
        ring(&["k1:b"]),
    ];
    let (device, member) = (Id::from_bytes([7; 16]), MemberId(Id::from_bytes([8; 16])));
    let tenant = TenantKey(Id::from_bytes([9; 16]));
    let accepts = |by: &ServerKey, of: &ServerKey| {
        let invitation = of.invitation_token(tenant, member, CHALLENGE);
        let registration = of.registration_token(CHALLENGE);
        let accepted = [
            by.code_matches(RESET, CHALLENGE, &of.code(RESET, CHALLENGE)),
            by.open_link_token(RESET, &of.link_token(RESET, ACCOUNT, CHALLENGE))
                == Some((ACCOUNT, CHALLENGE)),
            by.open_invitation_token(&invitation) == Some((tenant, member, CHALLENGE)),
            by.open_registration_token(&registration) == Some(CHALLENGE),
            by.open_device_token(&of.device_token(device, ACCOUNT, 1), ACCOUNT, 1) == Some(device),
        ];
        assert_eq!(accepted, [accepted[0]; 5]);
        accepted[0]
    };
    for pair in steps.windows(2) {
        assert!(accepts(&pair[0], &pair[1]) && accepts(&pair[1], &pair[0]));
    }
    let [first, .., last] = &steps;
    assert!(!accepts(last, first) && !accepts(first, last));
}

#[test]
fn the_token_of_a_device_belongs_to_one_epoch_of_one_account() {
    let (device, bob) = (Id::from_bytes([7; 16]), AccountId(Id::from_bytes([3; 16])));
    let token = key("a").device_token(device, ACCOUNT, 1);
    let opened = key("a").open_device_token(&token, ACCOUNT, 1);
    assert_eq!(opened, Some(device));
    assert_eq!(key("a").open_device_token(&token, ACCOUNT, 2), None);
    assert_eq!(key("a").open_device_token(&token, bob, 1), None);
    assert_eq!(key("b").open_device_token(&token, ACCOUNT, 1), None);
    assert_eq!(key("a").open_registration_token(&token), None);
}

#[test]
fn an_id_before_the_colon_is_not_part_of_the_secret() {
    let long = "x".repeat(32);
    let read = |text: &str| Secret::parse(text).map(|secret| (secret.id, secret.text));
    let with_id = Ok(("2026-11".to_owned(), long.clone()));
    assert_eq!(read(&format!("2026-11:{long}")), with_id);
    for text in [format!("Not an id:{long}"), format!(":{long}")] {
        assert_eq!(read(&text), Ok((String::new(), text.clone())));
    }
    for short in ["k1:", &format!("2026-11:{}", &long[1..])] {
        assert!(read(short).is_err(), "{short}");
    }
}

#[test]
fn a_derived_id_depends_on_where_its_parts_end() {
    assert_ne!(derived_id(&[b"ab", b"c"]), derived_id(&[b"a", b"bc"]));
    assert_ne!(key("a").id(&[b"ab", b"c"]), key("a").id(&[b"a", b"bc"]));
}

#[test]
fn a_link_that_stops_invitations_belongs_to_one_recipient_and_key() {
    let ada = RecipientId(Id::from_bytes([5; 16]));
    let token = key("a").stop_token(ada);
    assert_eq!(key("a").open_stop_token(&token), Some(ada));
    assert_eq!(key("b").open_stop_token(&token), None);
    assert_eq!(key("a").open_registration_token(&token), None);
}

#[test]
fn a_key_belongs_to_one_secret_and_purpose() {
    let [of_b, of_a] = ring(&["k1:b", "a"]).derived_keys("cursors")[..] else {
        panic!("two secrets have two keys")
    };
    assert_eq!(key("a").derived_keys("cursors"), [of_a]);
    assert_ne!(of_a, of_b);
    assert_ne!(key("a").derived_keys("others"), [of_a]);
}

#[test]
fn an_identity_has_an_id_for_each_secret_issuer_and_subject() {
    let ids = |key: &ServerKey, issuer, subject| key.identity_ids(None, issuer, subject);
    let both = ids(&ring(&["k2:b", "k1:a"]), "https://idp", "7");
    assert_eq!(both.len(), 2);
    assert_ne!(both[0], both[1]);
    assert_eq!(ids(&key("k1:a"), "https://idp", "7"), both[1..]);
    for (issuer, subject) in [
        ("https://other", "7"),
        ("https://idp", "8"),
        ("https://idp7", ""),
    ] {
        assert_ne!(ids(&key("k1:a"), issuer, subject), both[1..]);
    }
}

#[test]
fn an_identity_by_a_connection_is_another_one_than_by_anything_else_with_the_same_issuer() {
    let scope = |tenant: u8, connection: u8| Scope {
        tenant: TenantKey(Id::from_bytes([tenant; 16])),
        connection: crate::ConnectionId(Id::from_bytes([connection; 16])),
    };
    let scopes = [
        None,
        Some(scope(1, 1)),
        Some(scope(1, 2)),
        Some(scope(2, 1)),
    ];
    // One without an id derives as earlier releases do.
    for secret in ["a", "k1:a"] {
        let ids = scopes.map(|scope| key(secret).identity_ids(scope, "https://idp", "7"));
        let different: std::collections::BTreeSet<_> = ids.iter().map(|ids| ids[0]).collect();
        assert_eq!(different.len(), scopes.len(), "{ids:?}");
    }
}
