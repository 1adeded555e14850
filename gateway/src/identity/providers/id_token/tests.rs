use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_800_000_000;
fn expected() -> Expected<'static> {
    Expected {
        issuer: "https://idp.example",
        client: "us",
        nonce: "n-1",
        access_token: "access",
        now_s: NOW,
    }
}

fn valid() -> Value {
    json!({
        "iss": "https://idp.example", "sub": "7", "aud": "us", "nonce": "n-1",
        "iat": NOW, "exp": NOW + 300,
        "at_hash": hash_of(Algorithm::Es256, "access"),
    })
}

/// Why a token is refused which differs from a valid one in this field; `None` if it is accepted.
fn refusal(changes: &[(&str, Value)]) -> Option<String> {
    let mut claims = valid();
    for (field, value) in changes {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(*field);
        } else {
            claims[*field] = value.clone();
        }
    }
    let claims = Claims::parse(claims.to_string().as_bytes());
    let checked = claims.and_then(|claims| claims.check(Algorithm::Es256, &expected()));
    checked.err().map(|refusal| refusal.to_string())
}

#[test]
fn a_token_for_us_is_accepted() {
    for changes in [
        vec![],
        vec![("at_hash", Value::Null)],
        vec![("aud", json!(["us"]))],
        vec![("aud", json!(["us", "them"])), ("azp", json!("us"))],
        vec![("azp", json!("us"))],
        vec![("exp", json!(NOW - 59))],
        vec![("iat", json!(NOW + 60))],
        vec![("iat", json!(NOW as f64 - 599.5))],
    ] {
        assert_eq!(refusal(&changes), None, "{changes:?}");
    }
}

#[test]
fn a_token_of_others_or_for_others_is_refused() {
    for (field, value) in [
        ("iss", json!("https://idp.example/")),
        ("iss", json!("https://other.example")),
        ("iss", Value::Null),
        ("aud", json!("them")),
        ("aud", json!([])),
        ("aud", json!(["them"])),
        ("aud", json!(["us", "them"])),
        ("aud", Value::Null),
        ("azp", json!("them")),
        ("nonce", json!("n-2")),
        ("nonce", json!("")),
        ("nonce", Value::Null),
        ("at_hash", json!("AAAA")),
        ("sub", json!("")),
        ("sub", json!("x".repeat(256))),
        ("sub", Value::Null),
        ("sub", json!(7)),
    ] {
        assert!(
            refusal(&[(field, value.clone())]).is_some(),
            "{field}: {value}"
        );
    }
}

#[test]
fn a_token_of_another_time_is_refused() {
    for (field, value) in [
        ("exp", json!(NOW - 60)),
        ("exp", json!(0)),
        ("exp", json!("tomorrow")),
        ("exp", Value::Null),
        ("iat", json!(NOW + 61)),
        ("iat", json!(NOW - 661)),
        ("iat", Value::Null),
    ] {
        assert!(
            refusal(&[(field, value.clone())]).is_some(),
            "{field}: {value}"
        );
    }
}

#[test]
fn a_token_may_say_when_the_person_has_logged_in() {
    let logged_in_at = |auth_time: Value| {
        let mut claims = valid();
        claims["auth_time"] = auth_time;
        let claims = Claims::parse(claims.to_string().as_bytes()).unwrap();
        claims.logged_in_at()
    };
    assert_eq!(logged_in_at(json!(NOW)), Some(Time(NOW * 1000)));
    assert_eq!(logged_in_at(json!(1.5)), Some(Time(1500)));
    assert_eq!(logged_in_at(Value::Null), None);
    let claims = Claims::parse(valid().to_string().as_bytes()).unwrap();
    assert_eq!(claims.logged_in_at(), None);
}

#[test]
fn the_hash_of_an_access_token_is_that_of_the_standard() {
    // OpenID Connect Core 1.0, appendix A.3.
    let token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
    assert_eq!(hash_of(Algorithm::Rs256, token), "77QmUPtjPfzWtF2AnpK9RQ");
}

#[test]
fn an_issuer_has_checked_two_factors_if_it_says_so_or_names_two_kinds() {
    for (amr, expected) in [
        (json!(["mfa"]), true),
        (json!(["pwd", "otp"]), true),
        (json!(["hwk", "pin"]), true),
        (json!(["fpt", "swk"]), true),
        (json!(["pwd"]), false),
        (json!(["otp", "sms", "hwk"]), false),
        (json!(["pwd", "user", "made_up"]), false),
        (json!([]), false),
        (json!("mfa"), false),
        (json!(null), false),
    ] {
        let mut claims = valid();
        claims["amr"] = amr.clone();
        let claims = Claims::parse(claims.to_string().as_bytes()).unwrap();
        assert_eq!(claims.has_two_factors(), expected, "{amr}");
    }
}
