use super::*;

const PURPOSE: &str = "webhook secrets";
const BOUND_TO: &[&[u8]] = &[b"tenant", b"endpoint"];
const NONCE: [u8; NONCE_BYTES] = [9; NONCE_BYTES];

/// A key whose secrets repeat the last letter of each text; the first one is current.
fn ring(texts: &[&str]) -> ServerKey {
    let mut secrets = texts.iter().map(|text| {
        let (id, letter) = text.split_at(text.len() - 1);
        Secret::parse(&format!("{id}{}", letter.repeat(32))).unwrap()
    });
    ServerKey::new(secrets.next().unwrap(), secrets.collect())
}

fn sealed_by(key: &ServerKey) -> Sealed {
    key.seal(PURPOSE, BOUND_TO, NONCE, b"whsec_x")
}

fn opened_by(key: &ServerKey, sealed: &Sealed) -> Option<Vec<u8>> {
    key.open_sealed(PURPOSE, BOUND_TO, sealed)
}

#[test]
fn a_sealed_value_opens_and_shows_nothing_of_its_content() {
    for secret in ["a", "k1:a"] {
        let key = ring(&[secret]);
        let sealed = sealed_by(&key);
        assert_eq!(opened_by(&key, &sealed).unwrap(), b"whsec_x");
        assert!(!sealed.bytes.windows(7).any(|part| part == b"whsec_x"));

        let empty = key.seal(PURPOSE, BOUND_TO, NONCE, b"");
        assert_eq!(opened_by(&key, &empty).unwrap(), b"");
    }
}

#[test]
fn a_sealed_value_is_stored_as_text() {
    let key = ring(&["k1:a"]);
    let json = serde_json::to_string(&sealed_by(&key)).unwrap();
    assert!(json.starts_with(r#""k1:CQkJCQkJCQkJCQkJ"#), "{json}");
    let read: Sealed = serde_json::from_str(&json).unwrap();
    assert_eq!(read, sealed_by(&key));
    assert_eq!(read.secret_id(), "k1");
    assert_eq!(format!("{read:?}"), r#"Sealed("k1")"#);

    let short = BASE64.encode(&[0; 27]);
    for text in ["", "k1", "k1:", &format!("k1:{short}"), &json, "K 1:"] {
        assert!(Sealed::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_value_that_is_copied_elsewhere_does_not_open() {
    for secret in ["a", "k1:a"] {
        let key = ring(&[secret]);
        let sealed = sealed_by(&key);
        let elsewhere: [&[&[u8]]; 5] = [
            &[b"other", b"endpoint"],
            &[b"tenant", b"other"],
            &[b"tenante", b"ndpoint"],
            &[b"tenant"],
            &[],
        ];
        for bound_to in elsewhere {
            assert_eq!(key.open_sealed(PURPOSE, bound_to, &sealed), None);
            assert!(!key.is_current(PURPOSE, bound_to, &sealed));
        }
        assert_eq!(key.open_sealed("other purpose", BOUND_TO, &sealed), None);
    }
}

#[test]
fn a_changed_value_does_not_open() {
    let key = ring(&["k1:a"]);
    let sealed = sealed_by(&key);
    for at in 0..sealed.bytes.len() {
        let mut changed = sealed.clone();
        changed.bytes[at] ^= 1;
        assert_eq!(opened_by(&key, &changed), None, "byte {at}");
    }
    let mut short = sealed.clone();
    short.bytes.pop();
    assert_eq!(opened_by(&key, &short), None);
}

#[test]
fn a_former_secret_opens_what_it_has_sealed_and_an_unknown_one_does_not() {
    // Two secrets without an id, and two with one.
    for (old, new) in [
        ("a", "b"),
        ("a", "k1:a"),
        ("k1:a", "k2:a"),
        ("k1:a", "k1:b"),
    ] {
        let sealed = sealed_by(&ring(&[old]));
        assert!(ring(&[old]).is_current(PURPOSE, BOUND_TO, &sealed));

        let rotated = ring(&[new, old]);
        assert_eq!(opened_by(&rotated, &sealed).unwrap(), b"whsec_x");
        assert!(
            !rotated.is_current(PURPOSE, BOUND_TO, &sealed),
            "{old} {new}"
        );
        assert!(rotated.is_current(PURPOSE, BOUND_TO, &sealed_by(&rotated)));

        assert_eq!(opened_by(&ring(&[new]), &sealed), None, "{old} {new}");
    }
}

#[test]
fn a_value_under_the_name_of_another_secret_does_not_open() {
    let mut sealed = sealed_by(&ring(&["k1:a"]));
    "k2".clone_into(&mut sealed.secret_id);
    assert_eq!(opened_by(&ring(&["k1:a", "k2:a"]), &sealed), None);
}
