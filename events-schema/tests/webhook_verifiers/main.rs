//! Webhooks as customers verify them: with the library of Standard Webhooks, with Node's own
//! cryptography, and with the library of CloudEvents. It needs Node.js 20 or later with npm, which
//! installs the libraries once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test binary panics when it fails"
)]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use events_schema::webhook_signature::{Message, SigningKey, signature_header};
use serde_json::{Value, json};

const FILES: [&str; 3] = ["package.json", "package-lock.json", "verify.mjs"];
const ID: &str = "msg_0123456789abcdef";
/// With characters that take more than one byte.
const BODY: &str = r#"{"specversion":"1.0","id":"msg_0123456789abcdef","source":"https://app.example.com/tenants/1","type":"project.created","time":"2026-11-26T12:00:00Z","data":{"name":"Wörk 🚀"}}"#;

#[test]
fn customers_verify_what_we_sign() {
    let folder = installed();
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
    let mut node = Command::new("node")
        .arg("verify.mjs")
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test needs Node.js 20 or later");
    let mut stdin = node.stdin.take().unwrap();
    stdin.write_all(input.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success(), "node has failed");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns the folder with the verifiers. Libraries are installed again when their versions change.
fn installed() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/webhook_verifiers");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("webhook_verifiers");
    fs::create_dir_all(&folder).unwrap();
    for file in FILES {
        fs::copy(source.join(file), folder.join(file)).unwrap();
    }
    let (wanted, done) = (
        folder.join("package-lock.json"),
        folder.join("installed.json"),
    );
    let wanted = fs::read(wanted).unwrap();
    if fs::read(&done).ok().as_ref() != Some(&wanted) {
        let npm = Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&folder)
            .status()
            .expect("this test needs npm");
        assert!(npm.success(), "npm cannot install the verifiers");
        fs::write(done, wanted).unwrap();
    }
    folder
}
