//! Answers of an authenticator that is written here, with what a hostile one may say.

use ciborium::Value as Cbor;
use events_schema::{Name, PasskeyId, Time};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::json;

use super::*;

const SITE: &str = "https://app.example.com";
const CHALLENGE: Challenge = [7; 32];
/// User present, user verified, may have copies, has copies.
const FLAGS: u8 = 0x01 | 0x04 | 0x08 | 0x10;
const ATTESTED: u8 = 0x40;

/// What an authenticator and a browser answer.
struct Answer {
    rp_id: &'static str,
    flags: u8,
    counter: u32,
    kind: &'static str,
    challenge: Challenge,
    origin: &'static str,
}

struct Key(EcdsaKeyPair);

impl Key {
    fn new() -> Self {
        let (random, kind) = (SystemRandom::new(), &ECDSA_P256_SHA256_ASN1_SIGNING);
        let secret = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(kind, secret.as_ref(), &random).unwrap())
    }

    fn cose(&self) -> Vec<u8> {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        es256(x, y)
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.0.sign(&SystemRandom::new(), message).unwrap();
        signature.as_ref().to_vec()
    }
}

fn es256(x: &[u8], y: &[u8]) -> Vec<u8> {
    let pairs = [
        (1, 2.into()),
        (3, (-7).into()),
        (-1, 1.into()),
        (-2, x.into()),
        (-3, y.into()),
    ];
    encoded(pairs.map(|(key, value): (i32, Cbor)| (key.into(), value)))
}

fn encoded<const N: usize>(pairs: [(Cbor, Cbor); N]) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(&Cbor::Map(pairs.to_vec()), &mut bytes).unwrap();
    bytes
}

fn text(bytes: &[u8]) -> String {
    Base64Url::from_bytes(bytes).into()
}

impl Answer {
    fn honest(kind: &'static str) -> Self {
        Self {
            rp_id: "app.example.com",
            flags: FLAGS,
            counter: 4,
            kind,
            challenge: CHALLENGE,
            origin: SITE,
        }
    }

    fn client_data(&self) -> Vec<u8> {
        let data = json!({
            "type": self.kind,
            "challenge": text(&self.challenge),
            "origin": self.origin,
        });
        data.to_string().into_bytes()
    }

    fn authenticator_data(&self, flags: u8) -> Vec<u8> {
        let hash = digest(&SHA256, self.rp_id.as_bytes());
        let counter = self.counter.to_be_bytes();
        [hash.as_ref(), &[flags], &counter].concat()
    }

    /// The answer of a browser that has made a passkey with this id.
    fn registration(&self, key: &Key, id: &[u8]) -> Registration {
        self.registration_of(&key.cose(), id)
    }

    /// The answer of a browser that says that it has made a passkey with this public key.
    fn registration_of(&self, key: &[u8], id: &[u8]) -> Registration {
        let length = u16::try_from(id.len()).unwrap().to_be_bytes();
        let head = self.authenticator_data(self.flags | ATTESTED);
        let data = [&head, &[9; 16][..], &length, id, key].concat();
        let object = encoded([
            ("fmt".into(), "none".into()),
            ("attStmt".into(), Cbor::Map(Vec::new())),
            ("authData".into(), data.into()),
        ]);
        let answer = json!({
            "id": text(id),
            "type": "public-key",
            "response": {
                "clientDataJSON": text(&self.client_data()),
                "attestationObject": text(&object),
                "transports": ["internal", "UNKNOWN!"],
            },
            "clientExtensionResults": {},
        });
        Registration::read(answer).unwrap()
    }

    /// The answer of a browser that has used a passkey.
    fn assertion(&self, key: &Key, id: &[u8]) -> serde_json::Value {
        let (client_data, data) = (self.client_data(), self.authenticator_data(self.flags));
        let signed = [&data, digest(&SHA256, &client_data).as_ref()].concat();
        json!({
            "id": text(id),
            "type": "public-key",
            "response": {
                "clientDataJSON": text(&client_data),
                "authenticatorData": text(&data),
                "signature": text(&key.sign(&signed)),
                "userHandle": text(b"somebody"),
            },
        })
    }
}

fn party() -> RelyingParty {
    RelyingParty::new(SITE, None).unwrap()
}

fn register(answer: &Registration) -> Result<NewPasskey, Flaw> {
    party().register(&CHALLENGE, answer, &party().origins(None))
}

fn verify(answer: &Assertion, passkey: &Passkey) -> Result<Used, Flaw> {
    party().verify(&CHALLENGE, answer, passkey, &party().origins(None))
}

