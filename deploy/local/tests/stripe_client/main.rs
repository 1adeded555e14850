//! Stripe's own client for Node.js, pointed at the development Stripe. It needs Node.js 20 or later
//! with npm, which installs the client once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test binary panics when it fails"
)]

#[path = "../../../../tests/support/packages.rs"]
mod packages;

use std::path::Path;

use events_schema::{
    Time,
    inbound_source::{Provider, Refused, verify},
};
use local::stripe::{SECRET_KEY, Stripe};
use serde_json::{Value, json};
use tokio::{net::TcpListener, process};
use tokio_util::sync::CancellationToken;

use self::packages::installed_by_npm;

const FOLDER: &str = "tests/stripe_client";

#[tokio::test]
async fn stripes_own_client_subscribes_and_verifies_events() {
    let folder = installed_by_npm(FOLDER);
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

#[test]
fn the_gateway_verifies_what_stripes_own_client_signs() {
    const NOW: i64 = 1_800_000_000;
    let secrets = ["whsec_former".to_owned(), "whsec_current".to_owned()];
    let payload = json!({ "id": "evt_1", "object": "event", "name": "Zoë" }).to_string();
    let cases = [
        ("whsec_current", NOW, true),
        ("whsec_former", NOW - 300, true),
        ("whsec_current", NOW - 301, false),
        ("whsec_current", NOW + 301, false),
        ("whsec_other", NOW, false),
    ];
    let requests = cases.map(|(secret, timestamp, _)| {
        json!({ "payload": payload, "secret": secret, "timestamp": timestamp }).to_string()
    });
    let (folder, requests) = (installed_by_npm(FOLDER), requests.join("\n"));
    let headers = packages::run(&folder, "node", "sign.mjs", &requests);
    for (header, (secret, timestamp, is_accepted)) in headers.lines().zip(cases) {
        let verify = |payload: &str| {
            let header = |name: &str| (name == "stripe-signature").then_some(header);
            let now = Time(NOW * 1000);
            verify(&Provider::Stripe, &secrets, header, payload.as_bytes(), now)
        };
        let verified = verify(&payload).map(|accepted| accepted.key);
        let expected = if is_accepted {
            Ok("evt_1".to_owned())
        } else {
            Err(Refused)
        };
        assert_eq!(verified, expected, "{secret} {timestamp}");
        assert_eq!(verify(&format!("{payload} ")), Err(Refused));
    }
    assert_eq!(headers.lines().count(), cases.len());
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
