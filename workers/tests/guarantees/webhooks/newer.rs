//! Commits of a newer release, which this one cannot read.

use std::{fs, time::Duration};

use async_nats::jetstream::consumer::PullConsumer;
use events_schema::{Id, subject::wake_up, webhook::Verdict};
use futures_util::StreamExt as _;
use serde_json::json;

use super::{
    LOOPS, arrived,
    cursors::{attempts, cursor, rests},
    customer::{Customer, settings},
    receiver::Receiver,
    up_to,
};
use crate::support::{DEADLINE, World, eventually, id};

/// How long the worker is watched, and how much of that it may compute. It tries again every two
/// seconds.
const WATCHED: Duration = Duration::from_secs(6);
const MOST_CPU: Duration = Duration::from_millis(600);
/// Longer than a session sends by settings that have changed.
const LOOKS_AGAIN: Duration = Duration::from_secs(2);

/// Stores a commit with an event that only a newer release knows. Returns its sequence.
async fn publish(world: &World, customer: &Customer, area: &str, object: (Id, u64)) -> u64 {
    publish_event(world, customer, (area, object), "teleported").await
}

/// Stores a commit of an object at a revision, with an event of this name. Returns its sequence.
async fn publish_event(
    world: &World,
    customer: &Customer,
    (area, (object, revision)): (&str, (Id, u64)),
    event: &str,
) -> u64 {
    let commit = json!({
        "tenant": customer.tenant,
        "area": area,
        "id": object,
        "revision": revision,
        "command": id(),
        "actor": { "kind": "system" },
        "time": 0,
        "events": [{ "type": event }],
    });
    let subject = format!("evt.{}.{area}.{object}", customer.tenant);
    let stored = world.operator.publish(subject, commit.to_string().into());
    stored.await.unwrap().await.unwrap().sequence
}

