use super::*;

/// The message of the test vectors that the libraries of Standard Webhooks share.
const MESSAGE: Message<'_> = Message {
    id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
    timestamp: 1_614_265_330,
    body: br#"{"test": 2432232314}"#,
};
const HMAC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const HMAC_SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const PRIVATE: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p\
     9lMicMFs6Kvg==";
const PUBLIC: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
const ED25519_SIGNATURE: &str = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM\
     +m7TBAg==";

fn signing(text: &str) -> SigningKey {
    SigningKey::parse(text).unwrap()
}

fn verifying(text: &str) -> VerifyingKey {
    VerifyingKey::parse(text).unwrap()
}

fn verified(header: &str, keys: &[&str], message: &Message<'_>) -> Result<(), Refused> {
    let keys: Vec<VerifyingKey> = keys.iter().map(|key| verifying(key)).collect();
    verify(header, &keys, message, MESSAGE.timestamp)
}

#[test]
fn signatures_are_those_of_the_published_vectors() {
    assert_eq!(signing(HMAC).sign(&MESSAGE), HMAC_SIGNATURE);
    assert_eq!(signing(PRIVATE).sign(&MESSAGE), ED25519_SIGNATURE);
    assert_eq!(signing(PRIVATE).public().as_deref(), Some(PUBLIC));
    assert_eq!(signing(HMAC).public(), None);
}

#[test]
fn a_new_key_is_read_from_its_text() {
    for key in [SigningKey::hmac([7; 32]), SigningKey::ed25519([7; 32])] {
        let text = key.secret();
        assert_eq!(signing(&text).secret(), text);
        assert_eq!(signing(&text).sign(&MESSAGE), key.sign(&MESSAGE));
    }
    assert_eq!(signing(PRIVATE).secret(), PRIVATE);
}

#[test]
fn a_chosen_key_has_the_length_of_its_kind() {
    let key = |prefix: &str, length| format!("{prefix}{}", BASE64.encode(&vec![1; length]));
    let public = SigningKey::ed25519([1; 32]).secret();
    for text in [
        key("whsec_", 24),
        key("whsec_", 64),
        key("whsk_", 32),
        public,
    ] {
        assert!(SigningKey::parse(&text).is_ok(), "{text}");
    }
    for text in [
        String::new(),
        key("", 32),
        key("whsec_", 23),
        key("whsec_", 65),
        key("whsk_", 31),
        key("whsk_", 33),
        // The second half is not the public key of the first.
        key("whsk_", 64),
        key("whpk_", 32),
        key("WHSEC_", 32),
        format!(" {HMAC}"),
        HMAC.trim_end_matches('w').to_owned(),
        HMAC.replace('9', "-"),
    ] {
        assert!(SigningKey::parse(&text).is_err(), "{text}");
    }
    for text in [key("whpk_", 31), key("whpk_", 33), PRIVATE.to_owned()] {
        assert!(VerifyingKey::parse(&text).is_err(), "{text}");
    }
}

#[test]
fn a_header_has_the_signature_of_each_key_and_any_one_is_enough() {
    let keys = [signing(HMAC), signing(PRIVATE)];
    let header = signature_header(&keys, &MESSAGE);
    assert_eq!(header, format!("{HMAC_SIGNATURE} {ED25519_SIGNATURE}"));

    let other = SigningKey::hmac([1; 32]).secret();
    assert_eq!(verified(&header, &[HMAC], &MESSAGE), Ok(()));
    assert_eq!(verified(&header, &[PUBLIC], &MESSAGE), Ok(()));
    assert_eq!(verified(&header, &[&other, PUBLIC], &MESSAGE), Ok(()));
    let refused = Err(Refused::Signature);
    assert_eq!(verified(&header, &[&other], &MESSAGE), refused);
    assert_eq!(verified(&header, &[], &MESSAGE), refused);
}

