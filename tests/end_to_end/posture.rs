//! What a gateway does not start with.

use event_store::{Exception, Mode, Monitor};
use gateway::Config;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::support::{DEADLINE, start};

/// Runs a gateway until it ends by itself; returns why.
async fn refusal(config: Config) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shutdown = CancellationToken::new();
    let run = gateway::run(config, listener, Monitor::default(), shutdown);
    let ended = timeout(DEADLINE, run).await.expect("it runs");
    format!("{:#}", ended.unwrap_err())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_in_production_ends_beside_a_mongod_with_known_vulnerabilities() {
    let backend = start().await;
    let mut config = backend.gateway().clone();
    config.posture.mode = Some(Mode::Production);
    config.posture.allow = vec![Exception::OpenMongo];
    let refusal = refusal(config).await;
    for part in [
        "mongod at UB_MONGO_URL",
        "mongod at other",
        "UB_ALLOW=old-mongo",
    ] {
        assert!(refusal.contains(part), "{refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_for_strangers_does_not_start_with_unsafe_settings() {
    let backend = start().await;
    let mut config = backend.gateway().clone();
    config.posture.public_url = "https://example.com".to_owned();
    config.mongo.mongo_url = "mongodb://db.example.com".to_owned();
    let refusal = refusal(config).await;
    assert!(
        refusal.contains("UB_ALLOW=plain-mongo") && refusal.contains("UB_ALLOW=open-mongo"),
        "{refusal}"
    );
}
