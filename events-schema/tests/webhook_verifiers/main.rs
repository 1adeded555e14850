//! Webhooks as customers verify them: with the libraries of Standard Webhooks, with Node's own
//! cryptography, and with the library of CloudEvents. It needs Node.js 20 or later with npm, and
//! Python with pip, which install the libraries once. Go, Ruby and PHP are used where they are
//! installed, or always if `UB_TEST_ALL_LANGUAGES` is set.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test binary panics when it fails, and says what it leaves out"
)]

#[path = "../../../tests/support/packages.rs"]
mod packages;
mod without_library;

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use events_schema::{
    Id, TenantKey, Time,
    published::{Content, EventType, PublicEvent, event_types, source},
    webhook_signature::{Message, SigningKey, signature_header},
};
use serde_json::{Value, json};

use self::packages::{installed_by_npm, installed_by_pip, run};

const FOLDER: &str = "tests/webhook_verifiers";
/// The page with the examples that customers paste.
const PAGE: &str = include_str!("../../../docs/webhooks.md");

/// Returns a message as webhooks send it, with an example object that this has changed.
fn body(event_type: EventType, change: impl FnOnce(&mut Value)) -> String {
    let tenant = TenantKey(Id::from_bytes([1; 16]));
    let (time, id) = (Time(1_764_158_400_123), Id::from_bytes([2; 16]));
    let (event, mut object) = PublicEvent::example(event_type, tenant, id, time).unwrap();
    change(&mut object);
    let source = source("https://app.example.com", tenant);
    let body = event.body(&source, Content::Full(Some(&object)));
    String::from_utf8(body.unwrap()).unwrap()
}

/// A message with characters that take more than one byte.
fn one_body() -> String {
    let created = EventType::find("project.created").unwrap();
    body(created, |project| project["name"] = "Wörk 🚀".into())
}

#[test]
fn customers_verify_what_we_sign() {
    let folder = installed_by_npm(FOLDER);
    let (secret, pair) = (SigningKey::hmac([7; 32]), SigningKey::ed25519([8; 32]));
    let signed = webhook(&[secret.clone(), pair.clone()], now());
    let verdict = verify(&folder, &signed, &secret, &pair);
    assert_eq!(verdict, all_accept());

    // While a key is replaced, customers have the old one or the new one.
    let new_keys = [SigningKey::hmac([9; 32]), SigningKey::ed25519([10; 32])];
    let both = [&new_keys[..], &[secret.clone(), pair.clone()]].concat();
    let signed = webhook(&both, now());
    assert_eq!(verify(&folder, &signed, &secret, &pair), all_accept());
    assert_eq!(
        verify(&folder, &signed, &new_keys[0], &new_keys[1]),
        all_accept()
    );

    // The verifiers would notice.
    let signed = webhook(&new_keys, now());
    let verdict = verify(&folder, &signed, &secret, &pair);
    assert_eq!(verdict["symmetric"], "No matching signature found");
    assert_eq!(verdict["asymmetric"], "No matching signature found");
    let old = webhook(std::slice::from_ref(&secret), now() - 301);
    let verdict = verify(&folder, &old, &secret, &pair);
    assert_eq!(verdict["symmetric"], "Message timestamp too old");
}

#[test]
fn customers_verify_and_parse_each_type_of_event() {
    let folder = installed_by_npm(FOLDER);
    let (secret, pair) = (SigningKey::hmac([7; 32]), SigningKey::ed25519([8; 32]));
    let keys = [secret.clone(), pair.clone()];
    let all = event_types().iter().map(|event_type| {
        let body = body(*event_type, |_| {});
        with_keys(&webhook_of(&body, &keys, now()), &secret, &pair)
    });
    let input = Vec::from_iter(all).join("\n");
    let verdicts = run(&folder, "node", "verify.mjs", &input);
    let verdicts: Vec<Value> = verdicts
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(verdicts.len(), event_types().len());
    for (event_type, verdict) in event_types().iter().zip(verdicts) {
        assert_eq!(verdict, all_accept(), "{event_type}");
    }
}

fn all_accept() -> Value {
    json!({"symmetric": null, "asymmetric": null, "event": null})
}

/// Returns the headers and the body of a webhook.
fn webhook(keys: &[SigningKey], timestamp: i64) -> Value {
    webhook_of(&one_body(), keys, timestamp)
}

fn webhook_of(body: &str, keys: &[SigningKey], timestamp: i64) -> Value {
    let event: Value = serde_json::from_str(body).unwrap();
    let id = event["id"].as_str().unwrap();
    let message = Message {
        id,
        timestamp,
        body: body.as_bytes(),
    };
    let headers = json!({
        "content-type": "application/cloudevents+json",
        "webhook-id": id,
        "webhook-timestamp": timestamp.to_string(),
        "webhook-signature": signature_header(keys, &message),
    });
    json!({"headers": headers, "body": body})
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs().try_into().unwrap()
}

fn verify(folder: &Path, webhook: &Value, secret: &SigningKey, pair: &SigningKey) -> Value {
    let input = with_keys(webhook, secret, pair);
    let verdict = run(folder, "node", "verify.mjs", &input);
    serde_json::from_str(&verdict).unwrap()
}

/// Returns a webhook with the keys of its receiver, as a line of JSON.
fn with_keys(webhook: &Value, secret: &SigningKey, pair: &SigningKey) -> String {
    let mut input = webhook.clone();
    input["secret"] = secret.secret().into();
    input["publicKey"] = pair.public().unwrap().into();
    input.to_string()
}

#[test]
fn the_examples_of_the_page_verify_what_we_sign_and_refuse_what_somebody_else_signs() {
    let languages = [
        ("js", installed_by_npm(FOLDER), "node", "example.mjs"),
        ("python", installed_by_pip(FOLDER), "python3", "example.py"),
    ];
    let (secret, other) = (SigningKey::hmac([7; 32]), SigningKey::hmac([9; 32]));
    for (language, folder, program, script) in languages {
        let verdict = |mut input: Value| -> Value {
            input["secret"] = secret.secret().into();
            input["example"] = example(language).into();
            let output = run(&folder, program, script, &input.to_string());
            serde_json::from_str(&output).unwrap()
        };
        let body = one_body();
        let accepted = json!({ "event": serde_json::from_str::<Value>(&body).unwrap() });
        let ours = webhook(std::slice::from_ref(&secret), now());
        assert_eq!(verdict(ours.clone()), accepted, "{language}");
        let both = webhook(&[other.clone(), secret.clone()], now());
        assert_eq!(verdict(both), accepted, "{language}: a second secret");
        let refused = json!({ "refusal": "WebhookVerificationError" });
        let mut changed = ours;
        changed["body"] = format!("{body} ").into();
        assert_eq!(verdict(changed), refused, "{language}: another body");
        let of_other = webhook(std::slice::from_ref(&other), now());
        assert_eq!(verdict(of_other), refused, "{language}: another secret");
        let old = webhook(std::slice::from_ref(&secret), now() - 310);
        assert_eq!(verdict(old), refused, "{language}: an old message");
    }
}

/// Returns the first example of the page in this language.
fn example(language: &str) -> &'static str {
    let (_, example) = PAGE.split_once(&format!("```{language}\n")).unwrap();
    let (example, _) = example.split_once("```").unwrap();
    example
}
