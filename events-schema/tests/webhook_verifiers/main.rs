//! Webhooks as customers verify them: with the libraries of Standard Webhooks, with Node's own
//! cryptography, and with the library of CloudEvents. It needs Node.js 20 or later with npm, and
//! Python with pip, which install the libraries once. Go, Ruby and PHP are used where they are
//! installed.

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

use events_schema::webhook_signature::{Message, SigningKey, signature_header};
use serde_json::{Value, json};

use self::packages::{installed_by_npm, installed_by_pip, run};

const FOLDER: &str = "tests/webhook_verifiers";
/// The page with the examples that customers paste.
const PAGE: &str = include_str!("../../../docs/webhooks.md");
const ID: &str = "msg_0123456789abcdef";
/// With characters that take more than one byte.
const BODY: &str = r#"{"specversion":"1.0","id":"msg_0123456789abcdef","source":"https://app.example.com/tenants/1","type":"project.created","time":"2026-11-26T12:00:00Z","data":{"name":"Wörk 🚀"}}"#;

#[test]
fn customers_verify_what_we_sign() {
    let folder = installed_by_npm(FOLDER);
    let (secret, pair) = (SigningKey::hmac([7; 32]), SigningKey::ed25519([8; 32]));
    let signed = webhook(&[secret.clone(), pair.clone()], now());
    let verdict = verify(&folder, &signed, &secret, &pair);
    let all_accept = json!({"symmetric": null, "asymmetric": null, "event": null});
    assert_eq!(verdict, all_accept);

    // While a key is replaced, customers have the old one or the new one.
    let new_keys = [SigningKey::hmac([9; 32]), SigningKey::ed25519([10; 32])];
    let both = [&new_keys[..], &[secret.clone(), pair.clone()]].concat();
    let signed = webhook(&both, now());
    assert_eq!(verify(&folder, &signed, &secret, &pair), all_accept);
    assert_eq!(
        verify(&folder, &signed, &new_keys[0], &new_keys[1]),
        all_accept
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

/// Returns the headers and the body of a webhook.
fn webhook(keys: &[SigningKey], timestamp: i64) -> Value {
    let message = Message {
        id: ID,
        timestamp,
        body: BODY.as_bytes(),
    };
    let headers = json!({
        "content-type": "application/cloudevents+json",
        "webhook-id": ID,
        "webhook-timestamp": timestamp.to_string(),
        "webhook-signature": signature_header(keys, &message),
    });
    json!({"headers": headers, "body": BODY})
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs().try_into().unwrap()
}

fn verify(folder: &Path, webhook: &Value, secret: &SigningKey, pair: &SigningKey) -> Value {
    let mut input = webhook.clone();
    input["secret"] = secret.secret().into();
    input["publicKey"] = pair.public().unwrap().into();
    let verdict = run(folder, "node", "verify.mjs", &input.to_string());
    serde_json::from_str(&verdict).unwrap()
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
        let accepted = json!({ "event": serde_json::from_str::<Value>(BODY).unwrap() });
        let ours = webhook(std::slice::from_ref(&secret), now());
        assert_eq!(verdict(ours.clone()), accepted, "{language}");
        let both = webhook(&[other.clone(), secret.clone()], now());
        assert_eq!(verdict(both), accepted, "{language}: a second secret");
        let refused = json!({ "refusal": "WebhookVerificationError" });
        let mut changed = ours;
        changed["body"] = format!("{BODY} ").into();
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
