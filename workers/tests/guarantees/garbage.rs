//! Messages that cannot be handled, wrong settings, and passwords in logs.

use std::{process::Output, time::Duration};

use events_schema::{AreaName, CommandId, CommitSummary, Id};
use serde_json::{Value, json};

use crate::support::{WITHOUT_EFFECTS, World, eventually, id, process, rename};

/// A well-formed command with this payload.
fn command(verb: &str) -> Vec<u8> {
    let command = json!({
        "id": id(),
        "tenant": "platform",
        "area": "account",
        "aggregate": id(),
        "actor": { "kind": "anonymous" },
        "time": 0,
        "payload": { "type": verb },
    });
    command.to_string().into()
}

/// Stores a message as the operator, who may publish anything.
async fn publish(world: &World, subject: &str, body: Vec<u8>) {
    let stored = world
        .operator
        .publish(subject.to_owned(), body.into())
        .await;
    stored.unwrap().await.unwrap();
}

/// How many dead letters one loop has written.
async fn dead_of(world: &World, name: &str) -> usize {
    let prefix = format!("dead.{name}.");
    let dead = world.dead().await;
    dead.iter()
        .filter(|(subject, _)| subject.starts_with(&prefix))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_decoded_goes_to_dead_and_blocks_nothing() {
    let world = World::start().await;
    let _worker = world.workers::<1>(WITHOUT_EFFECTS).await;
    let register = "cmd.platform.account.register";
    for (subject, body) in [
        (register, b"not json".to_vec()),
        (register, Vec::new()),
        (register, vec![0xff; 100]),
        (register, b"{}".to_vec()),
        (register, command("revoke_sessions")),
        ("cmd.no-tenant.account.register", command("revoke_sessions")),
        // Where gateways may publish, a command of operators counts for nothing.
        (
            "cmd.platform.account.grant_platform_admin",
            command("grant_platform_admin"),
        ),
        (
            &format!("evt.platform.account.{}", id()),
            b"not json".to_vec(),
        ),
        ("evt.platform.email.no-id", b"[1, 2".to_vec()),
    ] {
        publish(&world, subject, body).await;
    }
    // Seven commands; the view and the reaction read accounts, the view alone reads mails.
    eventually("the dead letters", || async {
        world.dead().await.len() == 10
    })
    .await;
    assert_eq!(dead_of(&world, "commands").await, 7);
    assert_eq!(dead_of(&world, "views").await, 2);
    assert_eq!(dead_of(&world, "reactions").await, 1);
    let dead = world.dead().await;
    let unknown = |(subject, _): &&(String, String)| subject == "dead.commands.unknown.account";
    assert_eq!(dead.iter().filter(unknown).count(), 1);
    assert!(dead.iter().all(|(_, reason)| !reason.is_empty()));

    let account = world.register("ada@example.com").await;
    eventually("the view", || async {
        world
            .documents(AreaName::Account)
            .await
            .contains_key(&account.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_newer_release_wait_for_its_workers_and_block_nothing() {
    let world = World::start().await;
    let _worker = world.workers::<1>(WITHOUT_EFFECTS).await;
    let account = world.register("ada@example.com").await;
    let mut commit = first_commit(&world, AreaName::Account).await;
    commit["revision"] = json!(2);
    commit["command"] = json!(id());
    commit["events"] = json!([{ "type": "flown", "to": "the moon" }]);
    let subject = format!("evt.platform.account.{account}");
    publish(&world, &subject, commit.to_string().into()).await;
    let verb = "fly_to_the_moon";
    publish(
        &world,
        &format!("cmd.platform.account.{verb}"),
        command(verb),
    )
    .await;
    // Its history has something that only a newer release knows.
    let (to_ada, rename) = (CommandId(id()), rename("Byron"));
    assert_eq!(world.send(account, to_ada, &rename).await, None);
    for at in 0..20 {
        let other = world.register(&format!("user{at}@example.com")).await;
        world.send_to(other, CommandId(id()), &rename).await;
        eventually("the account", || async {
            let documents = world.documents(AreaName::Account).await;
            let document = documents.get(&other.to_string());
            document.is_some_and(|document| document.get_i64("revision").unwrap() == 2)
        })
        .await;
    }
    // By now, garbage would be there.
    assert_eq!(world.dead().await, []);
    assert_eq!(world.queued_commands().await, 2);
    // Nothing was shown of what is unknown.
    let shown = &world.documents(AreaName::Account).await[&account.to_string()];
    assert_eq!(shown.get_i64("revision").unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_for_an_unknown_area_is_refused_at_once() {
    let world = World::start().await;
    let _worker = world.workers::<1>(WITHOUT_EFFECTS).await;
    let refused = world
        .gateway
        .request("cmd.platform.nowhere.register", "{}".into())
        .await;
    assert!(refused.is_err());
}

/// The body of the first commit of an area.
async fn first_commit(world: &World, area: AreaName) -> Value {
    eventually("a commit", || async {
        !world.commits::<Value>(area).await.is_empty()
    })
    .await;
    let (_, commit) = world.commits::<Value>(area).await.remove(0);
    commit
}

/// Publishes commits whose body names another tenant, area or id than the subject.
async fn publish_mismatches(world: &World, area: AreaName, other: AreaName) {
    let commit = first_commit(world, area).await;
    let with = |field: &str, value: Value| {
        let mut commit = commit.clone();
        commit[field] = value;
        commit.to_string().into_bytes()
    };
    let subject = |id: Id| format!("evt.platform.{area}.{id}");
    let bodies = [
        (id(), with("revision", json!(1))),
        (id(), with("id", json!(id()))),
    ];
    for (id, body) in bodies {
        publish(world, &subject(id), body).await;
    }
    let same = id();
    let mut foreign = commit.clone();
    foreign["id"] = json!(same);
    foreign["area"] = json!(other);
    publish(world, &subject(same), foreign.to_string().into()).await;
    foreign["area"] = json!(area);
    foreign["tenant"] = json!(id());
    publish(world, &subject(same), foreign.to_string().into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_subject_and_body_disagree_leads_to_no_reaction() {
    let world = World::start().await;
    let _worker = world.workers::<1>(WITHOUT_EFFECTS).await;
    world.register_and_mail("ada@example.com").await;
    publish_mismatches(&world, AreaName::Account, AreaName::Session).await;
    eventually("the dead letters", || async {
        dead_of(&world, "reactions").await == 4
    })
    .await;
    // The mail of a later registration comes after them in the log.
    world.register_and_mail("bob@example.com").await;
    eventually("a mail", || async {
        world.commits::<CommitSummary>(AreaName::Email).await.len() >= 2
    })
    .await;
    assert_eq!(
        world.commits::<CommitSummary>(AreaName::Email).await.len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_subject_and_body_disagree_sends_no_mail() {
    let world = World::start().await;
    let _worker = world.workers::<1>(&[]).await;
    world.register_and_mail("ada@example.com").await;
    publish_mismatches(&world, AreaName::Email, AreaName::Account).await;
    eventually("the dead letters", || async {
        dead_of(&world, "effects").await == 4
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_refuse_a_stream_that_is_weaker_than_needed() {
    let world = World::start().await;
    let run = async || world.process(&["run"]).output().await.unwrap();
    let log = world.operator.get_stream("EVENTS").await.unwrap();
    let mut weaker = log.cached_info().config.clone();
    weaker.max_age = Duration::from_secs(60 * 60);
    weaker.duplicate_window = Duration::from_secs(60);
    world.operator.update_stream(weaker).await.unwrap();
    assert_refused(&run().await, "max_age");
    world.operator.delete_stream("EVENTS").await.unwrap();
    assert_refused(&run().await, "EVENTS");
    // The workers' user may not create the log, and says who may.
    assert!(world.operator.get_stream("EVENTS").await.is_err());
    let migrated = world.process(&["migrate"]).output().await.unwrap();
    assert!(migrated.status.success(), "{migrated:?}");
    assert!(world.operator.get_stream("EVENTS").await.is_ok());
}

/// Asserts that workers have ended with an error that names the cause and the remedy.
fn assert_refused(output: &Output, cause: &str) {
    assert!(!output.status.success());
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(printed.contains(cause), "{printed}");
    assert!(printed.contains("workers migrate"), "{printed}");
}

/// Asserts that a worker that cannot connect prints an error without the password.
async fn assert_no_password_printed(nats_url: &str, log: &str) {
    let mut worker = process(nats_url, "mongodb://127.0.0.1:1");
    let output = worker
        .arg("run")
        .env("RUST_LOG", log)
        .output()
        .await
        .unwrap();
    assert!(!output.status.success(), "{nats_url}: {output:?}");
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    assert!(printed.contains("NATS"), "{nats_url}: {printed}");
    assert!(!printed.contains("hunter2"), "{nats_url}: {printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_connection_prints_no_password() {
    for url in [
        "nats://workers:hunter2@127.0.0.1:1",
        "nats://workers:hunter2@127.0.0.1:1,nats://workers:hunter2@127.0.0.1:2",
        "nats://workers:hunter2@no-such-host.invalid:4222",
        "nats://workers:hunter2@127.0.0.1:port",
        "nats://workers:hunter2/x@127.0.0.1:1",
        "nats://workers:hunter2@",
        "nats://workers:hunter2@[::1",
        "http://workers:hunter2@127.0.0.1:1",
        "workers:hunter2@127.0.0.1:1",
        "nats://hunter2@127.0.0.1:1",
    ] {
        assert_no_password_printed(url, "info").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debug_log_holds_no_password() {
    assert_no_password_printed("nats://workers:hunter2@127.0.0.1:1", "debug").await;
}