/// Returns the time that a process has computed.
fn computed(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_waits_at_a_commit_of_a_newer_release() {
    let world = World::start().await;
    let [worker] = world.workers(LOOPS).await;
    let (acme, other) = (Customer::new(&world).await, Customer::new(&world).await);
    let (waiting, going) = (Receiver::start().await, Receiver::start().await);
    let (webhook, _) = acme.webhook(settings(&waiting.url)).await;
    other.webhook(settings(&going.url)).await;
    let before = acme.project().await;
    arrived(&waiting, &up_to(&[before], 1)).await;
    let newer = publish(&world, &acme, "project", (id(), 1)).await;
    acme.project().await;
    acme.rename(before).await;

    let used = computed(worker.id().unwrap());
    tokio::time::sleep(WATCHED).await;
    let used = computed(worker.id().unwrap()) - used;
    assert!(used < MOST_CPU, "{used:?} in {WATCHED:?}");
    let elsewhere = other.project().await;
    arrived(&going, &up_to(&[elsewhere], 1)).await;
    assert_eq!(waiting.count(), 1, "a commit was skipped");
    let cursor = cursor(&world, acme.tenant, webhook).await.unwrap();
    assert_eq!(cursor.next, newer, "a newer release goes on elsewhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_a_newer_release_hold_up_no_other_tenant() {
    let world = World::start().await;
    let _worker = world.workers::<1>(LOOPS).await;
    let (acme, other) = (Customer::new(&world).await, Customer::new(&world).await);
    let (waiting, going) = (Receiver::start().await, Receiver::start().await);
    acme.webhook(settings(&waiting.url)).await;
    other.webhook(settings(&going.url)).await;
    publish(&world, &acme, "webhook", (acme.tenant.0, 2)).await;
    // A session that had begun before goes on until it looks at the settings again.
    tokio::time::sleep(LOOKS_AGAIN).await;
    let sent_before = waiting.count();
    for _ in 0..20 {
        let (_, elsewhere) = tokio::join!(acme.project(), other.project());
        let began = std::time::Instant::now();
        arrived(&going, &up_to(&[elsewhere], 1)).await;
        let time = began.elapsed();
        assert!(
            time < Duration::from_secs(1),
            "the other tenant waited {time:?}"
        );
    }
    assert_eq!(waiting.count(), sent_before);
    assert_eq!(world.dead().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_progress_count_although_the_settings_are_of_a_newer_release() {
    let world = World::start().await;
    let _worker = world.workers::<1>(LOOPS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    receiver.takes(Duration::from_secs(3));
    let (webhook, _) = acme.webhook(settings(&receiver.url)).await;
    tokio::join!(acme.project(), acme.project());
    eventually("two requests", || async { receiver.count() == 2 }).await;
    let newer = publish(&world, &acme, "webhook", (acme.tenant.0, 2)).await;
    let cursor = rests(&world, acme.tenant, webhook, |_| true).await;
    assert_eq!(cursor.next, newer, "an event counts as not sent");
    let accepted = attempts(&world, acme.tenant, webhook, Verdict::Succeeded).await;
    assert_eq!(accepted.len(), 2);
    // Longer than the worker waits before it tries again.
    tokio::time::sleep(WATCHED).await;
    assert_eq!(receiver.count(), 2, "an event was sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_not_known_yet_costs_no_computing() {
    let world = World::start().await;
    let [worker] = world.workers(LOOPS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    receiver.takes(Duration::from_secs(2));
    acme.webhook(settings(&receiver.url)).await;
    let project = acme.project().await;
    eventually("a session", || async { receiver.count() == 1 }).await;
    // Only the last commit of a tenant tells that it is deleted, so this is never known.
    let tenant = acme.tenant.0;
    tokio::join!(
        publish_event(&world, &acme, ("tenant", (tenant, 2)), "deleted"),
        publish(&world, &acme, "tenant", (tenant, 3)),
    );
    acme.rename(project).await;
    let used = computed(worker.id().unwrap());
    tokio::time::sleep(WATCHED).await;
    let used = computed(worker.id().unwrap()) - used;
    assert!(used < MOST_CPU, "{used:?} in {WATCHED:?}");
    assert_eq!(receiver.count(), 1, "an event behind the change was sent");
}

/// What the consumer that wakes webhooks reads of an area that only a newer release knows.
const OF_NEWER: &str = "evt.*.newer.*";

/// Returns what the consumer reads that wakes webhooks.
async fn wake_consumer(world: &World) -> PullConsumer {
    let consumer = world
        .operator
        .get_consumer_from_stream("webhooks_wake", "EVENTS");
    consumer.await.unwrap()
}

/// Has the consumer read the commits of an area that only a newer release knows, as a worker of that
/// release does.
async fn read_newer(world: &World) {
    let mut config = wake_consumer(world).await.cached_info().config.clone();
    config.filter_subjects.push(OF_NEWER.to_owned());
    let stream = world.operator.get_stream("EVENTS").await.unwrap();
    stream.create_consumer(config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_area_of_a_newer_release_wakes_all_webhooks_of_its_tenant() {
    let world = World::start().await;
    read_newer(&world).await;
    let _worker = world.workers::<1>(LOOPS).await;
    world.run(&["migrate"]).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    let (webhook, _) = acme.webhook(settings(&receiver.url)).await;
    let known = acme.project().await;
    arrived(&receiver, &up_to(&[known], 1)).await;
    rests(&world, acme.tenant, webhook, |_| true).await;
    let wake_up = wake_up(acme.tenant, webhook);
    let mut woken = world.announced(&wake_up).await;
    world.operator.client().flush().await.unwrap();
    publish(&world, &acme, "newer", (id(), 1)).await;
    let woken = tokio::time::timeout(DEADLINE, woken.next()).await;
    woken.unwrap().unwrap();
    let config = &wake_consumer(&world).await.cached_info().config.clone();
    assert!(
        config
            .filter_subjects
            .iter()
            .any(|filter| filter == OF_NEWER)
    );
    assert_eq!(world.dead().await, []);
}