fn registered(change: impl FnOnce(&mut Answer)) -> Result<NewPasskey, Flaw> {
    let mut answer = Answer::honest("webauthn.create");
    change(&mut answer);
    register(&answer.registration(&Key::new(), b"id"))
}

/// The result of a use of a passkey that was registered as one that may have copies.
fn used(change: impl FnOnce(&mut Answer)) -> Result<Used, Flaw> {
    let key = Key::new();
    let mut answer = Answer::honest("webauthn.get");
    change(&mut answer);
    let answer = Assertion::read(answer.assertion(&key, b"id")).unwrap();
    verify(&answer, &passkey(&key))
}

fn passkey(key: &Key) -> Passkey {
    let credential_id = Base64Url::from_bytes(b"id");
    Passkey {
        id: PasskeyId::of(&credential_id),
        name: Name::parse("Phone").unwrap(),
        credential_id,
        key: Base64Url::from_bytes(&key.cose()),
        counter: 0,
        is_backup_eligible: true,
        is_backed_up: false,
        transports: Vec::new(),
        aaguid: Id::from_bytes([0; 16]),
        added_at: Time(0),
        last_used_at: None,
        suspended_at: None,
    }
}

#[test]
fn a_passkey_is_registered_with_what_its_authenticator_says() {
    let (key, answer) = (Key::new(), Answer::honest("webauthn.create"));
    let new = register(&answer.registration(&key, b"id"));
    let new = new.unwrap();
    assert_eq!(new.credential_id.bytes(), b"id");
    assert_eq!(new.key.bytes(), key.cose());
    assert_eq!((new.counter, new.aaguid), (4, Id::from_bytes([9; 16])));
    assert!(new.is_backup_eligible && new.is_backed_up);
    let transports: Vec<&str> = new.transports.iter().map(|one| one.as_str()).collect();
    assert_eq!(transports, ["internal"]);
}

#[test]
fn a_use_tells_the_counter_and_whether_there_are_copies() {
    let expected = Used {
        counter: 4,
        is_backed_up: true,
    };
    assert_eq!(used(|_| ()), Ok(expected));
    let single = used(|answer| answer.flags &= !0x10).unwrap();
    assert!(!single.is_backed_up);
}

#[test]
fn an_answer_to_another_question_or_of_another_site_proves_nothing() {
    type Change = fn(&mut Answer);
    let cases: [(Change, Flaw); 7] = [
        (|answer| answer.challenge = [8; 32], Flaw::OtherChallenge),
        (
            |answer| answer.origin = "https://evil.example",
            Flaw::OtherOrigin,
        ),
        (
            |answer| answer.rp_id = "example.com",
            Flaw::OtherRelyingParty,
        ),
        (|answer| answer.flags &= !0x01, Flaw::NotVerified),
        (|answer| answer.flags &= !0x04, Flaw::NotVerified),
        (|answer| answer.flags &= !0x08, Flaw::BackupChanged),
        (|answer| answer.kind = "payment.get", Flaw::Malformed),
    ];
    for (change, flaw) in cases {
        assert_eq!(registered(change), Err(flaw));
        assert_eq!(used(change), Err(flaw));
    }
    let made = used(|answer| answer.kind = "webauthn.create");
    assert_eq!(made, Err(Flaw::Malformed));
}

#[test]
fn a_passkey_that_becomes_one_of_another_kind_proves_nothing() {
    let device_bound = used(|answer| answer.flags &= !(0x08 | 0x10));
    assert_eq!(device_bound, Err(Flaw::BackupChanged));
}

#[test]
fn a_signature_of_another_key_or_of_other_bytes_proves_nothing() {
    let (key, other) = (Key::new(), Key::new());
    let answer = Answer::honest("webauthn.get").assertion(&other, b"id");
    let answer = Assertion::read(answer).unwrap();
    let verified = verify(&answer, &passkey(&key));
    assert_eq!(verified, Err(Flaw::WrongSignature));

    let mut answer = Answer::honest("webauthn.get").assertion(&key, b"id");
    let later = Answer {
        counter: 5,
        ..Answer::honest("webauthn.get")
    };
    answer["response"]["authenticatorData"] = json!(text(&later.authenticator_data(FLAGS)));
    let answer = Assertion::read(answer).unwrap();
    let verified = verify(&answer, &passkey(&key));
    assert_eq!(verified, Err(Flaw::WrongSignature));
}

