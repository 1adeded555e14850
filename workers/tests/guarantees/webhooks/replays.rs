//! Replays send exactly their range, and the operator's commands lose nothing.

use std::time::SystemTime;

use axum::http::StatusCode;
use events_schema::{
    Time,
    webhook::{Command, Only},
};
use tokio::process::Child;

use super::{
    COMMANDS, LOOPS, WEBHOOKS, arrived,
    customer::{Customer, settings, text},
    receiver::Receiver,
    up_to,
};
use crate::support::{World, eventually};

fn now() -> Time {
    SystemTime::now().into()
}

/// Returns when the log has an event of this name about webhooks, with its content.
async fn event_of_webhook(world: &World, name: &str) -> serde_json::Value {
    let area = events_schema::AreaName::Webhook;
    let find = || async {
        let commits = world.commits::<serde_json::Value>(area).await;
        let mut events = commits.iter().map(|(_, commit)| &commit["events"][0]);
        events.find(|event| event["type"] == name).cloned()
    };
    eventually(name, || async { find().await.is_some() }).await;
    find().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_sends_exactly_its_range_also_if_it_is_interrupted() {
    let world = World::start().await;
    let _deciding: [Child; 1] = world.workers(COMMANDS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    let (webhook, _) = acme.webhook(settings(&receiver.url)).await;
    let sending = world.spawn_worker(WEBHOOKS);
    let before = acme.project().await;
    let since = now();
    let mut within = Vec::new();
    for _ in 0..40 {
        within.push(acme.project().await);
    }
    let until = now();
    let after = acme.project().await;
    let all: Vec<_> = [before, after].into_iter().chain(within.clone()).collect();
    arrived(&receiver, &up_to(&all, 1)).await;
    let first = receiver.messages();
    receiver.forget();
    receiver.takes(std::time::Duration::from_millis(30));
    let only = Only::All;
    acme.change(Command::Replay {
        webhook,
        since,
        until,
        only,
    })
    .await;
    eventually("a part of the replay", || async {
        receiver.messages().len() > 10
    })
    .await;
    drop(sending);
    let _sending = world.spawn_worker(WEBHOOKS);
    let finished = event_of_webhook(&world, "replay_finished").await;
    assert_eq!(finished["failed"], 0);
    let replayed = receiver.messages();
    let mut objects: Vec<&str> = Vec::new();
    for message in &replayed {
        if !objects.contains(&message.object()) {
            objects.push(message.object());
        }
    }
    let expected: Vec<String> = within.iter().map(|id| text(*id)).collect();
    assert_eq!(objects, expected);
    // Only what was in flight or sent just before the kill is repeated.
    assert!(replayed.len() < 40 + 10, "{}", replayed.len());
    for message in &replayed {
        let original = first.iter().find(|one| one.id == message.id).unwrap();
        assert_eq!(original.bytes, message.bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_failures_sends_what_was_not_accepted() {
    let world = World::start().await;
    let _workers: [Child; 1] = world.workers(LOOPS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    let (webhook, _) = acme.webhook(settings(&receiver.url)).await;
    let since = now();
    let good = acme.project().await;
    arrived(&receiver, &up_to(&[good], 1)).await;
    receiver.answers(|_| StatusCode::BAD_REQUEST);
    let bad = acme.project().await;
    eventually("a failure", || async { receiver.messages().len() > 1 }).await;
    receiver.answers(|_| StatusCode::OK);
    receiver.forget();
    let (until, only) = (now(), Only::Failed);
    acme.change(Command::Replay {
        webhook,
        since,
        until,
        only,
    })
    .await;
    let finished = event_of_webhook(&world, "replay_finished").await;
    assert_eq!(finished["sent"], 1);
    assert!(
        receiver
            .messages()
            .iter()
            .all(|message| message.object() == text(bad))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_replay_sends_nothing_more() {
    let world = World::start().await;
    let _workers: [Child; 1] = world.workers(LOOPS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    let (webhook, _) = acme.webhook(settings(&receiver.url)).await;
    let since = now();
    let mut projects = Vec::new();
    for _ in 0..30 {
        projects.push(acme.project().await);
    }
    arrived(&receiver, &up_to(&projects, 1)).await;
    receiver.forget();
    receiver.takes(std::time::Duration::from_millis(200));
    let (until, only) = (now(), Only::All);
    let replay = acme
        .change(Command::Replay {
            webhook,
            since,
            until,
            only,
        })
        .await;
    eventually("the replay", || async { !receiver.messages().is_empty() }).await;
    let replay = events_schema::webhook::ReplayId(replay.0);
    acme.change(Command::CancelReplay {
        webhook,
        replay,
        counts: None,
    })
    .await;
    // What follows is sent, and nothing of the replay beside what was on its way.
    let later = acme.project().await;
    arrived(&receiver, &up_to(&[later], 1)).await;
    assert!(
        receiver.messages().len() < 15,
        "{}",
        receiver.messages().len()
    );
}
