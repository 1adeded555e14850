//! What each user of nats-server and mongod may and may not do, tried on real servers.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod answers;
mod asks;
mod broker;
mod mongod;
mod table;

use std::time::Duration;

use async_nats::{ConnectErrorKind, ConnectOptions, jetstream};
use serde_json::Value;
use servers::Role::{self, Gateway, Operator};
use tokio::time::timeout;

use self::{
    broker::Broker,
    table::{FOREIGN, LIMITED, PUBLISHERS},
};

#[tokio::test]
async fn each_user_may_publish_what_the_table_says_and_nothing_else() {
    let broker = Broker::start().await;
    let subjects: Vec<_> = PUBLISHERS.iter().map(|(subject, _)| *subject).collect();
    for role in LIMITED {
        let others = PUBLISHERS
            .iter()
            .filter(|(_, roles)| !roles.contains(&role));
        let others: Vec<_> = others.map(|(subject, _)| *subject).collect();
        let mut user = broker.connect(role).await;
        assert_eq!(user.unpublishable(&subjects).await, others, "{role:?}");
    }
}

#[tokio::test]
async fn each_user_reads_its_own_inbox_and_the_gateway_changed_documents() {
    let broker = Broker::start().await;
    let inboxes = Role::ALL.map(|role| (role, format!("_INBOX_{}.>", role.as_str())));
    let inboxes = inboxes.map(|(role, inbox)| (role, &*inbox.leak()));
    for role in LIMITED {
        let mut user = broker.connect(role).await;
        let (own, others): (Vec<_>, Vec<_>) = inboxes.iter().partition(|(of, _)| *of == role);
        let others: Vec<_> = others.into_iter().map(|(_, inbox)| inbox).collect();
        assert_eq!(user.unreadable(&[own[0].1]).await, [""; 0], "{role:?}");
        assert_eq!(user.unreadable(&others).await, others, "{role:?}");
        assert_eq!(user.unreadable(&FOREIGN).await, FOREIGN, "{role:?}");
        let changed = user.unreadable(&["changed.>"]).await;
        assert_eq!(changed.is_empty(), role == Gateway, "{role:?}");
    }
}

#[test]
fn the_table_has_every_user() {
    let all = LIMITED.iter().chain([&Operator]);
    assert!(all.eq(&Role::ALL));
}

#[tokio::test]
async fn only_the_operator_deletes_a_stream() {
    let broker = Broker::start().await;
    let workers = broker.connect(Role::Workers).await.client;
    let config = jetstream::stream::Config {
        name: "EVENTS".into(),
        subjects: vec!["evt.>".into()],
        ..Default::default()
    };
    let operator = broker.jetstream(Role::Operator).await;
    operator.create_stream(config).await.unwrap();
    // The server refuses without an answer, so the whole wait must pass: it is short.
    let short = Duration::from_millis(200);
    timeout(
        short,
        workers.request("$JS.API.STREAM.DELETE.EVENTS", "".into()),
    )
    .await
    .unwrap_err();
    operator
        .get_stream("EVENTS")
        .await
        .unwrap()
        .purge()
        .await
        .unwrap();
    assert!(operator.delete_stream("EVENTS").await.unwrap().success);
}

#[tokio::test]
async fn the_workers_can_see_that_the_server_syncs_always() {
    let broker = Broker::start().await;
    let workers = broker.connect(Role::Workers).await.client;
    let answer = workers
        .request("$SYS.REQ.SERVER.PING.JSZ", r#"{"config":true}"#.into())
        .await
        .unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(
        answer.pointer("/data/config/sync_always"),
        Some(&Value::Bool(true))
    );
}

#[tokio::test]
async fn nobody_connects_without_a_valid_password() {
    let broker = Broker::start().await;
    let address = format!("nats://127.0.0.1:{}", broker.server.port());
    let refused =
        async |options: ConnectOptions| options.connect(&address).await.unwrap_err().kind();
    assert_eq!(
        refused(ConnectOptions::new()).await,
        ConnectErrorKind::AuthorizationViolation
    );
    for (user, password) in [
        ("operator", "wrong"),
        ("operator", ""),
        ("sys", "sys"),
        ("", ""),
    ] {
        let options = ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned());
        assert_eq!(
            refused(options).await,
            ConnectErrorKind::AuthorizationViolation,
            "{user}"
        );
    }
}
