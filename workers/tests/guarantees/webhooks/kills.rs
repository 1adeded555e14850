//! Workers that are killed while they send: every event arrives in order, and only what was sent
//! just before a kill is sent again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use events_schema::{
    AreaName, CommitSummary,
    webhook::{Ordering, Payload, Settings},
};
use futures_util::future::join_all;

use super::{
    COMMANDS, WEBHOOKS, arrived, assert_in_order,
    customer::{Customer, settings, text},
    receiver::{Message, Receiver},
    up_to,
};
use crate::support::{World, eventually};

/// Workers that are killed one after the other. Their leases end together.
const AT_ONCE: usize = 5;
/// Projects that change, and how often each one does between kills.
const PROJECTS: usize = 12;
const ROUNDS: usize = 6;
/// How long before a kill an event has come that is sent again, at most: a cursor is stored every
/// 100 ms, and that may take a while on a busy machine.
const REPEATED: Duration = Duration::from_millis(500);
/// How long after a kill the next event of a webhook comes, at most: another worker resumes within
/// 25 s, and then sends on a busy machine.
const RESUMED: Duration = Duration::from_secs(30);

/// Settings that differ in what they order and send, and how much at once.
fn settings_of(number: usize, url: &str) -> Settings {
    let ordering = if number.is_multiple_of(3) {
        Ordering::Endpoint
    } else {
        Ordering::Aggregate
    };
    let payload = if number == 1 {
        Payload::Full
    } else {
        Payload::Thin
    };
    Settings {
        ordering,
        payload,
        concurrency: 2,
        ..settings(url)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_workers_lose_no_event_and_repeat_only_the_last_ones() {
    let kills = std::env::var("UB_TEST_KILLS").map_or(10, |kills| kills.parse().unwrap());
    let world = World::start().await;
    let _deciding = world.workers::<1>(COMMANDS).await;
    let acme = Customer::new(&world).await;
    let receivers = join_all((0..8).map(|_| Receiver::start())).await;
    for (number, receiver) in receivers.iter().enumerate() {
        receiver.takes(Duration::from_millis(20));
        acme.webhook(settings_of(number, &receiver.url)).await;
    }
    let projects = join_all((0..PROJECTS).map(|_| acme.project())).await;
    let mut workers: Vec<_> = (0..AT_ONCE).map(|_| world.spawn_worker(WEBHOOKS)).collect();
    let (mut killed, mut revision) = (Vec::new(), 1);
    while killed.len() < kills {
        let sent_before = PROJECTS * revision;
        revision += ROUNDS;
        let renames = projects.iter().map(|project| async {
            for _ in 0..ROUNDS {
                acme.rename(*project).await;
            }
        });
        // The leases of the workers before have ended, and events of each webhook are on their way.
        let half = sent_before + PROJECTS * ROUNDS / 2;
        let in_work = eventually("half of the events", || async {
            receivers.iter().all(|receiver| receiver.count() >= half)
        });
        tokio::join!(join_all(renames), in_work);
        for worker in &mut workers {
            worker.kill().await.unwrap();
            killed.push(Instant::now());
            *worker = world.spawn_worker(WEBHOOKS);
        }
    }
    let wanted = up_to(&projects, revision as u64);
    for receiver in &receivers {
        arrived(receiver, &wanted).await;
    }
    let order = order_of_commits(&world).await;
    let mut repeated = 0;
    for (number, receiver) in receivers.iter().enumerate() {
        let messages = receiver.messages();
        assert_in_order(&messages);
        if settings_of(number, &receiver.url).ordering == Ordering::Endpoint {
            assert_eq!(first_arrivals(&messages), order);
        }
        repeated += assert_repeated_after_kills(&messages, &killed);
        assert_resumed_after_kills(&messages, &killed);
    }
    assert!(repeated > 0, "no kill came while events were sent");
    assert_eq!(world.dead().await, []);
}

/// Returns the object and revision of each commit of projects.
async fn order_of_commits(world: &World) -> Vec<(String, u64)> {
    let commits = world.commits::<CommitSummary>(AreaName::Project).await;
    let commits = commits.into_iter();
    commits
        .map(|(_, commit)| (text(commit.id), commit.revision))
        .collect()
}

fn first_arrivals(messages: &[Message]) -> Vec<(String, u64)> {
    let mut seen = BTreeSet::new();
    let first = messages.iter().filter(|message| seen.insert(&message.id));
    first
        .map(|message| (message.object().to_owned(), message.revision()))
        .collect()
}

/// Asserts that each event that was sent again had last come just before a kill. Returns how many
/// there are.
fn assert_repeated_after_kills(messages: &[Message], killed: &[Instant]) -> usize {
    let mut last = BTreeMap::new();
    let mut repeated = 0;
    for message in messages {
        let Some(before) = last.insert(&message.id, message.at) else {
            continue;
        };
        repeated += 1;
        let kills = killed.iter().filter(|kill| **kill >= before);
        let wait = kills.map(|kill| *kill - before).min();
        assert!(
            wait.is_some_and(|wait| wait < REPEATED),
            "{} came again {:?} after it had come {wait:?} before a kill",
            message.id,
            message.at - before
        );
    }
    repeated
}

/// Asserts that the next event after each kill came soon. Before a kill, half of the events of a
/// round are still on their way; after the last one there may be none.
fn assert_resumed_after_kills(messages: &[Message], killed: &[Instant]) {
    for kill in killed {
        let after = messages.iter().filter(|message| message.at > *kill);
        let wait = after.map(|message| message.at - *kill).min();
        assert!(
            wait.is_none_or(|wait| wait < RESUMED),
            "the next event came {wait:?} after a kill"
        );
    }
}
