//! Rebuilds of views, while everything runs.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use events_schema::{
    AccountId, Actor, AreaName, CommandId, Commit, CommitSummary, EmailAddress, TenantId, Time,
    account,
};
use futures_util::future::join_all;
use mongodb::bson::{Document, doc};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{sleep, timeout};

use crate::fill::{name_of, write_to_log};
use crate::support::{
    COMMANDS_AND_VIEWS, DEADLINE, WITHOUT_EFFECTS, World, eventually, id, no_revision_goes_down,
    rename,
};

/// Stores a refused registration as an earlier release has done. It leaves a tombstone.
async fn refuse_as_before(world: &World, holder: AccountId) {
    let commit = Commit::<account::Area> {
        tenant: TenantId::Platform,
        area: AreaName::Account,
        id: AccountId(id()),
        revision: 1,
        command: CommandId(id()),
        actor: Actor::Anonymous,
        time: Time(1),
        origin: None,
        events: vec![account::Event::RegistrationRefused {
            email: EmailAddress::parse("ada@example.com").unwrap(),
            holder,
        }],
    };
    let body = serde_json::to_vec(&commit).unwrap();
    let stored = world
        .operator
        .publish(commit.subject().to_string(), body.into());
    stored.await.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_rebuilt_from_the_log_equals_the_one_before() {
    let world = World::start().await;
    let _worker = world.workers::<1>(WITHOUT_EFFECTS).await;
    let accounts = join_all((0..50).map(|at| {
        let world = &world;
        async move {
            let email = format!("user{at}@example.com");
            world.register_and_mail(&email).await
        }
    }))
    .await;
    for account in &accounts[..10] {
        refuse_as_before(&world, *account).await;
    }
    join_all(accounts.iter().map(|account| {
        let world = &world;
        async move {
            for update in 0..5 {
                world
                    .send_to(*account, CommandId(id()), &rename(&update.to_string()))
                    .await;
            }
        }
    }))
    .await;
    eventually("the mails", || async {
        world.commits::<CommitSummary>(AreaName::Email).await.len() >= 50
    })
    .await;
    for area in [AreaName::Account, AreaName::Email] {
        world.views_up_to_date(area).await;
        let before = world.documents(area).await;
        assert!(before.len() >= 50);
        let rebuild = async || {
            let status = world
                .process(&["rebuild-views", "--areas", area.as_str()])
                .status()
                .await
                .unwrap();
            assert!(status.success());
            assert_eq!(world.documents(area).await, before);
        };
        rebuild().await;
        world
            .views
            .collection::<Document>(area.as_str())
            .drop()
            .await
            .unwrap();
        rebuild().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_rebuilt_while_commits_come_in_misses_none() {
    let world = World::start().await;
    let _worker = world.workers::<1>(COMMANDS_AND_VIEWS).await;
    let mut registered = 0;
    for _ in 0..8 {
        let mut rebuild = world.process(&["rebuild-views", "--areas", "account"]);
        let mut rebuild = rebuild.kill_on_drop(true).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(rebuild.id().unwrap()).unwrap());
        // Commits fall between any two steps: the rebuild stands still until one is shown, then
        // runs on for a different time.
        for pause_ms in (0..20).cycle() {
            if let Some(status) = rebuild.try_wait().unwrap() {
                assert!(status.success());
                break;
            }
            kill(pid, Signal::SIGSTOP).unwrap();
            registered += 1;
            let account = world
                .register(&format!("user{registered}@example.com"))
                .await;
            eventually("the account", || async {
                let shown = doc! { "_id": account.to_string() };
                let accounts = world.views.collection::<Document>("account");
                accounts.find_one(shown).await.unwrap().is_some()
            })
            .await;
            kill(pid, Signal::SIGCONT).unwrap();
            sleep(Duration::from_millis(pause_ms)).await;
        }
        // The next rebuild would mend it.
        world.views_up_to_date(AreaName::Account).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_is_killed_at_any_time_shows_no_older_revision() {
    let world = World::start().await;
    let _worker = world.workers::<1>(COMMANDS_AND_VIEWS).await;
    let account = world.register("ada@example.com").await;
    let change = async |lastname: &str| {
        let rename = rename(lastname);
        let changed = world.send_to(account, CommandId(id()), &rename).await;
        let revision = i64::try_from(changed.revision().unwrap()).unwrap();
        let shown = doc! { "_id": account.to_string(), "revision": revision };
        eventually("the change", || async {
            let accounts = world.views.collection::<Document>("account");
            accounts.find_one(shown.clone()).await.unwrap().is_some()
        })
        .await;
    };
    let done = AtomicBool::new(false);
    let kill_rebuilds = async {
        for round in 0..30 {
            let mut rebuild = world.process(&["rebuild-views", "--areas", "account"]);
            let mut rebuild = rebuild.kill_on_drop(true).spawn().unwrap();
            let pid = Pid::from_raw(i32::try_from(rebuild.id().unwrap()).unwrap());
            // The account changes between any two steps, while the rebuild stands still.
            let mut stops = 0;
            while rebuild.try_wait().unwrap().is_none() {
                kill(pid, Signal::SIGSTOP).unwrap();
                change(&format!("{round} {stops}")).await;
                if stops == round {
                    rebuild.kill().await.unwrap();
                    break;
                }
                kill(pid, Signal::SIGCONT).unwrap();
                sleep(Duration::from_millis(stops % 8)).await;
                stops += 1;
            }
        }
        done.store(true, Ordering::SeqCst);
    };
    let watch = no_revision_goes_down(&world, AreaName::Account, &done);
    tokio::join!(kill_rebuilds, watch);
    world.views_up_to_date(AreaName::Account).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_exceeds_the_memory_of_a_rebuild_is_complete() {
    let world = World::start().await;
    // Creates the log, and writes no views.
    let _worker = world.workers::<1>(&["--loops", "commands"]).await;
    // A commit has some 400 bytes, so a megabyte holds a quarter of them.
    let projects = Vec::from_iter((0..6_000).map(|_| id()));
    write_to_log(&world, TenantId::Platform, &projects, 1).await;
    write_to_log(&world, TenantId::Platform, &projects, 2).await;
    write_to_log(&world, TenantId::Platform, &projects[..100], 3).await;
    let rebuild = ["rebuild-views", "--areas", "project", "--memory-mib", "1"];
    let status = world.process(&rebuild).status().await;
    assert!(status.unwrap().success());
    let documents = world.documents(AreaName::Project).await;
    assert_eq!(documents.len(), projects.len());
    for (number, project) in projects.iter().enumerate() {
        let revision = if number < 100 { 3 } else { 2 };
        let view = documents[&project.to_string()].get_document("view");
        let name = view.unwrap().get_str("name").unwrap();
        assert_eq!(name, name_of(*project, revision));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_first_commit_does_not_stop_a_rebuild() {
    let world = World::start().await;
    let _worker = world.workers::<1>(&["--loops", "commands"]).await;
    let projects = Vec::from_iter((0..6_000).map(|_| id()));
    write_to_log(&world, TenantId::Platform, &projects, 1).await;
    // The documents of these are written by now, and no memory has them.
    write_to_log(&world, TenantId::Platform, &projects[..100], 1).await;
    let rebuild = ["rebuild-views", "--areas", "project", "--memory-mib", "1"];
    let status = world.process(&rebuild).status().await;
    assert!(status.unwrap().success());
    let documents = world.documents(AreaName::Project).await;
    assert_eq!(documents.len(), projects.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_commit_keeps_what_a_rebuild_has_repaired() {
    let world = World::start().await;
    let _worker = world.workers::<1>(COMMANDS_AND_VIEWS).await;
    let account = world.register("ada@example.com").await;
    let accounts = world.views.collection::<Document>("account");
    let change = async |lastname: &str| {
        let outcome = world
            .send_to(account, CommandId(id()), &rename(lastname))
            .await;
        world.views_up_to_date(AreaName::Account).await;
        outcome.revision().unwrap()
    };
    change("Byron").await;
    let damage = doc! { "$set": { "view.epoch": 7_i64 } };
    let damaged = accounts.update_many(doc! {}, damage).await.unwrap();
    assert_eq!(damaged.modified_count, 1);
    // The worker folds this one onto the damaged document.
    change("King").await;
    let epoch = async || {
        let stored = accounts.find_one(doc! {}).await.unwrap().unwrap();
        stored
            .get_document("view")
            .unwrap()
            .get_i64("epoch")
            .unwrap()
    };
    assert_eq!(epoch().await, 7);
    let rebuild = world
        .process(&["rebuild-views", "--areas", "account"])
        .status();
    assert!(rebuild.await.unwrap().success());
    assert_eq!(epoch().await, 0);
    change("Byron").await;
    assert_eq!(epoch().await, 0);
}

/// Rebuilds views; returns the output of the command.
async fn rebuild(world: &World, arguments: &[&str]) -> String {
    let mut rebuild = world.process(&[&["rebuild-views"], arguments].concat());
    let ended = rebuild.env("RUST_LOG", "workers=info").output().await;
    let ended = ended.unwrap();
    let output = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
    assert!(ended.status.success(), "{output}");
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_writes_only_what_is_wrong_and_removes_what_the_log_does_not_have() {
    let world = World::start().await;
    let _worker = world.workers::<1>(COMMANDS_AND_VIEWS).await;
    let emails = (0..30).map(|at| format!("user{at}@example.com"));
    let accounts = join_all(emails.map(async |email| world.register(&email).await)).await;
    for account in &accounts {
        world
            .send_to(*account, CommandId(id()), &rename("Byron"))
            .await;
    }
    world.views_up_to_date(AreaName::Account).await;
    let right = world.documents(AreaName::Account).await;
    let output = rebuild(&world, &["--areas", "account"]).await;
    assert!(
        output.contains(" 0 documents written, 0 removed"),
        "{output}"
    );

    let stored = world.views.collection::<Document>("account");
    let set = async |account: usize, change: Document| {
        let which = doc! { "_id": accounts[account].to_string() };
        let changed = stored.update_one(which, change).await.unwrap();
        assert_eq!(changed.modified_count, 1);
    };
    // Another content, an older one, one of a later revision, no revision, and no document.
    set(0, doc! { "$set": { "view.epoch": 7_i64 } }).await;
    set(
        1,
        doc! { "$set": { "view.lastname": "King", "revision": 1_i64 } },
    )
    .await;
    set(2, doc! { "$set": { "revision": 9_i64 } }).await;
    set(3, doc! { "$unset": { "revision": "" } }).await;
    let missing = doc! { "_id": accounts[4].to_string() };
    stored.delete_one(missing).await.unwrap();
    // Nobody has registered these.
    for sequence in [0_i64, 1, 1_000_000] {
        let mut stranger = right[&accounts[0].to_string()].clone();
        stranger.insert("_id", id().to_string());
        stranger.insert("sequence", sequence);
        stored.insert_one(stranger).await.unwrap();
    }
    let output = rebuild(&world, &["--areas", "account"]).await;
    assert!(
        output.contains(" 5 documents written, 3 removed"),
        "{output}"
    );
    assert_eq!(world.documents(AreaName::Account).await, right);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_leaves_a_document_with_an_undecodable_commit_and_rebuilds_the_others() {
    let world = World::start().await;
    let _worker = world.workers::<1>(COMMANDS_AND_VIEWS).await;
    let broken = world.register("ada@example.com").await;
    let right = world.register("bob@example.com").await;
    world.views_up_to_date(AreaName::Account).await;
    let before = world.documents(AreaName::Account).await;
    let subject = format!("evt.platform.account.{broken}");
    for body in ["{", "{}"] {
        let stored = world.operator.publish(subject.clone(), body.into()).await;
        stored.unwrap().await.unwrap();
    }
    let mut commit = world.commits::<serde_json::Value>(AreaName::Account).await[0]
        .1
        .clone();
    commit["revision"] = 3.into();
    let stored = world.operator.publish(subject, commit.to_string().into());
    stored.await.unwrap().await.unwrap();
    let missing = doc! { "_id": right.to_string() };
    let stored = world.views.collection::<Document>("account");
    stored.delete_one(missing).await.unwrap();
    let output = world
        .process(&["rebuild-views", "--areas", "account"])
        .output();
    let ended = output.await.unwrap();
    let output = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
    assert!(!ended.status.success());
    assert!(
        output.contains("1 documents were left as they are"),
        "{output}"
    );
    assert_eq!(world.documents(AreaName::Account).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_leaves_the_documents_of_a_newer_release_as_they_are() {
    let world = World::start().await;
    let _worker = world.workers::<1>(COMMANDS_AND_VIEWS).await;
    let account = world.register("ada@example.com").await;
    world.views_up_to_date(AreaName::Account).await;
    let first = world.commits::<serde_json::Value>(AreaName::Account).await;
    let mut commit = first[0].1.clone();
    commit["events"] = serde_json::json!([{ "type": "flown", "to": "the moon" }]);
    let stored = world.views.collection::<Document>("account");
    let document = world.documents(AreaName::Account).await[&account.to_string()].clone();
    // A second commit of a known account, and the first one of another.
    for (account, revision) in [(account.0, 2), (id(), 1)] {
        commit["id"] = serde_json::json!(account);
        commit["revision"] = serde_json::json!(revision);
        let subject = format!("evt.platform.account.{account}");
        let published = world.operator.publish(subject, commit.to_string().into());
        let sequence = published.await.unwrap().await.unwrap().sequence;
        let mut written = document.clone();
        written.insert("_id", account.to_string());
        written.insert("revision", i64::from(revision));
        written.insert("sequence", i64::try_from(sequence).unwrap());
        let which = doc! { "_id": account.to_string() };
        let replaced = stored.replace_one(which, written).upsert(true);
        replaced.await.unwrap();
    }
    let before = world.documents(AreaName::Account).await;
    assert_eq!(before.len(), 2);
    let output = rebuild(&world, &["--areas", "account"]).await;
    assert!(
        output.contains("2 documents are left to a newer release"),
        "{output}"
    );
    assert!(
        output.contains(" 0 documents written, 0 removed"),
        "{output}"
    );
    assert_eq!(world.documents(AreaName::Account).await, before);
}

/// Starts a worker that must stop with an error; returns its output.
async fn refused(world: &World) -> String {
    let worker = world.process(&["run", "--loops", "views"]).output();
    let output = timeout(DEADLINE, worker).await.unwrap().unwrap();
    assert!(!output.status.success());
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_written_from_another_log_stops_workers_until_it_is_rebuilt() {
    let world = World::start().await;
    let account;
    {
        let [mut worker] = world.workers::<1>(COMMANDS_AND_VIEWS).await;
        account = world.register("ada@example.com").await;
        world.views_up_to_date(AreaName::Account).await;
        worker.kill().await.unwrap();
    }
    let stored = world.views.collection::<Document>("account");
    let right = world.documents(AreaName::Account).await;
    // The end of the log is lost: a view has seen more than there is.
    let confirmations = world.views.collection::<Document>("confirmation");
    let beyond = doc! { "$set": { "through.account": 1_000_000_i64 } };
    let changed = confirmations.update_one(doc! {}, beyond).await.unwrap();
    assert_eq!(changed.modified_count, 1);
    let output = refused(&world).await;
    assert!(output.contains("rebuild-views --areas account"), "{output}");
    rebuild(&world, &["--areas", "account"]).await;

    // The log has another commit at this revision than the one in the document.
    let [worker] = world.workers::<1>(COMMANDS_AND_VIEWS).await;
    let which = doc! { "_id": account.to_string() };
    let other = doc! { "$inc": { "sequence": -1_i64 } };
    stored.update_one(which.clone(), other).await.unwrap();
    // A replay shows it the commit.
    drop(worker);
    let deleted = world
        .operator
        .delete_consumer_from_stream("views_account", "EVENTS");
    deleted.await.unwrap();
    world.run(&["migrate"]).await;
    let output = refused(&world).await;
    let name = account.to_string();
    assert!(
        output.contains(&name) && output.contains("rebuild-views --areas account"),
        "{output}"
    );
    rebuild(&world, &["--areas", "account"]).await;
    assert_eq!(world.documents(AreaName::Account).await, right);
    let _worker = world.workers::<1>(COMMANDS_AND_VIEWS).await;
    world
        .send_to(account, CommandId(id()), &rename("Byron"))
        .await;
    world.views_up_to_date(AreaName::Account).await;
}
