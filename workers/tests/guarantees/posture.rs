//! What workers do not start with.

use std::time::Duration;

use tokio::time::timeout;

use crate::support::{World, process};

/// Time limit for a process to end by itself.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// Runs a process until it ends by itself, which must be an error; returns what it says.
async fn refusal(mut process: tokio::process::Command) -> String {
    let ended = timeout(ENDS_WITHIN, process.kill_on_drop(true).output());
    let output = ended.await.expect("it runs").unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn every_command_refuses_unsafe_settings_in_production() {
    for command in [
        &["run"][..],
        &["migrate"],
        &["rebuild-views"],
        &["move-tenant", "acme", "--to", "shared"],
        &["platform-admin", "grant", "ada@example.com"],
        &["drop-deleted"],
    ] {
        let mut process = process(
            "nats://workers:hunter2@nats.example.com",
            "mongodb://workers:hunter2@mongo.example.com",
        );
        process.args(command).env("UB_MODE", "production");
        let refusal = refusal(process).await;
        for part in ["UB_ALLOW=plain-nats", "UB_ALLOW=plain-mongo"] {
            assert!(refusal.contains(part), "{command:?}: {refusal}");
        }
        let has_secret = command[0] == "run";
        assert_eq!(refusal.contains("UB_SECRET"), has_secret, "{command:?}");
        assert!(!refusal.contains("hunter2"), "{refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_in_production_end_beside_a_mongod_with_known_vulnerabilities() {
    let world = World::start().await;
    let mut process = world.process(&["run"]);
    process
        .env(
            "UB_SECRET",
            "k1:5e884898da28047151d0e56f8dc6292773603d0d6aabbdd6",
        )
        .env("UB_MODE", "production")
        .env("UB_ALLOW", "open-mongo");
    let refusal = refusal(process).await;
    assert!(refusal.contains("UB_ALLOW=old-mongo"), "{refusal}");
}
