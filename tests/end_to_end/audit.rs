//! The audit log: who changed what, when and from where.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use local::Local;
use serde_json::{Value, json};

use crate::support::{
    Browser, ada_and_bob, bad_input, create_project, eventually, list, operator, start, text,
};

const AUDIT: &str = "
    query($where: AuditFilter, $first: Int, $after: String) {
        auditLog(where: $where, first: $first, after: $after) {
            nodes {
                at area id revision events address device
                actor { kind id person { firstname } }
            }
            pageInfo { hasNextPage endCursor }
        }
    }";

/// A tenant whose owner is Ada; Bob is a developer.
struct World {
    backend: Local,
    tenant: String,
    ada: Browser,
    bob: Browser,
}

impl World {
    async fn start() -> Self {
        let backend = start().await;
        let (ada, bob) = ada_and_bob(&backend).await;
        let tenant = text(&ada.create_tenant("acme").await, "/id");
        let (ada, bob) = (ada.in_tenant("acme"), bob.in_tenant("acme"));
        ada.add_member(&bob, "bob@example.com", "DEVELOPER").await;
        Self {
            backend,
            tenant,
            ada,
            bob,
        }
    }

    /// Ada's view of the audit log.
    async fn audit(&self, variables: Value) -> Value {
        self.ada.data(AUDIT, variables).await["auditLog"].clone()
    }

    async fn entries(&self, variables: Value) -> Vec<Value> {
        list(&self.audit(variables).await["nodes"]).clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_names_the_actor_the_address_and_the_device() {
    let world = World::start().await;
    let (robot, _) = world
        .bob
        .create_machine(&world.backend, &["create_project"])
        .await;
    let project = create_project(&robot, "Rocket").await;
    let by_robot = world.entries(json!({ "where": { "id": project } })).await;
    let entry = &by_robot[0];
    assert_eq!(
        (&entry["area"], &entry["events"]),
        (&json!("PROJECT"), &json!(["created"]))
    );
    assert_eq!(entry["actor"]["kind"], "ACCESS_TOKEN");
    assert_eq!(entry["address"], "127.0.0.1");
    assert_eq!(entry["device"], "Browser/1.0");

    let by_ada = world
        .entries(json!({ "where": { "area": ["TENANT"] } }))
        .await;
    assert_eq!(by_ada.len(), 1);
    assert_eq!(by_ada[0]["id"], world.tenant.as_str());
    assert_eq!(by_ada[0]["actor"]["person"]["firstname"], "Ada");
    let members = world
        .entries(json!({ "where": { "area": ["MEMBER"] } }))
        .await;
    assert_eq!(members.len(), 3, "created, invited, accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_use_of_an_access_token_is_recorded() {
    let world = World::start().await;
    let (robot, _) = world
        .bob
        .create_machine(&world.backend, &["create_project"])
        .await;
    create_project(&robot, "Rocket").await;
    eventually("the use of the token", || async {
        let tokens = world
            .ada
            .data("{ accessTokens { nodes { lastUsedAt } } }", ())
            .await;
        tokens["accessTokens"]["nodes"][0]["lastUsedAt"].is_string()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_every_entry_once_and_the_latest_first() {
    let world = World::start().await;
    for round in 0..30 {
        let names: Vec<_> = (0..10).map(|at| format!("{round} {at}")).collect();
        join_all(names.iter().map(|name| create_project(&world.bob, name))).await;
    }
    let (mut seen, mut after) = (Vec::new(), Value::Null);
    loop {
        let page = world.audit(json!({ "first": 37, "after": after })).await;
        let entries = list(&page["nodes"]).iter();
        seen.extend(entries.map(|entry| format!("{} {}", entry["id"], entry["revision"])));
        after = page["pageInfo"]["endCursor"].clone();
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
    }
    // The tenant, three commits of members, and the projects.
    assert_eq!(seen.len(), 304);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 304);
    assert_eq!(*seen.last().unwrap(), format!("\"{}\" 1", world.tenant));
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_filtered_by_time() {
    let world = World::start().await;
    for at in 0..70 {
        create_project(&world.bob, &at.to_string()).await;
    }
    let entries = world.entries(json!({ "first": 50 })).await;
    let middle = entries[30]["at"].clone();
    // As text, `52.3Z` comes after `52.284Z`.
    let at = |entry: &Value| text(entry, "/at").parse::<jiff::Timestamp>().unwrap();
    let middle_at = at(&entries[30]);
    let since = json!({ "where": { "since": middle }, "first": 100 });
    let since = world.entries(since).await;
    assert!(since.len() >= 31 && since.len() < 70, "{}", since.len());
    assert!(
        since.iter().all(|entry| at(entry) >= middle_at),
        "{since:?}"
    );
    let until = json!({ "where": { "until": middle }, "first": 30 });
    let until = world.entries(until).await;
    assert_eq!(until.len(), 30);
    assert!(until.iter().all(|entry| at(entry) < middle_at), "{until:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_developer_cannot_read_the_audit_log() {
    let world = World::start().await;
    assert_eq!(world.bob.code(AUDIT, ()).await, "FORBIDDEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_cursor_or_size_is_refused_by_name() {
    let world = World::start().await;
    let after = world.ada.error(AUDIT, json!({ "after": "garbage" })).await;
    assert_eq!(after, bad_input("after"));
    let first = world.ada.error(AUDIT, json!({ "first": 101 })).await;
    assert_eq!(first, bad_input("first"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_found_by_its_own_time_whatever_the_clock_of_the_log_says() {
    let world = World::start().await;
    let id = create_project(&world.ada, "Loom").await;
    let operator = operator(&world.backend).await;
    let events = operator.get_stream("EVENTS").await.unwrap();
    let subject = format!("evt.{}.project.{id}", world.tenant);
    let stored = events
        .get_last_raw_message_by_subject(&subject)
        .await
        .unwrap();
    let mut commit: Value = serde_json::from_slice(&stored.payload).unwrap();
    // The clock of its gateway was half a minute behind that of the log.
    let time = commit["time"].as_i64().unwrap() - 30_000;
    let other = "0123456789abcdef0123456789abcdef";
    commit["time"] = time.into();
    commit["id"] = other.into();
    commit["command"] = other.into();
    let subject = subject.replace(&id, other);
    let sent = operator.publish(subject, commit.to_string().into()).await;
    sent.unwrap().await.unwrap();

    let at = |time_ms| {
        jiff::Timestamp::from_millisecond(time_ms)
            .unwrap()
            .to_string()
    };
    let until = json!({ "where": { "area": ["PROJECT"], "until": at(time + 1) } });
    let until = world.entries(until).await;
    assert!(until.len() == 1 && until[0]["id"] == other, "{until:?}");
    let since = json!({ "where": { "id": other, "since": at(time) } });
    assert_eq!(world.entries(since).await.len(), 1);
    let since = json!({ "where": { "id": other, "since": at(time + 1) } });
    assert_eq!(world.entries(since).await.len(), 0);
}