#[test]
fn an_answer_that_names_another_passkey_than_its_authenticator_is_malformed() {
    let answer = Answer::honest("webauthn.create");
    let mut answer = answer.registration(&Key::new(), b"id");
    answer.id = Base64Url::from_bytes(b"other");
    let registered = register(&answer);
    assert_eq!(registered, Err(Flaw::Malformed));
}

#[test]
fn something_else_is_no_answer() {
    for garbage in [json!(null), json!([]), json!({ "id": "x" }), json!("{}")] {
        let read = Assertion::read(garbage.clone());
        assert_eq!(read.unwrap_err(), Flaw::Malformed);
        assert_eq!(Registration::read(garbage).unwrap_err(), Flaw::Malformed);
    }
}

#[test]
fn a_key_that_can_never_sign_is_not_registered() {
    let answer = Answer::honest("webauthn.create");
    let no_point = answer.registration_of(&es256(&[1; 32], &[1; 32]), b"id");
    assert_eq!(register(&no_point), Err(Flaw::InvalidKey));
}

#[test]
fn a_passkey_works_on_the_sub_domain_of_a_tenant_that_the_request_came_to() {
    let slug = Slug::parse("acme").unwrap();
    let key = Key::new();
    let from = |origin, subdomain: Option<&Slug>| {
        let answer = Answer {
            origin,
            ..Answer::honest("webauthn.get")
        };
        let answer = Assertion::read(answer.assertion(&key, b"id")).unwrap();
        let origins = party().origins(subdomain);
        party().verify(&CHALLENGE, &answer, &passkey(&key), &origins)
    };
    let acme = "https://acme.app.example.com";
    assert!(from(acme, Some(&slug)).is_ok());
    assert!(from(SITE, Some(&slug)).is_ok());
    assert_eq!(from(acme, None), Err(Flaw::OtherOrigin));
    for other in [
        "http://acme.app.example.com",
        "https://acme.app.example.com:8443",
        "https://loom.app.example.com",
        "https://x.acme.app.example.com",
        "https://acme.example.com",
        "https://acme.app.example.com.evil.example",
    ] {
        let refused = from(other, Some(&slug));
        assert_eq!(refused, Err(Flaw::OtherOrigin), "{other}");
    }
    let at_port = RelyingParty::new("http://localhost:9900", None).unwrap();
    let expected = ["http://localhost:9900", "http://acme.localhost:9900"];
    assert_eq!(at_port.origins(Some(&slug)), expected);
}

#[test]
fn a_relying_party_is_the_host_or_a_domain_above_it() {
    let party = |url, id| RelyingParty::new(url, id);
    let own = party("https://app.example.com:8443/x", None).unwrap();
    assert_eq!(own.id, "app.example.com");
    assert_eq!(own.origin, "https://app.example.com:8443");
    assert_eq!(
        party("http://localhost:9900", None).unwrap().id,
        "localhost"
    );
    assert_eq!(party(SITE, Some("example.com")).unwrap().id, "example.com");
    for wrong in ["com", "ample.com", "evil.example", "x.app.example.com", ""] {
        assert!(party(SITE, Some(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn browsers_make_passkeys_for_a_domain_only() {
    let is_domain = |url| RelyingParty::new(url, None).unwrap().is_domain();
    assert!(is_domain("http://localhost:9900") && is_domain(SITE));
    assert!(!is_domain("http://127.0.0.1:9900") && !is_domain("http://[::1]:9900"));
}

#[test]
fn a_browser_is_asked_for_a_verified_and_discoverable_passkey() {
    let options = party().request_options(&CHALLENGE);
    assert_eq!(options["rpId"], "app.example.com");
    assert_eq!(options["userVerification"], "required");
    assert!(options.get("allowCredentials").is_none());
}

/// It measures, so run it alone in a release build:
/// `cargo test --release --lib -- --ignored --nocapture takes_at_most`.
#[test]
#[ignore = "it measures"]
fn the_check_of_a_passkey_takes_at_most_two_milliseconds() {
    const TIMES: u32 = 2_000;
    let key = Key::new();
    let (passkey, answer) = (passkey(&key), Answer::honest("webauthn.get"));
    let answers: Vec<_> = (0..TIMES).map(|_| answer.assertion(&key, b"id")).collect();
    let began = std::time::Instant::now();
    for answer in answers {
        verify(&Assertion::read(answer).unwrap(), &passkey).unwrap();
    }
    let each = began.elapsed() / TIMES;
    println!("the check of a passkey takes {each:?}");
    assert!(each <= std::time::Duration::from_millis(2), "{each:?}");
}
