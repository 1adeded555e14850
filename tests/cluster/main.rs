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
    time::{interval, sleep},
};

use crate::{
    links::Links,
    support::{
        Browser, CREATE_PROJECT, Gateway, ada_in_acme, input, list, operator, start_as, succeeded,
        text,
    },
};

/// Every gateway answers again within this time, whichever server fails.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// Every replica has caught up within this time after all servers are back. A replica that waits for
/// what a broken connection has lost asks again only after 30 seconds, and may have to twice.
const REDUNDANT_WITHIN: Duration = Duration::from_secs(180);

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
        let start = Instant::now();
        loop {
            let behind = behind(&operator).await;
            if behind.is_empty() {
                return;
            }
            let waited = start.elapsed();
            assert!(waited < REDUNDANT_WITHIN, "after {waited:?}: {behind:#?}");
            sleep(ASK_EVERY).await;
        }
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

/// Returns each stream and consumer with a replica that has not caught up, with what the server
/// says of it.
async fn behind(operator: &jetstream::Context) -> Vec<String> {
    let mut behind = Vec::new();
    for list in [
        "STREAM.LIST",
        "CONSUMER.LIST.EVENTS",
        "CONSUMER.LIST.COMMANDS",
    ] {
        let answer: Result<Value, _> = operator.request(list.to_owned(), &()).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                behind.push(format!("{list}: {error}"));
                continue;
            }
        };
        let items = answer.get("streams").or(answer.get("consumers"));
        let Some(items) = items.and_then(Value::as_array) else {
            behind.push(format!("{list}: {answer}"));
            continue;
        };
        for item in items {
            let followers = followers_of(item);
            let is_current = |replica: &Value| replica["current"] == true;
            if followers.len() != MEMBERS - 1 || !followers.iter().all(is_current) {
                let name = item.get("name").unwrap_or(&item["config"]["name"]);
                behind.push(format!("{list} {name}: {}", item["cluster"]));
            }
        }
    }
    behind
}

fn followers_of(item: &Value) -> Vec<Value> {
    let followers = item["cluster"]["replicas"].as_array();
    followers.cloned().unwrap_or_default()
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
