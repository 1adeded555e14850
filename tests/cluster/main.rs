//! The backend on three servers of each kind, as its users meet it while a server dies or is cut
//! off from the others.

#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test binary panics when it fails; it uses a part of what end-to-end tests share"
)]

mod links;
#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use async_nats::jetstream;
use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use local::Local;
use serde_json::{Value, json};
use servers::{Layout, MEMBERS, Role};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::interval,
};

use crate::{
    links::Links,
    support::{
        Browser, CREATE_PROJECT, Gateway, ada_in_acme, eventually, input, list, operator, start_as,
        succeeded, text,
    },
};

/// Every gateway answers again within this time, whichever server fails.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// How often a client asks for the same change until it is made.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// A backend on a cluster, and a gateway that begins at each nats-server.
struct Cluster {
    backend: Local,
    gateways: Vec<Gateway>,
    /// One person, at each gateway.
    browsers: Vec<Browser>,
    names: AtomicUsize,
    _alone: MutexGuard<'static, ()>,
}

impl Cluster {
    async fn start(layout: Layout) -> Self {
        // One cluster at a time: six servers keep a small machine busy.
        static ALONE: Mutex<()> = Mutex::const_new(());
        let alone = ALONE.lock().await;
        let backend = start_as(layout).await;
        let gateways = backend.servers.nats.iter().map(|server| {
            Gateway::start(&backend, |config| {
                config.nats.nats_url = server.url(Role::Gateway)
            })
        });
        let gateways = join_all(gateways).await;
        let ada = ada_in_acme(&backend).await;
        let browsers = gateways.iter().map(|gateway| ada.at_gateway(gateway));
        let cluster = Self {
            browsers: browsers.collect(),
            gateways,
            backend,
            names: AtomicUsize::new(0),
            _alone: alone,
        };
        cluster.until_redundant().await;
        cluster.every_gateway_answers("at the start").await;
        cluster
    }

    /// Creates a project at each gateway, and fails if one does not answer in time.
    async fn every_gateway_answers(&self, when: &str) {
        let start = Instant::now();
        let creations = self.browsers.iter().map(|browser| async {
            let name = format!("project {}", self.names.fetch_add(1, Ordering::SeqCst));
            let browser = browser.with_idempotency_key(&name);
            let project = input(json!({ "name": name }));
            // One that waits for its answer says nothing about those after it.
            let (mut next, mut waiting) = (interval(ASK_EVERY), FuturesUnordered::new());
            loop {
                tokio::select! {
                    _ = next.tick() => waiting.push(browser.gql(CREATE_PROJECT, &project)),
                    Some(answer) = waiting.next() => {
                        if succeeded(&answer) {
                            return start.elapsed();
                        }
                        assert!(start.elapsed() < ANSWERS_WITHIN, "{when}: {answer}");
                    }
                }
            }
        });
        let times = join_all(creations).await;
        println!("{when}: {times:?}");
        assert!(
            times.iter().all(|time| *time < ANSWERS_WITHIN),
            "{when}: {times:?}"
        );
    }

    /// Returns when every replica of every stream and consumer has caught up. Before that, another
    /// failure may leave no majority.
    async fn until_redundant(&self) {
        let operator = operator(&self.backend).await;
        eventually("full redundancy", || async {
            let streams = replicas(&operator, "STREAM.LIST").await;
            let events = replicas(&operator, "CONSUMER.LIST.EVENTS").await;
            let commands = replicas(&operator, "CONSUMER.LIST.COMMANDS").await;
            let all = [streams, events, commands];
            all.iter().all(|replicas| {
                let is_current = |replica: &Value| replica["current"] == true;
                replicas
                    .iter()
                    .all(|follower| follower.len() == 2 && follower.iter().all(is_current))
            })
        })
        .await;
    }

    /// Every gateway shows every project once.
    async fn assert_nothing_lost_or_done_twice(&self) {
        const ALL: &str = "{ projects(first: 100) { totalCount nodes { name } } }";
        let created = self.names.load(Ordering::SeqCst);
        let expected: BTreeSet<String> = (0..created).map(|at| format!("project {at}")).collect();
        for browser in &self.browsers {
            let shown = browser.data(ALL, ()).await;
            assert_eq!(shown["projects"]["totalCount"], created);
            let names = list(&shown["projects"]["nodes"]).iter();
            let names: BTreeSet<String> = names.map(|project| text(project, "/name")).collect();
            assert_eq!(names, expected);
        }
    }
}

/// Returns the followers of each stream or consumer of a list; one without any if nobody answers.
async fn replicas(operator: &jetstream::Context, list: &str) -> Vec<Vec<Value>> {
    let answer: Result<Value, _> = operator.request(list.to_owned(), &()).await;
    let items = answer.unwrap_or_default();
    let items = items.get("streams").or(items.get("consumers"));
    let followers = |item: &Value| item["cluster"]["replicas"].as_array().cloned();
    match items.and_then(Value::as_array) {
        Some(items) => items
            .iter()
            .map(|item| followers(item).unwrap_or_default())
            .collect(),
        None => vec![Vec::new()],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_gateway_answers_soon_after_any_one_server_died() {
    let mut cluster = Cluster::start(Layout::Cluster).await;
    for member in 0..MEMBERS {
        cluster.backend.servers.nats[member].kill().await.unwrap();
        let when = format!("without nats-server {member}");
        cluster.every_gateway_answers(&when).await;
        cluster.backend.servers.nats[member]
            .restart()
            .await
            .unwrap();
        cluster.until_redundant().await;
        cluster.backend.servers.mongods[member]
            .kill()
            .await
            .unwrap();
        let when = format!("without mongod {member}");
        cluster.every_gateway_answers(&when).await;
        cluster.backend.servers.mongods[member]
            .restart()
            .await
            .unwrap();
        cluster.until_redundant().await;
        cluster.every_gateway_answers("with all servers").await;
    }
    cluster.assert_nothing_lost_or_done_twice().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_gateway_answers_soon_after_a_server_was_cut_off_from_the_others() {
    let links = Links::start().await;
    let cluster = Cluster::start(links.layout()).await;
    links.cut_off(0);
    let when = "without the connections of nats-server 0";
    cluster.every_gateway_answers(when).await;
    cluster.every_gateway_answers(when).await;
    links.heal();
    cluster.until_redundant().await;
    cluster.every_gateway_answers("with all connections").await;
    cluster.assert_nothing_lost_or_done_twice().await;
}
