//! Secrets of webhooks are only where they are used.

use std::{fs, process::Stdio};

use axum::http::StatusCode;
use events_schema::{
    AreaName,
    secret::{Secret, ServerKey},
    webhook::{Changes, Command, SEALED_FOR},
    webhook_signature::SigningKey,
};
use tokio::process::Child;

use super::{
    COMMANDS, arrived,
    cursors::rests,
    customer::{Customer, settings},
    receiver::Receiver,
    up_to,
};
use crate::support::{SECRET, World, eventually};

const TOKEN: &str = "Bearer tok_eaf0b3a27c51";
const API_KEY: &str = "api_9d44bb01e6f8";

/// Starts a worker that logs everything to a file.
fn talkative(world: &World, log: &fs::File) -> Child {
    let loops = "commands,views,webhooks";
    let allow = "--webhook-allow=127.0.0.0/8";
    let mut worker = world.process(&["run", "--loops", loops, allow]);
    worker.env("RUST_LOG", "trace").kill_on_drop(true);
    let output = || Stdio::from(log.try_clone().unwrap());
    worker.stdout(output()).stderr(output()).spawn().unwrap()
}

/// Returns all that the servers store of webhooks, as text.
async fn stored(world: &World) -> String {
    let mut all = Vec::new();
    for name in ["EVENTS", "WEBHOOKS", "KV_CURSORS", "ATTEMPTS", "DEAD"] {
        let mut stream = world.operator.get_stream(name).await.unwrap();
        let last = stream.info().await.unwrap().state.last_sequence;
        for sequence in 1..=last {
            // A record that was replaced is no more there.
            if let Ok(message) = stream.get_raw_message(sequence).await {
                all.push(format!("{name} {} {:?}", message.subject, message.headers));
                all.push(String::from_utf8_lossy(&message.payload).into_owned());
            }
        }
    }
    let documents = world.documents(AreaName::Webhook).await;
    assert!(!documents.is_empty());
    all.extend(documents.values().map(ToString::to_string));
    all.join("\n")
}

fn assert_hides(text: &str, key: &SigningKey) {
    let key = key.secret();
    let (_, bare) = key.split_once('_').unwrap();
    for secret in [bare, TOKEN, "tok_eaf0b3a27c51", API_KEY, SECRET] {
        let found = text.lines().find(|line| line.contains(secret));
        assert!(found.is_none(), "{secret} is in {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_logs_nor_stores_have_a_secret_that_can_be_read() {
    let world = World::start().await;
    let _deciding = world.workers::<1>(COMMANDS).await;
    let log = world.servers.dir().join("worker.log");
    let _worker = talkative(&world, &fs::File::create(&log).unwrap());
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    let (webhook, key) = acme.webhook(settings(&receiver.url)).await;
    let headers = [("authorization", TOKEN), ("x-api-key", API_KEY)];
    let changes = Changes {
        credentials: Some(acme.credentials(webhook, &headers)),
        ..Changes::default()
    };
    acme.change(Command::Update { webhook, changes }).await;
    let project = acme.project().await;
    arrived(&receiver, &up_to(&[project], 1)).await;
    receiver.answers(|_| StatusCode::INTERNAL_SERVER_ERROR);
    acme.rename(project).await;
    rests(&world, acme.tenant, webhook, |cursor| {
        !cursor.parked.is_empty()
    })
    .await;
    eventually("the view", || async {
        !world.documents(AreaName::Webhook).await.is_empty()
    })
    .await;

    let message = receiver.messages().pop().unwrap();
    assert_eq!(message.headers["authorization"], TOKEN);
    assert_eq!(message.headers["x-api-key"], API_KEY);
    let log = fs::read_to_string(log).unwrap();
    let address = receiver.url.split('/').nth(2).unwrap();
    assert!(log.contains("TRACE") && log.contains(address));
    assert_hides(&log, &key);
    assert_hides(&stored(&world).await, &key);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_log_opens_only_with_the_secret_of_the_server() {
    let world = World::start().await;
    let _deciding = world.workers::<1>(COMMANDS).await;
    let acme = Customer::new(&world).await;
    let (webhook, key) = acme.webhook(settings("https://example.com/")).await;
    let commits = world.commits::<serde_json::Value>(AreaName::Webhook).await;
    let sealed = commits[0].1["events"][0]["key"]["secret"].clone();
    let sealed = serde_json::from_value(sealed).unwrap();
    let open = |secret: &str, webhook| {
        let server = ServerKey::new(Secret::parse(secret).unwrap(), Vec::new());
        server.open_sealed(SEALED_FOR, &acme.bound_to(&webhook), &sealed)
    };
    assert_eq!(open(SECRET, webhook), Some(key.secret().into_bytes()));
    assert_eq!(open("fedcba9876543210fedcba9876543210", webhook), None);
    let (other, _) = acme.webhook(settings("https://example.com/")).await;
    assert_eq!(open(SECRET, other), None);
}
