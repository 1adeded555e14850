//! Stripe's own client for Node.js, pointed at the development Stripe. It needs Node.js 20 or later
//! with npm, which installs the client once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test binary panics when it fails"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use local::stripe::{SECRET_KEY, Stripe};
use serde_json::{Value, json};
use tokio::{net::TcpListener, process};
use tokio_util::sync::CancellationToken;

const FILES: [&str; 3] = ["package.json", "package-lock.json", "client.mjs"];

#[tokio::test]
async fn stripes_own_client_subscribes_and_verifies_events() {
    let folder = installed();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stripe, shutdown) = (
        Stripe::new(&format!("http://{address}")),
        CancellationToken::new(),
    );
    tokio::spawn(stripe.serve(listener, shutdown.clone()));
    let seen = run(&folder, address.port()).await;
    shutdown.cancel();

    assert_eq!(seen["intent"], "succeeded");
    assert_eq!(seen["subscription"], "active");
    assert_eq!(seen["paid"], 1_500);
    assert_eq!(seen["preview"], 3_000);
    assert_eq!(seen["event"], "customer.subscription.created");
    assert_eq!(seen["forged"], "StripeSignatureVerificationError");
    let declined = json!({
        "type": "StripeCardError", "code": "card_declined", "decline": "generic_decline",
    });
    assert_eq!(seen["declined"], declined);
    let unknown = json!({
        "type": "StripeInvalidRequestError", "code": "parameter_unknown", "param": "nmae",
    });
    assert_eq!(seen["unknown"], unknown);
    assert_eq!(seen["canceled"], "canceled");
    assert_eq!(seen["last"], "customer.subscription.deleted");
    // More than a page: the client has followed them all.
    assert!(seen["events"].as_u64().unwrap() > 10, "{seen}");
}

async fn run(folder: &Path, port: u16) -> Value {
    let output = process::Command::new("node")
        .args(["client.mjs", &port.to_string(), SECRET_KEY])
        .current_dir(folder)
        .output()
        .await
        .expect("this test needs Node.js 20 or later");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns the folder with the client. It is installed again when its version changes.
fn installed() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stripe_client");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stripe_client");
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
        assert!(npm.success(), "npm cannot install the client");
        fs::write(done, wanted).unwrap();
    }
    folder
}
