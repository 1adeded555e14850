//! Views that lose documents, fall behind or are replayed.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use events_schema::{
    AccountId, AreaName, CommandId, CommitSummary, Subject, TenantId, View as _, account,
};
use futures_util::{StreamExt, future::join_all, stream};
use mongodb::bson::{Document, doc};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{sleep, timeout};

use crate::fill::write_to_log;
use crate::support::{
    COMMANDS_AND_VIEWS, DEADLINE, WITHOUT_EFFECTS, World, assert_sound, eventually, id,
    no_revision_goes_down, register, rename,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_lost_its_documents_is_complete_again_after_the_next_commit() {
    let world = World::start().await;
    let _worker = world.workers::<1>(COMMANDS_AND_VIEWS).await;
    let account = world.register("ada@example.com").await;
    for update in 0..5 {
        world
            .send_to(account, CommandId(id()), &rename(&update.to_string()))
            .await;
    }
    world.views_up_to_date(AreaName::Account).await;
    world
        .views
        .collection::<Document>("account")
        .delete_many(doc! {})
        .await
        .unwrap();
    world
        .send_to(account, CommandId(id()), &rename("Byron"))
        .await;
    world.views_up_to_date(AreaName::Account).await;
    let document = &world.documents(AreaName::Account).await[&account.to_string()];
    assert_eq!(
        document
            .get_document("view")
            .unwrap()
            .get_str("email")
            .unwrap(),
        "ada@example.com"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_workers_that_write_one_document_at_once_the_latest_revision_stays() {
    let world = World::start().await;
    let _workers = world.workers::<3>(COMMANDS_AND_VIEWS).await;
    let emails = (0..40).map(|at| format!("user{at}@example.com"));
    let accounts = join_all(emails.map(async |email| world.register(&email).await)).await;
    let mut announced = world.announced("view.platform.account.*").await;
    // Nothing follows that would mend a document that an older state has overwritten.
    for round in 0..5 {
        let updates = accounts
            .iter()
            .flat_map(|account| (0..4).map(move |at| (*account, at)));
        join_all(updates.map(async |(account, at)| {
            let rename = rename(&format!("{round} {at}"));
            world.send_to(account, CommandId(id()), &rename).await
        }))
        .await;
        world.views_up_to_date(AreaName::Account).await;
    }
    // Also a document that was written before another one lost a race is announced.
    let mut missing: BTreeSet<_> = accounts.iter().map(ToString::to_string).collect();
    while !missing.is_empty() {
        let next = timeout(DEADLINE, announced.next()).await;
        let next = next.unwrap_or_else(|_| panic!("no announcement for {missing:?}"));
        let next = next.unwrap();
        if revision_of(&next) == 21 {
            missing.remove(next.subject.rsplit('.').next().unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_written_revision_of_a_document_is_announced() {
    let world = World::start().await;
    let _worker = world.workers::<1>(COMMANDS_AND_VIEWS).await;
    let account = id();
    let subject = Subject::View {
        tenant: TenantId::Platform,
        name: account::View::NAME.to_owned(),
        id: account,
    };
    let mut announced = world.announced(&subject.to_string()).await;
    let commands = [register("ada@example.com"), rename("Byron"), rename("King")];
    for (revision, command) in (1..).zip(commands) {
        world
            .send_to(AccountId(account), CommandId(id()), &command)
            .await;
        // A document may be announced twice.
        loop {
            let next = timeout(DEADLINE, announced.next()).await;
            let next = next.unwrap().unwrap();
            if revision_of(&next) == revision {
                let document: events_schema::Document<account::View> =
                    serde_json::from_slice(&next.payload).unwrap();
                assert!(document.view.is_some());
                break;
            }
        }
    }
}

fn revision_of(announced: &async_nats::Message) -> i64 {
    let document: serde_json::Value = serde_json::from_slice(&announced.payload).unwrap();
    document["revision"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_the_whole_log_changes_nothing() {
    let world = World::start().await;
    let _worker = world.workers::<2>(WITHOUT_EFFECTS).await;
    join_all((0..20).map(|at| {
        let world = &world;
        async move {
            world
                .register_and_mail(&format!("user{at}@example.com"))
                .await
        }
    }))
    .await;
    eventually("the mails", || async {
        world.commits::<CommitSummary>(AreaName::Email).await.len() == 20
    })
    .await;
    for area in [AreaName::Account, AreaName::Email] {
        world.views_up_to_date(area).await;
    }
    let before = (
        world.documents(AreaName::Account).await,
        world.documents(AreaName::Email).await,
        world.commits::<CommitSummary>(AreaName::Email).await,
    );

    for consumer in [
        "views_account",
        "views_email",
        "reactions_account_mail",
        "commands_account",
    ] {
        let stream = if consumer.starts_with("commands") {
            "COMMANDS"
        } else {
            "EVENTS"
        };
        world
            .operator
            .delete_consumer_from_stream(consumer, stream)
            .await
            .unwrap();
    }
    // The workers create them again, from the start of the log, and reach its end.
    for consumer in ["views_account", "views_email", "reactions_account_mail"] {
        eventually(consumer, || async {
            let Ok(stream) = world.operator.get_stream("EVENTS").await else {
                return false;
            };
            let Ok(info) = stream.consumer_info(consumer).await else {
                return false;
            };
            info.num_pending == 0
                && info.num_ack_pending == 0
                && info.delivered.consumer_sequence > 0
        })
        .await;
    }
    world.answering().await;
    eventually("the repeated commands", || async {
        world.queued_commands().await == 0
    })
    .await;
    let after = (
        world.documents(AreaName::Account).await,
        world.documents(AreaName::Email).await,
        world.commits::<CommitSummary>(AreaName::Email).await,
    );
    assert_eq!(after, before);
    assert_eq!(world.dead().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_far_behind_get_each_commit_once() {
    let world = World::start().await;
    let _deciding = world.workers::<1>(&["--loops", "commands"]).await;
    let projects = Vec::from_iter((0..5_000).map(|_| id()));
    for revision in 1..=3 {
        write_to_log(&world, TenantId::Platform, &projects, revision).await;
    }
    let _catching_up = world.spawn_worker(&["--loops", "views"]);
    let events = world.operator.get_stream("EVENTS").await.unwrap();
    eventually("the view", || async {
        let info = events.consumer_info("views_project").await;
        info.is_ok_and(|info| info.num_pending == 0 && info.num_ack_pending == 0)
    })
    .await;
    let info = events.consumer_info("views_project").await.unwrap();
    let delivered = info.delivered.consumer_sequence;
    // A stall of MongoDB or of a busy machine may repeat some.
    assert!(
        delivered < 18_000,
        "{delivered} deliveries of 15,000 commits"
    );
    assert_eq!(
        world.documents(AreaName::Project).await.len(),
        projects.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_that_show_two_thousand_commits_of_one_object_end_at_the_last() {
    let world = World::start().await;
    let _workers = world.workers::<2>(COMMANDS_AND_VIEWS).await;
    let account = world.register("ada@example.com").await;
    let changes = (0..2_000).map(|number| rename(&number.to_string()));
    let changed = stream::iter(changes).for_each_concurrent(64, async |change| {
        world.send_to(account, CommandId(id()), &change).await;
    });
    let done = AtomicBool::new(false);
    let change = async {
        changed.await;
        world.views_up_to_date(AreaName::Account).await;
        done.store(true, Ordering::SeqCst);
    };
    tokio::join!(
        change,
        no_revision_goes_down(&world, AreaName::Account, &done)
    );
    let commits = world.commits::<CommitSummary>(AreaName::Account).await;
    assert_sound(&commits);
    assert_eq!(commits.len(), 2_001);
    assert_eq!(world.dead().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stands_still_for_seven_seconds_loses_nothing_and_undoes_nothing() {
    let world = World::start().await;
    let [stopped, _other] = world.workers::<2>(COMMANDS_AND_VIEWS).await;
    let emails = (0..10).map(|at| format!("user{at}@example.com"));
    let accounts = join_all(emails.map(async |email| world.register(&email).await)).await;
    let done = AtomicBool::new(false);
    let stand_still = async {
        let pid = Pid::from_raw(i32::try_from(stopped.id().unwrap()).unwrap());
        for _ in 0..2 {
            sleep(Duration::from_millis(500)).await;
            kill(pid, Signal::SIGSTOP).unwrap();
            sleep(Duration::from_secs(7)).await;
            kill(pid, Signal::SIGCONT).unwrap();
        }
        done.store(true, Ordering::SeqCst);
    };
    let change = accounts.iter().map(async |account| {
        let mut number = 0;
        while !done.load(Ordering::SeqCst) {
            number += 1;
            let rename = rename(&number.to_string());
            world.send_to(*account, CommandId(id()), &rename).await;
        }
    });
    let watch = no_revision_goes_down(&world, AreaName::Account, &done);
    tokio::join!(stand_still, join_all(change), watch);
    world.views_up_to_date(AreaName::Account).await;
    assert_sound(&world.commits::<CommitSummary>(AreaName::Account).await);
    assert_eq!(world.dead().await, []);
}
