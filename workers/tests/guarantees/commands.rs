//! Commands that race or repeat: each is done once, and every sender gets the same answer.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use async_nats::jetstream;
use events_schema::{
    AccountId, AreaName, Claim, ClaimHolder, Command, CommandId, Commit, CommitSummary,
    EmailAddress, Outcome, TenantId, Time, account,
};
use futures_util::{StreamExt, future::join_all, stream};
use mongodb::bson::Bson;

use crate::support::{
    COMMANDS_AND_VIEWS, World, assert_sound, eventually, id, message, message_of, register, rename,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_concurrent_registrations_of_one_address_make_one_account() {
    let world = World::start().await;
    let _workers = world.workers::<2>(COMMANDS_AND_VIEWS).await;
    let outcomes = join_all((0..100).map(|at| {
        let (world, command) = (&world, id());
        let email = if at % 2 == 0 {
            "ada@example.com"
        } else {
            "ADA@Example.com"
        };
        async move {
            world
                .send_to(AccountId(command), CommandId(command), &register(email))
                .await
        }
    }))
    .await;
    let taken = outcomes
        .iter()
        .filter_map(|outcome| outcome.revision().err());
    let codes: Vec<&str> = taken.map(|rejection| rejection.code.as_str()).collect();
    assert_eq!(codes, ["email_taken"; 99]);

    let commits = world
        .commits::<Commit<account::Area>>(AreaName::Account)
        .await;
    let registered: Vec<AccountId> = commits.iter().map(|(_, commit)| commit.id).collect();
    assert_eq!(registered.len(), 1);
    let claim = Claim::email(&EmailAddress::parse("ada@example.com").unwrap()).to_string();
    let message = world
        .operator
        .get_stream("EVENTS")
        .await
        .unwrap()
        .get_last_raw_message_by_subject(&claim)
        .await
        .unwrap();
    assert_eq!(
        serde_json::from_slice::<ClaimHolder>(&message.payload)
            .unwrap()
            .holder,
        Some(registered[0].0)
    );
    world.views_up_to_date(AreaName::Account).await;
    let shown = world
        .documents(AreaName::Account)
        .await
        .into_values()
        .filter(|document| document.get("view") != Some(&Bson::Null));
    assert_eq!(shown.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_updates_of_one_aggregate_leave_no_gap_and_lose_nothing() {
    let world = World::start().await;
    let _workers = world.workers::<3>(COMMANDS_AND_VIEWS).await;
    let account = world.register("ada@example.com").await;
    let revisions: Vec<u64> = stream::iter(0..32)
        .map(|client| {
            let world = &world;
            async move {
                let mut revisions = Vec::new();
                for update in 0..5 {
                    let outcome = world
                        .send_to(
                            account,
                            CommandId(id()),
                            &rename(&format!("{client} {update}")),
                        )
                        .await;
                    revisions.push(outcome.revision().unwrap());
                }
                revisions
            }
        })
        .buffer_unordered(32)
        .concat()
        .await;
    assert_eq!(
        revisions.iter().copied().collect::<BTreeSet<_>>(),
        (2..=161).collect()
    );

    let commits = world.commits::<CommitSummary>(AreaName::Account).await;
    assert_sound(&commits);
    world.views_up_to_date(AreaName::Account).await;
    let commits = world.commits::<serde_json::Value>(AreaName::Account).await;
    let last = &commits.last().unwrap().1["events"][0]["lastname"];
    let document = &world.documents(AreaName::Account).await[&account.to_string()];
    assert_eq!(
        document
            .get_document("view")
            .unwrap()
            .get_str("lastname")
            .unwrap(),
        last.as_str().unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_repeated_after_the_duplicate_window_is_done_once() {
    let world = World::start().await;
    let _worker = world.workers::<1>(COMMANDS_AND_VIEWS).await;
    let mut config = world
        .operator
        .get_stream("COMMANDS")
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    config.duplicate_window = Duration::from_secs(2);
    world.operator.update_stream(config).await.unwrap();

    let account = world.register("ada@example.com").await;
    let command = CommandId(id());
    let reply = world.gateway.new_inbox();
    let mut outcomes = world.gateway.subscribe(reply.clone()).await.unwrap();
    let (subject, body) = message(account, command, &rename("Byron"), reply);
    let is_duplicate = async || {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", command.to_string());
        let ack = jetstream::new(world.gateway.clone())
            .publish_with_headers(subject.clone(), headers, body.clone())
            .await
            .unwrap();
        ack.await.unwrap().duplicate
    };
    assert!(!is_duplicate().await);
    assert!(
        is_duplicate().await,
        "within the window the broker drops it"
    );
    eventually("the end of the window", async || !is_duplicate().await).await;

    let mut outcome = async || {
        serde_json::from_slice::<Outcome>(&outcomes.next().await.unwrap().payload).unwrap()
    };
    let Outcome::Committed { revision, sequence } = outcome().await else {
        panic!("not committed")
    };
    assert_eq!(outcome().await, Outcome::DoneBefore { revision, sequence });
    assert_eq!(
        world
            .commits::<CommitSummary>(AreaName::Account)
            .await
            .len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_command_gets_the_same_answer_even_after_a_restart() {
    let mut world = World::start().await;
    let [mut worker] = world.workers(COMMANDS_AND_VIEWS).await;
    let account = world.register("ada@example.com").await;
    let command = CommandId(id());
    let first = world.send_to(account, command, &rename("Byron")).await;
    let Outcome::Committed { revision, sequence } = first else {
        panic!("{first:?}")
    };
    let again = Outcome::DoneBefore { revision, sequence };
    assert_eq!(
        world.send_to(account, command, &rename("Byron")).await,
        again
    );

    worker.kill().await.unwrap();
    world.servers.nats[0].kill().await.unwrap();
    world.servers.nats[0].restart().await.unwrap();
    let _workers = world.workers::<2>(COMMANDS_AND_VIEWS).await;
    for _ in 0..5 {
        assert_eq!(
            world.send_to(account, command, &rename("Byron")).await,
            again
        );
    }
    let commits = world.commits::<CommitSummary>(AreaName::Account).await;
    assert_sound(&commits);
    assert_eq!(commits.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_keeps_an_old_state_decides_on_the_latest_one() {
    let world = World::start().await;
    let _workers = world.workers::<2>(COMMANDS_AND_VIEWS).await;
    let account = world.register("ada@example.com").await;
    // Each worker soon keeps a name that the other one has changed.
    for (revision, lastname) in (2..=41).zip(["Byron", "King"].into_iter().cycle()) {
        let rename = rename(lastname);
        let outcome = world.send_to(account, CommandId(id()), &rename).await;
        assert_eq!(outcome.revision(), Ok(revision), "{lastname}");
    }
}

/// Sends a command that was made some seconds ago, and returns its outcome.
async fn send_late(
    world: &World,
    seconds: u64,
    account: AccountId,
    command: CommandId,
    payload: &account::Command,
) -> Outcome {
    let reply = world.gateway.new_inbox();
    let mut answers = world.gateway.subscribe(reply.clone()).await.unwrap();
    let made = SystemTime::now() - Duration::from_secs(seconds);
    let (subject, body) = message_of(made, account, command, payload, reply);
    let context = jetstream::new(world.gateway.clone());
    context.publish(subject, body).await.unwrap().await.unwrap();
    serde_json::from_slice(&answers.next().await.unwrap().payload).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_older_than_a_minute_is_refused_unless_it_was_done_in_time() {
    let world = World::start().await;
    let _workers = world.workers::<1>(COMMANDS_AND_VIEWS).await;
    let account = world.register("ada@example.com").await;
    let (in_time, late) = (CommandId(id()), CommandId(id()));
    let byron = rename("Byron");
    let committed = send_late(&world, 50, account, in_time, &byron).await;
    assert_eq!(committed.revision(), Ok(2));
    assert_eq!(
        send_late(&world, 70, account, in_time, &byron)
            .await
            .revision(),
        Ok(2)
    );

    let king = rename("King");
    let refused = send_late(&world, 70, account, late, &king).await;
    assert_eq!(refused.revision().unwrap_err().code, "expired");
    let commits = world.commits::<CommitSummary>(AreaName::Account).await;
    assert!(commits.iter().all(|(_, commit)| commit.command != late));
    // Its sender repeats it with the same id.
    let repeated = send_late(&world, 0, account, late, &king).await;
    assert_eq!(repeated.revision(), Ok(3));

    // A command of the system follows from the log, and a replay sends it long afterwards.
    let reply = world.gateway.new_inbox();
    let mut answers = world.gateway.subscribe(reply.clone()).await.unwrap();
    let long_ago = Time::from(SystemTime::now() - Duration::from_secs(7_000));
    let (command, tenant) = (CommandId(id()), TenantId::Platform);
    let mut command =
        Command::<account::Area>::by_system(command, tenant, account, long_ago, rename("Byron"));
    command.reply = Some(reply);
    let (subject, body) = (command.subject().unwrap(), serde_json::to_vec(&command));
    let context = jetstream::new(world.gateway.clone());
    let published = context.publish(subject.to_string(), body.unwrap().into());
    published.await.unwrap().await.unwrap();
    let outcome = answers.next().await.unwrap();
    let outcome: Outcome = serde_json::from_slice(&outcome.payload).unwrap();
    assert_eq!(outcome.revision(), Ok(4));
}
