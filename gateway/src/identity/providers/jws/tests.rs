use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};

use super::*;

/// The example of RFC 7515, appendix A.2: a key, and a token that it has signed with RS256.
const MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const RS256: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

fn keys(keys: &[Value]) -> Keys {
    Keys::of(serde_json::from_value(json!({ "keys": keys })).unwrap())
}
fn encoded(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}
fn rsa_key() -> Value {
    json!({ "kty": "RSA", "n": MODULUS, "e": "AQAB" })
}

/// A pair of keys on the curve P-256.
fn pair() -> (EcdsaKeyPair, Value) {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
    let point = pair.public_key().as_ref();
    let (x, y) = (encoded(&point[1..33]), encoded(&point[33..]));
    let public = json!({ "kty": "EC", "crv": "P-256", "kid": "a", "x": x, "y": y });
    (pair, public)
}

/// A token that is signed by this pair, with this header.
fn signed(pair: &EcdsaKeyPair, header: &Value) -> String {
    let signed = format!("{}.{}", encoded(header.to_string()), encoded("{}"));
    let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    format!("{signed}.{}", encoded(signature))
}

/// Whether a token is accepted.
fn accepted(token: &str, keys: &Keys) -> bool {
    Token::parse(token).is_ok_and(|token| token.verify(keys).is_some())
}

#[test]
fn a_signature_is_that_of_the_published_example() {
    let keys = keys(&[rsa_key()]);
    let token = Token::parse(RS256).unwrap();
    let payload = token.verify(&keys).unwrap();
    assert!(payload.starts_with(br#"{"iss":"joe""#));
    let changed = RS256.replacen("eyJpc3Mi", "eyJpc3Nj", 1);
    assert!(!accepted(&changed, &keys));
}

#[test]
fn each_curve_verifies_what_its_key_has_signed() {
    let (pair, public) = pair();
    let token = signed(&pair, &json!({ "alg": "ES256", "kid": "a" }));
    assert!(accepted(&token, &keys(&[public])));

    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let public = json!({ "kty": "OKP", "crv": "Ed25519", "x": encoded(pair.public_key()) });
    let text = format!("{}.{}", encoded(r#"{"alg":"EdDSA"}"#), encoded("{}"));
    let token = format!("{text}.{}", encoded(pair.sign(text.as_bytes())));
    assert!(accepted(&token, &keys(&[public])));
}

#[test]
fn a_token_cannot_choose_a_weaker_way_or_none() {
    let (pair, public) = pair();
    let keys = keys(&[public, rsa_key()]);
    for alg in ["none", "None", "HS256", "RS384", "RS1", "ES384", ""] {
        let token = signed(&pair, &json!({ "alg": alg, "kid": "a" }));
        assert!(!accepted(&token, &keys), "{alg}");
    }
    let unsigned = format!("{}.{}.", encoded(r#"{"alg":"none"}"#), encoded("{}"));
    assert!(!accepted(&unsigned, &keys));
    let crit = json!({ "alg": "ES256", "kid": "a", "crit": ["exp"] });
    assert!(!accepted(&signed(&pair, &crit), &keys));
    // The public key as the secret of a MAC.
    let text = format!("{}.{}", encoded(r#"{"alg":"HS256"}"#), encoded("{}"));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, MODULUS.as_bytes());
    let mac = ring::hmac::sign(&key, text.as_bytes());
    let token = format!("{text}.{}", encoded(mac));
    assert!(!accepted(&token, &keys));
}

#[test]
fn a_token_is_verified_by_the_key_that_it_names() {
    let (own, public) = pair();
    let (foreign, _) = pair();
    let known = keys(std::slice::from_ref(&public));
    let named = |kid: &str| json!({ "alg": "ES256", "kid": kid });
    assert!(accepted(&signed(&own, &named("a")), &known));
    assert!(!accepted(&signed(&own, &named("b")), &known));
    assert!(!accepted(&signed(&foreign, &named("a")), &known));
    let unnamed = signed(&own, &json!({ "alg": "ES256" }));
    assert!(accepted(&unnamed, &known));
    let mut other = public.clone();
    other["kid"] = json!("b");
    let both = keys(&[public, other]);
    assert!(!accepted(&unnamed, &both));
}

#[test]
fn a_key_serves_the_way_of_signing_that_it_is_made_for() {
    let (pair, public) = pair();
    let token = signed(&pair, &json!({ "alg": "ES256", "kid": "a" }));
    for (field, value) in [
        ("use", "enc"),
        ("alg", "RS256"),
        ("kty", "RSA"),
        ("crv", "P-384"),
        ("x", "AAAA"),
    ] {
        let mut other = public.clone();
        other[field] = json!(value);
        assert!(!accepted(&token, &keys(&[other])), "{field}");
    }
}

#[test]
fn a_key_that_is_too_small_or_too_large_is_not_used() {
    let sized = |bytes: usize, exponent: &str| {
        let modulus = encoded(vec![0xc1; bytes]);
        keys(&[json!({ "kty": "RSA", "n": modulus, "e": exponent })]).0
    };
    assert_eq!(sized(256, "AQAB").len(), 1);
    assert_eq!(sized(512, "AQAB").len(), 1);
    for bytes in [0, 128, 255, 513, 2048, 100_000] {
        assert!(sized(bytes, "AQAB").is_empty(), "{bytes}");
    }
    assert!(sized(256, &encoded([1; 5])).is_empty());
    let many = vec![rsa_key(); 1000];
    assert_eq!(keys(&many).0.len(), MAX_KEYS);
}