#[test]
fn a_changed_message_is_refused() {
    let later = MESSAGE.timestamp + 1;
    for message in [
        Message {
            id: "msg_other",
            ..MESSAGE
        },
        Message {
            timestamp: later,
            ..MESSAGE
        },
        Message {
            body: br#"{"test":2432232314}"#,
            ..MESSAGE
        },
        Message {
            body: b"",
            ..MESSAGE
        },
    ] {
        for (signature, key) in [(HMAC_SIGNATURE, HMAC), (ED25519_SIGNATURE, PUBLIC)] {
            let refused = Err(Refused::Signature);
            assert_eq!(
                verified(signature, &[key], &message),
                refused,
                "{message:?}"
            );
        }
    }
}

#[test]
fn a_signature_under_another_version_is_refused() {
    let (_, hmac) = HMAC_SIGNATURE.split_once(',').unwrap();
    let (_, ed25519) = ED25519_SIGNATURE.split_once(',').unwrap();
    for (header, key) in [
        (format!("v1a,{hmac}"), HMAC),
        (format!("v2,{hmac}"), HMAC),
        (format!("v1,{ed25519}"), PUBLIC),
        (hmac.to_owned(), HMAC),
        (format!("v1,{hmac}A"), HMAC),
        (format!("v1,{}", &hmac[..40]), HMAC),
        (String::new(), HMAC),
        ("v1,".to_owned(), HMAC),
        ("v1a,".to_owned(), PUBLIC),
    ] {
        let refused = Err(Refused::Signature);
        assert_eq!(verified(&header, &[key], &MESSAGE), refused, "{header}");
    }
    let unknown = format!("v2,x  garbage {HMAC_SIGNATURE}");
    assert_eq!(verified(&unknown, &[HMAC], &MESSAGE), Ok(()));
}

#[test]
fn only_the_first_sixteen_signatures_of_a_message_are_looked_at() {
    for (others, expected) in [(15, Ok(())), (16, Err(Refused::Signature))] {
        for (signature, other, key) in [
            (HMAC_SIGNATURE, "v1,AAAA ", HMAC),
            (ED25519_SIGNATURE, "v1a,AAAA ", PUBLIC),
        ] {
            let header = format!("{}{signature}", other.repeat(others));
            assert_eq!(verified(&header, &[key], &MESSAGE), expected, "{others}");
        }
    }
}

#[test]
fn a_message_is_valid_for_five_minutes_before_and_after_its_timestamp() {
    let keys = [verifying(HMAC)];
    let at = |now| verify(HMAC_SIGNATURE, &keys, &MESSAGE, MESSAGE.timestamp + now);
    for now in [-300, 0, 300] {
        assert_eq!(at(now), Ok(()), "{now}");
    }
    for now in [-301, 301] {
        assert_eq!(at(now), Err(Refused::Timestamp), "{now}");
    }
    let extreme = Message {
        timestamp: i64::MIN,
        ..MESSAGE
    };
    let verified = verify(HMAC_SIGNATURE, &keys, &extreme, i64::MAX);
    assert_eq!(verified, Err(Refused::Timestamp));
}

#[test]
fn a_signed_message_cannot_be_cut_into_other_parts() {
    let signed = Message {
        id: "msg_1",
        timestamp: 1_614_265_331,
        body: b"1614265330.{}",
    };
    let cut = Message {
        id: "msg_1.1614265331",
        body: b"{}",
        ..MESSAGE
    };
    assert_eq!(signed.signed(), cut.signed());
    let header = signing(HMAC).sign(&signed);
    assert_eq!(verified(&header, &[HMAC], &signed), Ok(()));
    assert_eq!(verified(&header, &[HMAC], &cut), Err(Refused::Signature));
}

#[test]
fn a_key_does_not_show_in_logs() {
    let shown = [
        format!("{:?}", SigningKey::hmac([7; 32])),
        format!("{:?}", SigningKey::ed25519([7; 32])),
        format!("{:?} {:?}", verifying(HMAC), verifying(PUBLIC)),
    ];
    assert_eq!(
        shown,
        [
            "SigningKey(hmac)",
            "SigningKey(ed25519)",
            "VerifyingKey(hmac) VerifyingKey(ed25519)",
        ]
    );
}
