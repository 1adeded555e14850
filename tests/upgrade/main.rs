//! Two releases that run together on the same servers: an upgrade, and its rollback.
//!
//! This program is the next release. `PREVIOUS_RELEASE` names a folder with the programs `gateway`
//! and `workers` of the one before. `deploy/new-area comment` and `tests/upgrade/next-release` turn
//! a checkout into a next release: it has an area, permissions and an event that the previous one
//! does not know.

#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test binary panics when it fails; it uses a part of what end-to-end tests share"
)]

mod releases;
#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    releases::{Next, Platform, Previous},
    support::{
        ASSIGN_ROLE, Browser, CREATE_PROJECT, CREATE_ROLE, PERMISSIONS, code_of, eventually, input,
        list, succeeded, text,
    },
};

const RENAME: &str = "
    mutation($input: UpdateProjectInput!) {
        project { update(input: $input) { name revision } }
    }";
const COMMENT: &str = "
    mutation($input: CreateCommentInput!) {
        comment { create(input: $input) { id } }
    }";
const COMMENTS: &str = "query($project: ID!) { comments(project: $project) { totalCount } }";
const ALL: &str = "{ projects(first: 100) { totalCount nodes { id name revision } } }";
const READS: &[&str] = &[
    ALL,
    PERMISSIONS,
    "{ roles { name permissions } }",
    "{ auditLog(first: 20) { nodes { area events } } }",
];

/// How long both releases are under load together.
const TOGETHER: Duration = Duration::from_secs(20);

/// Clients that change and read projects until they are stopped.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    changes: AtomicUsize,
}

impl Load {
    /// Sends a change until it is made. A change may take longer while releases differ, and is never
    /// answered with an internal error.
    async fn change(&self, browser: &Browser, document: &str, variables: Value) -> Value {
        let number = self.changes.fetch_add(1, Ordering::SeqCst);
        let browser = browser.with_idempotency_key(&format!("change {number}"));
        let start = Instant::now();
        loop {
            let mut answer = browser.gql(document, &variables).await;
            if succeeded(&answer) {
                return answer["data"].take();
            }
            let code = code_of(&answer);
            assert!(code == "PENDING" || code == "UNAVAILABLE", "{answer}");
            assert!(start.elapsed() < support::DEADLINE, "{answer}");
        }
    }

    /// Creates and renames projects, and reads whatever there is, until it is stopped.
    async fn run(&self, browsers: &[Browser], client: usize) {
        let browser = &browsers[client % browsers.len()];
        for round in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            if round < 3 {
                let name = format!("project {client} {round}");
                let project = input(json!({ "name": name }));
                self.change(browser, CREATE_PROJECT, project).await;
            }
            let projects = read(browser, ALL).await;
            let projects = list(&projects["projects"]["nodes"]);
            let project = &projects[(client * 7 + round) % projects.len()];
            let change = json!({ "id": project["id"], "name": format!("{client} {round}") });
            self.change(browser, RENAME, input(change)).await;
            for document in READS {
                read(browser, document).await;
            }
        }
    }

    /// Runs clients at these gateways for some time.
    async fn at(&self, browsers: &[Browser], time: Duration) {
        self.stop.store(false, Ordering::SeqCst);
        let clients = join_all((0..6).map(|client| self.run(browsers, client)));
        let end = async {
            sleep(time).await;
            self.stop.store(true, Ordering::SeqCst);
        };
        tokio::join!(clients, end);
    }
}

/// Reads, which succeeds at every gateway.
async fn read(browser: &Browser, document: &str) -> Value {
    let mut answer = browser.gql(document, ()).await;
    assert!(succeeded(&answer), "{document}: {answer}");
    answer["data"].take()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the programs of the previous release; .ci/run has them"]
async fn two_releases_run_together_and_the_next_one_can_be_rolled_back() {
    let platform = Platform::start().await;
    let load = Load::default();

    let previous = Previous::start(&platform).await;
    let ada = Browser::at(&previous.url, &platform.mail_url);
    ada.sign_up("ada@example.com").await;
    let bob = Browser::at(&previous.url, &platform.mail_url);
    bob.sign_up("bob@example.com").await;
    ada.create_tenant("acme").await;
    let (ada, bob) = (ada.in_tenant("acme"), bob.in_tenant("acme"));
    let bob_id = ada.add_member(&bob, "bob@example.com", "GUEST").await;
    load.at(std::slice::from_ref(&ada), Duration::from_secs(2))
        .await;
    let projects = read(&ada, ALL).await;
    let project = text(&projects, "/projects/nodes/0/id");

    println!("the next release joins");
    let next = Next::start(&platform).await;
    let (ada_next, bob_next) = (ada.at_url(&next.url), bob.at_url(&next.url));
    // Permissions and an area that the previous release does not know.
    let role = json!({ "name": "Commenter", "permissions": ["read_comment", "create_comment"] });
    let role = load.change(&ada_next, CREATE_ROLE, input(role)).await;
    let role = json!({ "member": bob_id, "role": text(&role, "/role/create/id") });
    load.change(&ada_next, ASSIGN_ROLE, input(role)).await;
    let comment = input(json!({ "project": project, "title": "Nice!" }));
    load.change(&bob_next, COMMENT, comment.clone()).await;
    load.at(&[ada.clone(), ada_next.clone()], TOGETHER).await;
    // What Bob holds beside the new permissions holds at the previous gateway, too.
    read(&bob, ALL).await;

    println!("the previous release leaves");
    previous.stop().await;
    load.at(std::slice::from_ref(&ada_next), Duration::from_secs(3))
        .await;
    platform.until_settled().await;

    println!("the next release is rolled back");
    next.stop().await;
    let previous = Previous::start(&platform).await;
    let (ada, bob) = (ada.at_url(&previous.url), bob.at_url(&previous.url));
    for document in READS {
        read(&ada, document).await;
    }
    read(&bob, ALL).await;
    // A project without the new event can be changed by the previous release alone.
    let created = input(json!({ "name": "after the rollback" }));
    let created = load.change(&ada, CREATE_PROJECT, created).await;
    let id = text(&created, "/project/create/id");
    let renamed = input(json!({ "id": id, "name": "renamed after the rollback" }));
    load.change(&ada, RENAME, renamed).await;

    println!("the next release joins again");
    let next = Next::start(&platform).await;
    let (ada_next, bob_next) = (ada.at_url(&next.url), bob.at_url(&next.url));
    load.at(&[ada.clone(), ada_next.clone()], TOGETHER / 2)
        .await;
    previous.stop().await;
    platform.until_settled().await;

    let mut comments = bob_next.gql(COMMENTS, json!({ "project": project })).await;
    assert_eq!(
        comments["data"]["comments"].take(),
        json!({ "totalCount": 1 })
    );
    // Each project was created once, and its view is at its last revision.
    let stored = platform.revisions("project").await;
    let shown = read(&ada_next, ALL).await;
    let shown = list(&shown["projects"]["nodes"]).iter();
    let shown = shown.map(|project| (text(project, "/id"), project["revision"].as_u64().unwrap()));
    assert_eq!(shown.collect::<BTreeMap<_, _>>(), stored);
    platform.nothing_is_dead().await;
    assert!(platform.has_event("noted").await, "this is no next release");
    next.stop().await;
}
