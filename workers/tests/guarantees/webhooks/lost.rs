//! The bucket of cursors is lost: nobody knows what each webhook has got.

use std::time::{Duration, SystemTime};

use async_nats::jetstream::consumer::PullConsumer;
use events_schema::{
    AreaName, CommitSummary, Time,
    subject::{CURSORS_BUCKET, WEBHOOKS as WAKE_UPS, bucket_stream},
};
use tokio::process::Child;

use super::{
    COMMANDS, WEBHOOKS, arrived,
    customer::{Customer, settings, text},
    receiver::Receiver,
    up_to,
};
use crate::{
    monitor::{ask, free_port},
    support::{World, eventually},
};

/// How much the clocks of two machines may differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(3);

/// Loses the bucket, and makes it again when it is younger than all webhooks on any clock.
async fn lose_cursors(world: &World) {
    let stream = bucket_stream(CURSORS_BUCKET);
    world.operator.delete_stream(stream).await.unwrap();
    let webhooks = world.commits::<CommitSummary>(AreaName::Webhook).await;
    let newest = webhooks.iter().map(|(_, commit)| commit.time).max();
    let newest = newest.unwrap();
    eventually("the time between the webhooks and the bucket", || async {
        Time::from(SystemTime::now()).since(newest) > CLOCKS_DIFFER
    })
    .await;
    world.run(&["migrate"]).await;
}

/// Starts a worker whose metrics can be read at the port.
async fn monitored(world: &World) -> (Child, u16) {
    let port = free_port().await;
    let listen = format!("127.0.0.1:{port}");
    let arguments = [WEBHOOKS, &["--monitor-listen", &listen]].concat();
    (world.spawn_worker(&arguments), port)
}

/// Returns when a worker tells that so many webhooks pause.
async fn tells_lost(port: u16, count: u64) {
    eventually("the number of webhooks that pause", || async {
        let metrics = ask(port, "/metrics").await;
        metrics.is_some_and(|(_, metrics)| {
            let mut lost = metrics
                .lines()
                .filter(|line| line.starts_with("ub_webhook_lost"));
            lost.any(|line| line.ends_with(&format!(" {count}")))
        })
    })
    .await;
}

/// Returns when every commit has woken, and every wake-up was handled.
async fn all_handled(world: &World) {
    eventually("the end of all wake-ups", || async {
        let consumer = world
            .operator
            .get_consumer_from_stream("webhooks_wake", "EVENTS");
        let mut consumer: PullConsumer = consumer.await.unwrap();
        let info = consumer.info().await.unwrap();
        let has_woken = info.num_pending == 0 && info.num_ack_pending == 0;
        let mut wake_ups = world.operator.get_stream(WAKE_UPS).await.unwrap();
        has_woken && wake_ups.info().await.unwrap().state.messages == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_pause_if_their_cursors_are_lost_until_the_operator_names_a_time() {
    let world = World::start().await;
    let _deciding: [Child; 1] = world.workers(COMMANDS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    acme.webhook(settings(&receiver.url)).await;
    let (sending, port) = monitored(&world).await;
    let first = acme.project().await;
    arrived(&receiver, &up_to(&[first], 1)).await;
    tells_lost(port, 0).await;
    drop(sending);
    lose_cursors(&world).await;
    receiver.forget();
    // The operator learns of it although nothing happens.
    let (sending, port) = monitored(&world).await;
    tells_lost(port, 1).await;

    let at = Time::from(SystemTime::now()).to_rfc3339().unwrap();
    let second = acme.project().await;
    all_handled(&world).await;
    let messages = receiver.messages();
    assert!(messages.is_empty(), "it does not know what it sent");
    drop(sending);
    world.run(&["reset-webhooks", "--at", &at]).await;
    let (_sending, port) = monitored(&world).await;
    arrived(&receiver, &up_to(&[second], 1)).await;
    tells_lost(port, 0).await;
    let of_second = |object: &str| object == text(second);
    let messages = receiver.messages();
    assert!(messages.iter().all(|message| of_second(message.object())));
}
