//! Where deliveries stand in the log: found if nobody wakes them, and made if there is none.

use std::time::SystemTime;

use async_nats::jetstream::consumer::PullConsumer;
use events_schema::{
    AreaName, CommitSummary, Time,
    subject::{WEBHOOKS as WAKE_UPS, cursor_key},
    webhook::Cursor,
};
use futures_util::StreamExt as _;

use super::{
    COMMANDS, LOOPS, WEBHOOKS, arrived,
    cursors::{bucket, change, cursor, rests},
    customer::{Customer, settings},
    receiver::Receiver,
    up_to,
};
use crate::support::{World, eventually};

/// Takes the next commit from the consumer that wakes webhooks, as a worker that dies afterwards.
async fn lose_wake_up(world: &World) {
    let consumer = world
        .operator
        .get_consumer_from_stream("webhooks_wake", "EVENTS");
    let consumer: PullConsumer = consumer.await.unwrap();
    let mut messages = consumer.messages().await.unwrap();
    let message = messages.next().await.unwrap().unwrap();
    message.double_ack().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_behind_and_was_not_woken_is_found() {
    let world = World::start().await;
    let _deciding = world.workers::<1>(COMMANDS).await;
    let mut sending = world.spawn_worker(WEBHOOKS);
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    let (webhook, _) = acme.webhook(settings(&receiver.url)).await;
    let first = acme.project().await;
    arrived(&receiver, &up_to(&[first], 1)).await;
    rests(&world, acme.tenant, webhook, |_| true).await;
    sending.kill().await.unwrap();
    let second = acme.project().await;
    lose_wake_up(&world).await;
    let wake_ups = world.operator.get_stream(WAKE_UPS).await.unwrap();
    wake_ups.purge().await.unwrap();

    let _sending = world.spawn_worker(WEBHOOKS);
    arrived(&receiver, &up_to(&[second], 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_was_purged_is_made_again() {
    let world = World::start().await;
    let _worker = world.workers::<1>(LOOPS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    let (webhook, _) = acme.webhook(settings(&receiver.url)).await;
    let first = acme.project().await;
    arrived(&receiver, &up_to(&[first], 1)).await;
    rests(&world, acme.tenant, webhook, |_| true).await;
    let key = cursor_key(acme.tenant, webhook);
    bucket(&world).await.purge(key).await.unwrap();
    assert_eq!(cursor(&world, acme.tenant, webhook).await, None);
    receiver.forget();

    let second = acme.project().await;
    // It goes on at its beginning, since nobody knows what it has got.
    arrived(&receiver, &up_to(&[first, second], 1)).await;
    rests(&world, acme.tenant, webhook, |_| true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_has_a_cursor_before_anybody_sends_to_it() {
    let world = World::start().await;
    let _worker = world.workers::<1>(LOOPS).await;
    let mut written = world.announced("$KV.CURSORS.*.*").await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    let (webhook, _) = acme.webhook(settings(&receiver.url)).await;
    let first = written.next().await.unwrap();
    let key = cursor_key(acme.tenant, webhook);
    assert_eq!(first.subject.as_str(), format!("$KV.CURSORS.{key}"));
    let commits = world.commits::<CommitSummary>(AreaName::Webhook).await;
    let [(created, _)] = commits.as_slice() else {
        panic!("{commits:?}");
    };
    // A session would have a lease.
    let first: Cursor = serde_json::from_slice(&first.payload).unwrap();
    assert_eq!(first, Cursor::after(*created));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_whose_cursor_is_of_another_log_goes_on_when_the_operator_says_from_where() {
    let world = World::start().await;
    let _deciding = world.workers::<1>(COMMANDS).await;
    let mut sending = world.spawn_worker(WEBHOOKS);
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    let (webhook, _) = acme.webhook(settings(&receiver.url)).await;
    let first = acme.project().await;
    arrived(&receiver, &up_to(&[first], 1)).await;
    // As if the log had been restored from an old copy.
    change(&world, acme.tenant, webhook, |cursor| {
        cursor.next = 1_000_000;
    })
    .await;
    rests(&world, acme.tenant, webhook, |cursor| {
        cursor.next == 1_000_000
    })
    .await;
    sending.kill().await.unwrap();
    let at = Time::from(SystemTime::now()).to_rfc3339().unwrap();
    let second = acme.project().await;
    receiver.forget();

    world.run(&["reset-webhooks", "--at", &at]).await;
    let _sending = world.spawn_worker(WEBHOOKS);
    arrived(&receiver, &up_to(&[second], 1)).await;
    eventually("a place in this log", || async {
        let cursor = cursor(&world, acme.tenant, webhook).await;
        cursor.is_some_and(|cursor| cursor.next < 1_000_000)
    })
    .await;
    assert_eq!(receiver.messages().len(), 1, "the first event came again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_nothing_again_when_the_whole_log_wakes_it_again() {
    let world = World::start().await;
    let _worker = world.workers::<1>(LOOPS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    let (webhook, _) = acme.webhook(settings(&receiver.url)).await;
    let project = acme.project().await;
    for _ in 0..5 {
        acme.rename(project).await;
    }
    arrived(&receiver, &up_to(&[project], 6)).await;
    rests(&world, acme.tenant, webhook, |_| true).await;

    let (consumer, stream) = ("webhooks_wake", "EVENTS");
    let deleted = world.operator.delete_consumer_from_stream(consumer, stream);
    assert!(deleted.await.unwrap().success);
    eventually("that every commit has woken again", || async {
        let consumer = world.operator.get_consumer_from_stream(consumer, stream);
        let Ok(mut consumer): Result<PullConsumer, _> = consumer.await else {
            return false;
        };
        let info = consumer.info().await.unwrap();
        info.ack_floor.stream_sequence > 0 && info.num_pending == 0 && info.num_ack_pending == 0
    })
    .await;
    acme.rename(project).await;
    arrived(&receiver, &up_to(&[project], 7)).await;
    rests(&world, acme.tenant, webhook, |_| true).await;
    assert_eq!(receiver.messages().len(), 7);
}
