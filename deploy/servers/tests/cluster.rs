//! Three servers of each kind work as one, and go on without any one of them.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

use async_nats::{
    ConnectOptions,
    jetstream::{self, stream::Config},
};
use mongodb::{
    Client, Collection,
    bson::{Document, doc},
};
use servers::{Layout, Role, Servers};

/// Far more than an election takes.
const LIMIT: Duration = Duration::from_secs(60);

/// Repeats an operation until it succeeds.
async fn eventually<T, E: std::fmt::Debug>(mut operation: impl AsyncFnMut() -> Result<T, E>) -> T {
    let started = Instant::now();
    loop {
        match operation().await {
            Ok(done) => return done,
            Err(error) => assert!(started.elapsed() < LIMIT, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn jetstream_of(servers: &Servers) -> jetstream::Context {
    let password = servers.passwords.of(Role::Operator).to_owned();
    let options = ConnectOptions::with_user_and_password("operator".to_owned(), password);
    let urls = servers.nats_url(Role::Operator);
    let urls: Vec<&str> = urls.split(',').collect();
    jetstream::new(options.connect(urls).await.unwrap())
}

async fn publish(jetstream: &jetstream::Context) -> u64 {
    eventually(async || {
        let sent = jetstream.publish("kept", "a".into()).await;
        sent.map_err(|error| error.to_string())?
            .await
            .map_err(|error| error.to_string())
    })
    .await
    .sequence
}

async fn collection(servers: &Servers) -> Collection<Document> {
    let client = Client::with_uri_str(servers.mongo_url(Role::Operator))
        .await
        .unwrap();
    client.database("test").collection("kept")
}

async fn start(folder: &Path) -> Servers {
    Servers::in_dir(folder, Layout::Cluster).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_works_without_any_one_server_and_keeps_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let mut servers = start(folder.path()).await;
    let (jetstream, kept) = (jetstream_of(&servers).await, collection(&servers).await);
    let config = Config {
        name: "KEPT".into(),
        subjects: vec!["kept".into()],
        num_replicas: 3,
        ..Config::default()
    };
    eventually(async || jetstream.create_stream(config.clone()).await).await;
    for member in 0..3 {
        tokio::try_join!(servers.nats[member].kill(), servers.mongods[member].kill()).unwrap();
        let (before, id) = (publish(&jetstream).await, i32::try_from(member).unwrap());
        assert!(before > u64::try_from(member).unwrap());
        eventually(async || kept.insert_one(doc! { "_id": id }).await.map(|_| ())).await;
        let restarts = (
            servers.nats[member].restart(),
            servers.mongods[member].restart(),
        );
        tokio::try_join!(restarts.0, restarts.1).unwrap();
        // A second majority without this member would not be one before it has caught up.
        publish(&jetstream).await;
    }
    let mongod_port = servers.mongods[1].port();
    servers.stop().await.unwrap();

    // A port that another program has taken meanwhile is replaced in the replica set.
    let taken = TcpListener::bind(("127.0.0.1", mongod_port)).unwrap();
    std::thread::spawn(move || taken.incoming().for_each(drop));
    let servers = start(folder.path()).await;
    let kept = collection(&servers).await;
    let count = eventually(async || kept.count_documents(doc! {}).await).await;
    assert_eq!(count, 3);
    assert!(publish(&jetstream_of(&servers).await).await > 6);
    servers.stop().await.unwrap();
}
